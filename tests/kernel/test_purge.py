"""Connections that a new policy denies die, with real sockets on three hosts in a row; others live."""

from __future__ import annotations

import errno
import select
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from fwpolicy import cli
from fwpolicy.backends.nft.purged import TABLE
from fwpolicy.backends.nft.render import render
from fwpolicy.commands import plantext
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy import purge as purging
from fwpolicy.deploy.machine import Machine
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.remove import remove
from fwpolicy.deploy.subject import subject
from fwpolicy.deploy.survey import survey
from fwpolicy.deploy.undo import Undo
from fwpolicy.errors import HostError
from fwpolicy.host import conntrack, sockets
from fwpolicy.host.files import Files
from fwpolicy.host.libnftables import Nftables
from fwpolicy.host.netlink import NESTED, NETFILTER, Netlink, attribute
from fwpolicy.host.operator import Operator
from fwpolicy.host.services import NoServices
from fwpolicy.policy.load import load
from tests.kernel.place import applied, place
from tests.lab.street import INSIDE4, INSIDE6, LAN4, LAN6, OUTSIDE4, OUTSIDE6, PATIENCE, WAN4, WAN6, Street

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

MACHINE = Machine(Files("/"), NoServices(), "/var/lib/fwpolicy", live=True)
OPEN = "input: {default: accept}\noutput: {default: accept}\nforward: {default: accept}\n"
SESSIONS = {"v4": (OUTSIDE4, WAN4), "v6": (OUTSIDE6, WAN6)}


def policy(text: str):
    data = f"version: 1\nname: p\n{text}".encode()
    return load((("p.yaml", data),), lambda path: b"")


@pytest.fixture
def street():
    with Street() as built:
        comes_into_force(built, OPEN)
        yield built


def comes_into_force(street, text, undo=None, *, waits=False):
    """What apply does to rules and connections; what it said."""
    wanted, said = policy(text), []

    def there():
        Nftables().load(render(compile_ruleset(wanted), "p").text)
        found = purging.denied(wanted, MACHINE, None, said.append)
        return purging.end(found.of_roles if waits else found, undo or Undo(), said.append)

    street.purged = street.call("box", there)
    return said


def listening_on(port: int) -> socket.socket:
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)


class Session:
    """A connection: `asks` and `answers` are its two ends. `behind`: the port that it is redirected to."""

    def __init__(self, street, asking, address, port, answering, behind=None) -> None:
        with street.call(answering, lambda: listening_on(port if behind is None else behind)) as listening:
            self.asks = street.connect(asking, address, port)
            assert self.asks is not None
            self.answers, _ = listening.accept()
        self.ends = {"asks": self.asks, "answers": self.answers}
        assert self.says("asks") and self.says("answers")

    def says(self, end: str, other: str | None = None) -> bool:
        """Does what one end says arrive?"""
        return said(self.ends[end], self.ends[other or ("answers" if end == "asks" else "asks")])

    def lives(self) -> bool:
        return self.says("asks") and self.says("answers")

    def close(self) -> None:
        for end in self.ends.values():
            end.close()


def said(one: socket.socket, other: socket.socket) -> bool:
    one.setblocking(False)
    other.setblocking(False)
    word = struct.pack("d", time.monotonic())
    try:
        one.send(word)
    except OSError:
        return False
    deadline = time.monotonic() + PATIENCE
    heard = b""
    while (left := deadline - time.monotonic()) > 0 and word not in heard:
        if not select.select([other], [], [], left)[0]:
            return False
        try:
            found = other.recv(1024)
        except OSError:
            return False
        if not found:
            return False
        heard += found
    return word in heard


def no_sockets(monkeypatch):
    """As on a kernel without CONFIG_INET_DIAG_DESTROY."""

    def refuse(wanted):
        raise sockets.NotSupportedError("not here")

    monkeypatch.setattr(sockets, "destroy", refuse)


def entries(street):
    return street.call("box", conntrack.flows)


DENY_8080 = "input: {default: accept, block: [tcp/8080]}\noutput: {default: accept}\n"


@pytest.mark.parametrize("family", SESSIONS)
@pytest.mark.parametrize("first", ["asks", "answers"])
def test_a_denied_session_stays_dead_whoever_speaks_first(street, monkeypatch, family, first):
    no_sockets(monkeypatch)
    _, here = SESSIONS[family]
    denied = Session(street, "outside", here, 8080, "box")
    allowed = Session(street, "outside", here, 9090, "box")
    told = comes_into_force(street, DENY_8080)
    assert "deleted 1 connection tracking entry" in told
    second = "answers" if first == "asks" else "asks"
    for end in (first, second, first, second):
        assert not denied.says(end), end
    assert allowed.lives()
    assert [flow.dport for flow in entries(street)] == [9090]
    denied.close()
    allowed.close()


