"""Names of hosts, with ranges as Ansible writes them: `web-[01:20]`, `db-[a:c]`, `n[0:9:3]`."""

from __future__ import annotations

import re
from itertools import product
from string import ascii_letters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# A host's name becomes a folder's: no slash, and nothing that begins with a dot or a dash. It also becomes a
# file's, with ".fwb.new" behind it while it is written, and a file system has room for 255 characters.
LONGEST = 255 - len(".fwb.new")
NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{LONGEST - 1}}}\Z")
# What `compile --all` keeps beside the hosts' folders, whole and while it is written.
TAKEN = ("fleet.json", "fleet.json.new")
_RANGE = re.compile(r"\[([^\[\]]*)\]")
MOST = 100_000
NARROWER = "write a narrower range"


class HostNameError(ValueError):
    """What is wrong with a name, and in `hint` what is right."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def expand(text: str) -> tuple[str, ...]:
    """The hosts that a key of `hosts` names, in order. Raises HostNameError."""
    parts = _RANGE.split(text)
    ranges = [_members(text, each) for each in parts[1::2]]
    number = 1
    for each in ranges:
        number *= len(each)
    if number > MOST:
        raise HostNameError(f"'{text}' is more than {MOST:,} hosts", NARROWER)
    found = tuple("".join(_woven(parts[::2], chosen)) for chosen in product(*ranges))
    wrong = next((name for name in found if not NAME.match(name) or name in TAKEN), None)
    if wrong is not None:
        raise HostNameError(f"'{wrong}' cannot name a host", _hint(wrong))
    return found


def _hint(wrong: str) -> str:
    if wrong in TAKEN:
        return "compile --all keeps a list of its own under that name"
    if len(wrong) > LONGEST:
        return f"at most {LONGEST} characters, and this has {len(wrong):,}: it becomes a file's name"
    return "letters, digits, '.', '_' and '-'; ranges are written web-[01:20]"


def _woven(texts: list[str], chosen: Iterable[str]) -> Iterable[str]:
    yield texts[0]
    for member, text in zip(chosen, texts[1:], strict=True):
        yield from (member, text)


def _members(name: str, text: str) -> tuple[str, ...]:
    """Of `01:20` or `a:f`, with `:STEP` or without; both ends are in it."""
    first, *rest = text.split(":")
    if len(rest) in (1, 2):
        step = _number(rest[1]) if len(rest) == 2 else 1
        low, high = _number(first), _number(rest[0])
        if step and low is not None and high is not None and low <= high:
            width = _width(name, text, first, rest[0])
            if high >= low + MOST * step:
                raise HostNameError(f"'[{text}]' in '{name}' is more than {MOST:,} hosts", NARROWER)
            return tuple(f"{value:0{width}}" for value in range(low, high + 1, step))
        letters = ascii_letters.find(first), ascii_letters.find(rest[0])
        if step and len(first) == len(rest[0]) == 1 and 0 <= letters[0] <= letters[1]:
            return tuple(ascii_letters[letters[0] : letters[1] + 1 : step])
    raise HostNameError(f"'[{text}]' in '{name}' is no range", "a range is written [01:20], [a:f] or [0:9:3]")


def _width(name: str, text: str, first: str, last: str) -> int:
    """To how many digits numbers are filled up; Ansible, too, wants to see it at both ends."""
    if not first.startswith("0") or first == "0":
        return 0
    if len(first) != len(last):
        message = f"the ends of '[{text}]' in '{name}' have {len(first)} and {len(last)} digits"
        raise HostNameError(message, "as many at both, as in [01:20], or no 0 in front, as in [1:20]")
    return len(first)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 255 else None
