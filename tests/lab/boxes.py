"""Boxes for vagrant-lxc, made of the lab's roots, and the namespaces that its containers live in.

A box is what Vagrant wants of one: a user `vagrant` with the well-known key, and the packages of
vagrant/Vagrantfile, for the containers reach no mirror. Everything lies under build/vagrant: boxes,
Vagrant's own files, and the containers, which stand where LXC looks for them in a mount namespace only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups
from .holder import ENVIRONMENT, CommandError, Holder, run
from .hosts import CHECKOUT
from .roots import write

if TYPE_CHECKING:
    from .roots import Roots

DIRECTORY = CHECKOUT / "build" / "vagrant"
KINDS = ("chrony", "ntpsec", "ntp")
GATEWAY = "10.0.3.1"  # Vagrantfile's: this side of the network that Vagrant logs in over
KEY = "keys/vagrant.pub"
# lxc.container.conf(5). The capability to set the clock stays: clock.seccomp is what takes it away.
_CONFIG = """\
lxc.apparmor.profile = unconfined
lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed
lxc.tty.max = 1
lxc.pty.max = 1024
lxc.cap.drop = mac_admin mac_override sys_module sys_rawio
lxc.signal.halt = SIGRTMIN+3
"""
_FILES = {
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/resolv.conf": "",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n",
    "etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD: ALL\n",
    # An empty one would be a "first boot", where systemd resets every unit to its preset.
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
}


def make(kind: str, roots: Roots) -> None:
    """The box fwpolicy-KIND.box, with the time daemon `kind`, where the Vagrantfile looks for it."""
    lower = roots.get(f"box-{kind}").lower
    made_from = "".join(path.name for path in lower) + _CONFIG + json.dumps(_FILES)
    target = DIRECTORY / "boxes" / f"{kind}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"
    if not target.exists():
        for old in target.parent.glob(f"{kind}-*"):
            old.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        with Holder() as holder:
            holder.run("mkdir", "/run/box")
            holder.overlay(lower, "/run/box", "/run/box/rootfs")
            _furnish(holder, "/run/box/rootfs")
            _pack(holder, "/run/box", target)
    link = target.with_name(f"fwpolicy-{kind}.box")
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)


def _furnish(holder: Holder, root: str) -> None:
    inside = holder.path(root)
    inside_run = ("chroot", root, *ENVIRONMENT)
    holder.run(*inside_run, "useradd", "--create-home", "--shell=/bin/bash", "vagrant")
    for name, text in _FILES.items():
        write(inside / name, text)
    (inside / "usr/sbin/policy-rc.d").unlink()
    write(inside / "home/vagrant/.ssh/authorized_keys", _key().read_text(), 0o600)
    holder.run(*inside_run, "chmod", "700", "/home/vagrant/.ssh")
    holder.run(*inside_run, "chown", "-R", "vagrant:", "/home/vagrant/.ssh")


def _key() -> Path:
    """The public half of the key that every Vagrant has, as this one's package brings it."""
    found = sorted(Path("/usr/share").glob(f"rubygems-integration/*/gems/vagrant-[0-9]*/{KEY}"))
    if not found:
        raise CommandError(f"no {KEY} of Vagrant's below /usr/share: is Debian's vagrant installed?")
    return found[-1]


def _pack(holder: Holder, directory: str, target: Path) -> None:
    """metadata.json, lxc-config and rootfs.tar.gz in one archive; it appears under its name when whole."""
    metadata = {"provider": "lxc", "version": "1.0.0"}
    write(holder.path(f"{directory}/metadata.json"), json.dumps(metadata))
    write(holder.path(f"{directory}/lxc-config"), _CONFIG)
    tar = ("tar", f"--directory={directory}", "--numeric-owner", "--create")
    left_out = [f"--exclude=./rootfs/{name}/*" for name in ("boot", "dev", "proc", "sys")]
    packed = f"--file={directory}/rootfs.tar.gz"
    holder.run(*tar, "--use-compress-program=gzip -1", packed, *left_out, "./rootfs", timeout=300)
    partial = target.with_name(f".new-{target.name}")
    holder.run(*tar, f"--file={partial}", "metadata.json", "lxc-config", "rootfs.tar.gz")
    partial.rename(target)


class Containers:
    """Where LXC's containers run: two bridges of their own, and a /var/lib/lxc of their own."""

    def __init__(self) -> None:
        self._cgroups_before = cgroups.of_lxc()
        self.holder = Holder(network=True)
        containers = DIRECTORY / "lxc"
        shutil.rmtree(containers, ignore_errors=True)  # of a run that was killed: nothing runs in them
        containers.mkdir(parents=True)
        self.holder.run("mount", "--bind", str(containers), "/var/lib/lxc")
        self._show_own_network()
        links = ("lo", "vagrant", "lab")
        # A bridge without an address of its own takes its lowest port's, and so changes it as machines come
        # and go: whoever still knows the old one is not heard for up to a minute.
        own = "address 02:00:00:00:00:01"
        lines = [f"link add {name} {own} type bridge mcast_snooping 0" for name in links[1:]]
        lines += [f"link set {name} up" for name in links]
        lines.append(f"address add {GATEWAY}/24 dev vagrant")
        self.holder.run("ip", "-batch", "-", input="\n".join(lines))

    def _show_own_network(self) -> None:
        """LXC looks for bridges in /sys/class/net, which shows the namespace it was mounted in."""
        self.holder.run("mkdir", "/run/cgroups")
        self.holder.run("mount", "--rbind", "/sys/fs/cgroup", "/run/cgroups")
        self.holder.run("mount", "-t", "sysfs", "sysfs", "/sys")
        self.holder.run("mount", "--rbind", "/run/cgroups", "/sys/fs/cgroup")

    def close(self) -> None:
        """End what still runs; the containers' files go, too."""
        self.holder.close()
        for left in cgroups.of_lxc() - self._cgroups_before:
            cgroups.remove_tree(left)
        shutil.rmtree(DIRECTORY / "lxc", ignore_errors=True)


def directory(provider: str) -> Path:
    """Where a run keeps its log and Vagrant its machines: what root made with lxc is in no user's way."""
    return DIRECTORY if provider == "lxc" else DIRECTORY.with_name(f"vagrant-{provider}")


def environment(provider: str) -> dict[str, str]:
    """Vagrant's. With lxc its home is ours, too; with the others it is the user's, who has boxes there."""
    own = {"VAGRANT_HOME": str(DIRECTORY / "home")} if provider == "lxc" else {}
    return {
        **os.environ,
        **own,
        "VAGRANT_CWD": str(CHECKOUT / "vagrant"),
        "VAGRANT_DOTFILE_PATH": str(directory(provider) / "machines"),
        "VAGRANT_DEFAULT_PROVIDER": provider,
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_NO_COLOR": "1",
        "FWPOLICY_OPEN": "1",
    }


def has(package: str) -> bool:
    """Whether a Debian package is installed here."""
    asked = ("dpkg-query", "--show", "--showformat", "${db:Status-Status}", package)
    return run(*asked, check=False).stdout == "installed"


def missing() -> list[str]:
    """The Debian packages that `make vagrant-test` lacks here for lxc."""
    return [package for package in ("vagrant", "vagrant-lxc", "lxc", "rsync") if not has(package)]
