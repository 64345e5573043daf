"""A rule of the tree -> the model's rules: its matches, its verdict, and what else it does."""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.nft import canonical, effects, limiters, render, words
from fwpolicy.model.nft.keys import IPV4, IPV6, protocol
from fwpolicy.model.nft.matches import Missing, Scope, condition, keys_of, tuples
from fwpolicy.model.nft.tables import filled_at_run_time
from fwpolicy.model.nft.values import Unclear, unwrapped
from fwpolicy.model.program import (
    ACCEPT,
    DROP,
    And,
    Jump,
    Lit,
    Not,
    NotModelledError,
    Or,
    Return,
    Rule,
    Verdict,
)
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fwpolicy.model.fields import Where
    from fwpolicy.model.program import Action, Expr

    Json = Any

_NAT = ("snat", "dnat", "masquerade", "redirect")
_REJECT_CODES = {"icmp": words.ICMP_CODES, "icmpv6": words.ICMPV6_CODES, "icmpx": words.ICMPX_CODES}
_REJECT_FAMILY = {"icmp": IPV4, "icmpv6": IPV6}
_FAMILY = {"ip": IPV4, "ip6": IPV6}
_FEW = 16


@record
class Effect:
    """A statement to be named: always, or if rules look at `what` it changes."""

    what: str
    where: Where


def read(scope: Scope, statements: list[Json], where: Where, index: int) -> tuple[list[Rule], list[Effect]]:
    """The model's rules for the rule number `index` of its chain; Unclear where a map's key is opaque."""
    reader = _Reader(scope, where, index)
    for statement in statements:
        ((kind, of),) = statement.items()
        if reader.ended:
            raise NotModelledError(f"'{kind}' after a verdict", where)
        reader.add(kind, of)
    if not reader.ended:
        # What has no verdict uses up a limit all the same.
        reader.effects += [Effect(field, where) for field in reader.limited]
    return reader.rules, reader.effects


