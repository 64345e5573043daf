"""From tables and chains to a program."""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.fields import Where
from fwpolicy.model.iptables import limiters, stateful
from fwpolicy.model.iptables.basics import Context, header
from fwpolicy.model.iptables.conditions import TRANSPORTS, canonical, of_match
from fwpolicy.model.iptables.names import protocol
from fwpolicy.model.iptables.reader import family_of, read
from fwpolicy.model.iptables.targets import Outcome, outcome
from fwpolicy.model.iptables.words import parse, split
from fwpolicy.model.program import (
    ACCEPT,
    ALWAYS,
    DROP,
    And,
    Base,
    Chain,
    Jump,
    Lit,
    NotModelledError,
    Program,
    Rule,
    Verdict,
    refuse_loops,
)
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fwpolicy.model.iptables.ipsets import Sets
    from fwpolicy.model.iptables.reader import Section, Text
    from fwpolicy.model.iptables.words import Line, Match, Option, Options
    from fwpolicy.model.program import Expr

_HOOKS = {name: name.lower() for name in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")}
# Hooks and priorities of the tables (netfilter_ipv4.h, NF_IP_PRI_*).
_TABLES: dict[str, dict[str, int]] = {
    "raw": dict.fromkeys(("PREROUTING", "OUTPUT"), -300),
    "mangle": dict.fromkeys(_HOOKS, -150),
    "nat": {"PREROUTING": -100, "OUTPUT": -100, "INPUT": 100, "POSTROUTING": 100},
    "filter": dict.fromkeys(("INPUT", "FORWARD", "OUTPUT"), 0),
    "security": dict.fromkeys(("INPUT", "FORWARD", "OUTPUT"), 50),
}
NO_SETS: Sets = {}
_POLICIES = {"ACCEPT": ACCEPT, "DROP": DROP, "QUEUE": Verdict("queue")}


def of_text(
    text: str,
    file: str,
    family: int | None = None,
    *,
    whole: bool = True,
    sets: Sets = NO_SETS,
    variant: str = "",
) -> Program:
    """What iptables-save (4) or ip6tables-save (6) printed, or what the restore command is given.

    Raises NotModelledError, a ValueError, with file and line: text that the kernel would refuse, and
    targets that nothing is known of. Rules that only log or count are in no chain: they decide nothing.
    `whole`: else it is what is loaded beside other rules. `sets`: what is in the sets that are known.
    `variant`: what tells its tables from others of their names, as in "ip filter(legacy) INPUT".
    """
    if family not in (4, 6, None):
        raise ValueError(f"family is 4 or 6, not {family!r}")
    family = family_of(text, file, family)
    found = read(text, file, family, whole)
    return _Builder(family, found, sets, variant).program()


def of_both(
    texts: Sequence[str], named: str, *, whole: bool = True, sets: Sets = NO_SETS, variant: str = ""
) -> tuple[Program, ...]:
    """What iptables-save and ip6tables-save printed, in this order; in spans each is `named` and its
    family's number. As of_text."""
    return tuple(
        of_text(text, f"{named}{family}", family, whole=whole, sets=sets, variant=variant)
        for family, text in zip((4, 6), texts, strict=True)
    )


def own(program: Program, prefix: str) -> Program:
    """Only the chains whose names begin with `prefix`, and the jumps to them; what else is there, other
    people's policies of built-in chains too, counts as accepting."""
    mine = {name: chain for name, chain in program.chains.items() if name.split()[2].startswith(prefix)}
    for name, chain in program.chains.items():
        if chain.base is not None:
            kept = tuple(r for r in chain.rules if isinstance(r.action, Jump) and r.action.chain in mine)
            mine[name] = Chain(name, kept, replace(chain.base, policy=ACCEPT))
    inside = {name for name, chain in mine.items() if chain.base is None}
    inside |= {name.rpartition(" ")[0] for name in inside}
    unmodelled = tuple(where for where in program.unmodelled if where.chain in inside)
    return Program(mine, unmodelled, program.limiters)


def without(program: Program, prefix: str) -> Program:
    """The program as it is without the chains whose names begin with `prefix`, and the jumps to them."""
    left = {name: chain for name, chain in program.chains.items() if not _is_of(name, prefix)}
    chains = {
        name: replace(chain, rules=tuple(rule for rule in chain.rules if not _leads_to(rule.action, prefix)))
        for name, chain in left.items()
    }
    return replace(program, chains=chains)


def _is_of(name: str, prefix: str) -> bool:
    return name.rpartition(" ")[2].startswith(prefix)


def _leads_to(action: object, prefix: str) -> bool:
    return isinstance(action, Jump) and _is_of(action.chain, prefix)


def merged(programs: Iterable[Program]) -> Program:
    """One program of those of the two families, or of what else is on one host."""
    chains: dict[str, Chain] = {}
    unmodelled: list[Where] = []
    limiters: dict[str, str] = {}
    for program in programs:
        if twice := chains.keys() & program.chains.keys():
            raise NotModelledError(f"chain '{min(twice)}' is in two of the texts")
        chains |= program.chains
        unmodelled += program.unmodelled
        limiters |= program.limiters
    return Program(chains, tuple(unmodelled), limiters)


class _Builder:
    """One text's program. Conditions are kept: rules repeat them, and two equal ones become one object."""

    def __init__(self, family: int, found: Text, sets: Sets, variant: str) -> None:
        self._family, self._tables, self._sets, self._variant = family, found.tables, sets, variant
        self._limiters: dict[str, str] = {}
        # Tables of hashlimit, by name, that rules with a verdict use, and those without one.
        self._deciding: dict[str, Where] = {}
        self._silent: dict[str, Where] = {}
        self._protocol = "ip" if family == 4 else "ip6"
        self._nfproto = Lit("nfproto", ((family, family),))
        self._unmodelled: list[Where] = [*found.remarks]
        self._headers: dict[str, Expr] = {}
        self._matches: dict[tuple[object, ...], Expr] = {}
        self._instances: dict[str, int] = {}
        self._outcomes: dict[tuple[str, str, Options], Outcome] = {}

    def program(self) -> Program:
        chains: dict[str, Chain] = {}
        for table, sections in self._tables.items():
            for name, section in sections.items():
                file = section.where.file
                full = self._full(table, name)
                base = self._base(table, name, section)
                rules = tuple(
                    rule
                    for number, line, words in section.rules
                    for rule in self._rules(table, Where(file, number, full, line), words)
                )
                chains[full] = Chain(full, rules, base)
        refuse_loops(chains)
        # A log that uses up what another rule decides by: the model has no number of packets.
        self._unmodelled += [where for name, where in self._silent.items() if name in self._deciding]
        return Program(chains, tuple(self._unmodelled), self._limiters)

    def _full(self, table: str, chain: str) -> str:
        return f"{self._protocol} {table}{self._variant} {chain}"

    def _base(self, table: str, name: str, section: Section) -> Base | None:
        if table not in _TABLES:
            raise NotModelledError(f"there is no table '{table}'", section.where)
        priority = _TABLES[table].get(name)
        if priority is None:
            if section.policy is not None:
                raise NotModelledError(f"only a built-in chain has a policy: {name} is none", section.where)
            return None
        policy = _POLICIES.get(section.policy or "")
        if policy is None:
            raise NotModelledError(f"the built-in chain {name} has no policy that is known", section.where)
        kind = "nat" if table == "nat" else "filter"
        return Base(_HOOKS[name], priority, kind, policy, (self._family,))

    def _rules(self, table: str, where: Where, words: str) -> Iterator[Rule]:
        try:
            parsed = parse(split(words))
            done = self._outcome(table, parsed)
            # Bare of everything: so iptables-nft-save prints a verdict map of nft's, whatever is in it.
            if done.effect or not words:
                self._unmodelled.append(where)
            (self._silent if done.action is None else self._deciding).update(
                (name, where) for name in _shared(parsed)
            )
            for line in _apart(parsed):
                guard = self._guard(line, where.chain)
                if done.action is not None:
                    yield Rule(guard, done.action, where)
        except NotModelledError as error:
            if error.where:
                raise
            raise NotModelledError(str(error), where) from None

    def _outcome(self, table: str, line: Line) -> Outcome:
        if line.target in self._tables[table]:
            if line.target in _TABLES[table]:
                raise NotModelledError(f"no rule can lead to the built-in chain {line.target}")
            return Outcome(Jump(self._full(table, line.target), goto=line.jump == "goto"))
        key = (table, line.jump + line.target, line.target_options)
        found = self._outcomes.get(key)
        if found is None:
            found = self._outcomes[key] = outcome(self._family, table, line)
        return found

    def _guard(self, line: Line, chain: str) -> Expr:
        parts: list[Expr] = [self._nfproto]
        for option in line.header:
            if option[0] not in ("counters", "ipv4", "ipv6"):
                parts.append(self._header(option))
        context = _context(self._family, line)
        for match in line.matches:
            parts.append(self._match(context, match, chain))
        return And(tuple(part for part in parts if part is not ALWAYS))

    def _header(self, option: Option) -> Expr:
        name, negated, values = option
        # A string: the collector walks over tuples, and there may be two for every rule.
        key = f"{'!' if negated else ''}{name} {' '.join(values)}"
        found = self._headers.get(key)
        if found is None:
            found = self._headers[key] = header(self._family, option)
        return found

    def _match(self, context: Context, match: Match, chain: str) -> Expr:
        if match.module == "comment":
            return ALWAYS
        if match.module in stateful.MODULES:
            return self._remembers(match, chain)
        key = (context.protocol, context.readable, match.module, match.options)
        found = self._matches.get(key)
        if found is None:
            found = self._matches[key] = of_match(context, match, self._sets)
        return found

    def _remembers(self, given: Match, chain: str) -> Expr:
        """hashlimit keeps its counts by name: rules that say one name share them."""
        match = stateful.canonical(given, self._family)
        name = next((values[0] for option, _, values in match.options if option == "hashlimit-name"), None)
        place = chain if name is None else f"{self._protocol} hashlimit {name}"
        text = f"{place}: {canonical(match)}"
        identity = self._identity(text) if name is None else text
        if match.module in stateful.LIMITERS and (said := limiters.words(given, self._family)):
            self._limiters[fields.limiter(identity)] = said
        return stateful.condition(match, identity)

    def _identity(self, text: str) -> str:
        """By place and text; not by line, so that a rule before it changes nothing."""
        count = self._instances[text] = self._instances.get(text, 0) + 1
        return f"{text} #{count}" if count > 1 else text


def _context(family: int, line: Line) -> Context:
    number = 0
    for name, negated, values in line.header:
        if name == "protocol" and not negated:
            number = protocol(values[0])
    readable = any(match.module == "multiport" or match.module in TRANSPORTS for match in line.matches)
    return Context(family, number, readable)


def _shared(line: Line) -> list[str]:
    """The tables of hashlimit that a rule uses."""
    return [
        values[0]
        for match in line.matches
        if match.module == "hashlimit"
        for option, _, values in match.options
        if option == "hashlimit-name" and values
    ]


def _apart(line: Line) -> list[Line]:
    """`-s A,B` is a rule for each address, in this order (iptables(8), "-s"); options stand once."""
    names = [option[0] for option in line.header]
    if len(set(names)) < len(names):
        raise NotModelledError(f"'{max(names, key=names.count)}' is given twice")
    lists = {"source", "destination"}
    if not any(option[0] in lists and "," in option[2][0] for option in line.header):
        return [line]
    headers: list[Options] = [()]
    for name, negated, values in line.header:
        texts = values[0].split(",") if name in lists else [values[0]] if values else []
        if negated and len(texts) > 1:
            raise NotModelledError("'!' does not go with several addresses")
        options: list[Option] = [(name, negated, (text,)) for text in texts] or [(name, negated, values)]
        headers = [(*others, option) for others in headers for option in options]
    return [replace(line, header=options) for options in headers]
