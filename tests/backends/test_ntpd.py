"""ntp.conf of ntp.org and ntpsec, against the configurations that distributions ship."""

from __future__ import annotations

import pytest

from fwpolicy.backends import ntpd
from fwpolicy.errors import Span
from fwpolicy.ir.timeservice import DaemonConfig, Source, TimeService
from tests.backends import cases
from tests.backends.cases import CLIENT, CLOSED, EVERYBODY, NTS_SERVER, SERVER, active, after, config

V428, V426 = (4, 2, 8, 15), (4, 2, 6, 2)
# RHEL 6's default, with one line of each kind that opens it.
OPEN = """\
driftfile /var/lib/ntp/drift
restrict default kod nomodify notrap nopeer noquery
restrict -6 default kod nomodify notrap nopeer noquery
restrict 127.0.0.1\t# all access over loopback
restrict -6 ::1
restrict 192.168.1.0 mask 255.255.255.0 nomodify notrap
restrict 203.0.113.66 ignore
restrict 0.0.0.0 mask 0.0.0.0 ignore
server 192.0.2.1 iburst
server -4 192.0.2.2 key 1
server 127.127.1.0
fudge 127.127.1.0 stratum 10
peer 192.0.2.3
broadcast 192.168.1.255 autokey
broadcastclient
multicastclient 224.0.1.1
manycastserver 239.255.254.254
manycastclient 239.255.254.254 autokey
crypto pw x
includefile /etc/ntp/crypto/pw
keys /etc/ntp/keys
trustedkey 1
enable auth mode7 bclient monitor stats
disable auth
setvar foo=bar default
"""
NTPSEC_OPEN = """\
nts enable
nts cert /etc/cert.pem key /etc/key.pem mintls TLS1.3
nts ca /etc/ca.pem
unrestrict default noquery
restrict default limited nomodify
peer time.example.org
server nts.example.org:4460 nts
refclock shm unit 0
"""
STRICT = "nomodify notrap nopeer noquery"


def debian11() -> DaemonConfig:
    return config("ntpd", cases.fixture("debian11-ntp.conf"), V428)


def debian12() -> DaemonConfig:
    return config("ntpsec", cases.fixture("debian12-ntpsec.conf"), (1, 2, 2))


@pytest.mark.parametrize(
    "found",
    [
        debian11(),
        debian12(),
        config("ntpd", OPEN, V428),
        config("ntpd", OPEN, V426),
        config("ntpd", OPEN.replace("192.0.2.1", "ntp.example.org"), V426),
        config("ntpd", OPEN[:-1].replace("\n", "\r\n"), V428, more="restrict source\npeer x"),
        config("ntpsec", NTPSEC_OPEN, (1, 2, 2)),
        DaemonConfig("ntpd", (), "/main", ()),
    ],
    ids=["debian11", "debian12", "open-4.2.8", "open-4.2.6", "named-4.2.6", "crlf", "ntpsec-open", "absent"],
)
def test_laws(found: DaemonConfig) -> None:
    cases.keeps_the_laws(found, ntpd)


def test_debian_11_as_a_client() -> None:
    found = debian11()
    changed = after(found, ntpd, CLIENT)
    lines = active(changed)
    assert lines[-6:] == [
        "restrict default ignore",
        "restrict -6 default ignore",
        "restrict source nomodify notrap noquery",
        "restrict 127.0.0.1",
        "restrict ::1",
        "disable monitor",
    ]
    kept = [line for line in active(found) if not line.startswith("restrict")]
    assert lines[:-6] == kept
    assert [host.host for host in ntpd.sources(found)] == [f"{n}.debian.pool.ntp.org" for n in range(4)]
    assert any("no nopeer" in note for note in ntpd.change(CLIENT, found).notes)


def test_debian_12_as_a_client() -> None:
    lines = active(after(debian12(), ntpd, CLIENT))
    assert [line for line in lines if line.startswith(("restrict", "disable", "nts"))] == [
        "restrict default ignore",
        "restrict source nomodify nopeer noquery",
        "restrict 127.0.0.1",
        "restrict ::1",
        "disable monitor",
    ]


