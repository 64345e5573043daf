"""Broken text and broken JSON: refused by name, never a traceback."""

from __future__ import annotations

import json
from random import Random

import pytest

from fwpolicy.model.nft import of_json, of_text
from fwpolicy.model.nft.lexer import Tokens
from fwpolicy.model.nft.parser import parse
from fwpolicy.model.program import NotModelledError
from tests.model.nft.rules import RULES, ruleset
from tests.model.nft.test_foreign import FOLDER, NAMES

TEXTS = [ruleset(RULES.splitlines()), *((FOLDER / name).read_text() for name in NAMES)]


def attempt(read, broken):
    try:
        read(broken)
    except NotModelledError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("text", TEXTS, ids=["rules", *NAMES])
def test_a_token_more_or_less(text):
    """Of one rule at a time, so that many are tried."""
    random = Random(text)
    lines = [line.strip() for line in text.split("\n") if line.startswith("\t\t") and "type " not in line]
    for line in lines:
        for _ in range(6):
            tokens = Tokens(line, "x").texts[:-1]
            at = random.randrange(len(tokens))
            change = random.choice(
                ([], [tokens[at]] * 2, [random.choice(tokens)], ["{"], ["!="], ["x"], ["-"])
            )
            broken = " ".join((*tokens[:at], *change, *tokens[at + 1 :]))
            attempt(lambda text: of_text(text, "x"), f"table inet t {{\n\tchain c {{\n{broken}\n}}\n}}\n")


@pytest.mark.parametrize("text", TEXTS, ids=["rules", *NAMES])
def test_a_value_of_another_kind(text):
    random = Random(text)
    whole = json.dumps(parse(text, "x"))
    for _ in range(150):
        document = json.loads(whole)
        _spoil(document["nftables"], random)
        attempt(of_json, document)


def _spoil(tree, random):
    """One value somewhere below becomes another one."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        if not keys:
            return
        key = random.choice(keys)
        if isinstance(tree[key], dict | list) and random.random() < 0.9:
            tree = tree[key]
            continue
        tree[key] = random.choice((None, 5, -1, "x", "@i", [], {}, [1, 2], {"set": [1]}, {"x": None}, True))
        return


def test_brackets_without_end():
    deep = "(" * 20000
    assert "brackets too deep" in attempt(
        lambda text: of_text(text, "x"), f"table inet t {{\n\tchain c {{\n\t\tmeta mark {deep}\n\t}}\n}}\n"
    )
