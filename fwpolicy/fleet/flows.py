"""What a policy lets through, service by service and place by place: asked of the packet model, for every
packet, with limits unspent and at one moment."""

from __future__ import annotations

import re
from itertools import islice

from fwpolicy.addresses import format_address
from fwpolicy.fleet.places import ZONE, Ends
from fwpolicy.model import fields
from fwpolicy.model.build import Build
from fwpolicy.model.conditions import address, port, redirected_by
from fwpolicy.model.conditions import service as condition_of
from fwpolicy.model.describe import cubes, words
from fwpolicy.model.diagram import NO
from fwpolicy.model.hooks import LO
from fwpolicy.model.of_policy import essential, of_policy
from fwpolicy.model.program import ACCEPT, And, Lit, Not, Or
from fwpolicy.model.reach import fixed_new
from fwpolicy.policy.model import Match
from fwpolicy.policy.services import Service
from fwpolicy.protocols import NAMES
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwpolicy.fleet.places import Place
    from fwpolicy.model.program import Expr, Program
    from fwpolicy.policy.model import Policy, PortForward
    from fwpolicy.policy.vocabulary import Vocabulary

# A place as a policy sees it: everything passes, some of it, nothing; or the policy cannot say.
ALL, PART, NONE, UNSAID = "all", "part", "none", ""
REST = "anything else"
REDIRECTED = " redirected to "
# How words() begins where nothing is said of the service.
ANYTHING = re.compile("anything (?!but)")
UDP, NTP_PORT = 17, 123
NTP = Service(UDP, ((NTP_PORT, NTP_PORT),))
# More words than these nobody reads in a cell.
_MOST = 6
# More services of one policy than these are asked about together, as anything else.
MOST_SERVICES = 150


@record
class Cell:
    """What of a service passes from (or to) a place. `words`: what of it where it is PART; `limited`: less
    of it once limits are spent."""

    extent: str
    words: tuple[str, ...] = ()
    limited: bool = False


@record
class Flow:
    """A service at a hook. `start`: the place that it comes from, on forward alone; `ports`: in numbers.
    `cells`: one for each place: who may come (input), or where it may go (output, forward)."""

    hook: str
    start: str
    service: str
    ports: str
    cells: tuple[Cell, ...]


@record
class _Asked:
    name: str
    ports: str
    condition: Expr


def flows(policy: Policy, names: Vocabulary, places: Sequence[Place], now: int) -> Iterator[Flow]:
    """Everything that may talk to the policy's hosts, that they may talk to, and that may pass through them.
    Raises TooLargeError."""
    program = of_policy(policy)
    yield from _of_hook(program, policy, names, places, "input", now)
    yield from _of_hook(program, policy, names, places, "output", now)
    if policy.forward is not None or policy.nat is not None:
        yield from _of_hook(program, policy, names, places, "forward", now)


def _of_hook(
    program: Program, policy: Policy, names: Vocabulary, places: Sequence[Place], hook: str, now: int
) -> Iterator[Flow]:
    asked = tuple(_services(policy, names, hook))
    starts, targets = _ends(policy, names, places, hook)
    also = [each.condition for each in asked] + [each for each in (*starts.values(), *targets) if each]
    looks = [_Look(program, hook, also, fixed) for fixed in _moods(program, now)]
    for name, start in starts.items():
        for each in asked:
            cells = tuple(_cell(looks, each.condition, start, end, names) for end in targets)
            yield Flow(hook, name, each.name, each.ports, cells)


def _ends(
    policy: Policy, names: Vocabulary, places: Sequence[Place], hook: str
) -> tuple[dict[str, Expr | None], tuple[Expr | None, ...]]:
    """(where it comes from, where it goes to or, on input, who comes). What passes through a host is told
    from zone to zone, if its policy has any."""
    ends = Ends(names, _kept_out(policy, hook))
    if hook != "forward":
        return {"": None}, tuple(ends.end(place, "saddr" if hook == "input" else "daddr") for place in places)
    zoned = any(place.kind == ZONE and ends.knows(place) for place in places)
    told = [place for place in places if ends.knows(place) and (place.kind == ZONE) == zoned]
    starts = {place.name: ends.end(place, "saddr") for place in told}
    return starts, tuple(ends.end(place, "daddr") if place in told else None for place in places)


def _kept_out(policy: Policy, hook: str) -> Expr:
    """Whom a line of `block` keeps out altogether."""
    section = policy.input if hook == "input" else policy.forward if hook == "forward" else None
    lines = (rule for rule in (section.block if section else ()) if not rule.holes and rule.expires is None)
    sources = (
        rule.match
        for rule in lines
        if rule.match == Match(None, rule.match.source, None, rule.match.source_group)
    )
    return Or(tuple(address("saddr", each.source) for each in sources if each.source is not None))