class _Reader:
    """One rule, statement after statement; `parts` are its conditions so far."""

    def __init__(self, scope: Scope, where: Where, index: int) -> None:
        self.scope = scope
        self.where = where
        self.index = index
        self.parts: list[Expr] = []
        self.protocols: frozenset[int] | None = None
        self.rules: list[Rule] = []
        self.effects: list[Effect] = []
        self.ended = False
        self.own = 0
        self.limited: list[str] = []

    def add(self, kind: str, of: Json) -> None:
        action = _simple(kind, of, self.scope.table.name)
        if action is not None:
            self.end(action)
        elif handle := _HANDLERS.get(kind):
            handle(self, of)
        elif kind in _NAT:
            self.nat(kind, of)
        elif kind in effects.NAMED:
            self.effect(effects.ALWAYS)
        elif kind not in effects.SILENT:
            raise NotModelledError(f"'{kind}' is not modelled", self.where)

    def require(self, expr: Expr) -> None:
        """One more condition; known ones are not said twice."""
        if isinstance(expr, And):
            for part in expr.parts:
                self.require(part)
        elif not isinstance(expr, Lit):
            self._add(expr)
        elif not any(_same(expr, part) for part in self.parts):
            self._add(expr)
            if expr.field == "l4proto":
                self._narrow(expr)

    def _add(self, expr: Expr) -> None:
        """A condition behind a limiter: packets that it does not hold for have used up the limit, too."""
        self.parts.append(expr)
        if not (isinstance(expr, Lit) and expr.field.startswith(fields.limiter(""))):
            for field in self.limited:
                self.scope.limiters[field] = f"{self.scope.limiters[field]}, before other conditions"

    def _narrow(self, expr: Lit) -> None:
        if sum(last - first + 1 for first, last in expr.intervals) > _FEW:
            return
        found = frozenset(n for first, last in expr.intervals for n in range(first, last + 1))
        self.protocols = found if self.protocols is None else self.protocols & found

    def end(self, action: Action) -> None:
        self.rules.append(Rule(And(tuple(self.parts)), action, self.where))
        self.ended = True

    def effect(self, what: str) -> None:
        self.effects.append(Effect(what, self.where))

    # Matches.

    def match(self, of: Json) -> None:
        self.require(condition(self.scope, of, self.protocols))

    def counter(self, of: Json) -> None:
        """A map of counters is a match as well: where it has nothing the rule goes no further (seen)."""
        if isinstance(of, dict) and "map" in of:
            pairs = self.pairs(of["map"]["data"])
            self.require(self.among(of["map"]["key"], of["map"]["data"], [pair[0] for pair in pairs]))

    def among(self, left: Json, data: Json, members: list[Json], of: str = "") -> Expr:
        """The left side is one of `members`."""
        keys = keys_of(self.scope, left, self.protocols, members)
        guards = tuple(guard for each in keys for guard in each.guards)
        try:
            return And((*guards, tuples(keys, members)))
        except Unclear:
            shown = render.value(canonical.right(left, {"set": members}))
            text = f"{render.expression(left)} {render.value(data)} {of} {shown}"
            return And((*guards, Lit(fields.opaque(text), ((1, 1),))))

    def pairs(self, data: Json) -> list[Json]:
        """The elements of a map, named or in place."""
        if not isinstance(data, str):
            pairs: list[Json] = data["set"]
            return pairs
        found = self.scope.table.sets.get(data.removeprefix("@"))
        if found is None:
            raise Missing(f"no map {data}")
        if data[1:] in self.scope.written or filled_at_run_time(found):
            self.effect(effects.ALWAYS)
        return [*found.get("elem", ())]

    # What has a memory.

    def limiter(self, name: str, what: str, *, over: bool = False) -> None:
        field = fields.limiter(name)
        self.scope.limiters.setdefault(field, what)
        self.limited.append(field)
        self.require(Lit(field, ((0, 0),) if over else ((1, 1),)))

    def of_its_own(self, text: str, what: str, *, over: bool) -> None:
        """A limiter that no other rule shares: the same words elsewhere are another one."""
        self.own += 1
        more = f" ({self.own})" if self.own > 1 else ""
        self.limiter(f"{self.where.chain} #{self.index} {text}{more}", what, over=over)

    def limit(self, of: Json) -> None:
        if not isinstance(of, str):
            self.of_its_own(render.limit(of), limiters.rate(of), over=bool(of.get("inv")))
            return
        found = self.scope.table.limits.get(of)
        if found is None:
            raise Missing(f"no limit {of}")
        self.limiter(f"{self.scope.table.name} {of}", limiters.rate(found), over=bool(found.get("inv")))

    def ct_count(self, of: Json) -> None:
        self.of_its_own(f"ct count {of['val']}", limiters.count(of), over=bool(of.get("inv")))

    def quota(self, of: Json) -> None:
        if isinstance(of, str):
            found = self.scope.table.quotas.get(of)
            if found is None:
                raise Missing(f"no quota {of}")
            said = f"quota {'over ' if found.get('inv') else ''}{found['bytes']} bytes"
            self.limiter(f"{self.scope.table.name} quota {of}", said, over=bool(found.get("inv")))
        else:
            said = f"quota {of.get('val')} {of.get('val_unit')}"
            self.of_its_own(said, said, over=bool(of.get("inv")))

    def set(self, of: Json) -> None:
        """`update @set { ip saddr limit ... }`; without room in the set it does not hold, either."""
        name = of["set"].removeprefix("@")
        left = unwrapped(of["elem"])
        for each in keys_of(self.scope, left, self.protocols, ()):
            self.require(And(each.guards))
        self.effect(f"{self.scope.table.name} {name}")
        if of["op"] != "delete":
            stateful = of.get("stmt", [])
            said = limiters.each(left, stateful)
            self.limiter(f"{self.scope.table.name} {name}", said, over=_is_over(stateful))

    def meter(self, of: Json) -> None:
        for each in keys_of(self.scope, unwrapped(of["key"]), self.protocols, ()):
            self.require(And(each.guards))
        said = limiters.each(of["key"], [of["stmt"]])
        self.limiter(f"{self.scope.table.name} {of['name']}", said, over=_is_over([of["stmt"]]))

    # Verdicts.

    def reject(self, of: Json) -> None:
        of = of or {"type": "icmpx", "expr": 1}
        kind, code = of["type"], of.get("expr", "port-unreachable")
        if kind == "tcp reset":
            self.require(protocol(6))
            self.end(Verdict("reject:tcp-reset"))
            return
        if kind in _REJECT_FAMILY and self.scope.table.family not in ("ip", "ip6"):
            self.require(_REJECT_FAMILY[kind])
        name = _code_name(kind, code)
        said = name if name == "port-unreachable" else f"{kind}-{name}"
        self.end(Verdict(f"reject:{said}"))

    def queue(self, _: Json) -> None:
        self.effect(effects.ALWAYS)
        self.end(Verdict("queue"))

    def nat(self, kind: str, of: Json) -> None:
        """In a table of both families a translation is for its own (nft_nat_inet_eval)."""
        of = of or {}
        address = of.get("addr")
        if "family" in of:
            self.require(_FAMILY[of["family"]])
        if isinstance(address, dict) and "range" not in address and "prefix" not in address:
            self.effect(effects.ALWAYS)
        self.end(Verdict(render.nat(kind, of)))

    def vmap(self, of: Json) -> None:
        """One rule for each verdict; the misses go to the next rule, hits with `continue` go on here."""
        by_verdict: dict[tuple[str, str], list[Json]] = {}
        rest: tuple[str, str] | None = None
        for member, verdict in self.pairs(of["data"]):
            ((kind, to),) = verdict.items()
            group = (kind, to["target"] if to else "")
            if unwrapped(member) == "*":
                rest = group
            else:
                by_verdict.setdefault(group, []).append(member)
        conditions = {
            group: self.among(of["key"], of["data"], members, " ".join(group))
            for group, members in by_verdict.items()
        }
        if rest:
            keys = keys_of(self.scope, of["key"], self.protocols, ())
            others = Not(Or(tuple(conditions.values())))
            said = And((*(guard for each in keys for guard in each.guards), others))
            conditions[rest] = Or((conditions[rest], said)) if rest in conditions else said
        self._branch(conditions)

    def _branch(self, conditions: dict[tuple[str, str], Expr]) -> None:
        going_on = conditions.pop(("continue", ""), None)
        before = tuple(self.parts)
        for (kind, target), expr in conditions.items():
            action = _simple(kind, {"target": target}, self.scope.table.name)
            if action is None:
                raise NotModelledError(f"a map with '{kind}' is not modelled", self.where)
            self.parts = list(before)
            self.require(expr)
            self.rules.append(Rule(And(tuple(self.parts)), action, self.where))
        self.parts = list(before)
        self.require(going_on if going_on is not None else Or(()))

    # Changes.

    def mangle(self, of: Json) -> None:
        if what := effects.of_mangle(of["key"]):
            self.effect(what)

    def xt(self, of: Json) -> None:
        """A match or a target of iptables; what it looks at, no listing says."""
        if of.get("type") == "match":
            self.own += 1
            text = f"{self.where.chain} #{self.index} xt match {of['name']} ({self.own})"
            self.require(Lit(fields.opaque(text), ((1, 1),)))
        else:
            self.effect(effects.ALWAYS)


