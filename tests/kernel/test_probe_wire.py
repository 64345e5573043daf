"""`fwpolicy probe` against real sockets: three hosts on a bridge that floods, as a shared medium does.

`target` is probed, `control` is a time server, `prober` probes. The daemons are a few lines of
Python that answer as ntpd does.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fwpolicy.commands import probe as command
from fwpolicy.deploy.probe import ask, matrix, report
from fwpolicy.deploy.probe.report import CLOSED, INCONCLUSIVE, OPEN, Target
from fwpolicy.errors import HostError
from fwpolicy.host import wire
from fwpolicy.host.netns import entered
from fwpolicy.record import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[bytes, str], list[bytes]]

pytestmark = pytest.mark.kernel

TARGET, CONTROL, PROBER = "target", "control", "prober"
V4 = {TARGET: "10.77.0.1", CONTROL: "10.77.0.2", PROBER: "10.77.0.3"}
V6 = {TARGET: "fd77::1", CONTROL: "fd77::2", PROBER: "fd77::3"}
FAST = ask.Options(spacing=0.003, wait=0.3)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Lan:
    def __init__(self) -> None:
        self.prefix = f"fwp-probe-{os.getpid()}"
        self.serving: list[Server] = []

    def name(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def build(self) -> None:
        for host in ("bridge", *V4):
            run("ip", "netns", "add", self.name(host))
        bridge = self.name("bridge")
        # ageing_time 0: every frame goes to every port.
        run("ip", "-n", bridge, "link", "add", "br0", "up", "type", "bridge", "ageing_time", "0")
        for host, address in V4.items():
            inside = self.name(host)
            run("ip", "-n", bridge, "link", "add", host, "type", "veth", "peer", "eth0", "netns", inside)
            run("ip", "-n", bridge, "link", "set", host, "master", "br0", "up")
            run("ip", "-n", inside, "link", "set", "lo", "up")
            run("ip", "-n", inside, "link", "set", "eth0", "up")
            run("ip", "-n", inside, "addr", "add", f"{address}/24", "brd", "+", "dev", "eth0")
            run("ip", "-n", inside, "addr", "add", f"{V6[host]}/64", "dev", "eth0", "nodad")

    def clear(self) -> None:
        for server in self.serving:
            server.stop()
        self.serving.clear()
        for host in V4:
            run("ip", "netns", "exec", self.name(host), "nft", "flush", "ruleset")

    def destroy(self) -> None:
        for host in ("bridge", *V4):
            subprocess.run(("ip", "netns", "del", self.name(host)), check=False, capture_output=True)

    def serve(self, host: str, answer: Answer, ports: tuple[int, ...] = (123,)) -> Server:
        with entered(self.name(host)):
            server = Server(answer, ports)
        self.serving.append(server)
        return server

    def nft(self, host: str, hook: str, *rules: str) -> None:
        chain = f"add chain inet t c {{ type filter hook {hook} priority 0; }}"
        lines = ["add table inet t", chain, *(f"add rule inet t c {rule}" for rule in rules)]
        run("ip", "netns", "exec", self.name(host), "nft", "; ".join(lines))

    def probe(self, address: str, options: ask.Options = FAST) -> Target:
        with entered(self.name(PROBER)):
            (found,) = ask.probe((address,), options)
        return found


class Server:
    """Answers UDP with what `answer(request, client address)` returns; remembers (time, request)."""

    def __init__(self, answer: Answer, ports: tuple[int, ...]) -> None:
        self.answer = answer
        self.heard: list[tuple[float, bytes]] = []
        self.sockets = [self._socket(family, port) for family in (4, 6) for port in ports]
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    @staticmethod
    def _socket(family: int, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("" if family == 4 else "::", port))
        return made

    def _loop(self) -> None:
        while not self.stopping.is_set():
            for each in select.select(self.sockets, (), (), 0.05)[0]:
                request, client = each.recvfrom(65535)
                self.heard.append((time.monotonic(), request))
                for reply in self.answer(request, client[0]):
                    each.sendto(reply, client)

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join()
        for each in self.sockets:
            each.close()


def ntpd(request: bytes, client: str) -> list[bytes]:
    """An unhardened daemon: time, 388 octets of variables, five packets of monlist."""
    mode = request[0] & 7
    if mode in (1, 3):
        reply = bytes([request[0] & 0x38 | mode + 1]) + bytes(23) + request[40:48]
        return [reply + bytes(8) + b"\x11" * 8]
    if mode == 6 and not request[1] & 0x80:
        return [bytes([request[0], request[1] | 0x80]) + request[2:4] + bytes(384)]
    if mode == 7 and request[3] == 42 and not request[0] & 0x80:
        return [bytes([request[0] | 0x80, number]) + request[2:4] + bytes(436) for number in range(5)]
    return []


def silent(request: bytes, client: str) -> list[bytes]:
    return []


@pytest.fixture(scope="module")
def built() -> Iterator[Lan]:
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("kernel tests need root")
        pytest.skip("kernel tests need root")
    lan = Lan()
    try:
        lan.build()
        yield lan
    finally:
        lan.destroy()


@pytest.fixture
def lan(built: Lan, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lan]:
    monkeypatch.setattr(ask, "_CONTROL_WAIT", 0.3)
    # Whoever asks every three milliseconds, and answers in a thread, is late on a busy machine, and a late
    # answer counts for another question: this thread, and all that it starts, are not to wait for others.
    with suppress(PermissionError):  # in a container that may not, one hopes for an idle machine
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield built
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        built.clear()


def outcomes(found: Target) -> dict[str, str]:
    return {result.probe.name: result.outcome for result in found.results}


def one(found: Target, name: str) -> report.Result:
    return next(result for result in found.results if result.probe.name == name)


both_families = pytest.mark.parametrize("hosts", [V4, V6], ids=["v4", "v6"])


@both_families
def test_an_open_host(lan: Lan, hosts: dict[str, str]) -> None:
    lan.serve(TARGET, ntpd)
    found = lan.probe(hosts[TARGET])
    assert report.judge(found).verdict == OPEN
    said = outcomes(found)
    modes = {
        f"{word}-v{v}-{port}" for word in ("mode3", "mode1") for v in (1, 2, 3, 4) for port in ("high", "123")
    }
    queries = {
        f"{word}-v{v}-{p}" for word in ("readvar", "monlist") for v in (1, 2, 3, 4) for p in ("high", "123")
    }
    assert {name for name in modes | queries if said[name] != "answered"} == set()
    assert said["mode5-v4-123"] == said["mode2-v4-high"] == said["peerlist-v2-123"] == "silent"
    assert said["tcp-123"] == said["nts-ke"] == said["cmdmon-tracking"] == "refused"


@both_families
def test_amplification(lan: Lan, hosts: dict[str, str]) -> None:
    lan.serve(TARGET, ntpd)
    found = lan.probe(hosts[TARGET], replace(FAST, spacing=0.01))
    for port in ("high", "123"):
        monlist, readvar = one(found, f"monlist-v2-{port}"), one(found, f"readvar-v2-{port}")
        assert (monlist.bytes_out, monlist.bytes_in, monlist.packets_in) == (48, 5 * 440, 5)
        assert (readvar.bytes_out, readvar.bytes_in, readvar.factor) == (12, 388, 32.33)
    best = report.strongest(found.results)
    assert best is not None
    assert best.factor == 45.83
    assert report.ntpq(found) == "answer"


@both_families
def test_fragments_and_options_arrive(lan: Lan, hosts: dict[str, str]) -> None:
    lan.serve(TARGET, ntpd)
    said = outcomes(lan.probe(hosts[TARGET]))
    shapes = ("fragments", "123-fragments", "reversed", "options", *(["atomic"] if hosts is V6 else []))
    assert {said[f"readvar-v2-{shape}"] for shape in shapes} == {"answered"}
    assert said["mode3-v2-fragments"] == said["monlist-v2-fragments"] == "answered"
    assert said["mode3-v4-first"] == "silent"


def test_fragments_are_fragments_on_the_wire(lan: Lan) -> None:
    lan.serve(TARGET, ntpd)
    chain = "add table ip raw; add chain ip raw c { type filter hook prerouting priority -450; }"
    drop = "add rule ip raw c ip frag-off & 0x3fff != 0 drop"
    run("ip", "netns", "exec", lan.name(TARGET), "nft", f"{chain}; {drop}")
    said = outcomes(lan.probe(V4[TARGET]))
    assert said["readvar-v2-high"] == said["readvar-v2-options"] == "answered"
    assert said["readvar-v2-fragments"] == said["readvar-v2-reversed"] == "silent"


@both_families
def test_the_control_makes_silence_a_verdict(lan: Lan, hosts: dict[str, str]) -> None:
    lan.serve(TARGET, silent, (123, 323))
    without = lan.probe(hosts[TARGET], replace(FAST, quick=True))
    assert report.judge(without).verdict == INCONCLUSIVE
    dead = lan.probe(hosts[TARGET], replace(FAST, controls=(hosts[CONTROL],)))
    assert report.judge(dead).verdict == INCONCLUSIVE
    assert dead.results == ()
    lan.serve(CONTROL, ntpd)
    found = lan.probe(hosts[TARGET], replace(FAST, controls=(hosts[CONTROL],)))
    assert report.judge(found).verdict == CLOSED
    assert report.count(found.results)["answered"] == 0
    assert report.ntpq(found) == "timed out"
    assert found.control is not None
    assert (found.control.before, found.control.after) == ("answered", "answered")


def test_a_control_that_goes_silent(lan: Lan) -> None:
    lan.serve(TARGET, silent)
    asked: list[bytes] = []

    def once(request: bytes, client: str) -> list[bytes]:
        asked.append(request)
        return ntpd(request, client) if len(asked) == 1 else []

    lan.serve(CONTROL, once)
    found = lan.probe(V4[TARGET], replace(FAST, quick=True, controls=(V4[CONTROL],)))
    assert report.judge(found).verdict == INCONCLUSIVE
    assert len(asked) == 4  # once before, three attempts after


def test_a_path_that_drops_source_port_123(lan: Lan) -> None:
    """As some providers do: then silence of what was sent from port 123 proves nothing."""
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, silent)
    lan.nft(CONTROL, "input", "udp sport 123 drop")
    found = lan.probe(V4[TARGET], replace(FAST, quick=True, controls=(V4[CONTROL],)))
    assert report.judge(found).verdict == INCONCLUSIVE
    assert "port" in report.judge(found).reason


def test_a_control_of_the_other_family_proves_nothing(lan: Lan) -> None:
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, silent)
    found = lan.probe(V6[TARGET], replace(FAST, quick=True, controls=(V4[CONTROL],)))
    assert report.judge(found).verdict == INCONCLUSIVE


@both_families
def test_a_refusing_host(lan: Lan, hosts: dict[str, str]) -> None:
    lan.serve(CONTROL, ntpd)
    found = lan.probe(hosts[TARGET], replace(FAST, controls=(hosts[CONTROL],)))
    assert report.judge(found).verdict == CLOSED
    first = one(found, "mode3-v4-high")
    assert (first.outcome, first.reason) == ("refused", f"ICMP port unreachable from {hosts[TARGET]}")
    assert one(found, "mode3-v4-123").outcome == "refused"
    assert report.ntpq(found) == "refused"


@both_families
def test_an_administrative_reject_is_a_refusal(lan: Lan, hosts: dict[str, str]) -> None:
    lan.serve(CONTROL, ntpd)
    lan.nft(TARGET, "input", "meta l4proto { tcp, udp } reject with icmpx type admin-prohibited")
    found = lan.probe(hosts[TARGET], replace(FAST, quick=True, spacing=0.15, controls=(hosts[CONTROL],)))
    assert "administratively prohibited" in one(found, "mode3-v4-high").reason
    assert report.judge(found).verdict == CLOSED


@both_families
def test_the_targets_drop_is_silence(lan: Lan, hosts: dict[str, str]) -> None:
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, ntpd)
    lan.nft(TARGET, "input", "meta l4proto { tcp, udp } drop")
    found = lan.probe(hosts[TARGET], replace(FAST, controls=(hosts[CONTROL],)))
    assert report.judge(found).verdict == CLOSED
    assert set(outcomes(found).values()) <= {"silent", "not sent"}


@both_families
def test_the_own_firewall_is_no_silence(lan: Lan, hosts: dict[str, str]) -> None:
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, silent)
    lan.nft(PROBER, "output", "udp dport 123 @th,64,8 & 0x7 != 0x3 drop", "tcp dport 4460 drop")
    found = lan.probe(hosts[TARGET], replace(FAST, quick=True, controls=(hosts[CONTROL],)))
    said = outcomes(found)
    assert said["mode3-v4-high"] == said["mode3-v4-123"] == "silent"
    assert said["readvar-v2-high"] == said["monlist-v2-123"] == "blocked"
    assert said["nts-ke"] == "blocked"  # the kernel retries in silence; the wire shows that nothing left
    assert report.judge(found).verdict == INCONCLUSIVE
    assert one(found, "readvar-v2-high").bytes_out == 0


def test_the_own_reject_is_no_refusal(lan: Lan) -> None:
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, silent)
    lan.nft(PROBER, "output", f"ip daddr {V4[TARGET]} reject")
    found = lan.probe(V4[TARGET], replace(FAST, quick=True, controls=(V4[CONTROL],)))
    assert set(outcomes(found).values()) == {"blocked"}
    assert report.judge(found).verdict == INCONCLUSIVE


@both_families
def test_answers_to_a_forged_source_are_seen(lan: Lan, hosts: dict[str, str]) -> None:
    """A host that answers nobody but its time server: only forging shows it."""
    server = hosts[CONTROL]
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, lambda request, client: ntpd(request, client) if client == server else [])
    options = replace(FAST, controls=(server,))
    assert report.judge(lan.probe(hosts[TARGET], options)).verdict == CLOSED
    found = lan.probe(hosts[TARGET], replace(options, forge=(server,)))
    assert report.judge(found).verdict == OPEN
    answered = {result.probe.name for result in found.results if result.outcome == "answered"}
    expected = {"mode1-v4", "mode3-v4", "readvar-v2", "monlist-v2", "readstat-v2", "readvar-v2-fragments"}
    assert answered == {f"forged-{name}" for name in expected}
    assert one(found, "forged-readvar-v2").source == server
    assert one(found, "forged-readvar-v2").factor == 32.33


def test_without_a_shared_medium_forged_answers_stay_unseen(lan: Lan) -> None:
    """The same on a bridge that learns: proof that the test above needs the flooding one."""
    server = V4[CONTROL]
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, lambda request, client: ntpd(request, client) if client == server else [])
    bridge = lan.name("bridge")
    run("ip", "-n", bridge, "link", "set", "br0", "type", "bridge", "ageing_time", "30000")
    try:
        found = lan.probe(V4[TARGET], replace(FAST, controls=(server,), forge=(server,)))
    finally:
        run("ip", "-n", bridge, "link", "set", "br0", "type", "bridge", "ageing_time", "0")
    assert report.judge(found).verdict == CLOSED
    assert "seen only if this link carries them" in report.text((found,))


def test_broadcast_and_multicast(lan: Lan) -> None:
    server = lan.serve(TARGET, ntpd)
    join = socket.inet_aton("224.0.1.1") + socket.inet_aton(V4[TARGET])
    server.sockets[0].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, join)
    found = lan.probe(V4[TARGET], replace(FAST, broadcast="10.77.0.255"))
    said = outcomes(found)
    assert said["broadcast-mode3-v4"] == said["broadcast-readvar-v2"] == "answered"
    assert said["multicast-mode3-v4"] == said["multicast-readvar-v2"] == "answered"
    assert said["multicast-mode5-v4"] == "silent"
    assert "--broadcast" in one(lan.probe(V4[TARGET]), "broadcast-mode3-v4").reason


def test_other_hosts_on_the_link_do_not_count(lan: Lan) -> None:
    """The control hears the broadcast, too, and answers it; the target does not."""
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, silent)
    found = lan.probe(V4[TARGET], replace(FAST, controls=(V4[CONTROL],), broadcast="10.77.0.255"))
    assert one(found, "broadcast-mode3-v4").outcome == "silent"
    assert report.judge(found).verdict == CLOSED


def test_all_nodes(lan: Lan) -> None:
    lan.serve(TARGET, ntpd)
    assert outcomes(lan.probe(V6[TARGET]))["broadcast-readvar-v2"] == "answered"


def test_replies_to_this_hosts_own_daemon_do_not_count(lan: Lan) -> None:
    """The target is our time server and keeps sending to our port 123 what we did not ask for."""

    def chatty(request: bytes, client: str) -> list[bytes]:
        return [b"\x24" + bytes(23) + b"\xaa" * 8 + bytes(8) + b"\x11" * 8]

    lan.serve(TARGET, chatty)
    said = outcomes(lan.probe(V4[TARGET]))
    assert said["mode3-v4-high"] == "answered"
    assert said["mode3-v4-123"] == said["readvar-v2-123"] == said["monlist-v2-123"] == "silent"


@both_families
def test_fresh_ports_are_not_shared(lan: Lan, hosts: dict[str, str]) -> None:
    """With few ports to choose from, two probes on one would count each other's answers."""
    lan.serve(TARGET, ntpd)
    with entered(lan.name(PROBER)):
        ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
        before = ports.read_text()
        ports.write_text("50000 50099")
        try:
            (found,) = ask.probe((hosts[TARGET],), FAST)
        finally:
            ports.write_text(before)
    for result in found.results:
        if result.probe.kind == matrix.CONTROL and result.probe.source_port == matrix.HIGH:
            expected = 388 if result.outcome == "answered" else 0
            assert (result.probe.name, result.bytes_in) == (result.probe.name, expected)
    assert outcomes(found)["mode2-v4-high"] == outcomes(found)["sysinfo-v2-high"] == "silent"


