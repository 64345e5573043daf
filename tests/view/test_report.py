"""fwpolicy report: from a repository and what its hosts said to a page."""

from __future__ import annotations

import json
import time

import pytest

from fwpolicy.cli import main
from tests.fleet.conftest import fleet, repo  # noqa: F401  (fixtures)
from tests.view import example


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    """docs/example-fleet, committed, and what its hosts said."""
    folder = tmp_path_factory.mktemp("company")
    example.copy(folder / "repo", time.time())
    example.write_facts(folder / "facts", time.time())
    return folder


@pytest.fixture(scope="module")
def made(company):
    """(figures, page)."""
    output = company / "out" / "report.html"
    words = ["report", "--all", str(company / "repo"), "-o", str(output), "--facts", str(company / "facts")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(company / "cache"))
        patch.chdir(company)
        assert main([*words, "--quiet"]) == 0
        return words, output


def test_the_company(made, company, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(company / "cache"))
    words, output = made
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["drift"] == {"as applied": 7, "differs": 2, "not known": 3}
    assert (figures["hosts"], figures["policies"], figures["wrong"]) == (12, 7, 0)
    assert figures["invariants"] == {"number": 4, "broken": 0}
    assert figures["ntp_open"] == ["ntp-02"]
    assert (figures["unused"], figures["expiring"]) == (3, 2)
    assert figures["risky"]["2"] > 3
    text = output.read_text()
    for words_in in (
        "by <bdi>Ada Example &lt;ada@example.org&gt;</bdi>.",
        "the status is 21 days old",
        "up to 556.9 times the bytes",
        "owner <bdi>shop</bdi>, ticket <bdi>OPS-311</bdi>, until ",
        "Nothing comes in from: <bdi>blocklist</bdi>",
        "https redirected to 192.0.2.40 port 8443",
    ):
        assert words_in in text
    assert output.stat().st_mode & 0o777 == 0o644


def test_without_facts_nothing_is_fine(fleet, capsys):  # noqa: F811
    assert main(["report", "--all", "-o", "r.html", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["drift"] == {"as applied": 0, "differs": 0, "not known": 5}
    assert figures["changed"] is True
    text = (fleet.path / "r.html").read_text()
    assert "From files that are in no git repository." in text and "Every host is as applied" not in text


def test_the_page_on_stdout(fleet, capsysbinary):  # noqa: F811
    assert main(["report", "--all", "-o", "r.html"]) == 0
    capsysbinary.readouterr()
    assert main(["report", "--all", "-o", "-"]) == 0
    said = capsysbinary.readouterr()
    written = (fleet.path / "r.html").read_bytes()
    assert said.out.startswith(b"<!DOCTYPE html>") and len(said.out) == len(written)
    assert said.err.startswith(b"5 hosts of 3 different policies")
    assert b"5 hosts of 3 different policies" in said.out
    assert not (fleet.path / "-").exists()


def test_a_wrong_policy_is_on_the_page_and_the_others_too(fleet, capsys):  # noqa: F811
    fleet.write(policies__web="version: 1\ninput: {allow: [nosuch]}\n")
    assert main(["report", "--all", "-o", "r.html"]) == 1
    assert "unknown service 'nosuch'" in capsys.readouterr().err
    text = (fleet.path / "r.html").read_text()
    assert "unknown service &#39;nosuch&#39;" in text and "postgresql" in text


def test_what_is_not_known_is_no_nought(fleet, capsys):  # noqa: F811
    """Neither where somebody looks first, nor in figures."""
    fleet.write(policies__base="version: 1\ninput: {default: drop}\n", policies__db="version: 1\n")
    fleet.write(policies__web="version: 1\ninput: {allow: [nosuch]}\n")
    assert main(["report", "--all", "-o", "r.html"]) == 1
    said = capsys.readouterr().err
    assert said.endswith(
        "r.html: 2 of 5 hosts looked at; 5 hosts of 3 different policies, 0 risky openings\n"
    )
    text = (fleet.path / "r.html").read_text()
    tile = "<b>0</b><span>risky openings, 0 of them high; of 3 hosts it is not known</span>"
    assert tile in text and "None where it is known; of 3 hosts it is not." in text
    assert main(["report", "--all", "-o", "r.html", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["unread"] == 3
    fleet.write(policies__base="version: 1\ninput: {allow: [nosuch]}\n")
    assert main(["report", "--all", "-o", "r.html"]) == 1
    assert "0 of 5 hosts looked at" in capsys.readouterr().err
    assert "<b>?</b><span>risky openings" in (fleet.path / "r.html").read_text()


def test_a_broken_invariant_is_told_and_is_3(fleet):  # noqa: F811
    text = (fleet.path / "inventory.yaml").read_text()
    fleet.write(inventory=text.replace("all:\n", "all:\n  vars: {fwpolicy_invariants: [rules.yaml]}\n"))
    fleet.write(rules="version: 1\nnever: [{allow: https, from: internet}]\n")
    assert main(["report", "--all", "-o", "r.html", "--quiet"]) == 3
    assert "this must never be let through, and is" in (fleet.path / "r.html").read_text()


def test_facts_of_strangers_and_broken_ones(fleet, capsys):  # noqa: F811
    fleet.file("facts/web-01.json", "{")
    fleet.file("facts/other.json", "{}")
    assert main(["report", "--all", "-o", "r.html", "--facts", "facts"]) == 0
    assert "facts: no policy is for: other" in capsys.readouterr().err
    assert "facts/web-01.json: not JSON: line 1" in (fleet.path / "r.html").read_text()
    assert main(["report", "--all", "-o", "r.html", "--facts", "nowhere"]) == 1
    assert capsys.readouterr().err.endswith("nowhere: No such file or directory\n")


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "r.html"],
        ["--all"],
        ["--all", "-o", "x", "--stale", "0"],
        ["--all", "-o", "x", "--stale", "1h"],
    ],
)
def test_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    assert ended.value.code == 64


def test_a_commit_and_what_is_not_committed(fleet, capsys):  # noqa: F811
    commit = fleet.commit()
    main(["report", "--all", "-o", "r.html", "--quiet"])
    text = (fleet.path / "r.html").read_text()
    assert commit[:12] in text and "not committed" not in text
    fleet.write(policies__web="version: 1\ninput: {allow: [http]}\n")
    main(["report", "--all", "-o", "r.html", "--quiet"])
    assert "with changes that are not committed" in (fleet.path / "r.html").read_text()
