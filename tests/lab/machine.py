"""A machine with a kernel of its own, emulated by QEMU, on the lab's bridge.

A host of the lab that is off becomes a disk, and Debian's cloud kernel boots from it without an initrd (nvme
and ext4 are built in). Software emulation: it needs no /dev/kvm, and takes 20 seconds for a boot.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any

from .holder import BOUNDED, CommandError, run
from .peers import BRIDGE

if TYPE_CHECKING:
    from types import TracebackType

    from .holder import Process
    from .hosts import Host, Lab

DISK_MB = 1200
# Seconds. Alone it takes a fiftieth of that, but an emulated processor gets what the others leave.
PATIENCE = 1000
# What a machine without terminals, timers and pluggable devices does not need, and waits for.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "serial-getty@ttyS0.service"),
    *("systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket"),
    *("systemd-udev-trigger.service", "ifupdown-pre.service", "systemd-hwdb-update.service"),
    *("systemd-binfmt.service", "systemd-pstore.service", "systemd-random-seed.service"),
)
_KERNEL_LINE = (
    "root=/dev/nvme0n1 rw rootfstype=ext4 console=ttyS0 net.ifnames=0 panic=-1 mitigations=off audit=0"
    " no_timer_check tsc=reliable lpj=10000000 raid=noautodetect random.trust_cpu=on quiet"
)


class Machine:
    """A `host` of the lab that is not booted, with all that was written into it, as a machine."""

    sysv = False

    def __init__(self, lab: Lab, host: Host) -> None:
        self._holder, self.name, self.ipv4, self.ipv6 = lab.holder, host.name, host.ipv4, host.ipv6
        self._directory = f"/run/lab/{host.name}"
        self._tap = f"tap-{host.name}"
        self._qemu: Process | None = None
        lab.ip(f"tuntap add {self._tap} mode tap", f"link set {self._tap} master {BRIDGE} up")
        _prepare(host)
        self._make_key(host)
        self._make_disk()

    def _make_key(self, host: Host) -> None:
        self._key = f"{self._directory}/key"
        self._holder.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key)
        host.write("/root/.ssh/authorized_keys", self._holder.run("cat", f"{self._key}.pub").stdout, 0o600)

    def _make_disk(self) -> None:
        root = f"{self._directory}/root"
        self._holder.run("sh", "-c", f"cp {root}/boot/vmlinuz-* {self._directory}/kernel")
        disk = f"{self._directory}/image"
        self._holder.run("truncate", f"--size={DISK_MB}M", disk)
        options = ("-O", "^has_journal", "-E", "root_owner=0:0")
        self._holder.run("mke2fs", "-q", "-t", "ext4", *options, "-d", root, disk, timeout=300)

    # --- commands -----------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside, over SSH."""
        words, given = (*self._ssh(), shlex.join(command)), {"timeout": PATIENCE} | options
        return run(*words, prefix=self._holder.prefix, check=check, **given)

    def _ssh(self) -> tuple[str, ...]:
        settings = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
        options = [word for one in (*settings, "LogLevel=ERROR", "ConnectTimeout=5") for word in ("-o", one)]
        return ("ssh", "-F", "none", "-i", self._key, *options, f"root@{self.ipv4}")

    def read(self, path: str) -> str:
        """The text of a file inside."""
        return self.run("cat", path).stdout

    def journal(self, unit: str) -> str:
        """What a unit wrote to the journal since this boot."""
        return self.run("journalctl", "--boot", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    # --- power --------------------------------------------------------------------------------

    def start(self, timeout: float = PATIENCE) -> float:
        """Boot until it takes SSH connections; the seconds it took."""
        began = time.monotonic()
        log = self._holder.path(f"{self._directory}/console")
        with log.open("ab") as console:
            self._qemu = self._holder.popen(
                *BOUNDED, *self._command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        self._wait_boot(began + timeout)
        return time.monotonic() - began

    def _command(self) -> tuple[str, ...]:
        disk = f"if=none,id=disk,file={self._directory}/image,format=raw,cache=unsafe"
        net = f"tap,id=net,ifname={self._tap},script=no,downscript=no"
        return (
            *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-machine", "q35"),
            *("-smp", "1", "-m", "768", "-nodefaults", "-no-user-config", "-nographic", "-serial", "stdio"),
            # A reset ends it, and we start it again: emulated, the same process takes minutes over what it
            # has translated before.
            "-no-reboot",
            *("-kernel", f"{self._directory}/kernel", "-append", _KERNEL_LINE),
            *("-drive", disk, "-device", "nvme,drive=disk,serial=lab"),
            *("-netdev", net, "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
        )

    def _wait_boot(self, deadline: float) -> None:
        """Until it takes SSH connections, and says that the boot is over."""
        assert self._qemu
        while self.run("true", check=False).returncode:
            if self._qemu.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"{self.name} did not boot; its console:\n{self.console()}")
            time.sleep(0.2)
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def reboot(self, timeout: float = PATIENCE) -> float:
        """A real reboot: units stop, a reset, and the kernel is loaded anew; the seconds it took."""
        began = time.monotonic()
        assert self._qemu
        self.run("systemctl", "--no-block", "reboot", check=False)
        assert self._qemu.wait(timeout) == 0, self.console()
        self.start(timeout)
        return time.monotonic() - began

    def console(self, lines: int = 40) -> str:
        """The end of what kernel and QEMU printed."""
        text = self._holder.path(f"{self._directory}/console").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """Pull the plug."""
        if self._qemu and self._qemu.poll() is None:
            self._qemu.kill()
            self._qemu.wait(30)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _prepare(host: Host) -> None:
    """What a root needs to be a machine: its interface by the kernel's name, modules, no waiting."""
    interfaces = host.read("/etc/network/interfaces").replace("host0", "eth0")
    host.write_files(
        {
            "/etc/network/interfaces": interfaces,
            "/etc/modules-load.d/lab.conf": "virtio_net\n",
            "/etc/sysctl.d/lab.conf": "",
            "/etc/fstab": "",
            "/etc/ssh/sshd_config.d/lab.conf": "UsePAM no\n",
        }
    )
    host.run("systemctl", "mask", *MASKED)
    host.run("systemctl", "set-default", "multi-user.target")
