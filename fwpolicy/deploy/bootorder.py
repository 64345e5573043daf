"""Who else loads rules when this host boots, and whether ours come after: from the unit files themselves.

rcorder.py asks the same of init scripts.
"""

from __future__ import annotations

import re

from fwpolicy.deploy.starters import DROP_IN_PATH, UNIT, UNIT_PATH
from fwpolicy.errors import HostError
from fwpolicy.ir.ruleset import FAMILY, TABLE
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwpolicy.artifact import Artifact
    from fwpolicy.host.files import Files

# Where a unit file may be, the first one counts (systemd.unit(5)).
_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
# Those whose commands do not tell: what they load, as far as it is a file.
_KNOWN = {
    "nftables.service": ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf"),
    "netfilter-persistent.service": ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6"),
    "iptables.service": ("/etc/sysconfig/iptables", "/etc/iptables/iptables.rules"),
    "ip6tables.service": ("/etc/sysconfig/ip6tables", "/etc/iptables/ip6tables.rules"),
    "ufw.service": ("/etc/ufw/user.rules", "/etc/ufw/user6.rules"),
    "firewalld.service": (),
    "fail2ban.service": (),
    "docker.service": (),
    "libvirtd.service": (),
    "virtnetworkd.service": (),
    "ferm.service": ("/etc/ferm/ferm.conf",),
    "shorewall.service": (),
    "shorewall6.service": (),
    "sshguard.service": (),
    "k3s.service": (),
    "kubelet.service": (),
}
_COMMAND = re.compile(r"^Exec\w*=.*?(?:^|[/\s=;'\"])(nft|ip6?tables(?:-\w+)*)(?=[\s;'\"]|$)", re.MULTILINE)
RULES_FILE = re.compile(r"(?:\s-f|--file|-restore)\s+(/[\w./-]+)|<\s*(/[\w./-]+)")
_FLUSH = re.compile(r"^\s*(?:[^#\n]*;)?\s*flush\s+ruleset\b", re.MULTILINE)
_OURS = re.compile(rf"^\s*(?:add\s+)?table\s+{FAMILY}\s+{TABLE}\b", re.MULTILINE)
_INCLUDE = re.compile(r"""^\s*include\s+["']([^"']+)["']""", re.MULTILINE)
COMMAND_LINE = re.compile(r"^\s*[^#\n]*\b(nft|ip6?tables(?:-\w+)*)\s", re.MULTILINE)
# Scripts that others run when an interface comes or at the end of the boot (interfaces(5), rc-local).
_SCRIPTS = (
    *("/etc/rc.local", "/etc/network/interfaces", "/etc/network/interfaces.d/*"),
    *("/etc/network/if-pre-up.d/*", "/etc/network/if-up.d/*"),
    *("/etc/NetworkManager/dispatcher.d/*", "/etc/networkd-dispatcher/*.d/*"),
)
_AFTER_US = re.compile(
    r"network(-pre|-online)?\.target|NetworkManager\S*|systemd-networkd\S*|fwpolicy\.service"
)
_MOST_FILES = 64
_ORDERS = {"before": "before ours", "after": "after ours", "any": "in no fixed order with ours"}


@record
class Loader:
    """A unit, or a script, that loads rules at boot. `files`: from where; `flushes`: the place of a
    `flush ruleset`, "" for none; `touches`: the place where it names our own table, "" for nowhere.

    `order`: it runs "before" our unit, "after" it, or in no order with it ("any").
    """

    name: str
    files: tuple[str, ...]
    flushes: str
    touches: str
    order: str
    restored: bool = False

    def __str__(self) -> str:
        loads = f" loads {' and '.join(self.files)}" if self.files else " loads rules of its own"
        return f"{self.name}{loads}; {self._harm()}"

    @property
    def harmful(self) -> bool:
        """Ours would be gone after the boot."""
        return bool(self.flushes) and self.order != "before" and not self.restored

    def _harm(self) -> str:
        where = _ORDERS[self.order]
        if self.touches:
            return f"it runs {where}, and {self.touches} names our own table"
        if not self.flushes:
            return f"it runs {where}, and leaves ours alone"
        if self.harmful:
            return f"it runs {where}, and {self.flushes} flushes ours, too: this host would be open"
        again = ", and whenever it runs ours are loaded again" if self.restored else ""
        return f"{self.flushes} flushes everything; it runs {where}{again}"


def loaders(files: Files, boot_files: Sequence[Artifact]) -> tuple[Loader, ...]:
    """Everybody else who loads rules at boot, beside our `boot_files` (none: nothing of ours is loaded)."""
    after = _words(next((each.text for each in boot_files if each.name == UNIT_PATH), ""), "After")
    again = any(each.name == DROP_IN_PATH for each in boot_files)
    found = [
        _unit(name, text, files, after, again)
        for name, text in _enabled(files)
        if name != UNIT and (name in _KNOWN or _COMMAND.search(text)) and is_on(name, files)
    ]
    return (*found, *hook_scripts(files))


