"""Tests of policies: every member of what they say, and an error for what they leave out."""

from __future__ import annotations

import pytest

from fwpolicy.model.expect import failures
from tests.policy.reading import HEAD, read

ZONES = 'zones: {wan: eth0, lan: [eth1, "wg*"]}\n'
INPUT = "input: {default: drop, allow: [%s], block: [%s]}\ntests: [%s]\n"


def failed(text: str) -> list[str]:
    return [problem.message.removeprefix("test failed: ") for problem in failures(read(HEAD + text))]


def left_out(text: str) -> list[str]:
    prefix = "the verdict depends on what this test leaves out: "
    messages = failed(text)
    assert all(message.startswith(prefix) for message in messages), messages
    return [message.removeprefix(prefix) for message in messages]


@pytest.mark.parametrize(
    ("allow", "block", "test", "more", "what"),
    [
        ("{service: ssh, in: lan}", "", "deny: ssh, from: any", "in: wan", "the incoming interface ('in')"),
        (
            *("{service: dns, sport: 53}", "", "deny: dns, from: any", "sport: [1-52, 54-65535]"),
            "the source port ('sport')",
        ),
        (
            *("{service: ssh, local: 192.0.2.1}", "", "allow: ssh, from: 10.0.0.1", "local: 192.0.2.1"),
            "the host's own address ('local')",
        ),
        (
            "ssh",
            "{from: any, expires: 2027-01-31}",
            "deny: ssh, from: any",
            "at: 2027-01-31",
            "the time ('at')",
        ),
        (
            *("ssh", "{from: banned}", "allow: ssh, from: any", "source-in: none"),
            "the dynamic groups that the source is in ('source-in')",
        ),
        (
            *("ssh", "{service: ssh, local: banned}", "deny: ssh, from: any", "destination-in: banned"),
            "the dynamic groups that the destination is in ('destination-in')",
        ),
    ],
)
def test_what_decides_must_be_said(allow, block, test, more, what):
    head = ZONES + "groups: {banned: {dynamic: 1h}}\n"
    assert left_out(head + INPUT % (allow, block, f"{{{test}}}")) == [what]
    assert failed(head + INPUT % (allow, block, f"{{{test}, {more}}}")) == []


def test_what_is_left_out_may_not_matter():
    lines = "{service: ssh, in: lan}, {service: ssh, from: 10.0.0.0/8}"
    assert failed(ZONES + INPUT % (lines, "", "{allow: ssh, from: 10.0.0.1}, {deny: http, from: any}")) == []


def test_every_interface_of_a_zone_counts():
    text = 'zones: {lan: [eth1, "wg*"], tunnel: wg7}\n' + INPUT % (
        "{service: ssh, in: lan}",
        "{service: ssh, in: tunnel}",
        "%s",
    )
    assert failed(text % "{allow: ssh, from: 10.0.0.1, in: lan}") == [
        "the policy says drop, not allow, for: input tcp/22 from 10.0.0.1:40000 to 192.0.2.1 state new in wg7"
    ]
    assert failed(text % "{deny: ssh, from: 10.0.0.1, in: tunnel}") == []


def test_forward_wants_both_interfaces_where_both_decide():
    text = ZONES + "forward: {default: drop, allow: [{in: lan, out: wan}]}\ntests: [%s]\n"
    test = "allow: ssh, from: 10.0.0.1, to: 192.0.2.1"
    assert failed(text % f"{{{test}, in: lan, out: wan}}") == []
    assert left_out(text % f"{{{test}, in: lan}}") == ["the outgoing interface ('out')"]
    assert left_out(text % f"{{{test}}}")[0].startswith("the incoming interface ('in')")
    assert failed(text % "{deny: ssh, from: 10.0.0.1, to: 192.0.2.1, in: wan}") == []


def test_a_port_forward_is_tested_by_the_port_it_is_asked_for():
    text = (
        ZONES + "forward: {default: drop}\n"
        "nat: {forward: [{in: wan, service: https, to: 192.168.1.10, port: 8443}]}\ntests: [%s]\n"
    )
    test = "tcp/8443, from: internet, to: 192.168.1.10"
    assert failed(text % f"{{allow: {test}, published: 443, in: wan}}") == []
    assert left_out(text % f"{{allow: {test}, published: 443}}") == ["the incoming interface ('in')"]
    assert failed(text % f"{{deny: {test}}}") == []
    assert (
        len(failed(text % "{allow: tcp/8443, from: any, to: 192.168.1.0/24, published: 443, in: wan}")) == 1
    )


def test_a_failure_shows_both_cases():
    (problem,) = failures(
        read(HEAD + ZONES + INPUT % ("{service: ssh, in: lan}", "", "{allow: ssh, from: 10.0.0.1}"))
    )
    one, other = problem.hint.split("\n        ")
    assert one.startswith(
        "accept for: input tcp/22 from 10.0.0.1:40000 to 192.0.2.1 state new in eth1; step allow"
    )
    assert other.startswith("drop for: input tcp/22 from 10.0.0.1:40000 to 192.0.2.1 state new; step default")


def test_lists_mean_every_member():
    text = INPUT % ("{service: ssh, from: 10.0.0.0/8}", "{from: 10.9.9.9}", "{allow: ssh, from: 10.0.0.0/8}")
    assert failed(text) == [
        "the policy says drop, not allow, for: input tcp/22 from 10.9.9.9:40000 to 192.0.2.1 state new"
    ]
