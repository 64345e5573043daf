"""Who else loads rules when a host without systemd boots, and in what order with ours: from its scripts."""

from __future__ import annotations

import re

from fwpolicy.deploy.bootorder import COMMAND_LINE, RULES_FILE, Loader, is_on, look_into, paths_of, read
from fwpolicy.deploy.starters import SCRIPT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwpolicy.host.files import Files

_FOLDER = "/etc/init.d/"
_OURS = SCRIPT_PATH.removeprefix(_FOLDER)
# Those whose commands do not tell: what they load, as far as it is a file.
_KNOWN: dict[str, tuple[str, ...]] = {
    "nftables": ("/etc/nftables.conf", "/etc/nftables.nft", "/etc/sysconfig/nftables.conf"),
    "netfilter-persistent": ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6"),
    "iptables-persistent": ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6", "/etc/iptables/rules"),
    "iptables": ("/etc/sysconfig/iptables", "/etc/iptables/rules-save", "/var/lib/iptables/rules-save"),
    "ip6tables": ("/etc/sysconfig/ip6tables", "/etc/iptables/rules6-save", "/var/lib/ip6tables/rules-save"),
    "ufw": ("/etc/ufw/user.rules", "/etc/ufw/user6.rules"),
    "firewalld": (),
    "fail2ban": (),
    "docker": (),
    "libvirtd": (),
    "ferm": ("/etc/ferm/ferm.conf",),
    "shorewall": (),
    "shorewall6": (),
    "arno-iptables-firewall": (),
    "SuSEfirewall2_setup": (),
}
_LINK = re.compile(r"/(?:rc([S2345])|(boot))\.d/S(\d\d)([^/]+)$")
# The scripts that bring interfaces up, as distributions name them.
_NETWORK = ("networking", "network")
_OPENRC_LEVELS = ("sysinit", "boot", "default")


def script_loaders(files: Files, init: str) -> tuple[Loader, ...]:
    """Everybody else whose init script loads rules at boot; `init` is one of starters.STARTERS."""
    order = _openrc_order(files) if init == "openrc" else _sysv_order(files)
    return tuple(
        loader for name, when in order if name != _OURS and (loader := _loader(name, when, files)) is not None
    )


def _loader(name: str, when: str, files: Files) -> Loader | None:
    text = read(f"{_FOLDER}{name}", files)
    commands = [match[0] for match in COMMAND_LINE.finditer(text)]
    if (name not in _KNOWN and not commands) or not is_on(name, files):
        return None
    lines = (line for line in text.splitlines() if COMMAND_LINE.match(line))
    named = (one or other for line in lines for one, other in RULES_FILE.findall(line))
    there = tuple(path for path in dict.fromkeys((*_KNOWN.get(name, ()), *named)) if read(path, files))
    flushes, touches = look_into(there, files)
    return Loader(f"{_FOLDER}{name}", there, flushes, touches, when)


# SysV init


def _sysv_order(files: Files) -> Iterator[tuple[str, str]]:
    """(script, its order with ours) of all that a boot starts, the first first."""
    positions = _positions(files)
    needs = _needs(files)
    for name, position in sorted(positions.items(), key=lambda each: each[1]):
        yield name, _order(name, position, positions, needs)


def _positions(files: Files) -> dict[str, tuple[int, int]]:
    """Of each script its earliest link: (0 for what every boot runs first, else 1; number)."""
    found: dict[str, tuple[int, int]] = {}
    for path in (*paths_of("/etc/rc?.d/S*", files), *paths_of("/etc/init.d/boot.d/S*", files)):
        if match := _LINK.search(path):
            position = (0 if match[1] in (None, "S") else 1, int(match[3]))
            found[match[4]] = min(position, found.get(match[4], position))
    return found


def _needs(files: Files) -> dict[str, tuple[str, ...]]:
    """What each script of the first stage waits for, as insserv(8) has computed it for startpar(8)."""
    lines = (line.partition(":") for line in read("/etc/init.d/.depend.boot", files).splitlines())
    return {name: tuple(needed.split()) for name, colon, needed in lines if colon}


def _order(
    name: str,
    position: tuple[int, int],
    positions: dict[str, tuple[int, int]],
    needs: dict[str, tuple[str, ...]],
) -> str:
    """Started side by side, only what is waited for is before; without that, one number after the other.
    Where ours is not there yet it will come before the network."""
    ours = positions.get(_OURS)
    marks = (_OURS,) if ours else _NETWORK
    theirs = ours or min((positions[mark] for mark in _NETWORK if mark in positions), default=(1, 0))
    if position[0] != theirs[0]:
        return "after" if position[0] > theirs[0] else "before"
    if not needs or position[0]:
        later = position > theirs if ours else position >= theirs
        return "after" if later else "before" if ours and position < theirs else "any"
    if name in marks or _waits_for(name, marks, needs):
        return "after"
    return "before" if ours and _waits_for(_OURS, (name,), needs) else "any"


def _waits_for(name: str, wanted: Sequence[str], needs: dict[str, tuple[str, ...]]) -> bool:
    waiting = [name]
    for each in waiting:
        waiting += [needed for needed in needs.get(each, ()) if needed not in waiting]
    return any(each in wanted for each in waiting[1:])


# OpenRC


def _openrc_order(files: Files) -> Iterator[tuple[str, str]]:
    """One runlevel after the other; ours is where the network is, after those that its script names."""
    ours = read(SCRIPT_PATH, files)
    here = _OPENRC_LEVELS.index(_openrc_level(files))
    awaited = {word for line in re.findall(r"^\s*after (.*)$", ours, re.MULTILINE) for word in line.split()}
    for turn, level in enumerate(_OPENRC_LEVELS):
        for path in paths_of(f"/etc/runlevels/{level}/*", files):
            name = path.rpartition("/")[2]
            if turn == here:
                yield name, "before" if name in awaited else "any"
            else:
                yield name, "before" if turn < here else "after"


def _openrc_level(files: Files) -> str:
    marks = (_OURS, *_NETWORK)
    found = (level for mark in marks for level in _OPENRC_LEVELS if _is_in(level, mark, files))
    return next(found, "boot")


def _is_in(level: str, name: str, files: Files) -> bool:
    return files.exists(f"/etc/runlevels/{level}/{name}")
