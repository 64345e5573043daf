"""The proofs that stand between a policy and a host (docs/proof.md).

policy = emitted text, before anything else; emitted text = what a kernel lists of it, in a namespace made
for that; emitted text = what this host's kernel lists, after the rules went in. All for every packet that
the model knows.
"""

from __future__ import annotations

import json

from fwpolicy.backends.iptables.names import CHAINS, SETS
from fwpolicy.backends.nft.elements import from_text
from fwpolicy.backends.nft.render import render
from fwpolicy.backends.nft.words import interval_texts
from fwpolicy.errors import CheckFailedError, HostError
from fwpolicy.ir.ruleset import FAMILY, TABLE, Ruleset, Set
from fwpolicy.model import hooks, iptables, nft, prove
from fwpolicy.model.concrete import to_packet
from fwpolicy.model.nft.numbered import numbered
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.pairing import alike, paired
from fwpolicy.model.program import NotModelledError, of_table, spoken
from fwpolicy.model.steps import Step
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from fwpolicy.addresses import AddressSet
    from fwpolicy.artifact import Artifact
    from fwpolicy.deploy.subject import Subject
    from fwpolicy.ir.ruleset import Table
    from fwpolicy.model.compare import Change
    from fwpolicy.model.program import Program, Rule
    from fwpolicy.model.prove import Difference
    from fwpolicy.policy.model import Policy

# Elements of a set that are tried in a scratch namespace.
_SOME = 1000
OURS = f"{FAMILY} {TABLE}"


def program_of(artifact: Artifact) -> Program:
    """The emitted text as a program. Raises CheckFailedError where the model cannot read it."""
    try:
        return nft.of_text(artifact.text, artifact.name.rpartition("/")[2])
    except NotModelledError as error:
        raise CheckFailedError(f"proof failed: the model cannot read what was compiled: {error}") from None


def prove_compiled(policy: Policy, servers: AddressSet | None, artifact: Artifact) -> Program:
    """The emitted text does what the policy says; the text's program. Raises CheckFailedError with a packet
    that shows otherwise, and with both deciding lines."""
    wanted = of_policy(policy, servers)
    emitted = program_of(artifact)
    refuse_unmodelled(emitted)
    origins = dict(artifact.origins)
    named = paired(emitted, wanted, f"{OURS} ", lambda rule: origins.get(rule.where.line))
    for difference in prove.differences(wanted, named):
        raise CheckFailedError(told(difference, "the policy", "what was compiled from it"))
    return emitted


def refuse_unmodelled(program: Program) -> None:
    """What the model does not follow can make two programs differ that look the same to it."""
    if program.unmodelled:
        places = "\n  ".join(map(str, program.unmodelled))
        raise CheckFailedError(f"proof failed: what this does is not followed by the model:\n  {places}")


def compiled(policy: Policy) -> Artifact:
    """The ruleset that the policy compiles to, of a host that nothing is known of."""
    from fwpolicy.compiler.compile import compile_ruleset  # noqa: PLC0415

    return render(compile_ruleset(policy), policy.name)


def deciding_rule(emitted: Program, hook: str, packet: Mapping[str, int], spent: bool) -> str | None:
    """The text of the compiled rule that decides `packet` (field -> value)."""
    wanted = {member_field(field): value for field, value in packet.items()}
    _, rule = hooks.decide(emitted, hook, {**wanted, **dict.fromkeys(emitted.limiters, int(not spent))})
    return rule.where.text if rule else None


def member_field(field: str) -> str:
    """A run-time group's field as our table has it."""
    return field.replace("member:", f"member:{OURS} ", 1) if field.startswith("member:") else field


def prove_subjects(one: Subject, other: Subject) -> None:
    """Two subjects do the same (as `comparable`). Raises CheckFailedError, also where the model does not
    follow what a rule does."""
    left, right = comparable(one, other)
    for difference in prove.differences(left, alike(left, right)):
        raise CheckFailedError(told(difference, one.title, other.title))
    refuse_unmodelled(left)
    refuse_unmodelled(right)
    places = "\n  ".join(map(str, numbered(left, right)))
    if places:
        raise CheckFailedError(
            f"proof failed: an interface by its number is another one when it is made anew:\n  {places}"
        )


def comparable(one: Subject, other: Subject) -> tuple[Program, Program]:
    """The programs of both; of a ruleset beside a policy only our own table, if it holds one, with the
    policy's names for groups filled at run time."""
    if one.policy is not None and other.policy is None:
        return one.program, _ours(other.program, one.program)
    if other.policy is not None and one.policy is None:
        return _ours(one.program, other.program), other.program
    return one.program, other.program


def _ours(ruleset: Program, policy: Program) -> Program:
    own = of_table(ruleset, OURS)
    if own.chains:
        return paired(own, policy, f"{OURS} ", lambda _: None)
    if any(name.rpartition(" ")[2].startswith(CHAINS) for name in ruleset.chains):
        return paired(iptables.own(ruleset, CHAINS), policy, SETS, lambda _: None)
    return ruleset