def test_port_123_taken(lan: Lan) -> None:
    lan.serve(TARGET, ntpd)
    with entered(lan.name(PROBER)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 123))
        (found,) = ask.probe((V4[TARGET],), replace(FAST, quick=True))
    assert one(found, "mode3-v4-123").outcome == "not sent"
    assert "port 123 is taken" in one(found, "mode3-v4-123").reason
    assert one(found, "mode3-v4-high").outcome == "answered"


def test_without_root(lan: Lan) -> None:
    lan.serve(TARGET, ntpd)
    reading, writing = os.pipe()
    with entered(lan.name(PROBER)):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setresuid(65534, 65534, 65534)
                (found,) = ask.probe((V4[TARGET],), replace(FAST, forge=(V4[CONTROL],)))
                reasons = {result.probe.name: [result.outcome, result.reason] for result in found.results}
                os.write(writing, json.dumps(reasons).encode())
                status = 0
            finally:
                os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        reasons = json.load(pipe)
    os.waitpid(child, 0)
    assert reasons["mode3-v4-high"] == ["answered", ""]
    assert reasons["mode3-v4-123"] == ["not sent", "port 123 takes root"]
    for name in ("readvar-v2-fragments", "forged-mode3-v4"):
        assert reasons[name] == ["not sent", "only root may send packets made by hand"]


