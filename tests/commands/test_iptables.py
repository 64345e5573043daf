"""The verbs on policies for iptables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.deploy import xtproof
from fwpolicy.record import replace

CHECKOUT = Path(__file__).parents[2]
BOTH = "version: 1\nname: both\nbackends: [nft, iptables]\ninput:\n  default: drop\n  allow:\n    - {}\n"
LIMITED = BOTH.format("{service: https, limit: 5/second}")


@pytest.fixture
def write(tmp_path):
    def written(text: str) -> str:
        path = tmp_path / "both.yaml"
        path.write_text(text)
        return str(path)

    return written


def test_compile_is_the_same_bytes_every_time():
    texts = set()
    for seed in ("0", "4711"):
        done = subprocess.run(
            [sys.executable, "-m", "fwpolicy", "compile", "--backend", "iptables", "bastion"],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        )
        texts.add(done.stdout)
    golden = CHECKOUT / "tests/golden/bastion"
    assert texts == {"\n".join((golden / name).read_text() for name in ("ipset", "rules.v4", "rules.v6"))}


def test_compile_into_a_folder(tmp_path):
    assert main(["compile", "ntp-client", "--backend", "iptables", "-o", str(tmp_path / "build")]) == 0
    names = {path.name for path in (tmp_path / "build").iterdir()}
    assert {"fwpolicy.rules.v4", "fwpolicy.rules.v6", "fwpolicy.awk", "chrony.conf"} <= names
    assert not names & {"ruleset.nft", "fwpolicy.ipset", "boot.sh"}
    assert (tmp_path / "build/fwpolicy.rules.v4").stat().st_mode & 0o777 == 0o600


def test_without_u32_says_what_stays_open(write, capsys):
    assert main(["compile", "ntp-client", "--backend", "iptables", "--without-u32"]) == 0
    shown = capsys.readouterr()
    assert "u32" not in shown.out and "--ctstate ESTABLISHED" in shown.out
    assert "cannot tell the NTP mode" in shown.err
    assert main(["compile", write(BOTH.format("ssh")), "--backend", "iptables", "--without-u32"]) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize("verb", ["check", "prove", "compile"])
def test_what_iptables_cannot_say_is_refused_with_the_line(verb, write, capsys):
    path = write(LIMITED)
    more = ["--backend", "iptables"] if verb == "compile" else []
    assert main([verb, path, *more]) == 1
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        f"{path}:7:7: error: iptables: this limit is one for both families, which iptables counts apart",
        "      - {service: https, limit: 5/second}",
        "        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
        "  hint: a line for each family, which then has its own; or 'per: source' in this one:",
        "          - {..., limit: 5/second, family: ipv4}",
        "          - {..., limit: 5/second, family: ipv6}",
    ]
    assert not shown.out


def test_check_says_it_as_json(write, capsys):
    assert main(["check", write(LIMITED), "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["at"]["line"] == 7 and problem["message"].startswith("iptables: this limit")


def test_only_the_backends_that_a_policy_names_are_asked(write, capsys):
    assert main(["check", write(LIMITED.replace("[nft, iptables]", "nft"))]) == 0
    assert main(["check", write(LIMITED.replace("[nft, iptables]", "iptables"))]) == 1
    assert main(["check", write(LIMITED), "--no-prove"]) == 1
    capsys.readouterr()


@pytest.mark.parametrize("verb", ["check", "prove"])
def test_a_wrong_text_is_refuted_with_a_packet(verb, write, capsys, monkeypatch):
    """For each backend by itself: nft's text is right here."""
    right = xtproof.compiled

    def wrong(policy, *more):
        texts = right(policy, *more)
        second = replace(texts.rules[1], text=texts.rules[1].text.replace("--dport 22", "--dport 23"))
        return replace(texts, rules=(texts.rules[0], second))

    path = write(BOTH.format("ssh"))
    assert main([verb, path]) == 0
    monkeypatch.setattr(xtproof, "compiled", wrong)
    assert main([verb, path]) == 3
    shown = capsys.readouterr().err
    assert "what was compiled from it for iptables does not do what the policy does" in shown
    assert "  packet: input tcp/22 from [2001:db8" in shown
    assert "fwpolicy.rules.v6:" in shown and "step allow" in shown


def test_our_own_texts_are_asked_like_any_other(tmp_path, capsys):
    assert main(["compile", "web-server", "--backend", "iptables", "-o", str(tmp_path), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["explain", str(tmp_path / "fwpolicy.rules.v6"), "tcp/3306 from 2001:db8:2::7"]) == 0
    shown = capsys.readouterr().out
    assert "drop" in shown and "fwpolicy.rules.v6:" in shown and "default_input" in shown
