"""chrony.conf, against the configuration that Debian ships and one that is wide open."""

from __future__ import annotations

import pytest

from fwpolicy.backends import chrony
from fwpolicy.ir.timeservice import DaemonConfig, Source, TimeService
from tests.backends import cases
from tests.backends.cases import (
    CLIENT,
    CLOSED,
    EVERYBODY,
    MONITORED,
    NTS_SERVER,
    SERVER,
    active,
    after,
    config,
)

OPEN = """\
confdir /etc/chrony/conf.d
! allow 1.2.3.4
Server ntp.example.org iburst nts
peer 192.0.2.3
  Allow all
ALLOW 10.0.0.0/8
deny 10.1.0.0/16
cmdallow all
cmddeny 10.0.0.0/8
bindcmdaddress 0.0.0.0
bindcmdaddress /run/chrony/chronyd.sock
broadcast 60 192.168.1.255
local stratum 10
ntsserverkey /k
ntsservercert /c
ntstrustedcerts /ca
acquisitionport 123
port 1123
cmdport 3230
keyfile /etc/chrony/chrony.keys
"""


def debian12() -> DaemonConfig:
    return config("chrony", cases.fixture("debian12-chrony.conf"), (4, 3))


def wide_open() -> DaemonConfig:
    return config("chrony", OPEN, (4, 3), drop="allow 172.16.0.0/12\nport 123")


@pytest.mark.parametrize(
    "found",
    [debian12(), wide_open(), config("chrony", OPEN[:-1].replace("\n", "\r\n"))],
    ids=["debian12", "open", "crlf"],
)
def test_laws(found: DaemonConfig) -> None:
    cases.keeps_the_laws(found, chrony)


def test_debian_12_as_a_client() -> None:
    found = debian12()
    assert active(after(found, chrony, CLIENT)) == [*active(found), "port 0", "cmdport 0"]
    assert chrony.change(CLIENT, found).notes == (
        "chrony: already client-only (no allow); explicit lines written all the same",
    )
    assert chrony.sources(found) == (Source("2.debian.pool.ntp.org", pool=True),)


def test_everything_that_answers_goes() -> None:
    found = wide_open()
    lines = active(after(found, chrony, CLIENT))
    assert lines == [
        "confdir /etc/chrony/conf.d",
        "Server ntp.example.org iburst nts",
        "peer 192.0.2.3",
        "deny 10.1.0.0/16",
        "cmddeny 10.0.0.0/8",
        "bindcmdaddress /run/chrony/chronyd.sock",
        "ntstrustedcerts /ca",
        "keyfile /etc/chrony/chrony.keys",
        "port 0",
        "cmdport 0",
    ]
    notes = chrony.change(CLIENT, found).notes
    assert notes[0] == "broadcast stops under client-only"
    assert notes[1].startswith("peer 192.0.2.3 is not heard any more")


def test_monitors_keep_the_command_port_on_loopback() -> None:
    lines = active(after(wide_open(), chrony, MONITORED))
    assert lines[-4:] == ["port 0", "cmdport 323", "bindcmdaddress 127.0.0.1", "bindcmdaddress ::1"]
    assert not [line for line in lines if "0.0.0.0" in line.split()[1] and line.startswith("bindcmd")]


def test_a_server_serves_its_prefixes() -> None:
    lines = active(after(wide_open(), chrony, SERVER))
    assert lines[-5:] == [
        "port 123",
        "allow 192.0.2.0/24",
        "allow 198.51.100.7",
        "allow 2001:db8:1::/48",
        "cmdport 0",
    ]
    assert "local stratum 10" in lines
    assert "acquisitionport 123" in lines
    assert "ntsserverkey /k" not in lines
    assert len([line for line in lines if line.lower().startswith("allow")]) == 3
    assert {"ntsserverkey /k", "ntsservercert /c"} <= set(active(after(wide_open(), chrony, NTS_SERVER)))
    assert chrony.block(EVERYBODY, debian12()) == ("port 123", "allow 0.0.0.0/0", "allow ::/0", "cmdport 0")


def test_an_acquisition_port_of_its_own_stays() -> None:
    found = config("chrony", "acquisitionport 1123\n")
    assert "acquisitionport 1123" in active(after(found, chrony, CLIENT))


def test_sources_include_sourcedirs() -> None:
    found = config("chrony", OPEN, dhcp="server 192.0.2.9 iburst\n; pool x\n")
    assert chrony.sources(found) == (Source("ntp.example.org"), Source("192.0.2.3"), Source("192.0.2.9"))


def test_closed_and_snippet() -> None:
    assert chrony.change(CLOSED, wide_open()).files == ()
    assert chrony.block(CLOSED, wide_open()) == ()
    artifact = chrony.snippet(TimeService("client-only"))
    assert (artifact.name, artifact.text) == (
        "chrony.conf",
        "# chrony, client-only: last in chrony.conf\nport 0\ncmdport 0\n",
    )


def test_includes() -> None:
    text = "include /a/*.conf\n%include /b\nConfDir /c /d/\nsourcedir /run/s\nconfdir\n"
    assert chrony.includes("/m", text, True) == (
        ("/a/*.conf",),
        ("/c/*.conf", "/d/*.conf"),
        ("/run/s/*.sources",),
    )
