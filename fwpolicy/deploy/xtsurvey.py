"""What is in iptables now: ours, as it is remembered and compared; other tools' chains, NAT."""

from __future__ import annotations

import json
import re

from fwpolicy.backends.iptables import reload
from fwpolicy.backends.iptables.names import CHAINS
from fwpolicy.deploy.foreign import UNTRACKED
from fwpolicy.deploy.survey import Survey
from fwpolicy.deploy.xtload import Listing, elsewhere, listing
from fwpolicy.errors import HostError
from fwpolicy.host import xtables
from fwpolicy.model.program import NotModelledError
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.deploy.foreign import ForeignChain
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.host.xtables import XTables
    from fwpolicy.model.program import Program

# Where iptables keeps its tables in nftables.
_FAMILIES, _TABLES = ("ip", "ip6"), ("raw", "mangle", "nat", "filter", "security")


@record
class Ours:
    """What of iptables is ours: the texts of both families, as they were listed; the sets, those that we fill
    with what they hold (lines of ipset(8)); `ahead`: others' rules that come before a jump of ours, `opening`
    those of them that accept."""

    rules: tuple[str, str]
    sets: dict[str, list[str] | None]
    ahead: tuple[str, ...] = ()
    opening: tuple[str, ...] = ()

    @property
    def listing(self) -> Listing:
        """For xtload.put_back."""
        return Listing(self.rules, tuple(self.sets))

    def same(self, other: Ours) -> bool:
        """Wherever the jumps to ours stand, as long as nobody accepts before them. What others fill is no
        content."""
        texts = [tuple(map(reload.first, each.rules)) for each in (self, other)]
        return texts[0] == texts[1] and self.opening == other.opening and _filled(self) == _filled(other)


def _filled(ours: Ours) -> dict[str, list[str]]:
    return {name: held for name, held in ours.sets.items() if held is not None and _is_used(name, ours)}


def _is_used(name: str, ours: Ours) -> bool:
    """A set that no rule looks into is one that a way back needs."""
    return any(f" {name} " in text for text in ours.rules)


def survey(machine: Machine, tables: XTables, *, around: bool = True) -> Survey:
    """Look at iptables, and at nftables' own tables where that can be asked; an image has neither. `around`:
    also who else is on our hooks."""
    if not machine.live:
        return Survey(unreadable="an image has no kernel of its own")
    try:
        there, is_nft = listing(tables), tables.is_nft
        found = of_listing(there)
    except HostError as error:
        return Survey(unreadable=str(error))
    beside = _beside(is_nft)
    legacy = xtables.legacy_tables() if is_nft else ()
    others = tuple(map(reload.others, there.rules))
    return Survey(
        listing=to_text(found) if there.is_ours else "",
        foreign=_foreign(others, not is_nft, beside, legacy) if around else (),
        nat=any(map(_translates, others)) or _has_nat(beside) or "nat" in legacy,
        notrack=any(UNTRACKED.search(text) for text in others),
        legacy=legacy,
        strange=_strange(is_nft) or (_asleep(found) if is_nft else None),
    )


def _strange(is_nft: bool) -> str | None:
    if elsewhere(is_nft) is None:
        return None
    other, one = ("legacy", "nft") if is_nft else ("nft", "legacy")
    return (
        f"rules of ours are in iptables-{other}, which this host called iptables when they were applied; "
        f"now it is iptables-{one}: set it back (update-alternatives), or begin with fwpolicy remove"
    )


def _asleep(ours: Ours) -> str | None:
    """A table of nftables that iptables keeps its rules in can be dormant, which iptables does not tell."""
    from fwpolicy.host.libnftables import tables  # noqa: PLC0415

    asleep = [table for table in tables() if "dormant" in table.flags]
    for family, text in zip(_FAMILIES, ours.rules, strict=True):
        names = ("filter", *re.findall(r"^\*(\w+)$", text, re.MULTILINE))
        for table in asleep:
            if table.family == family and table.name in names:
                where = f"table {family} {table.name}"
                return f"{where} is dormant: nothing in it is filtered; wake it: nft add {where}"
    return None


