"""values.py: lists that are read at once."""

from __future__ import annotations

import pytest

from fwpolicy.addresses import merge
from fwpolicy.model import fields
from fwpolicy.model.nft import values


@pytest.mark.parametrize("length", [0, 7, 8, 24, 31, 32])
def test_a_long_list_is_what_its_members_are_one_by_one(length):
    decode = values.addresses(32)
    if length < 32:
        decode = values.masked(decode, (1 << 32) - (1 << 32 - length), 32)
    aligned = [f"{number}.{number * 7 % 256 if length > 8 else 0}.0.0" for number in range(0, 256, 2)]
    texts = [{"elem": {"val": text, "comment": "x"}} if text[0] == "1" else text for text in aligned]
    prefixes = [{"prefix": {"addr": text, "len": 24}} for text in aligned]
    for members in (
        texts,
        prefixes if length == 32 else texts,
        [*texts, "10.9.8.7"],
        [*texts, {"range": ["10.0.0.1", "10.0.0.9"]}],
        [*texts, "10.0.0.1-10.0.0.9"],
    ):
        one_by_one = merge([each for member in members for each in decode(values.unwrapped(member))])
        assert values.many(decode, members) == one_by_one


def test_a_number_is_an_interfaces_index_or_its_name():
    """nft 1.0.6 lists an `iif` that it knows no name of as "42", and so it lists an `iifname` of digits."""
    assert values.interface_name("42") == fields.interface("42")
    assert values.interface_name("4*") == fields.interface("4*")
    with pytest.raises(values.Unclear):
        values.interface("42")
    with pytest.raises(values.Unclear):
        values.interface_name(42)
