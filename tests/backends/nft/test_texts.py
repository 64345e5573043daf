"""What is remembered of a set, as text: read, and changed without being read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwpolicy.addresses import BITS
from fwpolicy.backends.nft.elements import Change, changed_text, from_text, to_text

laws = settings(derandomize=True, deadline=None, max_examples=200)


@st.composite
def interval(draw, family):
    top = (1 << BITS[family]) - 1
    first = draw(st.one_of(st.integers(0, 9), st.integers(top - 9, top), st.integers(0, top)))
    return first, min(top, first + draw(st.integers(0, 2)))


def held(family):
    return st.lists(interval(family), unique=True, max_size=9).map(sorted).map(tuple)


@laws
@given(st.sampled_from((4, 6)).flatmap(lambda family: st.tuples(st.just(family), held(family))))
def test_a_text_is_read_as_it_was_written(case):
    family, intervals = case
    assert from_text(family, to_text(family, intervals)) == intervals


@laws
@given(st.sampled_from((4, 6)).flatmap(lambda family: st.tuples(st.just(family), held(family), held(family))))
def test_a_changed_text_is_the_one_of_what_is_there_then(case):
    family, before, after = case
    gone = tuple(each for each in before if each not in after)
    new = tuple(each for each in after if each not in before)
    text = changed_text(to_text(family, before), Change("s", family, True, gone, new))
    assert text == to_text(family, after)


@pytest.mark.parametrize(
    ("gone", "new"), [(((2, 2),), ()), (((4, 9),), ()), ((), ((1, 1),)), (((9, 9),), ((3, 3),))]
)
def test_a_change_of_another_set_is_refused(gone, new):
    with pytest.raises(ValueError, match="not as it was looked at"):
        changed_text(to_text(4, ((1, 1), (3, 3), (4, 8))), Change("s", 4, True, gone, new))
