"""The timer that looks for drift, under a real systemd: it reports, it heals, and it goes again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..lab import guest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab

pytestmark = pytest.mark.hosts

POLICY = "/root/web.yaml"
TEXT = """\
version: 1
name: web
input:
  default: drop
  allow: [ssh, {{service: tcp/8080, id: web}}]
apply: {{drift: {mode}}}
"""
SERVICE, TIMER = "fwpolicy-drift.service", "fwpolicy-drift.timer"


@pytest.fixture
def host(place: Lab) -> Iterator[Host]:
    with place.host("target", 1, "chrony") as host:
        host.install_fwpolicy()
        host.start()
        yield host


def apply(host: Host, mode: str) -> None:
    host.write(POLICY, TEXT.format(mode=mode))
    guest.fwpolicy(host, "apply", "--no-daemon", POLICY)


def looked(host: Host) -> str:
    """What the journal hears of one run of the service, with the level of each line."""
    before = heard(host)
    host.run("systemctl", "start", SERVICE)
    host.run("journalctl", "--sync")
    return "\n".join(heard(host)[len(before) :])


def heard(host: Host) -> list[str]:
    shown = host.run("journalctl", f"--unit={SERVICE}", "--output=export", "--no-pager", "--boot").stdout
    return [line for line in shown.splitlines() if line.startswith(("MESSAGE=", "PRIORITY="))]


def runs(host: Host) -> bool:
    state = guest.unit_state(host, TIMER)
    return "ActiveState=active" in state and "UnitFileState=enabled" in state


def test_the_timer_reports_and_heals(host: Host) -> None:
    before = host.run("systemctl", "list-unit-files", "--no-legend").stdout
    apply(host, "report")
    assert runs(host)
    assert "table" not in looked(host)

    rules = guest.own_rules(host)
    host.run("nft", "insert", "rule", "inet", "fwpolicy", "input", "tcp", "dport", "25", "accept")
    said = looked(host)
    assert "MESSAGE=table inet fwpolicy was changed since the apply" in said and "PRIORITY=4" in said
    assert "MESSAGE=newly allowed" in said
    assert "tcp dport 25" in guest.own_rules(host), "it only reports"

    apply(host, "heal")
    host.run("nft", "insert", "rule", "inet", "fwpolicy", "input", "tcp", "dport", "25", "accept")
    assert "MESSAGE=the rules were put back" in looked(host)
    assert guest.own_rules(host) == rules
    host.run("nft", "flush", "ruleset")
    assert "is gone" in looked(host)
    assert guest.own_rules(host) == rules
    guest.fwpolicy(host, "status")

    host.reboot()
    assert runs(host)
    guest.fwpolicy(host, "remove")
    assert host.run("systemctl", "list-unit-files", "--no-legend").stdout == before
    assert "fwpolicy" not in host.run("systemctl", "list-timers", "--all").stdout
