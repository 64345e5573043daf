"""fwpolicy test --kernel: a policy's tests as real packets, and what is said of those that cannot be sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.deploy.trial import rules
from fwpolicy.deploy.trial.shots import likely, spare
from fwpolicy.deploy.trial.trial import Trial
from fwpolicy.host import arena

from ..golden import cases
from ..lab.holder import run

pytestmark = pytest.mark.kernel

POLICY = """\
version: 1
name: trial
backends: [{backends}]
groups:
  bad: {{dynamic: 1h}}
zones: {{lan: [eth1, "wg*"], wan: eth0}}
input:
  default: drop
  allow:
    - {{service: ssh, from: any, limit: 3/hour, burst: 3, per: source}}
    - {{service: http, from: any}}
    - {{service: tcp/8080, from: any, published: true}}
    - {{service: tcp/9000, from: any, expires: 2037-01-01}}
    - {{service: tcp/7001, in: lan}}
  block:
    - {{from: bad, service: http}}
output: {{default: accept, block: [{{service: telnet, to: any, action: reject}}]}}
forward:
  default: drop
  allow:
    - {{service: https, in: lan, out: wan}}
tests:
"""
HOLDS = """\
  - {allow: ssh, from: 198.51.100.0/24}
  - {deny: telnet, from: any}
  - {deny: telnet, to: any}
  - {deny: http, from: 198.51.100.7, source-in: bad}
  - {allow: http, from: 198.51.100.7, source-in: none}
  - {allow: tcp/81, from: 203.0.113.5, published: "8080"}
  - {allow: https, from: any, to: any, in: lan, out: wan}
  - {deny: https, from: any, to: any, in: wan, out: lan}
  - {allow: udp/5000, from: any, state: established}
  - {allow: udp/5000, from: any, state: related}
  - {deny: udp/5000, from: any, state: invalid}
  - {deny: udp/5000, from: any, state: untracked}
  - {allow: tcp/7001, from: 203.0.113.5, in: lan}
  - {deny: tcp/7002, from: "ff02::1", local: "ff02::fb"}
"""


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Runs `test --kernel` on a policy with those tests."""
    monkeypatch.chdir(tmp_path)

    def ask(tests: str, *options: str, backends: str = "nft"):
        (tmp_path / "p.yaml").write_text(POLICY.format(backends=backends) + tests)
        code = main(["test", "--kernel", "p.yaml", *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return ask


@pytest.mark.parametrize("backends", ["nft", "iptables"])
def test_each_is_sent_and_told_with_its_packet(said, backends):
    code, text = said(HOLDS, "--json", backends=backends)
    found = {each["at"]["line"]: each for each in json.loads(text)["tests"]}
    assert code == 0
    tried = [each["kernel"][backends] for each in found.values()]
    # A source that no packet has is the only one that was not sent.
    assert [bool(each["packets"]) for each in tried] == [True] * 13 + [False]
    assert [each["verdict"] for each in tried[:6]] == ["accept", "drop", "reject", "drop", "accept", "accept"]
    assert tried[6]["packet"].startswith("forward tcp/443 from ") and tried[6]["packet"].endswith("out eth0")
    assert "no packet has such a source" in tried[13]["not_tried"][0]["reason"]


def test_a_limit_is_unspent_for_each(said, monkeypatch):
    """Three of one source pass; the others are asked again, each before a fresh ruleset."""
    alone, asked = Trial.send_alone, []
    monkeypatch.setattr(Trial, "send_alone", lambda trial, shot: asked.append(shot) or alone(trial, shot))
    code, text = said("  - {allow: ssh, from: 198.51.100.7}\n" * 6)
    assert (code, len(asked)) == (0, 3)
    assert text.endswith("trial: 6 held, 0 failed, 6 packets sent\n")


def test_what_the_clock_says_is_not_tried(said):
    code, text = said("  - {deny: tcp/9000, from: any, at: 2037-01-02}\n")
    assert code == 0
    assert "not sent, held by the model: p.yaml:" in text and "the kernel's clock is this machine's" in text
    assert text.endswith("trial: 1 held, 0 failed, 1 not sent\n")


@pytest.mark.parametrize("hook", ["input", "forward", "output"])
def test_what_the_kernel_does_otherwise_is_3(said, monkeypatch, hook):
    """The ruleset is wrong, and the model knows nothing of it."""
    right = rules.compiled

    def wrong(policy):
        artifact = right(policy)
        text = artifact.text.replace("policy drop", "policy accept")
        unwanted = ("counter name", "reject")
        kept = [line for line in text.splitlines(True) if not any(word in line for word in unwanted)]
        return type(artifact)(artifact.name, "".join(kept))

    monkeypatch.setattr(rules, "compiled", wrong)
    ends = {"input": "from: any", "output": "to: any", "forward": "from: any, to: any"}[hook]
    code, text = said(f"  - {{deny: telnet, {ends}}}\n")
    assert code == 3
    assert f"the kernel says accept, not deny, for: {hook} tcp/23" in text
    assert "please report it" in text and "0 held, 1 failed" in text


def test_a_test_that_the_policy_itself_fails_is_3_too(said):
    code, text = said("  - {deny: http, from: 203.0.113.5, source-in: none}\n", "--quiet")
    assert code == 3 and "the policy says accept, not deny" in text


def test_nothing_of_it_is_left_and_nothing_of_this_host_is_touched(said):
    before = seen_here()
    assert said(HOLDS)[0] == 0
    assert seen_here() == before


def seen_here():
    """The namespace of this thread, what is open, and what is in the network."""
    listed = [run(*command).stdout for command in (("nft", "list", "tables"), ("ip", "-br", "link"))]
    opened = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    return Path("/proc/thread-self/ns/net").readlink(), opened, listed


@pytest.mark.parametrize("case", [case for case in cases.CASES if cases.policy(case).tests])
def test_golden_policies(case, capsys):
    assert main(["test", "--kernel", str(cases.HERE / case / "policy.yaml")]) == 0
    assert "packets sent" in capsys.readouterr().out


def test_a_host_that_refuses_is_a_message(said, monkeypatch):
    monkeypatch.setattr(arena, "SETTINGS", (("ipv4/conf/nowhere/rp_filter", "0"),))
    code, text = said("  - {deny: telnet, from: any}\n")
    assert (code, text) == (
        1,
        "fwpolicy: cannot write /proc/sys/net/ipv4/conf/nowhere/rp_filter: No such file or directory\n",
    )


def test_an_address_that_a_packet_can_have():
    assert likely("source", 4, 0, 0xFFFFFFFF) == 0xCB007109
    assert likely("source", 4, 0, 0xFFFFFF) == 0
    assert likely("source", 4, 0, 0x02000000) == 0x01000000
    assert likely("destination", 4, 0, 0x7F000001) == 0x7EFFFFFF
    assert likely("source", 6, 0, 1 << 90) == 1 << 80


def test_an_interface_that_no_line_names():
    assert spare(("eth0", "wg*")) == "other"
    assert spare(("o*", "a*")) == "bother"
