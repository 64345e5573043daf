"""lint --all: idle lines of every host, each told once."""

from __future__ import annotations

import json

from fwpolicy.cli import main
from tests.fleet.conftest import BASE, INVENTORY, WEB


def test_every_line_counts(fleet, capsys):
    assert main(["lint", "--all"]) == 0
    assert capsys.readouterr().out == "inventory.yaml: every line counts\n"


def test_an_idle_line_is_told_once_with_its_hosts(fleet, capsys):
    idle = BASE.replace("192.0.2.0/24}\n", "192.0.2.0/24}\n    - {service: ssh, from: 192.0.2.7}\n")
    fleet.write(policies__base=idle, policies__web=WEB + "services: {a: tcp/1}\n")
    assert main(["lint", "--all"]) == 3
    said = capsys.readouterr()
    assert said.err.count("policies/base.yaml:7") == 1 and "  on all (5 hosts)" in said.err
    assert said.out == "inventory.yaml: 1 finding\n"
    assert main(["lint", "--all", "--quiet"]) == 3
    assert capsys.readouterr() == ("", "")
    assert main(["lint", "--all", "--json"]) == 3
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["kind"], found["at"]["line"]) == ("shadowed", 7)
    assert found["hosts"] == ["web-01", "web-02", "web-03", "db-01", "db-02"]


def test_only_where_it_is_idle(fleet, capsys):
    """The second policy's line does what a host's first one does already: on those hosts alone."""
    fleet.write(policies__db="version: 1\ninput: {allow: [{service: ssh, from: 192.0.2.9}]}\n")
    assert main(["lint", "--all"]) == 3
    assert "  on db-01\n" in capsys.readouterr().err


def test_what_is_wrong_is_1(fleet, capsys):
    fleet.write(inventory=INVENTORY, policies__db="version: 1\ninput: {allow: [nosuch]}\n")
    assert main(["lint", "--all"]) == 1
    assert "unknown service 'nosuch'" in capsys.readouterr().err
    assert main(["lint", "--all", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["wrong"][0]["hosts"] == ["db-01"]