def prove_listed(emitted: Program, listing: dict[str, Any], where: str) -> None:
    """The kernel's listing of our table does what the emitted text does. Raises CheckFailedError."""
    try:
        listed = of_table(nft.of_json(_spelled_out(listing), where), OURS)
    except NotModelledError as error:
        raise CheckFailedError(
            f"proof failed: the model cannot read what the kernel lists: {error}"
        ) from None
    refuse_unmodelled(listed)
    wanted = of_table(emitted, OURS)
    for difference in prove.differences(wanted, alike(wanted, listed)):
        raise CheckFailedError(told(difference, "what was compiled", f"what the kernel lists ({where})"))


def traffic(
    policy: Policy, servers: AddressSet | None, listing: str, most: int | None = None
) -> tuple[Change, ...]:
    """What the policy does to traffic otherwise than our table as it was listed ("": nothing of ours), `most`
    classes of each change; nothing where the table holds what the model does not know, which the plan says
    anyway."""
    from fwpolicy.model.compare import changes  # noqa: PLC0415

    new = of_policy(policy, servers)
    try:
        listed = listed_table(listing)
    except NotModelledError:
        return ()
    return tuple(changes(paired(listed, new, f"{OURS} ", lambda _: None), new, most=most))


def traffic_between(old: Callable[[], Program], new: Callable[[], Program]) -> tuple[Change, ...]:
    """What one program does otherwise than the other; each is read here. Raises HostError where the model
    does not know, or does not follow, what is in it."""
    from fwpolicy.model.compare import changes  # noqa: PLC0415

    try:
        programs = old(), new()
        for where in (where for program in programs for where in program.unmodelled):
            raise HostError(f"the packet model does not follow this: {where}")
        return tuple(changes(*programs))
    except NotModelledError as error:
        raise HostError(f"the packet model does not know this: {error}") from None


def by_number(old: Callable[[], Program], new: Callable[[], Program]) -> tuple[str, ...]:
    """What of either knows an interface by its number, as the other does not."""
    try:
        return tuple(map(str, numbered(old(), new())))
    except NotModelledError:
        return ()


def listed_table(text: str) -> Program:
    """Our table as a listing of ours has it ("": nothing of ours). Raises NotModelledError."""
    found = json.loads(text) if text else {"nftables": []}
    return of_table(nft.of_json(_spelled_out(found), "live"), OURS)


def _spelled_out(listing: dict[str, Any]) -> dict[str, Any]:
    """A listing of ours (elements.py) with its addresses as nft lists them."""
    entries = []
    for entry in listing["nftables"]:
        ((kind, body),) = entry.items()
        if kind == "set" and isinstance(body.get("elem"), str):
            family = 4 if body["type"] == "ipv4_addr" else 6
            body = body | {"elem": interval_texts(family, from_text(family, body["elem"]))}
        entries.append({kind: body})
    return {"nftables": entries}


def prove_in_scratch(ruleset: Ruleset, source: str) -> None:
    """A kernel takes the rules and lists them unchanged in meaning, in a namespace that is gone afterwards.
    Of large sets some elements: nft would read and list the rest for seconds, and what the host's own kernel
    makes of them is proved there. Raises CheckFailedError, RefusedError, HostError."""
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415
    from fwpolicy.host.netns import scratch  # noqa: PLC0415

    artifact = render(Ruleset(tuple(_shortened(table) for table in ruleset.tables)), source)
    emitted = program_of(artifact)
    with scratch():
        kernel = Nftables()
        kernel.load(artifact.text)
        listing = kernel.listing(f"table {OURS}")
    prove_listed(emitted, listing, "scratch namespace")


def _shortened(table: Table) -> Table:
    sets = (
        replace(each, intervals=each.intervals[:_SOME]) if isinstance(each, Set) else each
        for each in table.sets
    )
    return replace(table, sets=tuple(sets))


def told(difference: Difference, one: str, other: str) -> str:
    """The difference in words: the packet, and both deciding lines."""
    packet = to_packet(difference.hook, difference.packet)
    lines = [
        f"proof failed: {other} does not do what {one} does",
        f"  packet: {packet}",
        f"  {one}: {spoken(difference.one)}, {_decider(difference.one_rule)}",
        f"  {other}: {spoken(difference.other)}, {_decider(difference.other_rule)}",
    ]
    return "\n".join(lines)


def _decider(rule: Rule | None) -> str:
    if rule is None:
        return "by a chain's policy, or left to others"
    if isinstance(rule.origin, Step):
        place = f" ({rule.origin.origin})" if rule.origin.origin else ""
        return f"step {rule.origin.step}{place}: {rule.origin.reason}"
    return str(rule.where)
