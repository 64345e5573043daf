"""What files make together, their tests and options, and the policies that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwpolicy.addresses import EVERYWHERE, of
from fwpolicy.policy.model import ApplyOptions
from fwpolicy.policy.services import Service
from tests.policy.reading import HEAD, problems, read, warnings

POLICIES = Path(__file__).parent.parent.parent / "policies"


def test_the_name_is_the_files_stem():
    roles = HEAD + "roles: {ntp: client-only}\n"
    assert read(roles, names=("/etc/fwpolicy/web-01.eu.yaml",)).name == "web-01.eu"
    assert read(roles, names=("web",)).name == "web"
    assert read(roles, names=("<stdin>",)).name == "stdin"
    assert read(roles + "name: db\n", names=("web.yaml",)).name == "db"
    for bad in ("my policy.yaml", ".yaml", 'a"b.yaml', "é.yaml", "x" * 65 + ".yaml"):
        assert "cannot be one" in problems(roles, names=(bad,))[0]


def test_files_merge():
    one = (
        "name: web\ngroups: {a: 10.0.0.1}\nservices: {s: tcp/1}\n"
        "input: {default: drop, allow: [{service: t, from: b}]}\n"
    )
    other = (
        "groups: {b: [a, 10.0.0.2]}\nservices: {t: [s, tcp/2]}\n"
        "input: {default: drop, allow: [ssh], block: [{from: a}]}\n"
    )
    third = (
        "roles: {ntp: client-only}\noutput: {default: accept}\napply: {foreign: keep}\n"
        "tests: [{allow: ssh, from: any}]\n"
    )
    policy = read(HEAD + one, HEAD + other, HEAD + third)
    assert policy.name == "web"
    assert policy.files == ("a.yaml", "b.yaml", "c.yaml")
    first, second = policy.input.allow
    assert (first.origin.file, second.origin.file) == ("a.yaml", "b.yaml")
    assert first.match.source == of("10.0.0.1-10.0.0.2")
    assert len(first.match.services) == 2
    assert [rule.match.source for rule in policy.input.block] == [of("10.0.0.1")]
    assert policy.ntp.mode == "client-only"
    assert policy.apply.foreign == "keep"
    assert len(policy.tests) == 1
    assert not policy.is_overlay


def test_the_order_of_files_does_not_matter():
    one = HEAD + "input: {default: drop, allow: [ssh], block: [{from: 192.0.2.1}]}\n"
    other = HEAD + "roles: {ntp: client-only}\ninput: {default: drop, allow: [dns]}\nname: x\n"
    forth, back = read(one, other, names=("a.yaml", "b.yaml")), read(other, one, names=("b.yaml", "a.yaml"))
    assert set(forth.input.allow) == set(back.input.allow)
    assert forth.input.block == back.input.block
    assert (forth.ntp, forth.name) == (back.ntp, back.name)


def test_what_differs_is_refused_and_both_are_named():
    one = HEAD + "roles: {ntp: client-only}\ninput: {default: drop}\napply: {foreign: keep}\n"
    other = HEAD + "roles: {ntp: closed}\ninput: {default: accept}\napply: {foreign: refuse}\n"
    assert problems(one, other) == [
        "b.yaml:2:9: roles.ntp differs from the one at a.yaml:2:9",
        "b.yaml:3:18: default 'accept' differs from 'drop' at a.yaml:3:18",
        "b.yaml:4:18: apply.foreign 'refuse' differs from 'keep' at a.yaml:4:18",
    ]
    same = read(one, one, names=("a.yaml", "b.yaml"))
    assert same.input.default == "drop"


def test_a_file_that_cannot_be_read_makes_no_names_undeclared():
    wrong = problems(
        HEAD + "input: {default: drop, allow: [{from: lan}]}\n", HEAD + "groups: {lan: [10.0.0.0/8}\n"
    )
    assert wrong == ["b.yaml:2:26: a ',' or ']' is missing; the '[' is on line 2"]


# Tests and apply


def test_tests():
    text = (
        "roles: {ntp: client-only}\ntests:\n  - {allow: ntp, to: 192.0.2.1}\n"
        "  - {deny: udp, from: any, state: established, mode: 6}\n"
    )
    allow, deny = read(HEAD + text).tests
    assert (allow.allow, allow.hook, allow.destination, allow.state, allow.mode) == (
        *(True, "output", of("192.0.2.1")),
        *("new", 3),
    )
    assert (deny.allow, deny.hook, deny.source, deny.state, deny.mode) == (
        False,
        "input",
        EVERYWHERE,
        "established",
        6,
    )
    assert deny.services == (Service(17),)


def test_a_test_of_an_empty_group_tests_nothing():
    text = (
        "groups: {a: {optional: true, addresses: []}}\nroles: {ntp: client-only}\n"
        "tests: [{allow: ssh, from: a}]\n"
    )
    policy = read(HEAD + text)
    assert policy.tests == ()
    assert warnings(policy) == ["this line tests nothing: its group is empty"]


def test_apply():
    roles = HEAD + "roles: {ntp: client-only}\n"
    assert read(roles).apply == ApplyOptions()
    said = "apply: {conntrack: keep, foreign: keep, daemon-config: leave, on-boot-failure: closed}\n"
    assert read(roles + said).apply == ApplyOptions("keep", "keep", "leave", "closed")


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_policies(path):
    policy = read(path.read_text(encoding="utf-8"), names=(path.name,))
    assert policy.warnings == ()
    assert policy.name == path.stem
    assert policy.description
    assert policy.tests
    assert policy.backends == ("nft",)
    # Line breaks and a byte order mark are no part of the meaning.
    again = "\ufeff" + path.read_text(encoding="utf-8").replace("\n", "\r\n")
    assert read(again, names=(path.name,)) == policy
