"""The registry of time daemons is whole."""

from __future__ import annotations

import pytest

from fwpolicy import addresses
from fwpolicy.deploy import daemons
from fwpolicy.errors import HostError, PolicyError
from fwpolicy.ir.timeservice import KINDS, TimeService

SERVER = TimeService("server", serve=addresses.of("192.0.2.0/24"))


def test_every_kind_of_the_language_is_there() -> None:
    assert tuple(one.kind for one in daemons.DAEMONS) == KINDS
    with pytest.raises(HostError, match="no time daemon of the kind 'x' is known"):
        daemons.daemon("x")


def test_snippets_have_names_of_their_own() -> None:
    for mode in ("client-only", "closed"):
        names = [artifact.name for artifact in daemons.snippets(TimeService(mode))]
        assert names == ["ntp.conf", "ntpsec.conf", "chrony.conf", "openntpd.conf", "timesyncd.conf"]
    assert [artifact.name for artifact in daemons.snippets(SERVER)][-1] == "openntpd.conf"
    assert daemons.snippets(TimeService("client-only", daemon="none")) == ()
    (only,) = daemons.snippets(TimeService("client-only", daemon="ntpsec"))
    assert only.name == "ntpsec.conf"


def test_a_daemon_that_cannot_serve_is_an_error() -> None:
    with pytest.raises(PolicyError):
        daemons.snippets(TimeService("server", serve=SERVER.serve, daemon="timesyncd"))
