"""A first policy is always right: it loads, its tests hold, and what could be reached still can."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwpolicy import addresses
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy import firstlook
from fwpolicy.deploy.firstlook import Open, Scene, open_ports
from fwpolicy.deploy.firstpolicy import ROLES, policy_text
from fwpolicy.errors import HostError
from fwpolicy.host import conntrack, processes
from fwpolicy.host.conntrack import Flow
from fwpolicy.host.operator import Operator
from fwpolicy.host.processes import Listener
from fwpolicy.model.decide import decide
from fwpolicy.model.expect import failures
from fwpolicy.model.packet import Packet
from fwpolicy.policy.load import load

NOBODY = Scene("web-01.example.org", (), None, "", ())
STRANGER = "198.51.100.77"


def opened(protocol: str, port: int, program: str = "", address: str = "0.0.0.0", **more) -> Open:
    return Open(protocol, port, (program,) if program else (), (address,), **({"loopback": False} | more))


def scene(*ports: Open, **more) -> Scene:
    values = {"host": "web-01", "operator": None, "daemon": "", "askers": ()} | more
    return Scene(open=ports, **values)


def policy_of(text: str):
    def no_files(path: str) -> bytes:
        raise FileNotFoundError(2, "no such file", path)

    policy = load((("first.yaml", text.encode()),), no_files)
    assert policy.warnings == ()
    assert failures(policy) == ()
    compile_ruleset(policy)
    return policy


def is_let_in(policy, protocol: str, port: int, source: str = STRANGER) -> bool:
    family, value, _ = addresses.parse(source)
    here = addresses.parse("192.0.2.1" if family == 4 else "2001:db8::1")[1]
    number = {"tcp": 6, "udp": 17}[protocol]
    packet = Packet("input", family, number, value, here, 40000, port, state="new", mode=3)
    return decide(policy, packet, None).verdict == "accept"


def test_the_names_of_services():
    text = policy_text(
        scene(
            *(opened("tcp", 53, "unbound"), opened("udp", 53, "unbound"), opened("tcp", 3000, "node")),
            *(opened("tcp", 5432, "postgres", "192.0.2.1"), opened("tcp", 22, "sshd"), opened("udp", 51820)),
            opened("tcp", 853, "unbound"),
        )
    )
    policy_of(text)
    lines = [line.split("#")[0].strip(" -") for line in text.splitlines() if line.startswith("    - ")]
    assert lines == ["ssh", "ping", "dns", "dns-over-tls", "postgresql", "wireguard", "tcp/3000"]
    assert "tcp/5432: postgres, on 192.0.2.1 only" in text


def test_what_needs_no_line():
    text = policy_text(
        scene(
            opened("tcp", 5432, "postgres", "127.0.0.1", loopback=True),
            opened("udp", 68, "dhclient"),
            opened("udp", 40000, "unbound", passing=True),
        )
    )
    policy = policy_of(text)
    assert "# tcp/5432: postgres, only on loopback" in text
    assert "# udp/68: dhclient, DHCP" in text and "# udp/40000: unbound, a port for its own" in text
    assert not any(is_let_in(policy, *port) for port in (("tcp", 5432), ("udp", 40000)))


def test_the_operator_stays():
    for port in (22, 2222):
        policy = policy_of(policy_text(scene(operator=Operator("203.0.113.9", port))))
        assert is_let_in(policy, "tcp", port, "203.0.113.9")
        text = policy_text(scene(opened("tcp", port, "sshd"), operator=Operator("2001:db8::9", port)))
        assert is_let_in(policy_of(text), "tcp", port, "2001:db8::9")
        assert "keeps you in" in text
    assert "operators" not in policy_text(scene(operator=Operator("127.0.0.1", 22)))


def test_the_role():
    ntp = opened("udp", 123, "ntpd")
    quiet = policy_of(policy_text(scene(daemon="timesyncd")))
    assert quiet.ntp.mode == "client-only"
    assert policy_of(policy_text(scene(ntp, daemon="ntpd"))).ntp.mode == "client-only"
    asked = policy_of(policy_text(scene(ntp, daemon="ntpd", askers=("10.0.0.7", "192.168.1.1"))))
    assert asked.ntp.mode == "server"
    assert is_let_in(asked, "udp", 123, "10.9.9.9") and not is_let_in(asked, "udp", 123)
    public = policy_of(policy_text(scene(ntp, daemon="ntpd", askers=("10.0.0.7", STRANGER, "::5", "::6"))))
    assert is_let_in(public, "udp", 123)
    unknown = policy_text(scene(ntp, daemon="ntpd", askers=None))
    assert policy_of(unknown).ntp is None and is_let_in(policy_of(unknown), "udp", 123)
    assert "# roles: {ntp: client-only}" in unknown
    assert policy_of(policy_text(NOBODY)).ntp is None
    for role, mode in ROLES.items():
        assert policy_of(policy_text(scene(ntp, daemon="ntpd"), role)).ntp.mode == mode


def test_names_of_programs_and_hosts_stay_in_their_comments():
    evil = "x\n    - tcp/1-65535\r# \u2028'\": {"
    text = policy_text(scene(opened("tcp", 80, evil, evil), host=evil, daemon=evil))
    policy = policy_of(text)
    assert not is_let_in(policy, "tcp", 81)
    assert policy.name.startswith("x-") and "\r" not in text and "\u2028" not in text


def test_the_name():
    for host, name in (
        ("web-01.example.org", "web-01"),
        ("no", "no"),
        ("", "host"),
        ("é", "host"),
        ("1", "1"),
    ):
        assert policy_of(policy_text(scene(host=host))).name == name


def test_listeners_become_ports():
    found = open_ports(
        (
            Listener("tcp", 4, "127.0.0.1", 5432, 7, "postgres"),
            Listener("tcp", 6, "::1", 5432, 7, "postgres"),
            Listener("tcp", 4, "127.0.0.53", 53, 8, "resolved"),
            Listener("tcp", 6, "::", 53, 9, "unbound"),
            Listener("tcp", 6, "::ffff:127.0.0.1", 8080, 9, "java"),
            Listener("udp", 4, "0.0.0.0", 40000, 9, "unbound"),
            Listener("udp", 4, "0.0.0.0", 40001, None, ""),
            Listener("tcp", 4, "0.0.0.0", 40000, 9, "rpc.mountd"),
        ),
        (32768, 60999),
    )
    by_port = {(each.protocol, each.port): each for each in found}
    assert by_port["tcp", 5432] == Open("tcp", 5432, ("postgres",), ("127.0.0.1", "::1"), True)
    assert by_port["tcp", 53] == Open("tcp", 53, ("resolved", "unbound"), ("127.0.0.53", "::"), False)
    assert by_port["tcp", 8080].loopback
    passing = {port for port, each in by_port.items() if each.passing}
    assert passing == {("udp", 40000)}


def flow(source: str, destination: str, protocol: int = 17, dport: int = 123) -> Flow:
    family, value, _ = addresses.parse(source)
    return Flow(family, protocol, value, addresses.parse(destination)[1], 40000, dport)


HERE = addresses.of("127.0.0.1", "192.0.2.1", "2001:db8::1")
ANYBODY = (
    flow("192.0.2.1", STRANGER),
    flow(STRANGER, "192.0.2.1", protocol=6),
    flow("127.0.0.1", "127.0.0.1"),
)


@pytest.mark.parametrize(
    ("flows", "askers"),
    [
        (
            (*ANYBODY, flow(STRANGER, "192.0.2.1"), flow("2001:db8::7", "2001:db8::1")),
            (STRANGER, "2001:db8::7"),
        ),
        (ANYBODY, ()),
        ((), None),
    ],
)
def test_who_asks(flows, askers, monkeypatch):
    """No entry at all means that nothing is tracked, not that nobody asks."""
    monkeypatch.setattr(conntrack, "flows", lambda: flows)
    monkeypatch.setattr(processes, "own_addresses", lambda: HERE)
    assert firstlook.askers((opened("udp", 123),)) == askers
    assert firstlook.askers((opened("udp", 123, address="::1", loopback=True),)) == ()


def test_who_asks_where_we_may_not_look(monkeypatch):
    def refuse():
        raise HostError("cannot read connection tracking")

    monkeypatch.setattr(conntrack, "flows", refuse)
    assert firstlook.askers((opened("udp", 123),)) is None


PORTS = st.sampled_from((22, 23, 53, 68, 80, 123, 323, 443, 546, 2222, 3000, 4460, 5432, 8080, 40000, 65535))
PROGRAMS = st.text(max_size=15)
ADDRESSES = st.sampled_from(("0.0.0.0", "::", "192.0.2.1", "2001:db8::1"))
OPEN = st.builds(
    Open,
    st.sampled_from(("tcp", "udp")),
    PORTS,
    st.lists(PROGRAMS, max_size=2).map(tuple),
    st.lists(ADDRESSES, min_size=1, max_size=2).map(tuple),
    st.booleans(),
    st.just(False),
)
PEERS = st.sampled_from(("203.0.113.9", "10.0.0.7", "2001:db8::9", "fe80::1", "::1"))
SCENES = st.builds(
    Scene,
    st.text(max_size=70),
    st.lists(OPEN, max_size=8, unique_by=lambda each: (each.protocol, each.port)).map(tuple),
    st.none() | st.builds(Operator, PEERS, st.sampled_from((22, 2222, 8080))),
    st.sampled_from(("", "chrony", "ntpd")),
    st.none() | st.lists(PEERS, max_size=4).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(scene=SCENES, role=st.sampled_from(("", *ROLES)))
def test_whatever_the_host_is(scene, role):
    text = policy_text(scene, role)
    policy = policy_of(text)
    # A comment begins after a space (YAML 1.2, 6.6), which not every parser insists on.
    assert all(
        line.lstrip().startswith("#") or "#" not in line or " # " in line for line in text.splitlines()
    )
    for each in scene.open:
        owned = policy.ntp is not None and each.port in (123, 323, 4460)
        if not each.loopback and not owned and each.port not in (68, 546):
            assert is_let_in(policy, each.protocol, each.port)
    if scene.operator and scene.operator.address != "::1":
        assert is_let_in(policy, "tcp", scene.operator.port, scene.operator.address)
