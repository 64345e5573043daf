"""A policy's tests, sent: real packets on a throw-away host under the ruleset that was compiled."""

from __future__ import annotations

import contextlib
import time
from contextlib import ExitStack

from fwpolicy.addresses import format_address
from fwpolicy.deploy.trial import watch
from fwpolicy.deploy.trial.flows import Flows
from fwpolicy.deploy.trial.wire import datagram
from fwpolicy.host.arena import MAC, TRACKING, Arena
from fwpolicy.host.libnftables import Nftables
from fwpolicy.host.setmembers import Sets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Protocol, Self

    from fwpolicy.deploy.trial.shots import Shot
    from fwpolicy.deploy.trial.watch import Seen

    class Rules(Protocol):
        """What is tried, in the namespace that the calling thread is in."""

        def load(self, nft: Nftables) -> None:
            """Put the rules in the place of what is there of them. Raises HostError."""

        def fill(self, nft: Nftables, group: str, members: tuple[str, ...]) -> None:
            """Put members into a group that is filled at run time. Raises HostError."""


_ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
# Packets are through when they are sent, unless softirqs are put off.
_PATIENCE = 0.2


class Trial:
    """Two throw-away hosts, as far as packets need them: one that takes every address for its own, a router
    that takes none. `rules` are loaded on both."""

    def __init__(self, interfaces: Sequence[str], rules: Rules) -> None:
        self._open = ExitStack()
        self._interfaces, self._rules = interfaces, rules
        self._hosts: dict[bool, _Host] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def send(self, shots: Sequence[Shot]) -> list[Seen]:
        """What becomes of each. Raises HostError."""
        found: dict[int, Seen] = {}
        for batch in _batches(shots):
            host = self._host(batch[0][1].hook == "input")
            verdicts = host.send([shot for _, shot in batch])
            found |= {number: seen for (number, _), seen in zip(batch, verdicts, strict=True)}
        return [found[number] for number in range(len(shots))]

    def send_alone(self, shot: Shot) -> Seen:
        """The same with every limit unspent, and no packet before it."""
        host = self._host(shot.hook == "input")
        host.reload()
        return host.send([shot])[0]

    def _host(self, local: bool) -> _Host:
        if local not in self._hosts:
            self._hosts[local] = self._open.enter_context(_Host(self._interfaces, local, self._rules))
        return self._hosts[local]


def _batches(shots: Sequence[Shot]) -> Iterable[list[tuple[int, Shot]]]:
    """(place, shot) of those that can be sent together: for one host, with the same members in groups."""
    together: dict[object, list[tuple[int, Shot]]] = {}
    for number, shot in enumerate(shots):
        together.setdefault((shot.hook == "input", shot.members), []).append((number, shot))
    for each in together.values():
        yield from (each[start : start + watch.MOST] for start in range(0, len(each), watch.MOST))


class _Host:
    def __init__(self, interfaces: Sequence[str], local: bool, rules: Rules) -> None:
        self._interfaces, self._rules = interfaces, rules
        self._is_fresh = False
        with ExitStack() as stack:
            self._arena = stack.enter_context(Arena(interfaces, everything_is_local=local))
            with self._arena.inside():
                self._nft = Nftables()
                self._nft.load(watch.table())
                self._flows, self._sets = Flows(), Sets()
                stack.callback(self._flows.close)
                stack.callback(self._sets.close)
            self._arena.set(TRACKING)
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def reload(self) -> None:
        """All limits unspent, all groups empty."""
        if not self._is_fresh:
            with self._arena.inside():
                self._rules.load(self._nft)
        self._is_fresh = True

    def send(self, shots: Sequence[Shot]) -> list[Seen]:
        """What becomes of them; all have the same members in groups."""
        self.reload()
        self._is_fresh = False
        numbered = [(shot.hook, {**shot.fields, "ident": n}) for n, shot in enumerate(shots, 1)]
        self._expect([found for _, found in numbered], shots)
        for shot, (_, found) in zip(shots, numbered, strict=True):
            self._send(shot, found)
        with self._arena.inside():
            self._wait(len(shots))
            return watch.verdicts(numbered, self._members)

    def _expect(self, packets: list[dict[str, int]], shots: Sequence[Shot]) -> None:
        indexes = {name: index for index, name in enumerate(self._interfaces, 1)}
        ways = {n: indexes[shot.outgoing] for n, shot in enumerate(shots, 1) if shot.hook == "forward"}
        with self._arena.inside():
            self._flows.forget()
            self._nft.load(watch.forgotten() + watch.expected(packets, ways))
            for group, members in shots[0].members:
                self._rules.fill(self._nft, group, members)
            self._flows.know((found, watch.zone(found["ident"])) for found in packets)

    def _send(self, shot: Shot, found: dict[str, int]) -> None:
        family = found["nfproto"]
        if shot.hook == "output":
            to = format_address(family, found[f"daddr{family}"])
            # A drop in the output hook is EPERM; what the kernel cannot send is never seen.
            with contextlib.suppress(OSError):
                self._arena.send(shot.outgoing, family, datagram(found, found["ident"]), to)
            return
        if shot.group:
            self._arena.join(shot.group, shot.incoming)
        frame = MAC + bytes(6) + _ETHERTYPE[family] + datagram({**found, **shot.asked}, found["ident"])
        self._arena.receive(shot.incoming, frame)

    def _wait(self, count: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        while len(self._members("seen")) < count and time.monotonic() < deadline:
            time.sleep(0.01)

    def _members(self, name: str) -> list[bytes]:
        return self._sets.members(watch.TABLE, name)
