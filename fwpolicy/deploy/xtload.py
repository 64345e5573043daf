"""Rules of ours in iptables: what is there, putting them there, taking them away.

Both families or neither: what had changed when something was refused goes back to what it was.
"""

from __future__ import annotations

import re

from fwpolicy.backends.iptables import reload
from fwpolicy.backends.iptables.names import CHAINS, SETS
from fwpolicy.deploy.xtproof import prove_listed, static_sets
from fwpolicy.errors import FwpolicyError, HostError
from fwpolicy.host import xtables
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.backends.iptables.render import Texts
    from fwpolicy.host.xtables import XTables

FAMILIES = (4, 6)
_NUMBER = re.compile(r"\bline:? (\d+)")


class RefusedError(HostError):
    """The `line` of a text that iptables-restore refused."""

    def __init__(self, said: str, line: str) -> None:
        super().__init__(f"{said}: {line}")
        self.line = line


@record
class Listing:
    """`rules`: what iptables-save and ip6tables-save print; `sets`: the names of ours."""

    rules: tuple[str, str]
    sets: tuple[str, ...]

    @property
    def is_ours(self) -> bool:
        """Whether there is anything of ours."""
        return any(f":{CHAINS}" in text for text in self.rules)

    @property
    def ours(self) -> tuple[str, str]:
        """The part that is ours, as texts that `put_back` takes: what a host that boots is given, too."""
        return reload.ours(self.rules[0]), reload.ours(self.rules[1])

    @property
    def ahead(self) -> tuple[str, ...]:
        """Others' rules before a jump of ours: what they accept we never see (docs/iptables.md)."""
        return (*reload.ahead(self.rules[0]), *reload.ahead(self.rules[1]))

    @property
    def opening(self) -> tuple[str, ...]:
        """Those that do accept something."""
        return (*reload.opening(self.rules[0]), *reload.opening(self.rules[1]))


def listing(tables: XTables) -> Listing:
    """What is there. Raises HostError."""
    sets = tuple(name for name in xtables.ipsets() if name.startswith(SETS))
    return Listing((tables.saved(4), tables.saved(6)), sets)


def elsewhere(is_nft: bool) -> XTables | None:
    """The variant that this host does not call iptables, where rules of ours are in it: it was the one when
    they were applied. None where there are none, or nobody can ask."""
    if is_nft and not xtables.legacy_tables():
        return None
    other = xtables.XTables("legacy" if is_nft else "nft")
    try:
        found = any(f":{CHAINS}" in other.saved(family) for family in FAMILIES)
    except HostError:
        return None
    return other if found else None


def load(tables: XTables, texts: Texts, *, proved: bool = True) -> Listing:
    """Put `texts` in the place of what is ours, and, `proved`, what is then listed to the proof; what was
    there before, for `put_back`. Raises HostError, CheckFailedError; nothing has changed then."""
    before = listing(tables)
    try:
        if texts.sets:
            xtables.restore_ipsets(texts.sets.text)
        _restore(tables, tuple(each.text for each in texts.rules), before.rules)
        if proved:
            _prove(tables, texts)
    except FwpolicyError as error:
        try:
            put_back(tables, before)
        except HostError as other:
            raise HostError(f"{error}; and what was there before could not be put back: {other}") from None
        raise
    return before


def tidy(tables: XTables, texts: Texts) -> tuple[str, ...]:
    """Take away sets of ours that no text needs any more, when there is no way back; those that somebody
    else's rules still look into stay, and are named. Raises HostError."""
    needed = texts.sets.text if texts.sets else ""
    wanted = {line.split()[1] for line in needed.splitlines() if line.startswith("create ")}
    return _destroy(name for name in listing(tables).sets if name not in wanted)


def put_back(tables: XTables, before: Listing) -> None:
    """The rules as they were; sets that came since go again. Raises HostError."""
    now = listing(tables)
    problems = []
    for family, text, saved in zip(FAMILIES, before.ours, now.rules, strict=True):
        try:
            _restore_one(tables, family, text, saved)
        except HostError as error:
            problems.append(str(error))
    left = _destroy(name for name in now.sets if name not in before.sets)
    problems += [f"ipset {name} is still in use" for name in left]
    if problems:
        raise HostError("; ".join(problems))


def take_out(tables: XTables) -> Listing:
    """Take the rules away, and leave the sets with what they hold; what was there. Raises HostError."""
    now = listing(tables)
    _restore(tables, ("", ""), now.rules)
    return now


def remove(tables: XTables) -> tuple[str, ...]:
    """Take away all that is ours; sets that somebody else's rules look into stay, and are named.
    Raises HostError."""
    return _destroy(take_out(tables).sets)


def _restore(tables: XTables, texts: tuple[str, ...], there: tuple[str, str]) -> None:
    for family, text, saved in zip(FAMILIES, texts, there, strict=True):
        _restore_one(tables, family, text, saved)


def _restore_one(tables: XTables, family: int, text: str, saved: str) -> None:
    wanted = reload.restore(text, saved)
    if not wanted:
        return
    try:
        tables.restore(family, wanted)
    except HostError as error:
        number = _NUMBER.search(str(error))
        lines = wanted.splitlines()
        if number and 0 < int(number[1]) <= len(lines):
            raise RefusedError(str(error), lines[int(number[1]) - 1]) from None
        raise


def _prove(tables: XTables, texts: Texts) -> None:
    now = listing(tables)
    sets = xtables.saved_ipsets(static_sets(texts))
    prove_listed(texts, now.rules, sets, "this host")


def _destroy(names: Iterable[str]) -> tuple[str, ...]:
    return tuple([name for name in names if not xtables.destroy_ipset(name)])
