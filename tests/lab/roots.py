"""Debian root directories for the lab: a few bases, and an overlay layer for each time daemon.

mmdebstrap makes a base once (25 to 60 s): with systemd, with sysvinit, and of the releases before and
after; a layer is what `apt-get install` in a chroot adds to it, kept as an overlayfs upper directory
(two to twenty seconds, a few MB). Maintainer scripts run inside, so users, units and configuration are
those of a real installation; a policy-rc.d keeps services from starting. Everything lies under
build/lab/roots, named by a hash of what it was made from: a changed recipe gets a new root, and the
stale one goes unless somebody uses it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fwpolicy.record import record

from .holder import CommandError, Holder, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUITE = "bookworm"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
PYTHON = ("python3", "python3-nftables", "python3-yaml", "python3-pyroute2")
BASE_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "kmod", "procps", "netbase"),
    *("iproute2", "ifupdown", "nftables", "conntrack", "iputils-ping"),
    *PYTHON,
)
# An old host: init scripts, iptables beside nftables, and no Python.
SYSV_PACKAGES = (
    *("sysvinit-core", "sysv-rc", "initscripts", "insserv", "kmod", "procps", "netbase", "cron"),
    *("iproute2", "ifupdown", "nftables", "iptables", "iptables-persistent", "ipset", "conntrack"),
    "iputils-ping",
)
XTABLES = ("iptables", "ipset")
DPKG_CFG = Path(__file__).with_name("dpkg.cfg")
APT_OPTIONS = ('APT::Install-Recommends "0"', 'Acquire::Languages "none"')
# policy-rc.d(8), invoke-rc.d(8): 101 is "action forbidden by policy".
POLICY_RC_D = "#!/bin/sh\nexit 101\n"


@record
class Base:
    """Packages of a release."""

    packages: tuple[str, ...]
    suite: str = SUITE


BASES = {
    "base": Base(BASE_PACKAGES),
    "sysv-bare": Base(SYSV_PACKAGES),
    # nft 0.9.8, iptables 1.8.7, and a Python that is too old for us.
    "bullseye": Base((*BASE_PACKAGES, *XTABLES), "bullseye"),
    # nft 1.1.3, iptables 1.8.11, Python 3.13.
    "trixie": Base((*BASE_PACKAGES, *XTABLES), "trixie"),
}


@record
class Layer:
    """Packages over the root `base`; `suite` names the release that `foreign` packages are pinned to."""

    packages: tuple[str, ...]
    suite: str = SUITE
    foreign: tuple[str, ...] = ()
    base: str = "base"


# What Vagrant wants of any box. Without libpam-systemd a session outlives the network at a shutdown, and
# Vagrant waits a minute for it.
_BOX = ("libpam-systemd", "openssh-server", "rsync", "sudo")
_OLD_NTP = ("ntp", "libssl1.1", "libopts25")
KINDS = ("chrony", "ntp", "ntpsec", "openntpd", "timesyncd")
LAYERS = {
    "chrony": Layer(("chrony",)),
    "ntpsec": Layer(("ntpsec",)),
    "openntpd": Layer(("openntpd",)),
    "timesyncd": Layer(("systemd-timesyncd",)),
    # Debian 12 has no ntp.org daemon left: its `ntp` is a transitional package that installs ntpsec.
    "ntp": Layer(("ntp",), "bullseye", _OLD_NTP),
    "ssh": Layer(("openssh-server",)),
    # The same daemons on hosts with iptables.
    **{f"iptables-{kind}": Layer(XTABLES, base=kind) for kind in KINDS},
    # Where one logs in who is not root (deploy/ansible).
    "ssh-sudo": Layer(("openssh-server", "sudo")),
    # What pulls: git, and all that an apply may have to do.
    "git": Layer(("git", "openssh-server", "chrony", "iptables", "ipset")),
    # Those whose chains stand beside ours (tests/deploy/foreign).
    "ufw": Layer(("ufw",)),
    "firewalld": Layer(("firewalld",)),
    "fail2ban": Layer(("fail2ban", "python3-systemd", "iptables", "openssh-server")),
    "docker": Layer(("docker.io", "iptables")),
    "libvirt": Layer(("libvirt-daemon-system", "libvirt-clients", "dnsmasq-base", "iptables")),
    # Booted by sysvinit; without Python, with it, and with a time daemon each.
    "sysv-ntp": Layer(("ntp",), "bullseye", _OLD_NTP, base="sysv-bare"),
    "sysv-ssh": Layer(("openssh-server",), base="sysv-bare"),
    "sysv": Layer(PYTHON, base="sysv-bare"),
    "sysv-ntpsec": Layer(("ntpsec",), base="sysv"),
    "sysv-chrony": Layer(("chrony",), base="sysv"),
    # sysvinit's init, which starts OpenRC in place of the scripts' links.
    "sysv-openrc": Layer(("openrc",), base="sysv-ntpsec"),
    # The release before, and the one after.
    "bullseye-ntp": Layer(("ntp",), base="bullseye"),
    "bullseye-chrony": Layer(("chrony",), base="bullseye"),
    "trixie-ntpsec": Layer(("ntpsec",), base="trixie"),
    "trixie-chrony": Layer(("chrony",), base="trixie"),
    # A machine with a kernel of its own, and a way in.
    "machine": Layer(("linux-image-cloud-amd64", "openssh-server"), base="iptables-chrony"),
    # The boxes of vagrant/ for lxc, each with its time daemon.
    "box-chrony": Layer(("chrony", *_BOX)),
    "box-ntpsec": Layer(("ntpsec", *_BOX)),
    "box-ntp": Layer(("ntp", *_BOX), "bullseye", _OLD_NTP),
}


@record
class Root:
    """A root as overlayfs takes it: `lower` directories, the topmost first."""

    name: str
    lower: tuple[Path, ...]

    @property
    def sysv(self) -> bool:
        """Does sysvinit boot it?"""
        return self.name.startswith("sysv")


class Roots:
    """The roots under `directory`; those in use are locked, so that no other run removes them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mirror = mirror()
        self._locks: list[IO[str]] = []

    def get(self, name: str) -> Root:
        """The root called `name` (a key of BASES or LAYERS), built if it is not there yet."""
        if name in BASES:
            key = _key(self._mirror, BASES[name].suite, *BASES[name].packages)
            return Root(name, (self._ensure(name, key, lambda target: self._build_base(target, name)),))
        layer = LAYERS[name]
        below = self.get(layer.base).lower
        key = _key(below[0].name, layer.suite, *layer.packages, *layer.foreign)

        def build(target: Path) -> None:
            _build_layer(below, target, layer, self._mirror)

        return Root(name, (self._ensure(name, key, build), *below))

    def close(self) -> None:
        """Let go of the roots' locks."""
        while self._locks:
            self._locks.pop().close()

    def _ensure(self, name: str, key: str, build: Callable[[Path], None]) -> Path:
        """The directory name-key. The lock is shared while in use, exclusive while building."""
        self.directory.mkdir(parents=True, exist_ok=True)
        target = self.directory / f"{name}-{key}"
        lock = (self.directory / f"{target.name}.lock").open("w")
        self._locks.append(lock)
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not target.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():  # else somebody else built it while we waited
                self._make(target, build)
                self._remove_stale(name, target)
            fcntl.flock(lock, fcntl.LOCK_SH)
        return target

    @staticmethod
    def _make(target: Path, build: Callable[[Path], None]) -> None:
        temporary = target.with_name(f".new-{target.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        build(temporary)
        temporary.rename(target)

    def _remove_stale(self, name: str, current: Path) -> None:
        for old in _versions(self.directory, name):
            if old == current:
                continue
            with (self.directory / f"{old.name}.lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(old)

    def _build_base(self, target: Path, name: str) -> None:
        options = [f"--aptopt={line}" for line in (*APT_OPTIONS, *machine_apt_options())]
        # Given as --dpkgopt, mmdebstrap would filter each archive of its first step in Python: half a minute.
        options += [f"--extract-hook=copy-in {shlex.quote(str(DPKG_CFG))} /etc/dpkg/dpkg.cfg.d"]
        options += ["--skip=cleanup/apt/lists"]  # layers are installed from them
        include = f"--include={','.join(BASES[name].packages)}"
        command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--quiet", include, *options]
        run(*command, BASES[name].suite, str(target), self._mirror, timeout=900)
        write(target / "usr/sbin/policy-rc.d", POLICY_RC_D, 0o755)


def _key(*parts: str) -> str:
    """What a root is made from, this recipe included, in twelve digits."""
    recipe = Path(__file__).read_bytes() + DPKG_CFG.read_bytes()
    return hashlib.sha256(recipe + "\0".join(parts).encode()).hexdigest()[:12]


def _versions(directory: Path, name: str) -> Iterator[Path]:
    pattern = re.compile(rf"(\.new-)?{re.escape(name)}-[0-9a-f]{{12}}")
    return (path for path in directory.iterdir() if pattern.fullmatch(path.name))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file of a root that is not running. `path` must not lead through a symlink of the root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _build_layer(below: tuple[Path, ...], target: Path, layer: Layer, mirror_uri: str) -> None:
    work = target.with_name(f"{target.name}.work")
    for directory in (target, work):
        directory.mkdir(exist_ok=True)
    with Holder() as holder:
        root = "/run/root"
        holder.run("mkdir", root)
        lower = ":".join(map(str, below))
        layers = f"lowerdir={lower},upperdir={target},workdir={work}"
        holder.run("mount", "-t", "overlay", "overlay", "-o", layers, root)
        holder.run("mount", "-t", "proc", "proc", f"{root}/proc")
        _install(holder, root, layer, mirror_uri)
        holder.run("umount", f"{root}/proc", root)
    shutil.rmtree(work)


def _install(holder: Holder, root: str, layer: Layer, mirror_uri: str) -> None:
    inside = holder.path(root)
    # A root's own resolv.conf is rewritten for every host, so a leftover copy does no harm.
    write(inside / "etc/resolv.conf", Path("/etc/resolv.conf").read_text())
    if layer.foreign:
        source = f"deb {mirror_uri} {layer.suite} main\n"
        write(inside / f"etc/apt/sources.list.d/{layer.suite}.list", source)
        pin = f"Package: {' '.join(layer.foreign)}\nPin: release n={layer.suite}\nPin-Priority: 1001\n"
        write(inside / "etc/apt/preferences.d/foreign", pin)
    environment = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive")
    apt = ("chroot", root, *environment, "apt-get", "--quiet", "--yes")
    if layer.foreign:
        holder.run(*apt, "update", timeout=300)
    try:
        holder.run(*apt, "install", *layer.packages, timeout=300)
    except CommandError:  # the base's lists are of another day
        holder.run(*apt, "update", timeout=300)
        holder.run(*apt, "install", *layer.packages, timeout=300)
    holder.run(*apt, "clean")


def mirror() -> str:
    """The mirror this machine's apt takes SUITE from (sources.list(5), both formats), or Debian's own."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in files:
        if file.is_file():
            text = re.sub(r"^\s*#.*\n?", "", file.read_text(), flags=re.MULTILINE)
            found = _from_deb822(text) if file.suffix == ".sources" else _from_one_line(text)
            if found:
                return found
    return DEFAULT_MIRROR


def _from_one_line(text: str) -> str | None:
    match = re.search(rf"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{SUITE}\s+main\b", text, re.MULTILINE)
    return match[1] if match else None


def _from_deb822(text: str) -> str | None:
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([\w-]+):\s*(.*)$", stanza, re.MULTILINE))
        if SUITE in fields.get("Suites", "").split() and fields.get("Enabled", "yes") != "no":
            return fields["URIs"].split()[0]
    return None


def machine_apt_options() -> list[str]:
    """What this machine's apt.conf says about reaching a mirror (proxy, dates of a snapshot), as lines."""
    wanted = re.compile(r"Acquire::(https?(::.*)?|Check-Valid-Until|Check-Date|Retries) \"..*\";")
    dump = run("apt-config", "dump").stdout.splitlines()
    return [line.rstrip(";") for line in dump if wanted.fullmatch(line)]


def default_directory() -> Path:
    """build/lab/roots of this checkout."""
    return Path(os.environ.get("FWPOLICY_LAB", Path(__file__).parents[2] / "build" / "lab")) / "roots"


def main() -> None:
    """Build the roots that are named, side by side: `python -m tests.lab.roots NAME ...`."""
    roots = Roots(default_directory())
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        list(executor.map(roots.get, sys.argv[1:]))
    roots.close()


if __name__ == "__main__":
    main()