def test_nor_does_it_go_on_where_the_kernel_picks_nothing_up(street, monkeypatch):
    no_sockets(monkeypatch)
    loose = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose")
    street.call("box", lambda: loose.write_text("0"))
    comes_into_force(street, "input: {default: accept}\n")
    denied, allowed = (Session(street, "outside", WAN4, port, "box") for port in (8080, 9090))
    comes_into_force(street, "input: {default: accept, block: [tcp/8080]}\n")
    assert not denied.says("answers") and not denied.says("asks") and allowed.lives()
    denied.close()
    allowed.close()


@pytest.mark.parametrize("family", SESSIONS)
def test_without_the_table_the_hosts_own_next_packet_revives_it(street, monkeypatch, family):
    """What the tests above would miss otherwise."""
    no_sockets(monkeypatch)
    monkeypatch.setattr(purging, "_bury", lambda *_: None)
    denied = Session(street, "outside", SESSIONS[family][1], 8080, "box")
    comes_into_force(street, DENY_8080)
    assert denied.says("answers") and denied.lives()
    denied.close()


@pytest.mark.parametrize("family", SESSIONS)
def test_both_ends_hear_of_it(street, family):
    here = SESSIONS[family][1]
    denied, allowed = (Session(street, "outside", here, port, "box") for port in (8080, 9090))
    with street.call("box", lambda: listening_on(8080)):
        told = comes_into_force(street, DENY_8080)
        assert "ended 1 TCP connection of this host" in told
        for end, code in ((denied.answers, errno.ECONNABORTED), (denied.asks, errno.ECONNRESET)):
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == code
        assert allowed.lives()
        comes_into_force(street, OPEN)
        assert street.reaches("outside", here, 8080), "the listener is there still"
    denied.close()
    allowed.close()


@pytest.mark.parametrize("there", [OUTSIDE4, OUTSIDE6])
def test_what_the_host_asks_for_dies_too(street, there):
    denied = Session(street, "box", there, 8080, "outside")
    allowed = Session(street, "box", there, 9090, "outside")
    comes_into_force(street, "output: {default: accept, block: [tcp/8080]}\n")
    assert not denied.says("answers") and not denied.says("asks")
    assert allowed.lives()
    denied.close()
    allowed.close()


PASSING = {
    "routed": ("outside", INSIDE4, 8080, "inside", ""),
    "routed v6": ("outside", INSIDE6, 8080, "inside", ""),
    "masqueraded": ("inside", OUTSIDE4, 8080, "outside", "nat: {masquerade: [{out: wan}]}\n"),
    "masqueraded v6": ("inside", OUTSIDE6, 8080, "outside", "nat: {masquerade: [{out: wan}]}\n"),
    "redirected": (
        "outside",
        WAN4,
        443,
        "inside",
        f"nat: {{forward: [{{in: wan, service: tcp/443, to: {INSIDE4}, port: 8080}}]}}\n",
    ),
}
ZONES = "zones: {wan: wan0, lan: lan0}\n"


@pytest.mark.parametrize("first", ["asks", "answers"])
@pytest.mark.parametrize("way", PASSING)
def test_a_passing_session_dies(street, way, first):
    asking, address, port, answering, nat = PASSING[way]
    comes_into_force(street, ZONES + OPEN + nat)
    denied = Session(street, asking, address, port, answering, behind=8080)
    allowed = Session(street, "inside", OUTSIDE4, 9090, "outside")
    open_all = "input: {default: accept}\noutput: {default: accept}\n"
    told = comes_into_force(
        street, f"{ZONES}{open_all}{nat}forward: {{default: accept, block: [tcp/8080]}}\n"
    )
    assert "deleted 1 connection tracking entry" in told
    second = "answers" if first == "asks" else "asks"
    for end in (first, second, first, second):
        assert not denied.says(end), end
    assert allowed.lives()
    denied.close()
    allowed.close()


@pytest.mark.parametrize("family", SESSIONS)
@pytest.mark.parametrize("first", ["asks", "answers"])
def test_udp_stays_dead_as_long_as_anybody_speaks(street, family, first):
    there, here = SESSIONS[family]
    kind = socket.AF_INET if family == "v4" else socket.AF_INET6
    ends = {}
    for where, end, address, port in (("outside", "asks", there, 4000), ("box", "answers", here, 5000)):
        ends[end] = street.call(where, lambda: socket.socket(kind, socket.SOCK_DGRAM))
        ends[end].bind((address, port))
    ends["asks"].connect((here, 5000))
    ends["answers"].connect((there, 4000))
    assert said(ends["asks"], ends["answers"]) and said(ends["answers"], ends["asks"])
    comes_into_force(street, "input: {default: accept, block: [udp/5000]}\noutput: {default: accept}\n")
    second = "answers" if first == "asks" else "asks"
    for end in (first, second, first, second):
        assert not said(ends[end], ends["answers" if end == "asks" else "asks"]), end
    comes_into_force(street, OPEN)
    assert said(ends["answers"], ends["asks"]) and said(ends["asks"], ends["answers"])
    for end in ends.values():
        end.close()


