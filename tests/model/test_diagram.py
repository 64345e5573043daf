"""Diagrams have one number for each function, however they are made and looked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwpolicy.model import diagram
from fwpolicy.model.diagram import NO, YES, Diagrams

laws = settings(derandomize=True, deadline=None, max_examples=150)
WIDE, NARROW = 70, 3  # atoms: more than an integer's own hash tells apart, and less


def empty(*atoms: int) -> Diagrams:
    return Diagrams(SimpleNamespace(fields=atoms, full=[(1 << number) - 1 for number in atoms]))


def of_table(made: Diagrams, table: dict[int, int]) -> int:
    """The function that is YES for an atom of the wide field and the atoms in the mask of the narrow one."""
    found = NO
    for atom, mask in table.items():
        found = made.either(found, made.split(0, 1 << atom, made.split(1, mask, YES, NO), NO))
    return found


tables = st.dictionaries(st.integers(0, WIDE - 1), st.integers(0, (1 << NARROW) - 1), max_size=8)


@pytest.fixture(params=[None, 1], ids=["as they are", "all the same"])
def hashes(request, monkeypatch):
    """Nodes of the same hash are told apart, too."""
    if request.param:
        monkeypatch.setattr(diagram, "_hash_of", lambda level, edges: request.param)


@pytest.mark.usefixtures("hashes")
def test_the_same_function_has_the_same_number():
    @laws
    @given(tables, tables, tables)
    def law(one, other, third):
        made = empty(WIDE, NARROW)
        roots = [of_table(made, each) for each in (one, other, third)]
        functions = [{atom: mask for atom, mask in each.items() if mask} for each in (one, other, third)]
        for number, function in zip(roots, functions, strict=True):
            assert of_table(made, dict(reversed(function.items()))) == number
            assert made.negated(made.negated(number)) == number
            assert [each == number for each in roots] == [each == function for each in functions]
        made.keep(roots[:1])
        again = [of_table(made, each) for each in (one, other, third)]
        assert again[0] == roots[0] and [each == again[0] for each in again] == [
            each == functions[0] for each in functions
        ]

    law()


@pytest.mark.parametrize("atoms", [61, 5000])
def test_nodes_of_single_atoms_have_hashes_of_their_own(atoms):
    """2 ** n of Python's own hash is the same each 61 bits."""
    full = (1 << atoms) - 1
    edges = [((NO, 1 << atom), (YES, full ^ (1 << atom))) for atom in range(atoms)]
    assert len({diagram._hash_of(0, each) for each in edges}) == atoms
