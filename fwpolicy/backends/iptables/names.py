"""Names in the kernel: chains, sets and limiters of ours, none longer than it takes."""

from __future__ import annotations

from zlib import crc32

# Every chain of ours begins with it, and nobody else's.
CHAINS = "FWPOLICY-"
SETS = "fwp-"
# The last line of a text without a table, so that one that was cut is told from it (also in two scripts).
NOTHING = "# No rule of ours for this family."
# XT_EXTENSION_MAXNAMELEN and IPSET_MAXNAMELEN, without the zero; a set has a second one beside it (sets.py).
_LONGEST_CHAIN = 28
_LONGEST_SET = 29
_CHECKSUM = 9


def chain(name: str) -> str:
    """The chain of ours that is called `name` in the ruleset."""
    return CHAINS + _shortened(name, _LONGEST_CHAIN - len(CHAINS))


def static_set(name: str, members: object) -> str:
    """A set that is filled here: other members, another name, so that rules and members change at once."""
    return f"{SETS}{name[: _LONGEST_SET - len(SETS) - _CHECKSUM]}-{checksum(name, members)}"


def dynamic_set(name: str) -> str | None:
    """A set that others fill: its name is for them to use, and never changes. None where it is too long."""
    whole = SETS + name
    return whole if len(whole) <= _LONGEST_SET else None


def limiter(name: str, said: str) -> str:
    """A table of hashlimit, which the kernel finds by name: with another rate it must be another one."""
    return f"{SETS}{checksum(name, said)}"


def checksum(*parts: object) -> str:
    return f"{crc32(repr(parts).encode()):08x}"


def _shortened(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    return f"{name[: longest - _CHECKSUM]}-{checksum(name)}"