def _moods(program: Program, now: int) -> Iterator[dict[str, int]]:
    """Every limit unspent; and, where there are any, every one spent."""
    fixed = fixed_new((program,), now)
    yield fixed
    spent = {field: 0 for field in fixed if field.startswith(fields.limiter(""))}
    if spent:
        yield {**fixed, **spent}


class _Look:
    """The diagrams of one hook."""

    def __init__(self, program: Program, hook: str, also: Sequence[Expr], fixed: dict[str, int]) -> None:
        lo = Lit("oif" if hook == "output" else "iif", LO)
        begins: Expr = And((Lit("ctdir", ((0, 0),)), Not(lo)))
        self.known = tuple(fixed.items())
        self.build = Build((program,), hook, (*also, begins), fixed)
        build = self.build
        self.let_through = build.diagrams.where(build.outcome(0), lambda end: build.kind(end) == ACCEPT.kind)
        self.begins = build.diagrams.both(build.possible, build.condition(begins, self.known))

    def asked(self, service: Expr, start: Expr | None, end: Expr) -> int:
        """The packets that open such a connection."""
        diagrams = self.build.diagrams
        found = self.begins
        for part in (service, start, end):
            if part is not None:
                found = diagrams.both(found, self.build.condition(part, self.known))
        return found

    def cell(
        self, service: Expr, start: Expr | None, end: Expr, names: Vocabulary
    ) -> tuple[str, tuple[str, ...]]:
        asked = self.asked(service, start, end)
        got = self.build.diagrams.both(asked, self.let_through)
        if asked == NO:
            return UNSAID, ()
        if got in (NO, asked):
            return (NONE if got == NO else ALL), ()
        found = (words("", cube, names) for cube in cubes(self.build, got, asked))
        said = tuple(dict.fromkeys(ANYTHING.sub("", text) for text in found))
        more = (f"and {len(said) - _MOST} more classes",) if len(said) > _MOST else ()
        return PART, (*said[:_MOST], *more)


def _cell(
    looks: Sequence[_Look], service: Expr, start: Expr | None, end: Expr | None, names: Vocabulary
) -> Cell:
    if end is None:
        return Cell(UNSAID)
    unspent, *spent = (look.cell(service, start, end, names) for look in looks)
    return Cell(*unspent, limited=any(each != unspent for each in spent))


def _services(policy: Policy, names: Vocabulary, hook: str) -> Iterator[_Asked]:
    """What is asked about: each service that a line lets through, port forwards, and all that is left."""
    section = {"input": policy.input, "output": policy.output, "forward": policy.forward}[hook]
    named = (part for rule in (section.allow if section else ()) for part in rule.match.services or ())
    parts = dict.fromkeys(islice(dict.fromkeys(named), MOST_SERVICES))
    if hook != "forward":
        parts[NTP] = None
    plain = Lit("dnat", ((0, 0),))
    by_name: dict[str, list[Service]] = {}
    for part in parts:
        by_name.setdefault(_name(part, names), []).append(part)
    for name, own in by_name.items():
        condition = And((plain, Or(tuple(_condition(part) for part in own))))
        yield _Asked(name, ", ".join(map(_numbers, own)), condition)
    if hook == "forward":
        yield from (_published(each, names) for each in (policy.nat.forward if policy.nat else ()))
    others = [*map(_condition, parts), *essential(hook)]
    if hook != "forward":
        others.append(port(UDP, "sport", NTP_PORT))
    yield _Asked(REST, "", And((plain, Not(Or(tuple(others))))))


def _published(each: PortForward, names: Vocabulary) -> _Asked:
    """Connections that a port forward redirected."""
    where = format_address(*each.to) + (f" port {each.port}" if each.port else "")
    name = f"{_name(each.service, names)}{REDIRECTED}{where}"
    return _Asked(name, _numbers(each.service), redirected_by(each))


def _condition(part: Service) -> Expr:
    family = (Lit("nfproto", ((part.family, part.family),)),) if part.family else ()
    return And((*family, *condition_of(part, False)))


def _name(part: Service, names: Vocabulary) -> str:
    """What the policy calls it, or what everybody does; its number where nobody does."""
    for name, parts in names.services:
        if part in parts:
            return name
    return _numbers(part)


def _numbers(part: Service) -> str:
    protocol = NAMES.get(part.protocol, f"ip/{part.protocol}")
    if part.icmp_types:
        return f"{protocol}/{','.join(map(str, part.icmp_types))}"
    if not part.ports:
        return protocol
    return f"{protocol}/{','.join(str(a) if a == b else f'{a}-{b}' for a, b in part.ports)}"
