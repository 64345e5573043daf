"""Reading listings back: what is not understood is refused, what nft leaves out is no difference."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwpolicy import addresslists
from fwpolicy.backends.nft import read as nft_read
from fwpolicy.backends.nft.read import UnknownExpressionError, difference, normal_form, read, same
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.ir.ruleset import Ruleset, Set, Table
from fwpolicy.policy.load import load
from tests.lab.holder import run


def listed(name: str, *texts: str) -> object:
    for text in texts:
        run("ip", "netns", "exec", name, "nft", "-f", "-", input=text)
    return json.loads(run("ip", "netns", "exec", name, "nft", "-n", "-j", "list", "ruleset").stdout)


def policy(body: str):
    return load((("p.yaml", f"version: 1\n{body}".encode()),), lambda path: b"")


STRANGE = {
    "a dormant table": "add table inet fwpolicy { flags dormant; }",
    "an operator of its own": "insert rule inet fwpolicy input udp dport < 123 drop",
    "a set with a timeout": "add set inet fwpolicy s { type ipv4_addr; timeout 1h; }",
    "a set of another type": "add set inet fwpolicy s { type inet_service; }",
    "a rule that logs": "insert rule inet fwpolicy input log drop",
    "a rule without a verdict": "insert rule inet fwpolicy input counter",
    "a mark": "insert rule inet fwpolicy input meta mark 1 accept",
    "a map": "insert rule inet fwpolicy input tcp dport vmap { 22 : accept }",
    "another bit of the payload": "insert rule inet fwpolicy input udp dport 123 @th,64,8 & 0xf == 4 accept",
    "another operator": "insert rule inet fwpolicy input tcp dport >= 1000 accept",
    "a negated state": "insert rule inet fwpolicy input ct state != new accept",
    "an interface by its number": "insert rule inet fwpolicy input iif 7 accept",
    "a quota": "insert rule inet fwpolicy input quota 1 mbytes accept",
}


@pytest.mark.kernel
@pytest.mark.parametrize("what", STRANGE)
def test_what_we_never_write_is_refused_by_name(netns, what):
    text = render(compile_ruleset(policy("roles: {ntp: client-only}\n")), "p").text
    assert read(listed(netns, text), "inet", "fwpolicy") is not None
    with pytest.raises(UnknownExpressionError):
        read(listed(netns, STRANGE[what]), "inet", "fwpolicy")


@pytest.mark.kernel
def test_loopback_by_name_as_earlier_versions_wrote_it_is_the_same(netns):
    wanted = compile_ruleset(policy("roles: {ntp: client-only}\n"))
    text = render(wanted, "p").text
    by_name = text.replace('iif "lo"', 'iifname "lo"').replace('oif "lo"', 'oifname "lo"')
    assert text.count(' "lo" accept') == by_name.count('name "lo" accept') == 3
    for each in (text, by_name):
        assert same(Ruleset((read(listed(netns, each), "inet", "fwpolicy"),)), wanted)


@pytest.mark.kernel
@pytest.mark.parametrize(
    "line",
    [
        "{service: ping, from: 0.0.0.0/0}",
        '{service: ping, from: "::/0"}',
        "{service: esp, from: 0.0.0.0/0}",
        "ident",
    ],
)
@pytest.mark.parametrize("default", ["drop", "reject", "accept"])
def test_what_nft_leaves_out_is_no_difference(netns, line, default):
    ruleset = compile_ruleset(policy(f"input:\n  default: {default}\n  allow: [{line}]\n"))
    table = read(listed(netns, render(ruleset, "p").text), "inet", "fwpolicy")
    assert normal_form(Ruleset((table,))) == normal_form(ruleset)


def test_a_name_cannot_end_the_headers_comment():
    ruleset = compile_ruleset(policy("roles: {ntp: client-only}\n"))
    text = render(ruleset, "a\nadd table inet pwned\n#").text
    assert not any(line.startswith("add table") for line in text.splitlines())


@given(
    st.lists(st.integers(0, 9), max_size=8, unique=True), st.lists(st.integers(0, 9), max_size=8, unique=True)
)
def test_the_difference_of_two_sets(one, other):
    """What both begin and end with is left out first; the rest must come out all the same."""
    before, after = (Set("s", 4, tuple((n, n) for n in sorted(each))) for each in (one, other))
    gone, new = difference(before, after)
    assert gone == tuple((n, n) for n in sorted(set(one) - set(other)))
    assert new == tuple((n, n) for n in sorted(set(other) - set(one)))
    assert same(*(Ruleset((Table("inet", "t", (each,), ()),)) for each in (before, after))) is (
        set(one) == set(other)
    )


@given(st.permutations(range(12)), st.permutations(range(12)), st.integers(0, 12), st.integers(0, 12))
def test_the_difference_of_two_sets_in_no_order(one, other, many, more):
    """As nft may list them, and so many that it is not worth going step by step."""
    before, after = (Set("s", 4, tuple((n, n) for n in each)) for each in (one[:many], other[:more]))
    gone, new = difference(before, after)
    assert gone == tuple((n, n) for n in sorted(set(one[:many]) - set(other[:more])))
    assert new == tuple((n, n) for n in sorted(set(other[:more]) - set(one[:many])))


def test_the_difference_of_many():
    before = Set("s", 4, tuple((n, n) for n in range(0, 3000, 3)))
    after = Set("s", 4, tuple((n, n) for n in range(0, 3000, 2)))
    gone, new = difference(before, after)
    assert gone == tuple((n, n) for n in range(0, 3000, 3) if n % 2)
    assert new == tuple((n, n) for n in range(0, 3000, 2) if n % 3)


def test_each_list_is_packed_once_however_long(monkeypatch):
    """At each of 64 steps it would take 15 times as long."""
    made = []
    monkeypatch.setattr(nft_read, "packed", lambda each: made.append(each) or addresslists.packed(each))
    before = Set("s", 4, tuple((n, n) for n in range(0, 3000, 3)))
    after = Set("s", 4, tuple(each for each in before.intervals if each[0] % 500))
    assert difference(before, after) == (tuple((n, n) for n in range(0, 3000, 1500)), ())
    assert list(map(len, made)) == [1000, 998]


@pytest.mark.kernel
def test_the_mode_as_nft_1_1_lists_it_is_the_same(netns):
    text = render(compile_ruleset(policy("roles: {ntp: client-only}\n")), "p").text
    older = json.dumps(listed(netns, text))
    byte, bits = (
        json.dumps({"payload": {"base": "th", "offset": at, "len": size}}) for at, size in ((64, 8), (69, 3))
    )
    masked = f'{{"&": [{byte}, 7]}}'
    assert older.count(masked) == text.count("@th,64,8") == 4
    newer = older.replace(masked, bits)
    assert read(json.loads(newer), "inet", "fwpolicy") == read(json.loads(older), "inet", "fwpolicy")
    with pytest.raises(UnknownExpressionError):
        read(json.loads(newer.replace('"offset": 69', '"offset": 68')), "inet", "fwpolicy")