def test_servers_alone_get_nopeer() -> None:
    found = config("ntpd", "server a.example.org\n", V428)
    assert f"restrict source {STRICT}" in ntpd.block(CLIENT, found)
    pool = config("ntpd", "server a.example.org\n", V428, included="pool p.example.org\n")
    assert "restrict source nomodify notrap noquery" in ntpd.block(CLIENT, pool)


@pytest.mark.parametrize("version", [V428, V426])
def test_everything_that_answers_goes(version: tuple[int, ...]) -> None:
    found = config("ntpd", OPEN, version, crypto="crypto pw y\nrestrict 10.0.0.0 mask 255.0.0.0\n")
    change = ntpd.change(CLIENT, found)
    lines = active(after(found, ntpd, CLIENT))
    gone = ("peer", "broadcast", "multicast", "manycast", "crypto", "restrict 1")
    servers = ("restrict 127.0.0.1", "restrict 192.0.2.")
    assert not [line for line in lines if line.startswith(gone) and not line.startswith(servers)]
    for kept in ("driftfile", "server 192.0.2.1", "keys", "trustedkey 1", "fudge", "includefile", "setvar"):
        assert any(line.startswith(kept) for line in lines)
    assert lines.index("restrict 203.0.113.66 ignore") < lines.index("restrict default ignore")
    assert "enable auth stats" in lines
    assert lines.count("restrict default ignore") == 1
    assert {file.path for file in change.files} == {"/main", "/crypto"}
    assert "broadcastclient stops under client-only" in change.notes
    assert any(note.startswith("peer 192.0.2.3 is not asked any more") for note in change.notes)


def test_the_old_ntpd_needs_a_line_for_each_server() -> None:
    block = ntpd.block(CLIENT, config("ntpd", OPEN, V426))
    assert block == (
        "restrict default ignore",
        "restrict -6 default ignore",
        f"restrict 192.0.2.1 {STRICT}",
        f"restrict 192.0.2.2 {STRICT}",
        "restrict 127.0.0.1",
        "restrict ::1",
        "disable monitor",
        "enable auth stats",
    )


@pytest.mark.parametrize("line", ["server ntp-1.example.org", "pool 192.0.2.1", ""])
def test_the_old_ntpd_with_names_relies_on_the_filter(line: str) -> None:
    found = config("ntpd", line + "\n", V426)
    assert ntpd.block(CLIENT, found) == (
        f"restrict default kod {STRICT}",
        f"restrict -6 default kod {STRICT}",
        "restrict 127.0.0.1",
        "restrict ::1",
        "disable monitor",
    )
    assert any("only the packet filter" in note for note in ntpd.change(CLIENT, found).notes)


def test_restrict_source_came_with_4_2_7p22() -> None:
    for version, modern in (((4, 2, 7, 21), False), ((4, 2, 7, 22), True), ((4, 2, 8), True), ((), True)):
        block = ntpd.block(CLIENT, config("ntpd", "server 192.0.2.1\n", version))
        assert (f"restrict source {STRICT}" in block) is modern
    assert any("version is unknown" in note for note in ntpd.change(CLIENT, config("ntpd", "")).notes)


def test_a_server_serves_its_prefixes() -> None:
    found = config("ntpd", OPEN, V428)
    assert ntpd.block(SERVER, found) == (
        "restrict default ignore",
        "restrict -6 default ignore",
        f"restrict source {STRICT}",
        "restrict 127.0.0.1",
        "restrict ::1",
        f"restrict 192.0.2.0 mask 255.255.255.0 {STRICT}",
        f"restrict 198.51.100.7 mask 255.255.255.255 {STRICT}",
        f"restrict 2001:db8:1:: mask ffff:ffff:ffff:: {STRICT}",
        "disable monitor",
        "enable auth stats",
    )
    lines = active(after(found, ntpd, SERVER))
    assert "restrict 203.0.113.66 ignore" in lines
    assert "crypto pw x" in lines
    assert "restrict 192.168.1.0 mask 255.255.255.0 nomodify notrap" not in lines
    assert any("mode 1" in note for note in ntpd.change(SERVER, found).notes)


