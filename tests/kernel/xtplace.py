"""A host of a test's own whose rules are iptables', with others' among them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fwpolicy.deploy import timeservice
from fwpolicy.host.netns import entered
from tests.kernel.place import Place, one_daemon
from tests.kernel.place import planned as planned_any
from tests.kernel.test_iptables_load import COMMANDS, OTHERS, members, rules
from tests.kernel.xtprograms import VARIANTS, variant_path


class XtPlace(Place):
    """The host calls one variant iptables; `rules()` is what is saved, others' included, and all sets."""

    def __init__(self, name: str, folder: Path, variant: str, *, make: bool = True) -> None:
        self.variant = variant
        super().__init__(name, folder, make=make)

    def rules(self) -> tuple[object, ...]:
        with entered(self.name):
            return rules(self.variant), members()

    def text(self) -> str:
        """Of the IPv4 and IPv6 filter tables, as saved."""
        return "\n".join(line for family in self.rules()[0] for line in family)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command], check=True, capture_output=True, text=True
        )
        return done.stdout


def planned(place, case="ntp-client", **options):
    return planned_any(place, case, **{"backend": "iptables"} | options)


def load_others(variant: str) -> None:
    for command in COMMANDS:
        subprocess.run([f"{command}-{variant}-restore"], input=OTHERS[command], text=True, check=True)


@pytest.fixture(params=VARIANTS)
def place(request, netns, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", variant_path(tmp_path / "bin", request.param))
    monkeypatch.setattr(timeservice, "plan_daemons", one_daemon)
    (tmp_path / "host").mkdir()
    here = XtPlace(netns, tmp_path / "host", request.param)
    with entered(netns):
        load_others(request.param)
        yield here
