"""Edits that undo themselves: strip() is the exact opposite, on any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwpolicy import markedtext
from fwpolicy.markedtext import BEGIN, END, PREFIX

LINES = st.sampled_from(
    [
        "restrict default kod",
        "server a",
        "\tallow",
        "# restrict",
        "x\\",
        "",
        " ",
        "\x0c",
        "a\u2028b",
        "\udcff",
    ]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r", ""])
CLEAN = st.one_of(
    st.text(st.characters(blacklist_characters="#")),
    st.lists(st.tuples(LINES, ENDS)).map(lambda pairs: "".join(line + end for line, end in pairs)),
)
MARKS = st.sampled_from([PREFIX, PREFIX + PREFIX, BEGIN, BEGIN + ": x", END, BEGIN + markedtext._UNENDED])
MARKED = st.lists(st.tuples(st.one_of(MARKS, LINES), LINES, ENDS)).map(
    lambda parts: "".join("".join(part) for part in parts)
)
BLOCKS = st.lists(st.sampled_from(["port 0", "restrict ::1"]), max_size=3)


def goes(line: str) -> bool:
    return line.lstrip().startswith(("restrict", "allow", "x"))


def apply(text: str, block: list[str]) -> str:
    changed = dict(markedtext.rewrite([("/main", text)], "/main", goes, block, "title", "\\"))
    return changed.get("/main", text)


@given(CLEAN, BLOCKS)
def test_strip_is_the_exact_opposite(text: str, block: list[str]) -> None:
    assert markedtext.strip(apply(text, block)) == text


@given(st.one_of(CLEAN, MARKED), BLOCKS)
def test_applying_twice_changes_nothing_more(text: str, block: list[str]) -> None:
    once = apply(text, block)
    assert apply(once, block) == once
    assert markedtext.strip(once) == markedtext.strip(text)
    assert markedtext.strip(markedtext.strip(text)) == markedtext.strip(text)


@given(CLEAN, BLOCKS, BLOCKS)
def test_a_new_block_replaces_the_old_one(text: str, first: list[str], second: list[str]) -> None:
    assert apply(apply(text, first), second) == apply(text, second)


@given(CLEAN)
def test_no_line_that_must_go_stays_active(text: str) -> None:
    for line in apply(text, []).split("\n"):
        assert line.startswith(PREFIX) or not goes(line) or "x\\" in text


def test_what_it_looks_like() -> None:
    text = "driftfile /d\nrestrict default kod\n  server a"
    assert markedtext.is_marked(apply(text, ["port 0"]))
    assert apply(text, ["port 0"]).splitlines() == [
        "driftfile /d",
        "#fwpolicy# restrict default kod",
        "  server a",
        "# BEGIN fwpolicy: title (the line above had no line end)",
        "port 0",
        "# END fwpolicy",
    ]


def test_crlf_is_kept_and_followed() -> None:
    text = "server a\r\nallow\r\n"
    edited = apply(text, ["port 0"])
    assert edited.endswith("#fwpolicy# allow\r\n# BEGIN fwpolicy: title\r\nport 0\r\n# END fwpolicy\r\n")


def test_continued_lines_go_together() -> None:
    assert apply("allow \\\n to\nserver \\\nallow\n", []) == (
        "#fwpolicy# allow \\\n#fwpolicy#  to\nserver \\\nallow\n"
    )
    assert markedtext.statements("a \\\n b\nc\n", "\\") == ("a  b", "c")


def test_lines_added_after_the_block_stay() -> None:
    edited = apply("server a", ["port 0"]) + "server b\n"
    assert markedtext.strip(edited) == "server a\nserver b\n"


def test_a_begin_without_end_loses_no_line() -> None:
    text = "a\n# BEGIN fwpolicy: x\nserver b\n"
    assert markedtext.strip(text) == "a\nserver b\n"


@pytest.mark.parametrize("block", [(), ("port 0",)])
def test_a_missing_main_file_is_made_for_a_block_only(block: tuple[str, ...]) -> None:
    changed = markedtext.rewrite([("/other", "allow\n")], "/main", goes, block)
    assert [path for path, _ in changed] == ["/other", "/main"][: 1 + len(block)]
