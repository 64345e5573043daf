"""What a reviewer got past the model with: each is seen, named or refused now."""

from __future__ import annotations

import pytest

from fwpolicy.deploy import proof, xtproof
from fwpolicy.errors import CheckFailedError
from fwpolicy.model import diagram, nft, prove
from fwpolicy.model.pairing import alike
from fwpolicy.model.program import TooLargeError
from fwpolicy.policy.load import load
from fwpolicy.record import replace

LIMITED = """\
version: 1
name: limited
input:
  default: drop
  allow:
    - {service: https, limit: 10/second}
    - {service: imaps, max: 20}
    - {service: dns, limit: 10/second, per: source}
output: {default: accept}
"""
BANNED = """\
version: 1
name: banned
groups: {banned: {dynamic: 1h}}
input: {default: accept, block: [{from: banned}]}
"""
NAT = "table inet t {{ chain c {{\n type nat hook {hook} priority 0\n tcp dport 22 {action}\n}}\n }}\n"


def policy(text: str):
    return load((("p.yaml", text.encode()),), lambda path: b"")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('tcp dport 443 limit name "allow_input_tcp_443"', 'limit name "allow_input_tcp_443" tcp dport 443'),
        ("tcp dport 993 ct count 20", "ct count 20 tcp dport 993"),
    ],
)
def test_a_limit_before_the_match_lets_others_use_it_up(old, new):
    limited = policy(LIMITED)
    artifact = proof.compiled(limited)
    assert old in artifact.text
    proof.prove_compiled(limited, None, artifact)
    with pytest.raises(CheckFailedError):
        proof.prove_compiled(limited, None, replace(artifact, text=artifact.text.replace(old, new)))


def test_a_rule_without_a_verdict_that_uses_up_a_limit_is_named():
    limited = policy(LIMITED)
    artifact = proof.compiled(limited)
    rule = '\t\ttcp dport 443 limit name "allow_input_tcp_443"'
    eater = f'\t\tlimit name "allow_input_tcp_443" continue\n{rule}'
    assert rule in artifact.text
    with pytest.raises(CheckFailedError, match="not followed by the model"):
        proof.prove_compiled(limited, None, replace(artifact, text=artifact.text.replace(rule, eater)))


@pytest.mark.parametrize("hook", ["input", "output"])
@pytest.mark.parametrize("action", ["drop", "accept"])
def test_translations_at_the_hosts_own_ends_are_compared(hook, action):
    one = nft.of_text(NAT.format(hook=hook, action=action), "one")
    found = [
        (each.one, each.other) for each in prove.differences(one, nft.of_text("table inet t { }\n", "other"))
    ]
    assert found == ([("drop", "accept")] if action == "drop" else [])


def test_a_table_declared_again_is_awake_and_a_chains_policy_stays():
    chain = "chain i {\n type filter hook input priority 0; policy drop;\n }"
    asleep = f"table inet x {{\n flags dormant\n {chain}\n}}\n"
    empty = nft.of_text("table inet x { }\n", "empty")
    assert list(prove.differences(nft.of_text(asleep, "a"), empty)) == []
    awake = nft.of_text(asleep + "table inet x {\n}\n", "b")
    assert [each.one for each in prove.differences(awake, empty)] == ["drop"]
    bare = "table inet x {\n chain i {\n type filter hook input priority 0\n }\n}\n"
    again = nft.of_text(f"table inet x {{\n {chain}\n}}\n{bare}", "c")
    assert [each.one for each in prove.differences(again, empty)] == ["drop"]


def test_too_many_combinations_are_an_error_and_not_a_wait(monkeypatch):
    monkeypatch.setattr(diagram, "MOST_NODES", 2_000)
    count = 14
    groups = "".join(f"  g{n}: {{dynamic: 1h}}\n" for n in range(count))
    lines = "".join(f"    - {{from: g{n}, to: g{(5 * n + 3) % count}}}\n" for n in range(count))
    many = policy(f"version: 1\ngroups:\n{groups}forward:\n  default: drop\n  allow:\n{lines}")
    with pytest.raises(TooLargeError, match="--no-prove"):
        proof.prove_compiled(many, None, proof.compiled(many))


def test_limits_of_two_texts_are_paired_by_what_they_let_through():
    one, other = (nft.of_text(proof.compiled(policy(LIMITED)).text, name) for name in ("one", "other"))
    assert list(prove.differences(one, alike(one, other))) == []


def test_a_set_with_the_name_of_a_group_and_without_our_prefix_is_another_one():
    wanted = policy(BANNED)
    texts = xtproof.compiled(wanted)
    xtproof.prove_compiled(wanted, None, texts)
    four, six = (replace(each, text=each.text.replace("fwp-banned", "banned")) for each in texts.rules)
    sets = replace(texts.sets, text=texts.sets.text.replace("fwp-banned", "banned"))
    with pytest.raises(CheckFailedError, match="packet: input"):
        xtproof.prove_compiled(wanted, None, replace(texts, rules=(four, six), sets=sets))
