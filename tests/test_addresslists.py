"""addresslists.py against addresses.py, which goes one by one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fwpolicy import addresslists
from fwpolicy.addresses import collect, merge, parse, prefix_length
from fwpolicy.addresslists import (
    AddressList,
    are_single,
    compact,
    listed,
    networks,
    networks_of,
    pack_list,
    packed,
    singles,
    written,
)
from fwpolicy.backends.nft.words import interval_text

laws = settings(derandomize=True, deadline=None, max_examples=300)
TOP = (1 << 32) - 1
# Few numbers, so that networks touch, overlap and nest; the bounds often.
values = st.one_of(st.integers(0, TOP), st.integers(0, 300), st.integers(TOP - 300, TOP))


@pytest.fixture(scope="module", autouse=True)
def few_at_once():
    """Short lists in several parts, too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(addresslists, "_STRIDE", 40)
        patched.setattr(addresslists, "_AT_ONCE", 5)
        patched.setattr(addresslists, "_LONG", 3)
        yield


@st.composite
def entries(draw):
    network = ipaddress.IPv4Network((draw(values), draw(st.integers(0, 32))), strict=False)
    return str(network.network_address) if draw(st.booleans()) else str(network)


@laws
@example([])
@example(["0.0.0.0/0", "255.255.255.255"])
@example(["0.0.0.0/0", "0.0.0.0/1", "0.0.0.0", "128.0.0.0/1"])
@example(["255.255.255.254", "255.255.255.255", "255.255.255.252"])
@given(st.lists(entries(), max_size=40))
def test_a_list_is_what_its_addresses_are(texts):
    assert networks(texts) == collect(map(parse, texts)).v4


@laws
@example(["0.0.0.0/0", "255.255.255.255/32"], True)
@example(["0.0.0.0/1", "0.0.0.0/32", "1.0.0.0/8", "128.0.0.0/8"], False)
@given(st.lists(entries(), min_size=1, max_size=40), st.booleans())
def test_a_text_of_prefixes_is_the_list_of_its_lines(texts, ends):
    prefixes = [text if "/" in text else f"{text}/32" for text in texts]
    text = "\n".join(prefixes) + "\n" * ends
    assert listed(text, len(texts)) == networks(texts)
    assert listed(text, len(texts) - 1) is None
    plain = "\n".join(prefix.partition("/")[0] for prefix in prefixes)
    assert listed(plain, len(texts)) == networks(plain.split("\n"))


@pytest.mark.parametrize(
    "wrong",
    [
        "", "\n", "10.0.0.0/8\n\n", "10.0.0.0/8\r\n", " 10.0.0.0/8", "10.0.0.0/8 ", "10.0.0.1/8",
        "10.0.0.0/33", "10.0.0.0/", "1..0.0/8", "10.0.0.0/8\n10.0.0.0/08", "256.0.0.0/8", "10.0.0.0/8 # x",
        "10.0.0.0\n10.0.0.0/8", "10.0.0", "10.0.0.0 ", "10.0.0.256", "10.0.0.0\n\n", "a.b.c.d", "...",
        "\ufeff10.0.0.0/8", "10.0.0.0/8\x0b11.0.0.0/8", "01.0.0.0/8", "/10.0.0\n.8", "\u0661.0.0.0/8",
    ],
)  # fmt: skip
def test_a_text_of_anything_else_is_left_to_others(wrong):
    assert listed(wrong, 10) is None


@laws
@example([(0, TOP)])
@example([(0, 0), (2, 3), (5, 6), (8, 10), (TOP - 1, TOP)])
@given(st.lists(st.tuples(values, values).map(sorted), max_size=40))
def test_each_text_is_the_one_of_the_interval(pairs):
    for intervals in (merge(map(tuple, pairs)), tuple(map(tuple, pairs))):
        for separator in (",", ", ", ",\n\t\t "):
            texts = (interval_text(4, interval) for interval in intervals)
            assert written(intervals, separator) == separator.join(texts)


lists = st.lists(st.tuples(values, values).map(sorted).map(tuple), max_size=9).map(tuple)


@laws
@given(lists, lists, st.slices(9))
def test_a_packed_list_is_the_tuple_of_the_same(intervals, other, some):
    made = pack_list(intervals)
    assert made.made == b"".join(value.to_bytes(4, "big") for pair in intervals for value in pair)
    assert made.made == packed(intervals) == packed(made)
    assert made == intervals and intervals == made and hash(made) == hash(intervals)
    assert repr(made) == repr(intervals)
    assert [*made] == [*intervals] and len(made) == len(intervals) and bool(made) is bool(intervals)
    assert [*map(made.__getitem__, range(-len(made), len(made)))] == [*intervals, *intervals]
    assert made[some] == intervals[some] and made[some] == AddressList(packed(intervals[some]))
    for each in (other, pack_list(other)):
        assert (made == each) is (each == made) is (intervals == other)
    assert made != list(intervals)
    for beyond in (len(made), -len(made) - 1):
        with pytest.raises(IndexError):
            made[beyond]


@laws
@given(lists)
def test_what_is_long_is_packed(intervals):
    for family in (4, 6):
        found = compact(family, intervals)
        assert isinstance(found, AddressList) is (family == 4 and len(intervals) >= 3)
        assert found == intervals and compact(family, found) is found


@laws
@given(lists)
def test_lists_of_single_addresses(intervals):
    for each in (intervals, pack_list(intervals)):
        assert are_single(each) is all(first == last for first, last in intervals)
    firsts = [first for first, _ in intervals]
    assert singles(firsts) == tuple((first, first) for first in firsts) and are_single(singles(firsts))


@laws
@example(["0.0.0.0/0"], ())
@example([], ((0, 0), (8, 15), (8, 16), (7, 14), (TOP, TOP)))
@given(st.lists(entries(), max_size=9), lists)
def test_the_networks_of_a_list(texts, more):
    intervals = (*(parse(text)[1:] for text in texts), *more)
    by_length, ranges = networks_of(pack_list(intervals))
    assert all(by_length.values())
    for length in range(33):
        own = [each[0] for each in intervals if prefix_length(4, each) == length]
        assert by_length.get(length, []) == own
    assert ranges == [each for each in intervals if prefix_length(4, each) is None]


@laws
@given(st.lists(values, min_size=1, max_size=40), st.integers(0, 32))
def test_addresses_of_which_some_bits_count_are_prefixes(numbers, length):
    hosts = (1 << 32 - length) - 1
    texts = [interval_text(4, (each & ~hosts, each & ~hosts)) for each in numbers]
    assert networks(texts, length) == merge((each & ~hosts, each | hosts) for each in numbers)
    assert networks([*texts, f"10.0.0.0/{length}"], length) == (
        None if length < 32 else networks([*texts, "10.0.0.0"])
    )
    if length < 32:
        assert networks(["255.255.255.255"], length) is None


@pytest.mark.parametrize(
    "wrong",
    [
        "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/", "/8", "", "10.0.0", "010.0.0.1",
        "10.0.0.0/8/8", "10.0.0.1-10.0.0.9", "2001:db8::/32", "::ffff:10.0.0.1", "10.0.0.0/255.0.0.0",
        "10.0.0.1 ", "1\0.2.3.4", "é",
    ],
)  # fmt: skip
def test_what_is_no_network_of_ipv4_is_left_to_others(wrong):
    assert networks(["192.0.2.1", wrong, "192.0.2.0/24"]) is None
    assert networks([wrong]) is None
