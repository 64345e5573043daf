"""Rules of ours in and out of iptables, both variants: whole or not at all, none of others' touched."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from fwpolicy.backends.iptables import reload
from fwpolicy.deploy import xtload, xtproof
from fwpolicy.deploy.script.pieces import piece
from fwpolicy.errors import CheckFailedError, HostError
from fwpolicy.host import xtables
from fwpolicy.host.xtables import XTables
from fwpolicy.record import replace
from tests.golden import cases
from tests.lab import netns
from tests.lab.holder import run
from tests.property.strategies import loaded

pytestmark = pytest.mark.kernel

VARIANTS = ("legacy", "nft")
COMMANDS = ("iptables", "ip6tables")
OTHERS = {
    "iptables": """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:f2b-sshd - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
-A INPUT -m comment --comment "not -j FWPOLICY-INPUT" -j ACCEPT
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
-A f2b-sshd -s 198.51.100.9/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-sshd -j RETURN
COMMIT
""",
    "ip6tables": """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -j ACCEPT
COMMIT
""",
}
MANY = """version: 1
name: many
groups:
  many: [{members}]
  banned: {{dynamic: 1h}}
input:
  default: drop
  allow: [{{service: ssh, from: many}}]
  block: [{{from: banned}}]
"""


def many(count: int):
    members = ", ".join(f"10.0.{number * 2}.1" for number in range(count))
    return xtproof.compiled(loaded(MANY.format(members=members)))


def rules(variant: str) -> list[list[str]]:
    """What is saved, without what says nothing: times, counts, the order of tables, and tables that are empty
    (a table that was once looked at stays)."""
    found = []
    for command in COMMANDS:
        lines = run(f"{command}-{variant}-save").stdout.splitlines()
        said = [line.partition(" [")[0] for line in lines if line[0] not in "#*" and line != "COMMIT"]
        found.append(sorted(line for line in said if " ACCEPT" not in line or line[0] != ":"))
    return found


def members() -> list[str]:
    """What is in all sets; in them there is no order, and time passes."""
    lines = run("ipset", "save").stdout.splitlines()
    return sorted(line.partition(" hashsize")[0].partition(" timeout")[0] for line in lines)


def beside_others(variant: str, do):
    """`do(tables)` in a namespace that has others' rules; what it returns, when they were found untouched."""

    def inside():
        for command in COMMANDS:
            run(f"{command}-{variant}-restore", input=OTHERS[command])
        before, tables = rules(variant), XTables(variant)
        found = do(tables)
        xtload.remove(tables)
        assert rules(variant) == before
        assert not xtables.ipsets()
        return found

    return netns.call(inside)


@pytest.mark.parametrize("variant", VARIANTS)
def test_loads_follow_each_other_with_one_jump_in_first_place(variant):
    def do(tables):
        for case in ("router", "router", "ntp-client", "bastion", "holes", "holes"):
            texts = cases.iptables(case)
            xtload.load(tables, texts)
            xtload.tidy(tables, texts)
            now = xtload.listing(tables)
            assert now.is_ours and not now.ahead
            for text in now.rules:
                jumps = [line for line in text.splitlines() if line.startswith("-A INPUT")]
                assert jumps[0] == "-A INPUT -j FWPOLICY-INPUT"
                assert jumps.count(jumps[0]) == 1
            assert "-A FORWARD -j FWPOLICY-FORWARD" in now.rules[0] or case != "router"

    beside_others(variant, do)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_load_of_the_same_changes_nothing_that_is_listed(variant):
    def do(tables):
        xtload.load(tables, many(20))
        first = rules(variant), members()
        xtload.load(tables, many(20))
        assert (rules(variant), members()) == first

    beside_others(variant, do)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("before", ["ntp-client", None])
def test_both_families_or_neither(variant, before):
    """The last line of the second family is refused, when all else is there."""

    def do(tables):
        if before:
            xtload.load(tables, cases.iptables(before))
        there = rules(variant)
        texts = many(20)
        for family in (0, 1):
            broken = list(texts.rules)
            text = broken[family].text.replace("COMMIT\n", "-A FWPOLICY-INPUT -j NOSUCH\nCOMMIT\n")
            broken[family] = replace(broken[family], text=text)
            with pytest.raises(HostError, match=COMMANDS[family]):
                xtload.load(tables, replace(texts, rules=tuple(broken)))
            assert rules(variant) == there
            assert not xtables.ipsets()

    beside_others(variant, do)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_table_that_is_refused_takes_those_before_it_along(variant):
    def do(tables):
        xtload.load(tables, cases.iptables("web-server"))
        there = rules(variant)
        texts = cases.iptables("router")
        first, second = texts.rules
        assert first.text.index("*nat") < first.text.index("*filter")
        head, star, tail = first.text.partition("*filter")
        text = head + star + tail.replace("COMMIT\n", "-A FWPOLICY-INPUT -j NOSUCH\nCOMMIT\n")
        with pytest.raises(HostError):
            xtload.load(tables, replace(texts, rules=(replace(first, text=text), second)))
        assert rules(variant) == there

    beside_others(variant, do)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_listed_otherwise_is_taken_back(variant):
    def do(tables):
        xtload.load(tables, cases.iptables("ntp-client"))
        there = rules(variant)

        class Lossy(XTables):
            """Loads something else, once for each family."""

            left = 2

            def restore(self, family, text):
                self.left -= 1
                super().restore(
                    family, text.replace("--dport 123", "--dport 124") if self.left >= 0 else text
                )

        with pytest.raises(CheckFailedError, match="proof failed"):
            xtload.load(Lossy(variant), cases.iptables("ntp-server"))
        assert rules(variant) == there

    beside_others(variant, do)


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_members_are_another_set_and_who_was_banned_stays_so(variant):
    def do(tables):
        first, second = many(20), many(30)
        xtload.load(tables, first)
        run("ipset", "add", "fwp-banned_v4", "198.51.100.9")
        old = xtload.listing(tables).sets
        before = xtload.load(tables, second)
        both = xtload.listing(tables).sets
        assert len(both) == len(old) + 1 and set(old) < set(both), "the way back needs the old one"
        xtload.put_back(tables, before)
        assert xtload.listing(tables).sets == old
        xtload.load(tables, second)
        assert xtload.tidy(tables, second) == ()
        assert len(xtload.listing(tables).sets) == len(old)
        assert "198.51.100.9" in run("ipset", "save", "fwp-banned_v4").stdout

    beside_others(variant, do)