def test_a_server_for_everybody_has_no_prefix_lines() -> None:
    block = ntpd.block(EVERYBODY, debian12())
    assert block[:2] == tuple(f"restrict -{family} default nomodify nopeer noquery" for family in (4, 6))
    only4 = TimeService("server", serve=type(EVERYBODY.serve)(v4=EVERYBODY.serve.v4))
    assert ntpd.block(only4, debian11())[:2] == (
        f"restrict -4 default {STRICT}",
        "restrict -6 default ignore",
    )


def test_nts_serves_only_where_the_policy_says_so() -> None:
    found = config("ntpsec", NTPSEC_OPEN, (1, 2, 2))
    for service in (CLIENT, TimeService("client-only", nts=True), SERVER):
        lines = active(after(found, ntpd, service))
        assert [line for line in lines if line.startswith("nts ")] == [
            "nts ca /etc/ca.pem",
            "nts mintls TLS1.3",
        ]
        # With ntpsec a peer is a server by another name.
        assert "peer time.example.org" in lines
        assert not any("unrestrict" in line or "limited" in line for line in lines)
    lines = active(after(found, ntpd, NTS_SERVER))
    assert lines[:3] == NTPSEC_OPEN.splitlines()[:3]


def test_sources() -> None:
    assert ntpd.sources(config("ntpd", OPEN)) == (
        Source("192.0.2.1"),
        Source("192.0.2.2"),
        Source("192.0.2.3"),
    )
    assert ntpd.sources(config("ntpsec", NTPSEC_OPEN, more="pool 0.example.org iburst\n")) == (
        Source("time.example.org"),
        Source("nts.example.org"),
        Source("0.example.org", pool=True),
    )
    assert ntpd.sources(config("ntpd", "server 2001:db8::1\nserver\n")) == (Source("2001:db8::1"),)


def test_only_peers_leave_no_source() -> None:
    notes = ntpd.change(CLIENT, config("ntpd", "peer 192.0.2.3\n", V428)).notes
    assert "no time source is left: every one was a peer" in notes


def test_closed_leaves_the_configuration() -> None:
    assert ntpd.block(CLOSED, debian11()) == ()
    assert ntpd.change(CLOSED, debian11()).files == ()


def test_snippets() -> None:
    origin = Span("p.yaml", 3, 8, 19)
    artifact = ntpd.snippet(TimeService("client-only", origin=origin))
    assert artifact.name == "ntp.conf"
    assert artifact.text.splitlines() == [
        "# ntp.org ntpd 4.2.8, client-only: replaces all restrict lines",
        "restrict default ignore",
        "restrict -6 default ignore",
        "restrict source nomodify notrap noquery",
        "restrict 127.0.0.1",
        "restrict ::1",
        "disable monitor",
    ]
    assert artifact.origin(1) is None
    assert artifact.origin(2) == artifact.origin(7) == origin
    other = ntpd.snippet(TimeService("client-only", daemon="ntpsec"))
    assert other.name == "ntpsec.conf"
    assert "notrap" not in other.text
    assert ntpd.snippet(CLOSED).text.count("\n") == 1


def test_includes() -> None:
    text = "includefile keys.conf\nINCLUDEFILE /a/b\n# includefile /c\n"
    assert ntpd.includes("/etc/ntp.conf", text, True) == (("/keys.conf",), ("/a/b",))
    assert ntpd.ntpsec_includes("/etc/ntpsec/ntp.conf", text, True) == (
        ("/etc/ntpsec/keys.conf",),
        ("/etc/ntpsec/keys.conf/*.conf",),
        ("/a/b",),
        ("/a/b/*.conf",),
        ("/etc/ntpsec/ntp.d/*.conf",),
    )
    assert ntpd.ntpsec_includes("/etc/ntpsec/ntp.d/a.conf", "", False) == ()
