"""The rarer kinds of group: built-in, extended, filled at run time, of host names."""

from __future__ import annotations

import re

from fwpolicy.addresses import AddressSet, of, subtract
from fwpolicy.policy import values
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.reader import Reader
    from fwpolicy.policy.syntax import GroupText, Word
    from fwpolicy.source import Node


@record
class HostsText:
    """A group of host names: between `least` and `most` addresses (0: any number)."""

    names: tuple[Word, ...]
    least: int = 1
    most: int = 0


# RFC 1123 2.1, with a dot inside: a single word is more likely a group.
HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*\Z")
# RFC 1918 and RFC 4193.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
# What the IANA special-purpose registries (RFC 6890) call not globally reachable, and multicast.
NOT_GLOBAL = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/3",
)  # fmt: skip
NOT_GLOBAL_V6 = ("2001:2::/48", "2001:db8::/32", "3fff::/20")


def built_in(name: str) -> AddressSet:
    """`private` or `internet`."""
    return of(*PRIVATE) if name == "private" else _internet()


def _internet() -> AddressSet:
    v4 = of("0.0.0.0/0").v4
    return AddressSet(subtract(v4, of(*NOT_GLOBAL).v4), subtract(of("2000::/3").v6, of(*NOT_GLOBAL_V6).v6))


def dynamic(reader: Reader, what: str, found: dict[str, Node]) -> int | None:
    """The seconds that a member of a dynamic group stays; None for other groups."""
    if "dynamic" not in found:
        return None
    if "optional" in found:
        hint = "leave out 'optional'"
        reader.error(f"{what} is dynamic, so it may be empty anyway", found["optional"], hint)
    return values.duration(reader, found["dynamic"], "'dynamic'") or 0


def hosts(reader: Reader, what: str, found: dict[str, Node]) -> HostsText | None:
    """A group of host names; None for other groups."""
    if "hosts" not in found:
        for key in ("min", "max"):
            if key in found and ("addresses" in found or "file" in found or "dynamic" in found):
                reader.error(f"'{key}' belongs to a group of hosts, which {what} is not", found[key])
        return None
    names = tuple(word for word in reader.words(found["hosts"], "a host") or () if _is_host(reader, word))
    least = values.count(reader, found.get("min"), "'min'", 0)
    most = values.count(reader, found.get("max"), "'max'")
    if least is not None and most is not None and least > most:
        reader.error(f"'min' is {least} and 'max' {most}: no number is between them", found["min"])
    return HostsText(names, 1 if least is None else least, most or 0)


def _is_host(reader: Reader, word: Word) -> bool:
    if HOST.match(word.text):
        return True
    hint = "addresses belong in 'addresses'" if word.text[0].isdigit() or ":" in word.text else None
    if word.text != word.text.lower():
        hint = f"write {word.text.lower()}"
    reader.error(f"'{word.text}' is not a host's full name", word.span, hint or "as in: deb.example.org")
    return False


def extend(extensions: tuple[GroupText, ...], names: Names) -> None:
    """Add the members of `[+, ...]` groups to the groups that they name."""
    for extension in extensions:
        name = extension.name
        base = names.groups.get(name.text)
        if base is None or not names.includes(name.span.file, base.name.span.file):
            hint = "leave out '+' to define it here" if base is None else f"it is defined at {base.name.span}"
            message = f"no included file has a group '{name.text}' that '+' could extend"
            names.error(message, name.span, hint)
            names.groups.setdefault(name.text, extension)
        elif base.dynamic is not None:
            message = f"group '{name.text}' is filled at run time; it cannot be extended"
            names.error(message, name.span, f"it is defined at {base.name.span}")
        else:
            members = (*base.members, *extension.members)
            names.groups[name.text] = replace(base, members=members, flawed=base.flawed or extension.flawed)
