"""Programs of the model before the kernel: packets drawn from their diagrams, sent for real, compared."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
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
        self._both = self._open.enter_context(ThreadPoolExecutor(2))

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def load(self, text: str, restore: Sequence[tuple[str, str]] = ()) -> None:
        """One ruleset on both hosts, in the place of the last: side by side, for iptables waits long."""
        loads = [self._both.submit(each.load, text, restore) for each in (self.host, self.router)]
        wait(loads)
        for each in loads:
            each.result()
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
        names = looked_at(programs)
        free = [name for name in names if name.startswith(UNCONTROLLED)]
        filled = self._with_members(askable, [name for name in names if name.startswith("member:")])
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
                said = _said(programs, free, hook, packet)
                if said is None:
                    self.met["not in our hands"] += 1
                    continue
                question = Question(hook, packet, said, seen)
                self._count(question)
                found.append(question)
        return found

    def _with_members(
        self, packets: Sequence[tuple[str, dict[str, int]]], names: Sequence[str]
    ) -> Sequence[tuple[str, dict[str, int]]]:
        """Fill the sets that are filled at run time, the fields `names`, with what packets want to be in
        them; all others that have the same addresses are then, too."""
        if not names:
            return packets
        sets = [(name, of.rpartition(" ")[2], side) for name in names for _, of, side in [name.split(":")]]
        wanted: dict[str, set[int]] = {of: set() for _, of, _ in sets}
        for _, packet in packets:
            for name, of, side in sets:
                own = packet.get(f"{side}{packet['nfproto']}")
                if packet.get(name) and own is not None and of.endswith(f"v{packet['nfproto']}"):
                    wanted[of].add(own)
        for of, members in wanted.items():
            self._fill(of, members)
        found = []
        for hook, packet in packets:
            v = str(packet["nfproto"])
            is_in = {name: of[-1] == v and packet.get(side + v) in wanted[of] for name, of, side in sets}
            found.append((hook, packet | {name: int(own) for name, own in is_in.items()}))
        return found

    def _fill(self, name: str, members: set[int]) -> None:
        """Both hosts' set; there are no members where there is no such set."""
        texts = [format_address(int(name[-1]), member) for member in members]
        there = [each.fill(name, texts) for each in (self.host, self.router) if texts]
        if not all(there):
            members.clear()

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


def _said(
    programs: Sequence[Program], free: Sequence[str], hook: str, packet: Mapping[str, int]
) -> tuple[str, ...] | None:
    """The verdicts; None where they depend on `free`, which nothing here controls."""
    said = _decided(programs, hook, {**packet, **dict.fromkeys(free, 0)})
    if free and said != _decided(programs, hook, {**packet, **dict.fromkeys(free, 1)}):
        return None
    return said


def _decided(programs: Sequence[Program], hook: str, packet: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(hooks.decide(each, hook, packet)[0].kind for each in programs)


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


def looked_at(programs: Sequence[Program]) -> set[str]:
    """All fields that the programs' rules look at."""
    rules = (rule for each in programs for chain in each.chains.values() for rule in chain.rules)
    return {name for rule in rules for name, _ in literals(rule.guard)}


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
