"""Counters beside the lines of the policy, and as Prometheus reads them."""

from __future__ import annotations

import re

from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.deploy.counters import Count, PolicyLine, joined, line_texts, policy_lines, prometheus
from fwpolicy.policy.load import load

TEXT = b"""\
version: 1
name: p
roles: {ntp: client-only}
input:
  default: drop
  allow:
    - {service: ssh, id: admin}
    - service: http
      limit: 5/minute
      per: source
    - {service: https, from: 10.0.0.0/8, except: {from: 10.1.0.0/16}}
  block:
    - {from: 192.0.2.0/24}
"""


def lines(read_file=lambda path: TEXT) -> dict[str, PolicyLine]:
    policy = load((("p.yaml", TEXT),), lambda path: b"")
    return {
        each.counter: each for each in policy_lines(policy, compile_ruleset(policy), line_texts(read_file))
    }


def test_every_line_is_found():
    found = lines()
    assert found["allow_input_admin"] == PolicyLine(
        "allow_input_admin", "p.yaml", 7, "- {service: ssh, id: admin}", "admin"
    )
    assert {each.line for each in found.values()} >= {3, 7, 8, 11, 13}
    assert found["role_ntp_input_drop"].text == "roles: {ntp: client-only}"
    assert "invalid_input" not in found


def test_a_text_that_cannot_be_read_is_left_out():
    def gone(path):
        raise FileNotFoundError(path)

    assert {each.text for each in lines(gone).values()} == {""}
    assert {each.text for each in lines(lambda path: b"").values()} == {""}


def test_lines_that_are_not_in_force_and_counters_without_a_line():
    line = PolicyLine("a", "p.yaml", 1, "x")
    assert joined((line,), {"b": (1, 2)}) == (Count("a", line, None, None), Count("b", None, 1, 2))


def test_prometheus_reads_what_a_policy_may_say():
    line = PolicyLine("a", 'q"uote.yaml', 3, '- {comment: "back\\slash"}', "i")
    text = prometheus("p", (Count("a", line, 1, 90), Count("b", None, 0, 0)))
    assert 'fwpolicy_packets_total{policy="p",counter="a"} 1\n' in text
    assert 'fwpolicy_bytes_total{policy="p",counter="b"} 0\n' in text
    assert 'id="i",file="q\\"uote.yaml",line="3",text="- {comment: \\"back\\\\slash\\"}"} 1\n' in text
    label = r'[a-z]+="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf"fwpolicy_[a-z_]+\{{{label}(?:,{label})*\}} \d+")
    assert all(sample.fullmatch(each) or each.startswith("# ") for each in text.splitlines())
    assert text.endswith("\n")


def test_a_line_is_the_line_that_the_parser_counted():
    odd = TEXT.replace(b"name: p\n", "name: p # a\u2028# b\n".encode())
    policy = load((("p.yaml", odd),), lambda path: b"")
    found = policy_lines(policy, lower(policy, Facts()), line_texts(lambda path: odd))
    (admin,) = (each for each in found if each.id == "admin")
    assert admin.text == "- {service: ssh, id: admin}"
