"""fwpolicy lint, and what check says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.commands.lint import of_program, tell
from fwpolicy.model.fields import Where
from fwpolicy.model.program import ACCEPT, DROP, Base, Chain, Lit, Program, Rule

CHECKOUT = Path(__file__).parents[2]
POLICIES = sorted([*CHECKOUT.glob("policies/*.yaml"), *CHECKOUT.glob("tests/golden/*/policy.yaml")])
TEXT = """\
version: 1
input:
  default: drop
  allow:
    - ssh
    - {service: ssh, from: [10.0.0.0/8, 'fc00::/7']}
"""
SAID = """\
idle.yaml:6:7: warning: this line adds nothing: allowed at idle.yaml:5:7
      - {service: ssh, from: [10.0.0.0/8, 'fc00::/7']}
        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: idle.yaml:5:7: - ssh
"""


@pytest.fixture
def idle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "idle.yaml").write_text(TEXT)
    return "idle.yaml"


def test_a_finding_is_3_and_shows_both_lines(idle, capsys):
    assert main(["lint", idle]) == 3
    assert capsys.readouterr() == ("idle: 1 finding\n", SAID)
    assert main(["lint", "--quiet", idle]) == 3
    assert capsys.readouterr() == ("", "")


def test_json(idle, capsys):
    assert main(["lint", "--json", idle]) == 3
    text = "- {service: ssh, from: [10.0.0.0/8, 'fc00::/7']}"
    assert json.loads(capsys.readouterr().out) == {
        "changed": False,
        "name": "idle",
        "findings": [
            {
                "kind": "shadowed",
                "message": "this line adds nothing: allowed at idle.yaml:5:7",
                "at": {"file": idle, "line": 6, "column": 7, "text": text},
                "others": [{"file": idle, "line": 5, "column": 7, "text": "- ssh"}],
                "packet": None,
            }
        ],
    }


def test_check_warns_and_still_holds(idle, capsys):
    assert main(["check", idle]) == 0
    assert capsys.readouterr() == ("idle: ok and proved, input: default drop\n", SAID)
    assert main(["check", "--json", idle]) == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [problem["message"] for problem in problems] == [
        "this line adds nothing: allowed at idle.yaml:5:7"
    ]


def test_check_does_not_say_twice_what_the_language_warns_of(tmp_path, capsys):
    path = tmp_path / "twice.yaml"
    path.write_text("version: 1\ninput:\n  default: drop\n  allow:\n    - tcp/22\n    - tcp/22\n")
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().err.count("warning") == 1
    assert main(["lint", str(path)]) == 3
    assert capsys.readouterr().err.count("warning") == 1


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_line_of_our_own_policies_counts(path, capsys):
    assert main(["lint", str(path)]) == 0, capsys.readouterr().err


def test_any_other_ruleset_is_told_in_its_own_words(capsys):
    class Options:
        json = quiet = False

    tcp = Lit("l4proto", ((6, 6),))
    rules = (
        Rule(tcp, DROP, Where("live", 0, "ip filter INPUT", "tcp drop")),
        Rule(tcp, ACCEPT, Where("live", 0, "ip filter INPUT", "tcp accept")),
    )
    chain = Chain("ip filter INPUT", rules, Base("input", 0, "filter", ACCEPT, (4,)))
    assert tell("live", of_program(Program({chain.name: chain})), Options()) == 3
    assert capsys.readouterr().err == (
        "live: warning: this rule is never reached: live drops its packets before\n"
        "  ip filter INPUT: tcp accept\n"
        "  hint: live: ip filter INPUT: tcp drop\n"
    )
