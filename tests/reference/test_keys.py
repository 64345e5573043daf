"""The table and the parser know the same keys and words, whichever version of the parser it is."""

from __future__ import annotations

import re

import pytest

from tests.reference import places

LATER = "is not supported by this version yet"


@pytest.mark.parametrize("place", places.PROBES)
def test_the_keys_of_each_place(place, monkeypatch):
    ours = {key.name for key in places.table(place)}
    parsers = places.known(place, monkeypatch)
    if parsers is None:
        assert any(LATER in message for message in places.problems(places.document(place, "a: 1")))
        return
    known, later = parsers
    assert known <= ours
    if places.is_whole(monkeypatch):
        assert ours <= known | later


def test_no_key_of_a_later_version_is_forgotten(monkeypatch):
    ours, later = set(), set()
    for place in places.PROBES:
        ours |= {key.name for key in places.table(place)}
        parsers = places.known(place, monkeypatch)
        later |= parsers[1] if parsers else set()
    assert later <= ours


WORDS = [(place, key) for place in places.PROBES for key in places.table(place) if key.kind == "word"]


@pytest.mark.parametrize(("place", "key"), WORDS, ids=lambda value: getattr(value, "name", value))
def test_the_words_of_each_choice(place, key, monkeypatch):
    parsers = places.choices(place, key.name, monkeypatch)
    assert parsers is None or parsers == {word for word, _ in key.words}


KEYS = [(place, key) for place in places.PROBES for key in places.table(place)]


@pytest.mark.parametrize(("place", "key"), KEYS, ids=lambda value: getattr(value, "name", value))
def test_the_parser_takes_every_example(place, key, monkeypatch):
    """What else the mapping needs is not this test's business: it asks about the value alone."""
    assert key.example is not None and key.text.endswith(".")
    said = places.problems(places.document(place, places.written(key)))
    others = f"needs|belongs to|{LATER}{'' if places.is_whole(monkeypatch) else '|unknown'}"
    about = [message for message in said if re.search(rf"\b{key.name}\b", message)]
    assert [message for message in about if not re.search(others, message)] == []
