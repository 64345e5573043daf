"""The table and the parser know the same keys and words."""

from __future__ import annotations

import re

import pytest

from tests.reference import places


@pytest.mark.parametrize("place", places.PROBES)
def test_the_keys_of_each_place(place, monkeypatch):
    assert places.known(place, monkeypatch) == {key.name for key in places.table(place)}


WORDS = [(place, key) for place in places.PROBES for key in places.table(place) if key.kind == "word"]


@pytest.mark.parametrize(("place", "key"), WORDS, ids=lambda value: getattr(value, "name", value))
def test_the_words_of_each_choice(place, key, monkeypatch):
    parsers = places.choices(place, key.name, monkeypatch)
    assert parsers is None or parsers == {word for word, _ in key.words}


KEYS = [(place, key) for place in places.PROBES for key in places.table(place)]


@pytest.mark.parametrize(("place", "key"), KEYS, ids=lambda value: getattr(value, "name", value))
def test_the_parser_takes_every_example(place, key):
    """What else the mapping needs is not this test's business: it asks about the value alone."""
    assert key.example is not None and key.text.endswith(".")
    said = places.problems(places.document(place, places.written(key)))
    about = [message for message in said if re.search(rf"\b{key.name}\b", message)]
    assert [message for message in about if not re.search("needs|belongs to", message)] == []
