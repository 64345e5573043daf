"""What iptables cannot say exactly is refused, with the policy's line; nothing is refused without a case."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fwpolicy.backends import iptables
from fwpolicy.deploy import xtproof
from fwpolicy.errors import PolicyError
from tests.property.strategies import loaded

PACKAGE = Path(iptables.__file__).parent
FORWARD = "nat: {forward: [{in: wan, service: https, to: 10.0.0.2, hairpin: true}]}"
MANY = ", ".join(f"198.51.{n}.0/24" for n in range(0, 140, 2))
# (what is refused, the line, what else the policy says)
CASES = (
    ("this limit is one for both families", "{service: https, limit: 5/second}", ""),
    ("this limit is one for both families", "{service: https, max: 5}", ""),
    ("7000/second is not to be had", "{service: ssh, limit: 7000/second, per: source}", ""),
    ("7000/second is not to be had", "{service: ssh, limit: 7000/second, family: ipv4}", ""),
    ("a burst is at most 10000, not 20000", "{service: ssh, limit: 9/second, burst: 20000, per: source}", ""),
    ("5 at 3/day is more than a day's", "{service: ssh, limit: 3/day, per: source}", ""),
    ("'expires' ends in January 2038", "{service: ssh, expires: 2039-01-01}", ""),
    ("ICMP type 255 is every type", "{service: icmp/255}", ""),
    ("protocol 0 is every protocol", "{service: ip/0}", ""),
    (
        "'max' would be counted twice",
        "{service: https, max: 5, per: source, published: true}",
        "forward: {default: drop}",
    ),
    (
        "'published' cannot look up the address",
        "{service: ssh, local: banned, published: true}",
        "groups: {banned: {dynamic: 1h}}",
    ),
    (
        "'published' takes at most 64 prefixes",
        "{service: ssh, local: many, published: true, family: ipv4}",
        f"groups: {{many: [{MANY}]}}",
    ),
    (
        "a-name-that-is-longer-than-a-set's is too long".replace("'s", "_v4'").replace("a-name", "'a-name"),
        "{service: ssh, from: a-name-that-is-longer-than-a-set}",
        "groups: {a-name-that-is-longer-than-a-set: {dynamic: 1h}}",
    ),
)
# What no policy of a page makes: refusals against faults of our own, and sizes.
ELSEWHERE = (
    "two limits have one checksum",
    "an interface that is none of several",
    "but not one of its interfaces",
    "a map of verdicts is nft's",
    "a set takes",
    "takes {} chains in a row",
)


def refused(line: str, rest: str) -> PolicyError:
    text = f"version: 1\nname: refused\ninput:\n  default: drop\n  allow:\n    - {line}\n{rest}\n"
    with pytest.raises(PolicyError) as found:
        xtproof.compiled(loaded(text))
    return found.value


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("{service: [https, dns], limit: 6/minute}", "limit: 6/minute"),
        ("{service: https, max: 9, limit: 6/hour, burst: 7, log: true}", "max: 9, limit: 6/hour, burst: 7"),
        ("{from: any, in: wan, max: 5, except: {service: ssh}}", "max: 5"),
    ],
)
def test_a_limit_of_both_families_is_shown_as_the_lines_to_write(line, keys):
    (problem,) = refused(line, "zones: {wan: eth0}").problems
    head, *lines = problem.hint.split("\n")
    assert "per: source" in head
    assert [each.strip() for each in lines] == [f"- {{..., {keys}, family: ipv{n}}}" for n in (4, 6)]


@pytest.mark.parametrize(("message", "line", "rest"), CASES)
def test_it_is_refused_with_the_line(message, line, rest):
    error = refused(line, rest)
    assert [message in problem.message for problem in error.problems].count(True) == 1
    for problem in error.problems:
        assert problem.message.startswith("iptables: ")
        assert problem.span.line == 6


def test_all_problems_are_told_at_once_and_each_once():
    text = """version: 1
name: several
input:
  default: drop
  allow:
    - {service: [https, http], limit: 5/second}
    - {service: icmp/255}
    - {service: ssh, limit: 3/day, per: source, in: lan}
zones: {lan: [a, b]}
"""
    with pytest.raises(PolicyError) as found:
        xtproof.compiled(loaded(text))
    assert [problem.span.line for problem in found.value.problems] == [6, 7, 8]


def test_exceptions_of_the_same_packets_may_be_too_many():
    lines = "".join(
        f"    - {{from: 10.0.0.0/8, except: {{from: 10.0.{number}.0/24}}}}\n" for number in range(20)
    )
    text = f"version: 1\nname: deep\ninput:\n  default: drop\n  allow:\n{lines}"
    with pytest.raises(PolicyError, match="takes 21 chains in a row, iptables-nft 15") as found:
        xtproof.compiled(loaded(text))
    assert [problem.span.line for problem in found.value.problems] == [25]


def test_a_log_is_never_refused():
    """How often it is written decides nothing: the nearest rate will do."""
    text = """version: 1
name: logs
log: {denied: true, rate: 1/day}
input:
  default: drop
  allow: [{service: ssh, log: true}]
"""
    texts = xtproof.compiled(loaded(text))
    xtproof.prove_compiled(loaded(text), None, texts)
    assert "--hashlimit-upto 1/day --hashlimit-burst 1 " in texts.rules[0].text
    assert "--limit 1/day --limit-burst 1 " in texts.rules[0].text


def messages() -> set[str]:
    """The texts of all refusals, with {} for what is filled in."""
    found = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "CannotSayError":
                found.add(_text(node.args[0]))
    return found


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(str() as text):
            return text
        case ast.JoinedStr(values):
            return "".join(value.value if isinstance(value, ast.Constant) else "{}" for value in values)
        case _:
            return "this limit is one for both families"


def test_every_refusal_has_a_case():
    told = [problem.message for _, line, rest in CASES for problem in refused(line, rest).problems]
    missing = [
        message
        for message in messages()
        if not any(all(part in said for part in message.split("{}")) for said in told)
        and not any(known in message for known in ELSEWHERE)
    ]
    assert messages() and not missing