def test_a_set_that_others_look_into_stays_and_is_named():
    def inside():
        tables = XTables("legacy")
        xtload.load(tables, many(20))
        run(
            "iptables-legacy",
            "-A",
            "OUTPUT",
            *["-m", "set", "--match-set", "fwp-banned_v4", "dst", "-j", "DROP"],
        )
        return xtload.remove(tables)

    assert netns.call(inside) == ("fwp-banned_v4",)


def test_a_tampered_set_is_filled_again():
    def inside():
        tables, texts = XTables("legacy"), many(20)
        xtload.load(tables, texts)
        (name,) = xtproof.static_sets(texts)
        run("ipset", "add", name, "0.0.0.0/1")
        with pytest.raises(CheckFailedError):
            xtproof.prove_listed(texts, xtload.listing(tables).rules, xtables.saved_ipsets([name]), "here")
        xtload.load(tables, texts)

    netns.call(inside)


def test_who_holds_the_lock_is_waited_for_and_then_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "lock"))
    monkeypatch.setattr(xtables, "_PATIENCE", 1)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(HostError, match="another program holds the xtables lock"):
            netns.call(lambda: xtload.load(XTables("legacy"), cases.iptables("ntp-client")))


def test_versions_that_cannot_wait_are_not_asked_to(monkeypatch, tmp_path):
    said = {
        "iptables": "echo iptables v1.4.7",
        "iptables-restore": f'echo "$@" > {tmp_path}/said; exec iptables-legacy-restore "$@"',
    }
    for name, line in said.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    text = "*filter\n:FWPOLICY-INPUT - [0:0]\nCOMMIT\n"
    netns.call(lambda: XTables().restore(4, text))
    assert Path(tmp_path, "said").read_text() == "--noflush\n"


def test_a_host_without_iptables_gets_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="there is no iptables-save on this host"):
        xtload.load(XTables(), cases.iptables("ntp-client"))


def test_what_came_before_us_is_named_and_loading_puts_us_first_again():
    def inside():
        tables, texts = XTables("nft"), cases.iptables("container-host")
        xtload.load(tables, texts)
        run("iptables-nft", "-N", "DOCKER-USER")
        run("iptables-nft", "-I", "FORWARD", "-j", "DOCKER-USER")
        ahead = xtload.listing(tables).ahead
        xtload.load(tables, texts)
        return ahead, xtload.listing(tables).ahead

    assert netns.call(inside) == (("filter: -A FORWARD -j DOCKER-USER",), ())


def test_a_comment_that_looks_like_a_jump_is_none():
    saved = OTHERS["iptables"]
    assert reload.restore("", saved) == ""
    assert reload.ours(saved) == ""


@pytest.mark.parametrize("variant", VARIANTS)
def test_by_hand_without_python(variant, tmp_path):
    """docs/iptables.md, as it stands there: again and again, one policy after another, and away."""
    (tmp_path / "fwpolicy.awk").write_text(piece("reload.awk"))

    def pipe(command: str, rules: str) -> None:
        line = f"{command}-{variant}-save | awk -v text={rules} -f fwpolicy.awk"
        run("sh", "-ec", f"{line} | {command}-{variant}-restore --noflush", cwd=tmp_path)

    def do(tables):
        for _ in range(2):
            for case in ("bastion", "router"):
                texts = cases.iptables(case)
                for artifact in texts.all:
                    (tmp_path / artifact.name).write_text(artifact.text)
                if texts.sets:
                    run("sh", "-ec", "ipset restore < fwpolicy.ipset", cwd=tmp_path)
                for command, artifact in zip(COMMANDS, texts.rules, strict=True):
                    pipe(command, artifact.name)
                now = xtload.listing(tables)
                names = xtproof.static_sets(texts)
                xtproof.prove_listed(texts, now.rules, xtables.saved_ipsets(names), variant)
                assert not now.ahead and now.rules[0].count("-A INPUT -j FWPOLICY-INPUT") == 1
        for command in COMMANDS:
            pipe(command, "/dev/null")
        assert not xtload.listing(tables).is_ours

    beside_others(variant, do)