def _foreign(
    others: tuple[str, ...], of_legacy: bool, beside: dict[str, Any], legacy: tuple[str, ...]
) -> tuple[ForeignChain, ...]:
    from fwpolicy.deploy import foreign  # noqa: PLC0415

    return (*_chains(others, of_legacy), *foreign.of_listing(beside), *foreign.of_legacy(legacy))


def of_listing(there: Listing) -> Ours:
    """Raises HostError."""
    sets = {name: _held(xtables.saved_ipsets([name])) for name in there.sets}
    return Ours(there.ours, sets, there.ahead, there.opening)


def _held(saved: str) -> list[str] | None:
    """What is in a set that we fill; None for one that others do."""
    lines = saved.splitlines()
    if not lines or " hash:net " not in lines[0]:
        return None
    return sorted(line for line in lines if line.startswith("add "))


def to_text(ours: Ours) -> str:
    """JSON, for a generation's listing.json; `of_text` reads it."""
    found = {"rules": ours.rules, "sets": ours.sets, "ahead": ours.ahead, "opening": ours.opening}
    return json.dumps(found, separators=(",", ":"))


def of_text(text: str) -> Ours:
    """`text` is "" where nothing of ours was there. Raises HostError where it is damaged."""
    if not text:
        return Ours(("", ""), {})
    try:
        found = json.loads(text)
        first, second = found["rules"]
        return Ours((first, second), dict(found["sets"]), tuple(found["ahead"]), tuple(found["opening"]))
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise HostError(f"the state's listing.json is damaged: {error!r}; apply the policy again") from None


def program_of(ours: Ours, where: str) -> Program:
    """What is ours as a program. Raises NotModelledError."""
    from fwpolicy.model import iptables  # noqa: PLC0415

    static = {name: held for name, held in ours.sets.items() if held is not None}
    lines = [f"create {name} hash:net family {_family_of(held)}" for name, held in static.items()]
    lines += [line for held in static.values() for line in held]
    sets = iptables.sets_of_text("\n".join(lines), f"{where}, ipset", list(static))
    programs = iptables.of_both(ours.rules, f"{where}, IPv", whole=False, sets=sets)
    return iptables.own(iptables.merged(programs), CHAINS)


def _family_of(held: list[str]) -> str:
    return "inet6" if any(":" in line.split()[2] for line in held) else "inet"


def _beside(is_nft: bool) -> dict[str, Any]:
    """What nftables has besides; nothing where libnftables is not here."""
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    try:
        entries = Nftables().listing("ruleset", terse=True)["nftables"]
    except HostError:
        return {"nftables": []}
    return {"nftables": [each for each in entries if not (is_nft and _is_iptables(each))]}


def _is_iptables(entry: dict[str, Any]) -> bool:
    ((kind, body),) = entry.items()
    return body.get("family") in _FAMILIES and body["name" if kind == "table" else "table"] in _TABLES


def _has_nat(listing: dict[str, Any]) -> bool:
    return any(each["chain"].get("type") == "nat" for each in listing["nftables"] if "chain" in each)


def _translates(saved: str) -> bool:
    _, star, table = saved.partition("*nat\n")
    return bool(star) and "\n-A " in table.partition("\nCOMMIT")[0]


def _chains(others: tuple[str, ...], legacy: bool) -> tuple[ForeignChain, ...]:
    """The built-in chains in which others have rules; none where the model cannot read them."""
    from fwpolicy.deploy import foreign  # noqa: PLC0415
    from fwpolicy.model import iptables  # noqa: PLC0415

    try:
        programs = iptables.of_both(others, "live-v")
    except NotModelledError:
        return ()
    chains = (chain for program in programs for chain in foreign.of_program(program))
    return tuple(replace(chain, legacy=legacy) for chain in chains if not chain.idle)