def _same(expr: Lit, part: Expr) -> bool:
    """Most guards are one object wherever they come from; comparing records took a quarter of the time."""
    alike = isinstance(part, Lit) and part.field == expr.field and part.intervals == expr.intervals
    return expr is part or alike


_HANDLERS: dict[str, Callable[[_Reader, Json], None]] = {
    "match": _Reader.match,
    "counter": _Reader.counter,
    "limit": _Reader.limit,
    "ct count": _Reader.ct_count,
    "quota": _Reader.quota,
    "set": _Reader.set,
    "meter": _Reader.meter,
    "reject": _Reader.reject,
    "queue": _Reader.queue,
    "vmap": _Reader.vmap,
    "mangle": _Reader.mangle,
    "xt": _Reader.xt,
}


def _simple(kind: str, of: Json, table: str) -> Action | None:
    match kind:
        case "accept":
            return ACCEPT
        case "drop":
            return DROP
        case "return":
            return Return()
        case "jump" | "goto":
            return Jump(f"{table} {of['target']}", goto=kind == "goto")
    return None


def _code_name(kind: str, code: Json) -> str:
    """`nft -j` says codes as words, with -n as numbers."""
    if isinstance(code, str) and not code.isdigit():
        return code
    return next((name for name, number in _REJECT_CODES[kind].items() if number == int(code)), str(code))


def _is_over(stateful: list[Json]) -> bool:
    return any(isinstance(of, dict) and bool(of.get("inv")) for each in stateful for of in each.values())
