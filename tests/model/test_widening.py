"""Limits that differ: a proof notices, and a diff tells only the direction that the change has."""

from __future__ import annotations

import pytest

from fwpolicy.deploy import proof
from fwpolicy.errors import CheckFailedError
from fwpolicy.model import nft, prove
from fwpolicy.model.compare import changes
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.pairing import alike
from fwpolicy.model.widening import is_wider
from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.backends.test_nft_read import listed


def policy(line: str, name: str = "p.yaml"):
    text = f"version: 1\nname: p\ninput:\n  default: drop\n  allow:\n    - {line}\n"
    return load(((name, text.encode()),), lambda path: b"")


CASES = [
    ("limit: 5/second", "limit: 6/second", {"allowed"}),
    ("limit: 5/second", "limit: 301/minute", {"allowed"}),
    ("limit: 6/second", "limit: 5/second", {"denied"}),
    ("max: 9", "max: 20", {"allowed"}),
    ("limit: 5/second, max: 9", "limit: 6/second, max: 20", {"allowed"}),
    ("limit: 5/second, max: 9", "limit: 6/second, max: 8", {"allowed", "denied"}),
    ("limit: 5/second, burst: 9", "limit: 6/second, burst: 8", {"allowed", "denied"}),
]


@pytest.mark.parametrize(("old", "new", "wanted"), CASES)
@pytest.mark.parametrize("per", ["", ", per: source"])
def test_a_wider_limit_denies_nothing(old, new, wanted, per):
    one, other = (policy(f"{{service: dns, {each}{per}}}") for each in (old, new))
    found = changes(of_policy(one), of_policy(other))
    assert {change.what for change in found} == wanted
    texts = [nft.of_text(proof.compiled(each).text, "p.nft") for each in (one, other)]
    assert {change.what for change in changes(*texts)} == wanted


@pytest.mark.parametrize(
    "line", ["{service: http, limit: 6/second}", "{service: ssh, limit: 6/second, per: source}"]
)
def test_limits_of_other_traffic_are_no_pair(line):
    one, other = policy("{service: ssh, limit: 5/second}"), policy(line)
    found = changes(of_policy(one), of_policy(other))
    assert {change.what for change in found} == {"allowed", "denied"}


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("rate 5/second burst 5", "rate 5/second burst 5", True),
        ("rate 1/second burst 5", "rate 59/minute burst 5", True),
        ("rate 1/second burst 4", "rate 1/minute burst 5", False),
        ("rate over 9/second burst 5", "rate 5/second burst 5", False),
        ("rate 9/second burst 5 per ipv4 source", "rate 5/second burst 5", False),
        ("count 9 per ipv4 source", "count 8 per ipv4 source", True),
        ("count 9", "rate 5/second burst 5", False),
        ("quota", "quota", False),
    ],
)
def test_what_is_wider(one, other, wanted):
    assert is_wider(one, other) == wanted


@pytest.mark.parametrize("per", ["", ", per: source"])
def test_another_rate_under_the_same_name_is_no_proof(per):
    """nft's objects and sets have a name, and what they let through is none of it."""
    artifact = proof.compiled(policy(f"{{service: ssh, limit: 5/second{per}}}"))
    assert "rate 5/second" in artifact.text
    one = nft.of_text(artifact.text, "one.nft")
    other = nft.of_text(artifact.text.replace("rate 5/second", "rate 5000/second"), "other.nft")
    same = nft.of_text(artifact.text, "same.nft")
    assert list(prove.differences(one, alike(one, other)))
    assert not list(prove.differences(one, alike(one, same)))


def test_a_quota_of_another_size_is_no_proof():
    chain = 'chain c {\n type filter hook input priority 0\n tcp dport 22 quota name "q" drop\n }'
    sizes = ("over 25 mbytes used 3 bytes", "over 25600 kbytes", "over 26 mbytes", "25 mbytes")
    one, same, *others = (
        nft.of_text(f"table inet t {{\n quota q {{\n {size}\n }}\n {chain}\n}}\n", "t.nft") for size in sizes
    )
    assert not list(prove.differences(one, alike(one, same)))
    for other in others:
        assert list(prove.differences(one, alike(one, other)))
    listing = {"family": "inet", "table": "t", "name": "q", "bytes": 26214400, "used": 7, "inv": True}
    table = {"table": {"family": "inet", "name": "t"}}
    base = {"type": "filter", "hook": "input", "prio": 0, "policy": "accept"}
    of_chain = {"chain": {"family": "inet", "table": "t", "name": "c"} | base}
    match = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}
    rule = {"family": "inet", "table": "t", "chain": "c", "expr": [match, {"quota": "q"}, {"drop": None}]}
    listed_one = nft.of_json({"nftables": [table, {"quota": listing}, of_chain, {"rule": rule}]})
    assert not list(prove.differences(one, alike(one, listed_one)))


@pytest.mark.kernel
def test_a_kernel_that_lists_another_rate_is_no_proof(netns):
    artifact = proof.compiled(policy("{service: ssh, limit: 5/second}"))
    emitted = proof.program_of(artifact)
    proof.prove_listed(emitted, listed(netns, artifact.text), "live")
    wider = replace(artifact, text=artifact.text.replace("rate 5/second", "rate 5000/second"))
    with pytest.raises(CheckFailedError, match="limits"):
        proof.prove_listed(emitted, listed(netns, "flush ruleset", wider.text), "live")
