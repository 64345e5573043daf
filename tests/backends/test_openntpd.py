"""ntpd.conf of OpenNTPD."""

from __future__ import annotations

import pytest

from fwpolicy.backends import openntpd
from fwpolicy.ir.timeservice import DaemonConfig, Source
from tests.backends import cases
from tests.backends.cases import CLIENT, CLOSED, SERVER, active, after, config

OPEN = """\
listen on * # all
  listen on \\
 192.0.2.1
server "192.0.2.2" weight 5
sensor *
listen on 127.0.0.1"""


def debian12() -> DaemonConfig:
    return config("openntpd", cases.fixture("debian12-openntpd.conf"))


@pytest.mark.parametrize("found", [debian12(), config("openntpd", OPEN), config("openntpd", "")])
def test_laws(found: DaemonConfig) -> None:
    cases.keeps_the_laws(found, openntpd)


def test_debian_12_is_a_client_already() -> None:
    change = openntpd.change(CLIENT, debian12())
    assert change.files == ()
    assert change.notes == ("openntpd: already client-only (no listen on)",)
    assert openntpd.sources(debian12()) == tuple(
        Source(f"{n}.debian.pool.ntp.org", pool=True) for n in range(4)
    )


def test_a_client_listens_nowhere() -> None:
    found = config("openntpd", OPEN)
    assert active(after(found, openntpd, CLIENT)) == ['server "192.0.2.2" weight 5', "sensor *"]
    assert openntpd.sources(found) == (Source("192.0.2.2"),)


def test_a_server_listens() -> None:
    assert active(after(debian12(), openntpd, SERVER))[-1] == "listen on *"
    loopback = config("openntpd", "listen on ::1\nlisten on 127.0.0.1\n")
    assert active(after(loopback, openntpd, SERVER)) == ["listen on *"]
    assert any("packet filter" in note for note in openntpd.change(SERVER, debian12()).notes)


def test_a_server_keeps_the_addresses_that_were_chosen() -> None:
    found = config("openntpd", "listen on 192.0.2.1\n")
    assert openntpd.change(SERVER, found).files == ()
    assert "openntpd: it listens where its configuration says" in openntpd.change(SERVER, found).notes


def test_closed_and_snippets() -> None:
    assert openntpd.change(CLOSED, config("openntpd", OPEN)).files == ()
    assert openntpd.snippet(SERVER).text.splitlines()[1:] == ["listen on *"]
    assert openntpd.snippet(CLIENT).text == "# openntpd, client-only: no 'listen on' line\n"
    assert openntpd.includes("/m", OPEN, True) == ()