def test_a_new_connection_from_the_same_port_is_the_policys_to_judge(street):
    denied = Session(street, "outside", WAN4, 8080, "box")
    sport = denied.asks.getsockname()[1]
    comes_into_force(street, DENY_8080)
    denied.close()
    server = street.serve("box", 8080)
    assert not street.reaches("outside", WAN4, 8080, OUTSIDE4, sport)
    comes_into_force(street, OPEN)
    again = street.connect("outside", WAN4, 8080, OUTSIDE4, sport)
    assert again is not None and server.peers(1)
    again.close()


def test_what_an_overlay_leaves_to_others_is_kept(street):
    kept = Session(street, "outside", WAN4, 8080, "box")
    assert comes_into_force(street, "roles: {ntp: client-only}\n") == []
    assert kept.lives()
    kept.close()


def test_conntrack_keep(street):
    kept = Session(street, "outside", WAN4, 8080, "box")
    assert comes_into_force(street, f"{DENY_8080}apply: {{conntrack: keep}}\n") == []
    assert kept.lives()
    kept.close()


@pytest.mark.parametrize("here", [WAN4, WAN6])
def test_the_operators_own_connection_is_kept_and_said(street, monkeypatch, here):
    own = Session(street, "outside", here, 8080, "box")
    there = OUTSIDE4 if here == WAN4 else OUTSIDE6
    monkeypatch.setattr("fwpolicy.host.operator.operator", lambda _: Operator(there, 8080))
    (told,) = comes_into_force(street, DENY_8080)
    assert told.startswith("your own connection (tcp") and "denied from now on" in told
    assert own.lives()
    own.close()


@pytest.mark.parametrize("kind", ["v4", "v6"])
def test_the_route_tells_the_interface(street, kind):
    wan, lan = (WAN4, LAN4) if kind == "v4" else (WAN6, LAN6)
    denied = Session(street, "outside", wan, 8080, "box")
    allowed = Session(street, "inside", lan, 8080, "box")
    only_lan = "input: {default: drop, allow: [{service: tcp/8080, in: lan}]}\noutput: {default: accept}\n"
    told = comes_into_force(street, ZONES + only_lan)
    assert "deleted 1 connection tracking entry" in told
    assert allowed.lives() and not denied.says("asks")
    denied.close()
    allowed.close()


def test_where_no_single_route_tells_it_is_kept_and_said(street):
    kept = Session(street, "outside", WAN4, 8080, "box")
    ways = ("nexthop", "via", OUTSIDE4, "dev", "wan0", "nexthop", "via", INSIDE4, "dev", "lan0")
    street.run("box", "ip", "route", "add", f"{OUTSIDE4}/32", *ways)
    only_lan = "input: {default: drop, allow: [{service: tcp/8080, in: lan}]}\noutput: {default: accept}\n"
    (told,) = comes_into_force(street, ZONES + only_lan)
    assert "no single route tells" in told and len(entries(street)) == 1
    kept.close()


