"""Programs of the model before the kernel: packets drawn from their diagrams, sent for real, compared."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fwpolicy.addresses import format_address
from fwpolicy.deploy.trial.wire import as_nft_reads
from fwpolicy.model import fields, hooks
from fwpolicy.model.build import Build
from fwpolicy.model.diagram import TERMINALS
from fwpolicy.model.gather import literals
from fwpolicy.record import record

from .arena import Host
from .drawing import Drawer, is_at_host, is_unanswered, realised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from fwpolicy.model.program import Program

    from .arena import Seen

# What the words that both families share are to each (icmpx of nft(8)).
OF_BOTH = {
    4: {"no-route": "net-unreachable"},
    6: {"host-unreachable": "addr-unreachable"},
}
# Fields whose value nothing here controls: packets that they decide about are left out.
UNCONTROLLED = ("limit:", "opaque:", "daddrtype_iif")


@record
class Question:
    """A packet, its hook, what each program says of it, and what the kernel did."""

    hook: str
    packet: dict[str, int]
    said: tuple[str, ...]
    seen: Seen

    def __str__(self) -> str:
        v, packet = self.packet["nfproto"], self.packet
        shown = {name: value for name, value in packet.items() if value and not name.endswith(str(10 - v))}
        words = [
            f"{name}={value}" for name, value in shown.items() if "addr" not in name and "if" not in name
        ]
        words += [f"{side}={fields.interface_name(packet.get(side, 0))}" for side in ("iif", "oif")]
        words += [f"{name}={format_address(v, shown[name])}" for name in shown if name[-5:-1] == "addr"]
        state = fields.STATES[packet["ctstate"]]
        return f"{self.hook} {state} {' '.join(words)}: model {self.said}, kernel {self.seen.verdict}"


class Judge:
    """The two hosts, with one ruleset after the other."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self.met: Counter[str] = Counter()
        self.host = Host(everything_is_local=True)
        self._open.callback(self.host.close)
        self.router = Host(everything_is_local=False)
        self._open.callback(self.router.close)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def load(self, text: str, restore: Sequence[tuple[str, str]] = ()) -> None:
        """One ruleset on both hosts, in the place of the last."""
        for each in (self.host, self.router):
            each.load(text, restore)
        self.met["rulesets"] += 1

    def compare(
        self,
        programs: Sequence[Program],
        random: Random,
        count: int,
        also: Mapping[str, int] | None = None,
    ) -> list[Question]:
        """The packets of `count` drawn that a program and the kernel treat differently. `also`: what all of
        them have besides; `xtables`: that it is iptables which reads them."""
        drawn = list(self.drawn(programs, random, count, also or {}))
        asked = self.ask(drawn, programs)
        return [each for each in asked if not all(agrees(said, each) for said in each.said)]

    def drawn(
        self, programs: Sequence[Program], random: Random, count: int, also: Mapping[str, int]
    ) -> Iterable[tuple[str, dict[str, int]]]:
        for hook in hooks.PASSED:
            program = random.choice(programs)
            build = Build((program,), hook)
            drawer = Drawer(build, build.outcome(0), random)
            for number in range(count // len(hooks.PASSED)):
                found = drawer.packet()
                if found is None:
                    self.met["not drawn"] += 1
                else:
                    packet = realised(hook, {**found, **also})
                    if number % 3 == 0:
                        self._check(drawer, packet, program)
                    yield hook, packet

    def _check(self, drawer: Drawer, packet: dict[str, int], program: Program) -> None:
        """The diagram says the same as the program, read rule by rule."""
        found = follow(drawer.build, drawer.root, packet)
        said = hooks.decide(program, drawer.hook, packet)[0].kind
        self.met["impossible"] += found == "impossible"
        assert found in (said, "impossible"), (found, said, packet)

    def ask(
        self, packets: Sequence[tuple[str, dict[str, int]]], programs: Sequence[Program]
    ) -> list[Question]:
        """What the kernel does with those packets, and the programs; without those that it never got, and
        those that iptables-nft reads as nft would."""
        askable = [
            (hook, packet)
            for hook, packet in packets
            if not (packet.get("fragment") and packet.get("xtables") == 2 and packet["l4proto"] in (6, 17))
        ]
        filled = self._with_members(askable, programs)
        found = []
        for local, asked in ((True, self.host), (False, self.router)):
            own = [each for each in filled if is_at_host(*each) == local]
            for (hook, packet), seen in zip(own, asked.ask(own), strict=True):
                if not seen.verdict or (packet.get("dnat") and seen.state != "new"):
                    self.met["stray"] += 1
                    continue
                if seen.state and seen.state != fields.STATES[packet["ctstate"]]:
                    packet = _in_state(packet, seen.state)  # noqa: PLW2901
                packet = _as_read(packet, seen.ident)  # noqa: PLW2901
                said = _said(programs, hook, packet)
                if said is None:
                    self.met["not in our hands"] += 1
                    continue
                question = Question(hook, packet, said, seen)
                self._count(question)
                found.append(question)
        return found

    def _with_members(
        self, packets: Sequence[tuple[str, dict[str, int]]], programs: Sequence[Program]
    ) -> list[tuple[str, dict[str, int]]]:
        """Fill the sets that are filled at run time with what packets want to be in them; all others that
        have the same addresses are then, too."""
        wanted: dict[str, set[int]] = {}
        names = {
            name for program in programs for name in program_fields(program) if name.startswith("member:")
        }
        for _, packet in packets:
            for name in names:
                _, of, side = name.split(":")
                own = packet.get(f"{side}{packet['nfproto']}")
                if packet.get(name) and own is not None and of.endswith(f"v{packet['nfproto']}"):
                    wanted.setdefault(of.rpartition(" ")[2], set()).add(own)
        for of, members in wanted.items():
            texts = [format_address(int(of[-1]), member) for member in members]
            there = [each.fill(of, texts) for each in (self.host, self.router)]
            if not all(there):
                members.clear()
        found = []
        for hook, packet in packets:
            is_in = {}
            for name in names:
                _, of, side = name.split(":")
                own = packet.get(f"{side}{of[-1]}")
                of_family = of.endswith(f"v{packet['nfproto']}")
                is_in[name] = int(of_family and own in wanted.get(of.rpartition(" ")[2], ()))
            found.append((hook, {**packet, **is_in}))
        return found

    def _count(self, question: Question) -> None:
        packet = question.packet
        self.met["packets"] += 1
        kind = question.seen.verdict
        for word in (
            question.hook,
            f"IPv{packet['nfproto']}",
            fields.STATES[packet["ctstate"]],
            kind,
            {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}.get(packet["l4proto"], "other"),
            f"{question.hook} IPv{packet['nfproto']} {kind.partition(':')[0]}",
            *(["fragment"] if packet.get("fragment") else []),
            *(["redirected"] if packet.get("dnat") else []),
        ):
            self.met[word] += 1


def agrees(said: str, question: Question) -> bool:
    """Whether the kernel did what was said. Of a rejection that nobody answers one sees only that it is none
    of those that pass."""
    kind, _, how = said.partition(":")
    if kind != "reject":
        return said == question.seen.verdict
    if how.startswith("icmpx-"):
        how = how.removeprefix("icmpx-")
        how = OF_BOTH[question.packet["nfproto"]].get(how, how)
    how = how.removeprefix("icmp-").removeprefix("icmpv6-")
    if question.seen.verdict == "drop":
        return is_unanswered(question.packet)
    return question.seen.verdict == f"reject:{how}"


def _said(programs: Sequence[Program], hook: str, packet: Mapping[str, int]) -> tuple[str, ...] | None:
    """The verdicts; None where they depend on what nothing here controls."""
    both = []
    for value in (0, 1):
        free = {
            name: value
            for program in programs
            for name in program_fields(program)
            if name.startswith(UNCONTROLLED)
        }
        both.append(tuple(hooks.decide(each, hook, {**packet, **free})[0].kind for each in programs))
        if not free:
            break
    return both[0] if both[0] == both[-1] else None


def _as_read(packet: dict[str, int], ident: int) -> dict[str, int]:
    """Of a later fragment iptables reads no transport header, nft whatever stands in its place."""
    if not packet.get("fragment"):
        return packet
    return {**packet, **({"th": 0} if packet.get("xtables") else as_nft_reads(packet, ident))}


def _in_state(packet: Mapping[str, int], state: str) -> dict[str, int]:
    """As the kernel took it: what is only now new has no way back yet."""
    known = {**packet, "ctstate": fields.STATES.index(state)}
    if packet.get("ctdir") and state not in ("established", "related"):
        known["ctdir"] = 0
        v = packet["nfproto"]
        known |= {"origport": packet.get("dport", 0), f"origdaddr{v}": packet[f"daddr{v}"]}
        known |= {f"origsaddr{v}": packet[f"saddr{v}"]}
    return known


_FIELDS: dict[int, tuple[Program, frozenset[str]]] = {}


def program_fields(program: Program) -> frozenset[str]:
    """All fields that a program's rules look at."""
    if id(program) not in _FIELDS or _FIELDS[id(program)][0] is not program:
        if len(_FIELDS) > 64:
            _FIELDS.clear()
        rules = (rule for chain in program.chains.values() for rule in chain.rules)
        _FIELDS[id(program)] = program, frozenset(name for rule in rules for name, _ in literals(rule.guard))
    return _FIELDS[id(program)][1]


def follow(build: Build, diagram: int, packet: Mapping[str, int]) -> str:
    """The outcome that a packet's values lead to."""
    diagrams, atoms = build.diagrams, build.atoms
    while diagram >= TERMINALS:
        level = diagrams.level(diagram)
        value = packet.get(atoms.fields[level], fields.universe(atoms.fields[level])[0][0])
        atom = next(
            number
            for number, intervals in enumerate(atoms.values[level])
            if any(first <= value <= last for first, last in intervals)
        )
        diagram = next(child for child, mask in diagrams.edges(diagram) if mask >> atom & 1)
    return build.kind(diagram)
