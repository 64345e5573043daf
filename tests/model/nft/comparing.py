"""Programs held against each other: packets at the ends of every interval that one of them names."""

from __future__ import annotations

import json
from random import Random

from fwpolicy.model import fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.nft import of_json, of_text
from fwpolicy.model.program import And, Jump, Lit, Not, Or, Tuples, run
from tests.lab.holder import run as execute

HOOKS = ("input", "forward", "output")
NAT_HOOKS = ("prerouting", "input", "output", "postrouting")
_PROTOCOLS = (1, 6, 17, 33, 47, 58, 132, 136)


def literals(expr):
    """(field, interval) of all that a condition looks at."""
    match expr:
        case Lit(field, intervals):
            yield from ((field, interval) for interval in intervals or fields.universe(field))
        case Tuples(names, rows):
            yield from ((name, part) for row in rows for name, part in zip(names, row, strict=True))
        case And(parts) | Or(parts):
            for part in parts:
                yield from literals(part)
        case Not(part):
            yield from literals(part)


def ends(*programs):
    """For each field the values at which some program may change its mind."""
    return ends_of([chain for program in programs for chain in program.chains.values()])


def ends_of(chains):
    """The same, of chains."""
    found: dict[str, set[int]] = {}
    for chain in chains:
        for rule in chain.rules:
            for field, (first, last) in literals(rule.guard):
                low, high = fields.universe(field)[0][0], fields.universe(field)[-1][1]
                near = {first - 1, first, last, last + 1}
                found.setdefault(field, set()).update(value for value in near if low <= value <= high)
    return {field: sorted(values) for field, values in found.items()}


def limiters(program):
    """The fields that stand for limiters."""
    return [field for field in ends(program) if field.startswith("limit:")]


def packets(values, count, seed=0, aims=()):
    """Random packets, most fields at one of `values`; with `aims` each also meets one of these conditions,
    but for one field perhaps."""
    random = Random(seed)
    for _ in range(count):
        packet = {}
        near = random.choice((0.2, 0.9))
        for field in (*fields.UNIVERSES, *(name for name in values if name not in fields.UNIVERSES)):
            known = values.get(field)
            first, last = random.choice(fields.universe(field))
            packet[field] = (
                random.choice(known) if known and random.random() < near else random.randint(first, last)
            )
        packet["nfproto"] = random.choice((4, 6))
        packet["th"] = int(random.random() < 0.9)
        if random.random() < 0.8:
            packet["l4proto"] = random.choice(_PROTOCOLS)
        if aims:
            met = dict(aim(random.choice(aims), random))
            if met and random.random() < 0.5:
                met.pop(random.choice(list(met)))
            packet |= met
        yield packet


def aim(expr, random):
    """(field, value) pairs for which the condition, if it is not too tricky, holds."""
    match expr:
        case Lit(field, intervals) if intervals:
            yield field, random.choice(random.choice(intervals))
        case Tuples(names, rows) if rows:
            for name, part in zip(names, random.choice(rows), strict=True):
                yield name, random.choice(part)
        case And(parts):
            for part in parts:
                yield from aim(part, random)
        case Or(parts) if parts:
            yield from aim(random.choice(parts), random)


def ways(programs):
    """The condition of each rule together with those of the jumps that lead to it."""
    found = []
    for program in programs:
        callers: dict[str, list] = {}
        for chain in program.chains.values():
            for rule in chain.rules:
                if isinstance(rule.action, Jump):
                    callers.setdefault(rule.action.chain, []).append((chain.name, rule))
        for chain in program.chains.values():
            found += [And((rule.guard, *_to(callers, chain.name))) for rule in chain.rules]
    return found


def _to(callers, name, depth=4):
    if name not in callers or not depth:
        return []
    caller, rule = callers[name][0]
    return [rule.guard, *_to(callers, caller, depth - 1)]


def differences(programs, count=400, seed=0):
    """Packets that two of the programs decide differently, by hook."""
    for packet in packets(ends(*programs), count, seed, ways(programs)):
        for hook in HOOKS:
            done = {repr(decide(program, hook, packet)[0]) for program in programs}
            if len(done) > 1:
                yield hook, packet, done
        for hook in NAT_HOOKS:
            done = {repr(translation(program, hook, packet)) for program in programs}
            if len(done) > 1:
                yield f"nat {hook}", packet, done


def translation(program, hook, packet):
    """What the nat chains of a hook say, in order."""
    families = packet["nfproto"]
    return [
        run(program, chain.name, packet)[0]
        for chain in program.bases(hook, ("nat",))
        if chain.base and families in chain.base.families
    ]


def in_netns(netns, *command, text=None):
    return execute("ip", "netns", "exec", netns, "env", "TZ=UTC", *command, input=text).stdout


def readings(netns, text, name="emitted.nft"):
    """What we emitted, and what the kernel lists of it: as text (with words and with numbers), as JSON."""
    return readings_by(lambda *command, text=None: in_netns(netns, *command, text=text), text, name)


def readings_by(ask, text, name="emitted.nft"):
    """The same where `ask` runs a command and returns what it prints."""
    ask("nft", "-f", "-", text=text)
    listed = [ask("nft", *flags, "list", "ruleset") for flags in ((), ("-n",), ("-a", "-s", "-nn"))]
    document = json.loads(ask("nft", "-n", "-j", "list", "ruleset"))
    words = json.loads(ask("nft", "-j", "list", "ruleset"))
    texts = [of_text(each, f"listed{number}.nft") for number, each in enumerate(listed)]
    return [of_text(text, name), *texts, of_json(document), of_json(words)]
