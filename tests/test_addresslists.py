"""addresslists.py against addresses.py, which goes one by one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fwpolicy.addresses import collect, format_address, parse
from fwpolicy.addresslists import format_addresses, networks

laws = settings(derandomize=True, deadline=None, max_examples=300)
TOP = (1 << 32) - 1
# Few numbers, so that networks touch, overlap and nest; the bounds often.
values = st.one_of(st.integers(0, TOP), st.integers(0, 300), st.integers(TOP - 300, TOP))


@st.composite
def entries(draw):
    network = ipaddress.IPv4Network((draw(values), draw(st.integers(0, 32))), strict=False)
    return str(network.network_address) if draw(st.booleans()) else str(network)


@laws
@example([])
@example(["0.0.0.0/0", "255.255.255.255"])
@given(st.lists(entries(), max_size=40))
def test_a_list_is_what_its_addresses_are(texts):
    assert networks(texts) == collect(map(parse, texts)).v4


@laws
@given(st.lists(values, max_size=40))
def test_each_text_is_the_one_of_the_address(numbers):
    assert format_addresses(numbers) == [format_address(4, number) for number in numbers]


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