def test_sources_in_turn(lan: Lan) -> None:
    extra = "10.77.0.33"
    run("ip", "-n", lan.name(PROBER), "addr", "add", f"{extra}/24", "dev", "eth0")
    clients: list[str] = []

    def noting(request: bytes, client: str) -> list[bytes]:
        clients.append(client)
        return ntpd(request, client)

    lan.serve(TARGET, noting)
    try:
        options = replace(FAST, quick=True, spacing=0.02, sources=(V4[PROBER], extra))
        found = lan.probe(V4[TARGET], options)
    finally:
        run("ip", "-n", lan.name(PROBER), "addr", "del", f"{extra}/24", "dev", "eth0")
    assert report.judge(found).verdict == OPEN
    assert clients[:4] == [V4[PROBER], extra, V4[PROBER], extra]
    stranger = lan.probe(V4[TARGET], replace(FAST, quick=True, sources=("10.77.0.99",)))
    assert one(stranger, "mode3-v4-high").reason == "10.77.0.99 is not an address of this host"
    assert report.judge(stranger).verdict == INCONCLUSIVE


def test_spaced_and_mode_3_first(lan: Lan) -> None:
    server = lan.serve(TARGET, silent)
    lan.probe(V4[TARGET], replace(FAST, quick=True, spacing=0.04))
    times, requests = zip(*server.heard, strict=True)
    assert requests[0][0] & 7 == 3
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) == 9
    assert min(gaps) > 0.02
    assert max(gaps) < 0.3


