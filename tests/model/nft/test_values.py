"""values.py: lists that are read at once."""

from __future__ import annotations

import pytest

from fwpolicy.addresses import merge
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
