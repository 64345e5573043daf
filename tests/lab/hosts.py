"""Whole hosts for tests: systemd-nspawn containers that boot, on one bridge in a holder's network.

A host is an overlay over a root of `roots`; its changes live in the holder's tmpfs (or, with
`disk_mb`, on an ext4 of its own that can lose its power). `reboot` inside makes nspawn build a
new network namespace, so rules are really gone, and boot again from the same files. Nothing of
it is visible to the machine: mounts, bridge, processes and names are the holder's, and go with it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import tarfile
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cgroups, netns, sysvinit
from .holder import BOUNDED, ENVIRONMENT, CommandError, Holder, Process, run
from .peers import BRIDGE, Namespace, TimeServer, address4, address6

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .roots import Root, Roots

CHECKOUT = Path(__file__).parents[2]
BOOTS_AT_ONCE = 4
RESTART = 133  # nspawn's exit status when the guest asked for a reboot and --keep-unit leaves it to us
EXT4_IOC_SHUTDOWN = 0x8004587D  # include/uapi/linux/ext4.h
NOLOGFLUSH = 2


class Lab:
    """A bridge and what hangs on it. `flood`: the bridge learns nothing and repeats every frame to all."""

    def __init__(self, roots: Roots, *, flood: bool = False) -> None:
        self.roots = roots
        self._hosts: list[Host] = []
        cgroups.remove_stale()
        self.holder = Holder(network=True)
        self.holder.run("mkdir", "/run/lab")
        self.ip(
            "link set lo up",
            f"link add {BRIDGE} type bridge mcast_snooping 0 {'ageing_time 0' if flood else ''}",
            f"link set {BRIDGE} up",
            f"address add {address4(254)}/24 dev {BRIDGE}",
            f"address add {address6(254)}/64 dev {BRIDGE} nodad",
        )

    def ip(self, *commands: str) -> None:
        """ip(8) commands, one a line, in the namespace of the bridge."""
        self.holder.run("ip", "-batch", "-", input="\n".join(commands))

    def host(self, name: str, number: int, root: str = "base", *, disk_mb: int = 0) -> Host:
        """A host that is not booted yet; `number` is the last byte of its addresses."""
        host = Host(self, name, number, self.roots.get(root), disk_mb)
        self._hosts.append(host)
        return host

    def namespace(self, name: str, number: int) -> Namespace:
        """A bare network namespace on the bridge, for an attacker or a server."""
        return Namespace(self.holder, name, number)

    def time_server(self, name: str, number: int, *others: int) -> TimeServer:
        """A time server that answers at once, under the addresses of `number` and of all `others`."""
        return TimeServer(self.holder, name, self.roots.get("chrony"), number, *others)

    @staticmethod
    def boot(*hosts: Host) -> float:
        """Boot hosts side by side; the seconds it took."""
        began = time.monotonic()
        with ThreadPoolExecutor(BOOTS_AT_ONCE) as executor:
            list(executor.map(Host.start, hosts))
        return time.monotonic() - began

    def close(self) -> None:
        """Kill every host and let the namespaces go."""
        for host in self._hosts:
            host.kill()
        self.holder.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Host:
    """A Debian host. Its methods work before the boot too, where they make sense: `run` is a chroot then."""

    def __init__(self, lab: Lab, name: str, number: int, root: Root, disk_mb: int) -> None:
        self.lab, self.name, self._lower, self._disk_mb = lab, name, root.lower, disk_mb
        self.sysv = root.sysv
        self.ipv4, self.ipv6 = address4(number), address6(number)
        self._directory = f"/run/lab/{name}"
        self._root = f"{self._directory}/root"
        self._disk = f"{self._directory}/disk"
        self._nspawn: Process | None = None
        self._leader: int | None = None
        self._gone = False
        self._holder = lab.holder
        self._holder.run("mkdir", "-p", self._root, self._disk)
        if disk_mb:
            self._holder.run("truncate", f"--size={disk_mb}M", f"{self._disk}.img")
            self._holder.run("mke2fs", "-q", "-t", "ext4", f"{self._disk}.img")
        self._mount()
        self.write_files(_settings(name, self.ipv4, self.ipv6))
        if self.sysv:
            self.write_files(sysvinit.FILES)

    # --- files and commands -------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside: in all namespaces of its PID 1, or in a chroot while it is off. With sysvinit
        what is asked for without other options is run by init."""
        if self.sysv and self._leader is not None and not options.keys() - {"timeout"}:
            return sysvinit.ask(self._proc / "root", command, check, options.get("timeout", 120))
        return run(*command, prefix=(*self._inside(), *ENVIRONMENT), check=check, **options)

    def popen(self, *command: str, **options: Any) -> Process:
        """Start a command inside."""
        return Process([*self._inside(), *ENVIRONMENT, *command], **options)

    def _inside(self) -> tuple[str, ...]:
        if self._leader is None:
            return (*BOUNDED, *self._holder.prefix, "chroot", self._root)
        kinds = ("mnt", "uts", "ipc", "net", "pid", "cgroup")
        options = {"mnt": "mount"}
        spaces = [f"--{options.get(kind, kind)}={self._proc}/ns/{kind}" for kind in kinds]
        return (*BOUNDED, "nsenter", *spaces, f"--root={self._proc}/root", f"--wd={self._proc}/root")

    @property
    def _proc(self) -> Path:
        """/proc/PID of the guest's PID 1, whose number is one of the holder's pid namespace."""
        return self._holder.path(f"/proc/{self._leader}")

    def read(self, path: str) -> str:
        """The text of a file inside."""
        return self.run("cat", path).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside, with the directories above it."""
        self.write_files({path: text}, mode)

    def write_files(self, files: Mapping[str, str], mode: int = 0o644) -> None:
        """Write several files at once. tar inside the guest resolves its symlinks, not ours."""
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                for path, text in files.items():
                    _add(tar, path, text.encode(), mode)
            archive.seek(0)
            self.run("tar", "--extract", "--directory=/", stdin=archive)

    def put(self, path: str, source: Path) -> None:
        """Write a copy of a file of this machine's inside."""
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                _add(tar, path, source.read_bytes(), 0o644)
            archive.seek(0)
            self.run("tar", "--extract", "--directory=/", stdin=archive)

    def journal(self, unit: str) -> str:
        """What a unit wrote to the journal since this boot; with sysvinit, the console."""
        if self.sysv:
            return self.console()
        return self.run("journalctl", "--boot", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def install_fwpolicy(self) -> None:
        """Put this checkout's package, its shipped policies and the `fwpolicy` command inside."""
        package = "/usr/lib/python3/dist-packages/fwpolicy"
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                tar.add(CHECKOUT / "fwpolicy", package, filter=_source_only)
                tar.add(CHECKOUT / "policies", f"{package}/policies", filter=_source_only)
                _add(tar, "/usr/bin/fwpolicy", _SCRIPT, 0o755)
            archive.seek(0)
            self.run("tar", "--extract", "--directory=/", stdin=archive)

    # --- power --------------------------------------------------------------------------------

    def start(self, timeout: float = 90) -> float:
        """Boot until default.target is reached, or the last script has run; the seconds it took."""
        began = time.monotonic()
        notify = f"{self._directory}/notify"
        self._holder.path(notify).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self._holder.path(notify)))
            with self._holder.path(f"{self._directory}/console").open("ab") as console:
                self._nspawn = self._holder.popen(
                    *cgroups.launcher(self.name),
                    *_nspawn(self.name, self._root),
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    env=os.environ | {"NOTIFY_SOCKET": notify},
                )
            self._leader = self._wait_ready(ready, began + timeout)
        return time.monotonic() - began

    def _wait_ready(self, ready: socket.socket, deadline: float) -> int:
        """nspawn says who PID 1 is, and then forwards its READY=1 (sd_notify(3)). sysvinit says nothing:
        a process of its inittab makes a file."""
        leader = 0
        ready.settimeout(0.05 if self.sysv else 0.5)
        while True:
            try:
                said = ready.recv(4096).decode().splitlines()
            except TimeoutError:
                said = []
            for line in said:
                name, _, value = line.partition("=")
                if name == "X_NSPAWN_LEADER_PID":
                    leader = int(value)
            if leader and ("READY=1" in said or (self.sysv and self._has_touched(leader))):
                return leader
            assert self._nspawn
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"{self.name} did not boot; its console:\n{self.console()}")

    def _has_touched(self, leader: int) -> bool:
        return self._holder.path(f"/proc/{leader}/root{sysvinit.READY}").exists()

    def console(self, lines: int = 40) -> str:
        """The end of what nspawn and the guest printed."""
        text = self._holder.path(f"{self._directory}/console").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def cookie(self) -> int:
        """The identity of the guest's network namespace (`netns.cookie`)."""
        return netns.cookie(self._proc / "ns/net")

    def reboot(self, timeout: float = 90) -> float:
        """A real `reboot`: units stop, the network namespace goes, init starts again; the seconds it took."""
        began = time.monotonic()
        before = self.cookie()
        self._power("reboot")
        self._ended(timeout, RESTART)
        self.start(timeout)
        assert self.cookie() != before, f"{self.name}: the network namespace survived the reboot"
        return time.monotonic() - began

    def poweroff(self, timeout: float = 60) -> None:
        """A real `poweroff`; `start` boots it again."""
        self._power("poweroff")
        self._ended(timeout, 0)

    def _power(self, verb: str) -> None:
        """Not by init's hand, of which nobody would hear the end."""
        command = (verb,) if self.sysv else ("systemctl", verb)
        run(*command, prefix=(*self._inside(), *ENVIRONMENT), check=False)

    def power_cut(self, timeout: float = 90) -> float:
        """Pull the plug and boot again; with `disk_mb`, what was not synced to disk is lost.

        ext4 is shut down without flushing its journal, then every process is killed.
        """
        began = time.monotonic()
        if self._disk_mb:
            descriptor = os.open(self._holder.path(self._disk), os.O_RDONLY)
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
            os.close(descriptor)
        self._kill_processes()
        self._unmount()
        self._mount()
        self.start(timeout)
        return time.monotonic() - began

    def kill(self) -> None:
        """End the host for good and remove what it kept. Twice does no harm, even to a namesake."""
        if self._gone:
            return
        self._gone = True
        self._kill_processes()
        self._unmount()
        self._holder.run("rm", "-rf", self._directory)
        cgroups.remove(self.name)

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _ended(self, timeout: float, expected: int) -> None:
        assert self._nspawn
        status = self._nspawn.wait(timeout)
        self._leader = None
        assert status == expected, f"{self.name}: nspawn exited {status}, not {expected}\n{self.console()}"

    def _kill_processes(self) -> None:
        if self._nspawn and self._nspawn.poll() is None:
            if self._leader is None:
                self._nspawn.kill()
            else:
                self._holder.run("kill", "-KILL", str(self._leader), check=False)
            self._nspawn.wait(30)
        self._leader = None

    # --- disks --------------------------------------------------------------------------------

    def _mount(self) -> None:
        if self._disk_mb:
            self._holder.run("mount", "-o", "loop", f"{self._disk}.img", self._disk)
        self._holder.overlay(self._lower, self._disk, self._root)

    def _unmount(self) -> None:
        """The dead guest's mount namespace goes a moment after its processes: busy until then."""
        for mount in (self._root, self._disk)[: 2 if self._disk_mb else 1]:
            deadline = time.monotonic() + 10
            while self._holder.run("mountpoint", "--quiet", mount, check=False).returncode == 0:
                self._holder.run("umount", mount, check=time.monotonic() > deadline)
                time.sleep(0.02)


