"""Could the operator come back? His own SSH connection, as a new one under the new policy."""

from __future__ import annotations

from fwpolicy.addresses import AddressError, parse
from fwpolicy.model.explain import cases
from fwpolicy.model.fields import ADDRESS_TYPES
from fwpolicy.model.hooks import LO
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.program import Lit, Not
from fwpolicy.model.question import Question
from fwpolicy.model.question import parse as parse_question
from fwpolicy.model.steps import Step
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.addresses import AddressSet
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.errors import Span
    from fwpolicy.host.operator import Operator
    from fwpolicy.model.explain import Case
    from fwpolicy.model.program import Program
    from fwpolicy.policy.model import Policy

    # A line of the policy with its place.
    Quote = Callable[[Span], str]

_LINK_LOCAL = 0xFE80 >> 6
_LOCAL = ADDRESS_TYPES.index("local")
_NOT_LO = Not(Lit("iif", LO))


@record
class Lockout:
    """The operator, who could not open his connection again. `interface`: by which he comes, None where the
    routing table does not say; `because`: what decides, with its line; `unless`: for which of his
    connections it would be otherwise, in words."""

    operator: Operator
    interface: str | None
    because: str
    unless: tuple[str, ...] = ()

    def __str__(self) -> str:
        way = f" ({self.interface})" if self.interface else ""
        unless = f", unless {' or '.join(self.unless)}" if self.unless else ""
        return (
            f"your SSH connection from {self.operator.address}{way} to port {self.operator.port} could not "
            f"be opened again{unless}: {self.because}"
        )


def locked_out(
    policy: Policy, servers: AddressSet | None, operator: Operator | None, machine: Machine
) -> Lockout | None:
    """None where he could, where nobody is connected, and where his connection is none of this network
    namespace's."""
    peer, here = _addresses(operator)
    if operator is None or peer is None or here is None or not machine.live:
        return None
    from time import time  # noqa: PLC0415

    from fwpolicy.deploy.counters import line_texts  # noqa: PLC0415
    from fwpolicy.host.processes import own_addresses  # noqa: PLC0415
    from fwpolicy.host.routes import interface_to  # noqa: PLC0415
    from fwpolicy.host.texts import read_file  # noqa: PLC0415

    own = own_addresses()
    if here not in own or peer in own:
        return None
    family, address = peer
    # Whoever is next to us gives his address without saying on which of our links.
    near = family == 6 and address >> 118 == _LINK_LOCAL
    interface = None if near else interface_to(family, address)
    text_of = line_texts(read_file)
    return judged(
        of_policy(policy, servers),
        operator,
        interface,
        int(time()),
        lambda span: f"{span.file}:{span.line}: {text_of(span).strip()}",
    )


def judged(
    program: Program, operator: Operator, interface: str | None, now: int, quote: Quote
) -> Lockout | None:
    """The operator's connection as a new one to what `program` says of packets that come in by `interface`
    (None: by any but `lo`)."""
    for hook, denies in (("dstnat", _sent_elsewhere), ("input", _denied)):
        found = cases(program, _question(hook, operator, interface, now))
        bad = [case for case in found if case.decided.kind != "accept"]
        if bad:
            unless = () if len(bad) == len(found) else _otherwise(found)
            return Lockout(operator, interface, denies(bad[0], quote), unless)
    return None


def _addresses(operator: Operator | None) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """(theirs, ours) as (family, integer); None for what is no address."""
    try:
        peer, here = (
            (parse(text)[:2] for text in (operator.address, operator.here)) if operator else (None, None)
        )
    except AddressError:
        return None, None
    return peer, here


def _question(hook: str, operator: Operator, interface: str | None, now: int) -> Question:
    way = f" in {interface}" if interface else ""
    source = f"[{operator.address}]" if ":" in operator.address else operator.address
    here = f" to {operator.here}" if operator.here else ""
    asked = parse_question(f"input tcp/{operator.port} from {source}:40000{here}{way}")
    return replace(asked, hook=hook, fixed=asked.fixed | {"time": now, "daddrtype": _LOCAL}, region=_NOT_LO)


def _otherwise(found: tuple[Case, ...]) -> tuple[str, ...]:
    return tuple(words for case in found if case.decided.kind == "accept" for words in case.when)


def _denied(case: Case, quote: Quote) -> str:
    rule = case.decided.rule
    if rule is None or not isinstance(rule.origin, Step):
        return "nothing accepts it"
    step = rule.origin
    return f"{quote(step.origin)} ({step.reason})" if step.origin else step.reason


def _sent_elsewhere(case: Case, quote: Quote) -> str:
    rule = case.decided.rule
    where = rule.origin.origin if rule is not None and isinstance(rule.origin, Step) else None
    return f"{quote(where)} (it is sent on: {case.decided.kind})" if where else case.decided.kind