def test_tcp_open(lan: Lan) -> None:
    with ExitStack() as stack, entered(lan.name(TARGET)):
        listener = stack.enter_context(socket.create_server((V4[TARGET], 4460)))
        assert listener.fileno() > 0
        with entered(lan.name(PROBER)):
            (found,) = ask.probe((V4[TARGET],), replace(FAST, quick=True))
    assert one(found, "nts-ke").outcome == "answered"
    assert report.judge(found).verdict == OPEN
    assert "connected" in report.text((found,))


def test_an_absent_host_is_not_closed(lan: Lan) -> None:
    lan.serve(CONTROL, ntpd)
    found = lan.probe("10.77.0.200", replace(FAST, quick=True, wait=3.5, controls=(V4[CONTROL],)))
    assert set(outcomes(found).values()) == {"unreachable"}
    assert report.judge(found).verdict == INCONCLUSIVE


def test_no_route_and_own_address(lan: Lan) -> None:
    for address, word in (("203.0.113.5", "no route"), (V4[PROBER], "this host's own")):
        found = lan.probe(address)
        assert report.judge(found).verdict == INCONCLUSIVE
        assert word in report.judge(found).reason


def test_conntrack_on_the_probing_host_keeps_ipv6_fragments(lan: Lan) -> None:
    """Then what could not be sent as meant is "not sent", not "silent"."""
    lan.serve(TARGET, silent)
    lan.nft(PROBER, "output", "ct state invalid counter")
    found = lan.probe(V6[TARGET])
    assert one(found, "mode3-v4-first").outcome == "not sent"
    assert "connection tracking" in one(found, "mode3-v4-first").reason
    assert one(lan.probe(V4[TARGET]), "mode3-v4-first").outcome == "silent"  # IP_NODEFRAG