_SCRIPT = b"""#!/usr/bin/python3
import sys
from fwpolicy.cli import main
sys.exit(main())
"""


def _nspawn(name: str, root: str) -> list[str]:
    return [
        *("systemd-nspawn", "--quiet", f"--machine={name}", f"--directory={root}", "--boot"),
        *("--register=no", "--keep-unit", "--notify-ready=yes", "--kill-signal=SIGRTMIN+3"),
        *(f"--network-bridge={BRIDGE}", "--resolv-conf=off", "--timezone=off", "--link-journal=no"),
        # Time daemons find the capability that their units ask for; setting the clock fails with EPERM.
        *("--console=pipe", "--capability=CAP_SYS_TIME", "--system-call-filter=~@clock"),
    ]


def _settings(name: str, ipv4: str, ipv6: str) -> dict[str, str]:
    """What makes a clone this host. Without /etc/hosts everything that looks up its own name waits."""
    interfaces = [
        *("auto lo host0", "iface lo inet loopback"),
        *("iface host0 inet static", f"  address {ipv4}/24"),
        *("iface host0 inet6 static", f"  address {ipv6}/64", "  dad-attempts 0", "  accept_ra 0"),
    ]
    return {
        "/etc/hostname": f"{name}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n",
        "/etc/resolv.conf": "",
        # An empty one would be a "first boot", where systemd resets every unit to its preset.
        "/etc/machine-id": f"{uuid.uuid4().hex}\n",
        "/etc/sysctl.d/lab.conf": "net.ipv6.conf.host0.accept_dad = 0\n",
        "/etc/network/interfaces": "\n".join(interfaces) + "\n",
    }


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
    with tempfile.SpooledTemporaryFile() as file:
        file.write(content)
        file.seek(0)
        tar.addfile(entry, file)


def _source_only(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return None if "__pycache__" in entry.name else entry
