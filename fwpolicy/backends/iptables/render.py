"""Ruleset -> text for iptables-restore and ip6tables-restore, and for ipset restore (docs/iptables.md).

A table has chains of ours, and one jump to each that a built-in chain leads to, in first place. What is
allowed returns from there, so that other tools still decide; what is denied ends there.
"""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.backends.iptables import names
from fwpolicy.backends.iptables.apart import set_apart
from fwpolicy.backends.iptables.flow import Flow
from fwpolicy.backends.iptables.matches import Words, concerns
from fwpolicy.backends.iptables.memory import Memory
from fwpolicy.backends.iptables.old import without_modes
from fwpolicy.backends.iptables.refusal import CannotSayError, Dialect, Refusals
from fwpolicy.backends.iptables.sets import IpSets
from fwpolicy.backends.iptables.shared import refuse_shared
from fwpolicy.backends.iptables.targets import targets
from fwpolicy.ir.ruleset import DSTNAT, FILTER, MANGLE, OURS, RAW, SRCNAT
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.backends.iptables.steps import Line
    from fwpolicy.errors import Span
    from fwpolicy.ir.ruleset import Chain, Ruleset, Table

RULES = {4: "fwpolicy.rules.v4", 6: "fwpolicy.rules.v6"}
SETS = "fwpolicy.ipset"
_COMMANDS = {4: "iptables-restore", 6: "ip6tables-restore"}
_HEADER = """\
# Compiled by fwpolicy from {source}. Do not edit: change the policy and apply it again.
# For {command} --noflush where no chain of ours is yet: own chains, one jump to each, nothing else.
"""
_HEADER_SETS = """\
# Compiled by fwpolicy from {source}. Do not edit: change the policy and apply it again.
# For ipset restore, before the rules that look into these sets; any number of times.
"""
# Which table of iptables a base chain belongs in, by its priority (netfilter_ipv4.h, NF_IP_PRI_*).
_TABLES = {RAW: "raw", MANGLE: "mangle", DSTNAT: "nat", SRCNAT: "nat", OURS: "filter", FILTER: "filter"}
AS_IT_IS = Dialect()


@record
class Texts:
    """`rules`: of IPv4 and IPv6; `sets` comes before them, None where they need none."""

    rules: tuple[Artifact, Artifact]
    sets: Artifact | None

    @property
    def all(self) -> tuple[Artifact, ...]:
        return (*((self.sets,) if self.sets else ()), *self.rules)


def render(ruleset: Ruleset, source: str, dialect: Dialect = AS_IT_IS) -> Texts:
    """The ruleset, as lowered, as texts. Raises PolicyError with all that iptables cannot say exactly."""
    (table,) = ruleset.tables
    if not dialect.u32:
        table = without_modes(table)
    refusals = Refusals()
    refuse_shared(table, refusals)
    sets = IpSets(table)
    rules = [_Family(table, family, sets, refusals).artifact(source) for family in (4, 6)]
    refusals.raise_any()
    text = sets.text()
    header = _HEADER_SETS.format(source=_one_line(source))
    return Texts((rules[0], rules[1]), Artifact(SETS, f"{header}{text}\n") if text else None)


def _one_line(source: str) -> str:
    return " ".join(source.split())


class _Family:
    """One family's text while it is written."""

    def __init__(self, table: Table, family: int, sets: IpSets, refusals: Refusals) -> None:
        self._family = family
        self._refusals = refusals
        self._words = Words(family, sets, Memory(table))
        self._chains = set_apart(_of_family(chain, family) for chain in table.chains)
        self._lines: list[tuple[str, Span | None]] = []

    def artifact(self, source: str) -> Artifact:
        header = _HEADER.format(source=_one_line(source), command=_COMMANDS[self._family])
        self._lines = [(line, None) for line in header.splitlines()]
        head = len(self._lines)
        for table in ("raw", "mangle", "nat", "filter"):
            self._table(table)
        if len(self._lines) == head:
            # So that a text which was cut is told from one that has nothing to say.
            self._write(names.NOTHING)
        text = "\n".join(line for line, _ in self._lines) + "\n"
        origins = tuple((n, span) for n, (_, span) in enumerate(self._lines, 1) if span is not None)
        return Artifact(RULES[self._family], text, 0o600, origins)

    def _table(self, name: str) -> None:
        bases = [
            chain
            for chain in self._chains.values()
            if chain.base and chain.rules and _TABLES[chain.base.priority] == name
        ]
        if not bases:
            return
        flow = Flow(self._chains)
        said = [self._flow(flow, chain) for chain in bases]
        if not all(said):
            return
        hooks = {chain.name: chain.base.hook.upper() for chain in bases if chain.base}
        called = {each: names.chain(hooks.get(each) or _under(each, hooks)) for each in flow.chains}
        self._write(f"*{name}")
        for each in called.values():
            self._write(f":{each} - [0:0]")
        for each, lines in flow.chains.items():
            for line in lines:
                self._line(called[each], line, called)
        for chain_name, hook in hooks.items():
            self._write(f"-I {hook} 1 -j {called[chain_name]}")
        self._write("COMMIT")

    def _flow(self, flow: Flow, chain: Chain) -> bool:
        try:
            flow.base(chain)
            return True
        except CannotSayError as error:
            self._refusals.add(error, next((r.origin for r in reversed(chain.rules) if r.origin), None))
            return False

    def _line(self, chain: str, line: Line, called: dict[str, str]) -> None:
        try:
            matches = list(self._words.rules(line.matches, line.rule.log is not None))
            for target in targets(line, self._family, called):
                for words in matches:
                    text = " ".join(filter(None, ("-A", chain, words, target)))
                    self._write(text, line.rule.origin)
        except CannotSayError as error:
            self._refusals.add(error, line.rule.origin)

    def _write(self, text: str, origin: Span | None = None) -> None:
        self._lines.append((text, origin))


def _of_family(chain: Chain, family: int) -> Chain:
    """The chain with the rules that are about packets of the family."""
    rules = tuple(rule for rule in chain.rules if concerns(rule.matches, family))
    return type(chain)(chain.name, rules, chain.base)


def _under(name: str, hooks: dict[str, str]) -> str:
    """A part of a base chain is called after it, in the same letters."""
    first, dot, rest = name.rpartition(".")
    return f"{hooks[first]}{dot}{rest}" if first in hooks else name