def test_in_a_window_only_what_a_role_denies_goes(street):
    denied = Session(street, "outside", WAN4, 8080, "box")
    asker = street.call("outside", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    asker.sendto(bytes([0x23]) + bytes(47), (WAN4, 123))
    text = f"roles: {{ntp: client-only}}\n{DENY_8080}"
    comes_into_force(street, text, waits=True)
    assert [flow.dport for flow in street.purged] == [123]
    assert denied.lives()
    comes_into_force(street, text)
    assert [flow.dport for flow in street.purged] == [8080]
    denied.close()
    asker.close()


def test_the_table_is_ours_and_goes(street):
    denied = Session(street, "outside", WAN4, 8080, "box")
    before = street.run("box", "nft", "list", "tables")
    with pytest.raises(HostError, match="later"), Undo() as undo:
        comes_into_force(street, DENY_8080, undo=undo)
        assert TABLE in street.run("box", "nft", "list", "tables")
        seen = street.call("box", lambda: survey(MACHINE))
        assert seen.foreign == () and seen.ours is not None
        live = street.call("box", lambda: subject("live", MACHINE).program)
        assert not live.unmodelled and all("purged" not in name for name in live.chains)
        fails_in_the_box(street, undo)
    assert street.run("box", "nft", "list", "tables") == before
    denied.close()


def fails_in_the_box(street, undo):
    """Its steps back are taken where the steps were."""
    steps = list(undo._steps)
    undo._steps[:] = [lambda step=step: street.call("box", step) for step in steps]
    raise HostError("later")


# As a plan, and its apply


def test_a_plan_says_what_its_apply_does(place):
    def insert():
        with Netlink(NETFILTER) as kernel:
            assert kernel.tell(1 << 8, map(created, range(20)), 0x600) == [None] * 20

    subprocess.run(["ip", "-n", place.name, "address", "add", "192.0.2.1/24", "dev", "lo"], check=True)
    insert()
    plan = make_plan(policy(DENY_8080), place.machine, Options())
    assert len(plan.purge) == 10 and {flow.dport for flow in plan.purge} == {8080}
    shown = plantext.as_text(plan)
    assert "connections to delete: 10\n  tcp 10.64.0." in shown and "  ... and 5 more" in shown
    assert "deleted 10 connection tracking entries" in applied(place, plan)
    assert {flow.dport for flow in conntrack.flows()} == {9090}
    assert remove(place.machine, lambda _: None)
    assert place.rules() == ""


def test_where_nobody_is_told_connections_are_looked_at_once(place, monkeypatch, tmp_path):
    looks = []
    monkeypatch.setattr(conntrack, "flows", lambda: looks.append("look") or ())
    (tmp_path / "p.yaml").write_text("version: 1\nname: p\ninput: {default: drop, allow: [ssh]}\n")
    where = ("--netns", place.name, "--state-dir", str(tmp_path / "state"), str(tmp_path / "p.yaml"))
    assert cli.main(["apply", "--quiet", "--no-persist", *where]) == 0
    assert looks == ["look"]
    assert cli.main(["plan", "--quiet", "-o", str(tmp_path / "saved"), *where]) in (0, 2)
    assert cli.main(["plan", "--quiet", "--json", *where]) in (0, 2)
    assert len(looks) == 3


def test_no_entries_no_dump(place, monkeypatch):
    def dump(*_):
        raise AssertionError

    def insert():
        with Netlink(NETFILTER) as kernel:
            assert kernel.tell(1 << 8, [created(1)], 0x600) == [None]

    with monkeypatch.context() as patched:
        patched.setattr(Netlink, "dump", dump)
        assert conntrack.flows() == ()
    insert()
    assert [flow.dport for flow in conntrack.flows()] == [8080]


# Many at once


def created(number: int) -> bytes:
    """A request to make an entry: denied ones go to port 8080 of many hosts, others to 9090."""
    source, port = 0x0A400000 + number, 8080 if number % 2 else 9090
    ends = (source, 0xC0000201, 1024 + number % 60000, port)
    tuples = b"".join(
        attribute(NESTED | kind, _tuple(*each)) for kind, each in ((1, ends), (2, _turned(*ends)))
    )
    state = attribute(NESTED | 4, attribute(NESTED | 1, attribute(1, b"\3")))
    numbers = (attribute(kind, struct.pack("!I", value)) for kind, value in ((3, 14), (7, 1000)))
    return struct.pack("=BBH", socket.AF_INET, 0, 0) + tuples + b"".join(numbers) + state


def _turned(source, destination, sport, dport):
    return destination, source, dport, sport


def _tuple(source, destination, sport, dport):
    ip = attribute(1, struct.pack("!I", source)) + attribute(2, struct.pack("!I", destination))
    ports = attribute(2, struct.pack("!H", sport)) + attribute(3, struct.pack("!H", dport))
    return attribute(NESTED | 1, ip) + attribute(NESTED | 2, attribute(1, b"\6") + ports)


def test_a_hundred_thousand_in_a_few_seconds(street):
    count = 100_000

    def fill():
        with Netlink(NETFILTER) as kernel:
            # Without an acknowledgement: nothing is told of one that is made.
            return [each for each in kernel.tell(1 << 8, map(created, range(count)), 0x600) if each]

    assert street.call("box", fill) == []
    # The thread's CPU time with what the kernel does for it: others share these processors.
    spent = []

    def timed():
        begin = time.thread_time()
        wanted = policy(DENY_8080)
        found = purging.denied(wanted, MACHINE, None, lambda _: None)
        gone = purging.end(found, Undo(), lambda _: None)
        spent.append(time.thread_time() - begin)
        return gone

    gone = street.call("box", timed)
    assert len(gone) == count // 2 and all(flow.dport == 8080 for flow in gone)
    assert len(entries(street)) == count // 2
    print(f"{count} entries, {len(gone)} deleted: {spent[0]:.2f} s of CPU")
    assert spent[0] < 8