def test_a_pinned_interface(lan: Lan) -> None:
    lan.serve(TARGET, ntpd)
    found = lan.probe(V4[TARGET], replace(FAST, interface="eth0", forge=(V4[CONTROL],)))
    assert one(found, "forged-mode3-v4").outcome == "answered"
    with pytest.raises(HostError, match="no interface 'eth9'"):
        lan.probe(V4[TARGET], replace(FAST, interface="eth9"))


def test_captured_although_the_own_input_drops(lan: Lan) -> None:
    lan.serve(TARGET, ntpd)
    lan.nft(PROBER, "input", "udp sport 123 drop")
    found = lan.probe(V4[TARGET], replace(FAST, quick=True))
    assert one(found, "readvar-v2-high").bytes_in == 388
    assert one(found, "readvar-v2-123").bytes_in == 388


def invoke(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command.run(parser.parse_args(("--spacing", "3", "--wait", "0.3", *arguments)))


def test_the_verb(lan: Lan, capsys: pytest.CaptureFixture[str]) -> None:
    netns = ("--netns", lan.name(PROBER))
    lan.serve(CONTROL, ntpd)
    lan.serve(TARGET, silent)
    assert invoke(V4[TARGET], "--control", V4[CONTROL], "--quick", *netns) == 0
    shown = capsys.readouterr()
    assert "CLOSED" in shown.out
    assert "probing 10.77.0.1: 12 probes" in shown.err
    assert invoke(V4[CONTROL], "--json", *netns) == 3
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["changed"]) == (OPEN, False)
    assert document["counts"]["ipv4"]["probes"] == len(matrix.of_family(4))
    assert invoke(V4[CONTROL], V4[TARGET], "--quick", "--quiet", *netns) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "--control HOST" in shown.err


