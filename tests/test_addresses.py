"""addresses.py against the standard library's ipaddress, and against plain sets of integers."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fwpolicy.addresses import (
    BITS,
    EVERYWHERE,
    LOOPBACK,
    AddressError,
    AddressSet,
    collect,
    format_address,
    merge,
    of,
    parse,
    prefixes,
    subtract,
)

laws = settings(derandomize=True, deadline=None, max_examples=150)
families = st.sampled_from((4, 6))
ADDRESS = {4: ipaddress.IPv4Address, 6: ipaddress.IPv6Address}
NETWORK = {4: ipaddress.IPv4Network, 6: ipaddress.IPv6Network}


def values(family):
    """Any address; the small ones and the bounds often."""
    top = 2 ** BITS[family] - 1
    return st.one_of(st.integers(0, top), st.integers(0, 300), st.integers(top - 300, top))


@st.composite
def addresses(draw):
    family = draw(families)
    return family, draw(values(family))


@st.composite
def networks(draw):
    family = draw(families)
    length = draw(st.integers(0, BITS[family]))
    return NETWORK[family]((draw(values(family)), length), strict=False)


@st.composite
def ranges(draw, family=None):
    family = family or draw(families)
    first, last = sorted((draw(values(family)), draw(values(family))))
    return family, first, last


# Intervals over few numbers, so that they touch, overlap and nest.
small = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 9)).map(lambda p: (p[0], p[0] + p[1])), max_size=9
)


def members(intervals) -> set[int]:
    return {value for first, last in intervals for value in range(first, last + 1)}


@laws
@given(addresses())
def test_an_address_is_read_and_written_as_ipaddress_does(address):
    family, value = address
    text = format_address(family, value)
    assert ADDRESS[family](text) == ADDRESS[family](value)
    assert parse(text) == (family, value, value)
    assert parse(str(ADDRESS[family](value))) == (family, value, value)
    assert parse(ADDRESS[family](value).exploded) == (family, value, value)


@laws
@given(networks())
def test_a_prefix_is_its_first_and_last_address(network):
    assert parse(str(network)) == (
        network.version,
        int(network.network_address),
        int(network.broadcast_address),
    )


@laws
@given(networks(), st.integers(1, 2**128 - 1))
def test_a_host_bit_is_refused(network, bit):
    value = int(network.network_address) | bit % network.num_addresses
    assume(value != int(network.network_address))
    text = f"{format_address(network.version, value)}/{network.prefixlen}"
    with pytest.raises(AddressError, match="host bits") as caught:
        parse(text)
    # As the C library writes it: ipaddress writes ::ffff:1.2.3.4 in hexadecimal.
    meant = format_address(network.version, int(network.network_address))
    assert f"{meant}/{network.prefixlen}" in str(caught.value)


@laws
@given(ranges())
def test_a_range(item):
    family, first, last = item
    first_text, last_text = format_address(family, first), format_address(family, last)
    assert parse(f"{first_text}-{last_text}") == (family, first, last)
    assert parse(f"{first_text} - {last_text}") == (family, first, last)
    if first < last:
        with pytest.raises(AddressError, match="backwards"):
            parse(f"{last_text}-{first_text}")


@laws
@given(st.text(alphabet="0123456789abcdefg.:/-% ,[]*²٣\0\n", max_size=24))
@example("1" * 5000)
@example("10.0.0.0/" + "0" * 5000 + "8")
@example("10.0.0." + "9" * 5000)
@example("::/" + "9" * 5000)
@example("")
@example("-")
@example("/")
def test_whatever_is_no_address_is_an_address_error(text):
    try:
        family, first, last = parse(text)
    except AddressError as error:
        assert str(error)
        return
    assert 0 <= first <= last < 2 ** BITS[family]


@laws
@given(st.text(alphabet="0123456789abcdef.:/", max_size=18))
def test_nothing_is_accepted_that_ipaddress_refuses(text):
    try:
        family, first, last = parse(text)
    except AddressError:
        return
    network = ipaddress.ip_network(text)
    assert (network.version, int(network.network_address), int(network.broadcast_address)) == (
        family,
        first,
        last,
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10.0.0.1/8", "or 10.0.0.1 for this one address"),
        ("10.0.0.0/255.0.0.0", "write 10.0.0.0/8"),
        ("10.0.0.0/255.0.0.255", None),
        ("10.0.0.1-20", "write 10.0.0.1-10.0.0.20"),
        ("10.0.0.9-10.0.0.1", "write 10.0.0.1-10.0.0.9"),
        ("fe80::1%eth0", "an address without it: fe80::1"),
        ("10.0.0.1:22", "write 10.0.0.1: its port belongs to the service, a source's is 'sport'"),
        ("[2001:db8::1]:22", "write 2001:db8::1: its port belongs to the service, a source's is 'sport'"),
        (
            "www.example.org",
            "a host's name stands in a group of its own, as in: mirrors: {hosts: [www.example.org]}",
        ),
        ("10.0.0.0/08", "write 10.0.0.0/8"),
        ("10.0.0.0/33", None),
    ],
)
def test_hints(text, hint):
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert caught.value.hint == hint


@laws
@given(small)
def test_merge(intervals):
    merged = merge(intervals)
    assert members(merged) == members(intervals)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(merged))
    assert merge(merged) == merged


@laws
@given(small, small)
def test_subtract(whole, holes):
    left = subtract(merge(whole), merge(holes))
    assert members(left) == members(whole) - members(holes)
    assert merge(left) == left


@laws
@given(ranges())
def test_prefixes_are_those_of_summarize_address_range(item):
    family, first, last = item
    kind = ADDRESS[family]
    expected = ipaddress.summarize_address_range(kind(first), kind(last))
    assert [(int(n.network_address), n.prefixlen) for n in expected] == list(prefixes(family, (first, last)))


@laws
@given(st.lists(networks(), max_size=8))
def test_a_sets_prefixes_are_those_of_collapse_addresses(them):
    found = collect(parse(str(network)) for network in them)
    expected = []
    for family in (4, 6):
        expected += ipaddress.collapse_addresses(n for n in them if n.version == family)
    assert [ipaddress.ip_network(text) for text in found.prefixes()] == expected


@laws
@given(st.lists(ranges(), max_size=8), addresses())
def test_contains(items, address):
    family, value = address
    found = collect(items)
    around = {
        value,
        *(bound + step for f, a, b in items if f == family for bound in (a, b) for step in (-1, 0, 1)),
    }
    for each in around:
        expected = any(f == family and first <= each <= last for f, first, last in items)
        assert ((family, each) in found) == expected


@laws
@given(st.lists(ranges(), max_size=6), st.lists(ranges(), max_size=6))
def test_union(one, other):
    assert collect(one) | collect(other) == collect(one + other)
    assert (collect(one) | AddressSet()) == collect(one)
    assert bool(collect(one)) == bool(one)


def test_subtract_takes_linear_time():
    """A hundred thousand holes in a hundred thousand intervals: quadratic would be an hour."""
    whole = tuple((n * 10, n * 10 + 5) for n in range(100_000))
    holes = tuple((n * 10 + 2, n * 10 + 3) for n in range(100_000))
    assert len(subtract(whole, holes)) == 200_000


def test_everything_and_loopback():
    assert of("0.0.0.0/0", "::/0") == EVERYWHERE
    assert (4, int(ipaddress.IPv4Address("127.1.2.3"))) in LOOPBACK
    assert (6, 1) in LOOPBACK
    assert (6, 2) not in LOOPBACK
