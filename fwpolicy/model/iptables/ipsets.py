"""What `ipset restore` is given, or `ipset save` prints: which addresses each set holds (ipset(8))."""

from __future__ import annotations

from fwpolicy import addresses
from fwpolicy.addresses import AddressError
from fwpolicy.model.fields import Where
from fwpolicy.model.program import NotModelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fwpolicy.addresses import Intervals

    # None: members that come and go while the rules are there.
    Sets = Mapping[str, Intervals | None]

_TYPES = ("hash:net", "hash:ip")
_FAMILIES = {"inet": 4, "inet6": 6}


def of_text(text: str, file: str, only: Collection[str] | None = None) -> Sets:
    """The sets by name. Those that no line fills are filled by others. Raises NotModelledError with the line
    for what is not understood. `only`: these sets and no others; they hold what the text says, be it
    nothing."""
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#") or (only is not None and words[1:2][0] not in only):
            continue
        try:
            reader.command(words)
        except (NotModelledError, AddressError, KeyError, ValueError) as error:
            said = f"there is no set {error}" if isinstance(error, KeyError) else str(error)
            raise NotModelledError(said, Where(file, number, "ipset", line)) from None
    settled = only is not None
    return {name: each.intervals(settled) for name, each in reader.sets.items()}


class _Set:
    """A set while it is filled. `settled`: a line has said what is in it."""

    def __init__(self, family: int, times_out: bool) -> None:
        self.family, self.times_out = family, times_out
        self.members: list[tuple[int, int]] = []
        self.settled = False

    def intervals(self, settled: bool) -> Intervals | None:
        if self.times_out or not (self.settled or settled):
            return None
        return addresses.merge(self.members)


class _Reader:
    def __init__(self) -> None:
        self.sets: dict[str, _Set] = {}

    def command(self, words: list[str]) -> None:
        match words:
            case ["create", name, kind, *options] if kind in _TYPES:
                self.sets.setdefault(name, _created(options))
            case ["add", name, element, *rest] if set(rest) <= {"-exist"}:
                self._add(self.sets[name], element)
            case ["add", name, _, "timeout", *_]:
                self.sets[name].times_out = True
            case ["flush", name]:
                self.sets[name].members = []
                self.sets[name].settled = True
            case ["swap", one, other]:
                self.sets[one], self.sets[other] = self.sets[other], self.sets[one]
            case ["destroy", name]:
                del self.sets[name]
            case _:
                raise NotModelledError("this is no line of a set that is read here")

    @staticmethod
    def _add(of: _Set, element: str) -> None:
        family, first, last = addresses.parse(element)
        if family != of.family:
            raise NotModelledError(f"{element} is no address of IPv{of.family}")
        of.members.append((first, last))
        of.settled = True


def _created(options: list[str]) -> _Set:
    family = _FAMILIES[options[options.index("family") + 1]] if "family" in options else 4
    if "netmask" in options or "bitmask" in options or "nomatch" in options:
        raise NotModelledError("a set with a mask of its own is not read here")
    return _Set(family, "timeout" in options)