def test_no_such_namespace() -> None:
    for name in ("fwp-probe-none", "../x", ""):
        with pytest.raises(HostError, match="network namespace"), entered(name):
            pass


def test_the_namespace_is_left_again(lan: Lan) -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with pytest.raises(ZeroDivisionError), entered(lan.name(PROBER)):
        assert Path("/proc/thread-self/ns/net").readlink() != before
        raise ZeroDivisionError
    assert Path("/proc/thread-self/ns/net").readlink() == before


def test_names_resolve_to_both_families() -> None:
    assert wire.resolve("127.0.0.1") == ("127.0.0.1",)
    assert wire.resolve("::1") == ("::1",)
    for host, family in (("127.0.0.1", 6), ("no.such.name.invalid", None)):
        with pytest.raises(HostError, match=f"no address of '{host}'"):
            wire.resolve(host, family)


def test_bytes_are_what_the_matrix_says(lan: Lan) -> None:
    """What arrives has every mode, version and length."""
    server = lan.serve(TARGET, silent)
    lan.probe(V4[TARGET])
    kinds = {(request[0] & 7, request[0] >> 3 & 7, len(request)) for _, request in server.heard}
    assert {(m, v, {6: 12}.get(m, 48)) for m in range(8) for v in (1, 2, 3, 4)} <= kinds
