"""Cutting a field into classes that no literal tells apart, whichever way it is done."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fwpolicy.addresses import merge
from fwpolicy.model import atoms

laws = settings(derandomize=True, deadline=None, max_examples=200)
TOP = 40


def _as_listed(found):
    classes, masks = found
    return classes, list(masks.values())


@st.composite
def intervals(draw):
    bounds = st.tuples(st.integers(0, TOP), st.integers(0, TOP)).map(lambda pair: (min(pair), max(pair)))
    return merge(draw(st.lists(bounds, max_size=6)))


def values_of(found):
    return {value for first, last in found for value in range(first, last + 1)}


@laws
@given(intervals())
def test_one_that_is_all_within_cuts_as_few_do(literal):
    whole = ((0, TOP),)
    assert atoms._cut_by_one(*whole, literal) == atoms._cut_by_few(whole, [literal])


@laws
@given(intervals(), st.lists(intervals(), unique=True, max_size=6))
def test_both_ways_cut_alike_and_right(whole, literals):
    by_literals = {}
    for value in values_of(whole):
        key = tuple(value in values_of(literal) for literal in literals)
        by_literals.setdefault(key, set()).add(value)
    ways = [atoms._cut_by_few, atoms._cut_by_many, lambda *asked: _as_listed(atoms._cut(*asked))]
    for cut in ways:
        classes, masks = cut(whole, literals)
        assert sorted(map(sorted, map(values_of, classes))) == sorted(map(sorted, by_literals.values()))
        assert all(each == sorted(each) for each in classes)
        for literal, mask in zip(literals, masks, strict=True):
            inside = [each for number, each in enumerate(classes) if mask >> number & 1]
            assert set().union(*map(values_of, inside)) == values_of(literal) & values_of(whole)