def _enabled(files: Files) -> Iterator[tuple[str, str]]:
    """(name, text) of the services that a target wants; masked ones have no text."""
    paths = (path for folder in _FOLDERS for path in paths_of(f"{folder}/*.target.wants/*.service", files))
    for name in sorted({path.rpartition("/")[2] for path in paths}):
        text = _text_of(name, files)
        if text is not None:
            yield name, text


def _text_of(name: str, files: Files) -> str | None:
    """The unit's text with its drop-ins; None where there is none, or it is masked."""
    template = re.sub(r"@.*\.service$", "@.service", name)
    for folder in _FOLDERS:
        for each in dict.fromkeys((name, template)):
            path = f"{folder}/{each}"
            if _is_masked(path, files):
                return None
            if files.status(path) is not None:
                text = read(path, files)
                more = (drop_in for f in _FOLDERS for drop_in in paths_of(f"{f}/{name}.d/*.conf", files))
                return "\n".join((text, *(read(drop_in, files) for drop_in in more))) if text else None
    return None


def paths_of(pattern: str, files: Files) -> tuple[str, ...]:
    """The paths; none below a folder that we may not look into."""
    try:
        return files.glob(pattern)
    except HostError:
        return ()


def _is_masked(path: str, files: Files) -> bool:
    place = files.locate(path, follow=False)
    return place.is_symlink() and str(place.readlink()) == "/dev/null"


def read(path: str, files: Files) -> str:
    try:
        return files.read(path) or ""
    except HostError:
        return ""


def is_on(name: str, files: Files) -> bool:
    """ufw always starts; its own switch says whether it does anything (ufw(8))."""
    if name.removesuffix(".service") != "ufw":
        return True
    return re.search(r"^\s*ENABLED=[\"']?yes", read("/etc/ufw/ufw.conf", files), re.MULTILINE) is not None


def _unit(name: str, text: str, files: Files, after: Sequence[str], again: bool) -> Loader:
    named = (
        found for line in text.splitlines() if line.startswith("Exec") for found in RULES_FILE.findall(line)
    )
    paths = dict.fromkeys((*_KNOWN.get(name, ()), *(one or other for one, other in named)))
    there = tuple(path for path in paths if read(path, files))
    flushes, touches = look_into(there, files)
    if not flushes and (match := re.search(r"^Exec(?:Start|Reload)\w*=.*flush ruleset", text, re.MULTILINE)):
        flushes = f"{name} ({match[0].partition('=')[2].strip()})"
    if name in after:
        order = "before"
    else:
        order = "after" if any(map(_AFTER_US.fullmatch, _words(text, "After"))) else "any"
    return Loader(name, there, flushes, touches, order, again and name == "nftables.service")


def _words(text: str, key: str) -> tuple[str, ...]:
    lines = (line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}="))
    return tuple(word for line in lines for word in line.split())


def look_into(paths: Sequence[str], files: Files) -> tuple[str, str]:
    """(the place of a `flush ruleset`, of our table's name), in these files and in what they include."""
    flushes = touches = ""
    waiting = list(paths)
    for path in waiting:
        text = read(path, files)
        flushes = flushes or _place(path, text, _FLUSH)
        touches = touches or _place(path, text, _OURS)
        included = (each for pattern in _INCLUDE.findall(text) for each in _globbed(path, pattern, files))
        waiting += [each for each in included if each not in waiting and len(waiting) < _MOST_FILES]
    return flushes, touches


def _globbed(path: str, pattern: str, files: Files) -> tuple[str, ...]:
    whole = pattern if pattern.startswith("/") else f"{path.rpartition('/')[0]}/{pattern}"
    return paths_of(whole, files)


def _place(path: str, text: str, wanted: re.Pattern[str]) -> str:
    match = wanted.search(text)
    return f"{path}:{text.count(chr(10), 0, match.end()) + 1}" if match else ""


def hook_scripts(files: Files) -> Iterator[Loader]:
    for path in (path for pattern in _SCRIPTS for path in _found(pattern, files)):
        text = read(path, files)
        if match := COMMAND_LINE.search(text):
            line = text.count("\n", 0, match.end(1)) + 1
            flushes = _place(path, text, re.compile(r"\bnft\b[^#\n]*\bflush\s+ruleset\b"))
            yield Loader(f"{path}:{line} ({match[1]})", (), flushes, "", "after")


def _found(pattern: str, files: Files) -> tuple[str, ...]:
    if "*" in pattern:
        return paths_of(pattern, files)
    return (pattern,) if files.exists(pattern) else ()
