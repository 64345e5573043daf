"""What to call some of an inventory's hosts: groups where all of a group is among them, else by name."""

from __future__ import annotations

from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# A group of so many is worth its name.
_LEAST = 2


def cover(hosts: Collection[str], groups: Mapping[str, tuple[str, ...]]) -> tuple[list[str], list[str]]:
    """(groups, hosts in none of them) that together are `hosts`: the largest groups first."""
    wanted = set(hosts)
    found = []
    left = dict.fromkeys(hosts)
    whole = (
        name for name, members in groups.items() if len(members) >= _LEAST and wanted.issuperset(members)
    )
    for name in sorted(whole, key=lambda name: (-len(groups[name]), name)):
        if not left.keys().isdisjoint(groups[name]):
            found.append(name)
            left = {host: None for host in left if host not in groups[name]}
    return found, list(left)


def spoken(hosts: Collection[str], groups: Mapping[str, tuple[str, ...]], most: int = 6) -> str:
    """`hosts` in words, at most so many of them by name."""
    named, single = cover(hosts, groups)
    words = [f"{name} ({counted(len(groups[name]), 'host')})" for name in named]
    words += single[:most]
    if len(single) > most:
        words.append(f"{len(single) - most} more")
    return ", ".join(words)


def of_policies(hosts: int, policies: int) -> str:
    return f"{counted(hosts, 'host')} of {counted(policies, 'policy', 'different policies')}"
