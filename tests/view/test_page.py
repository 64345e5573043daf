"""The page, of an overview: well-formed, harmless, closed to the network, and nothing unknown called fine."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fwpolicy.fleet.facts import Facts, Heard
from fwpolicy.fleet.judging import Judgement
from fwpolicy.record import replace
from fwpolicy.view import graph, page
from fwpolicy.view.graph import BOX_WIDTH, LEFT, MIDDLE, PLACE_HEIGHT, PLACE_WIDTH, RIGHT, WIDTH
from tests.view.hostile import NAMES, NOW, overview

FOLDER = Path(page.__file__).parent
STYLE, SCRIPT = ((FOLDER / name).read_text() for name in ("page.css", "page.js"))
VOID = {"meta", "input", "br"}
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "footer",
        "script",
    ),
    *("h1", "h2", "h3", "p", "ul", "li", "a", "b", "span", "div", "small", "code", "bdi", "pre", "br"),
    *("label", "input", "select", "option", "details", "summary", "svg", "g", "rect", "path", "text"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len({key for key, _ in attrs}) == len(attrs), attrs
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def hostile():
    return page.page(overview(), STYLE, SCRIPT)


def test_only_our_own_elements_and_attributes(hostile):
    found = Reader(hostile)
    assert {name for name, _ in found.found} <= ELEMENTS
    assert len(found.all("script")) == len(found.all("style")) == len(found.all("svg")) == 1
    for name, attributes in found.found:
        assert not any(key.startswith("on") or key in ("style", "src") for key in attributes), (
            name,
            attributes,
        )
        assert attributes.get("href", "#").startswith("#")
    text = "".join(found.text)
    for each in NAMES:
        plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in each)
        assert plain in text


def test_nothing_may_be_loaded_or_run_but_what_is_in_it(hostile):
    (policy,) = [m["content"] for m in Reader(hostile).all("meta") if m.get("http-equiv")]
    for text, kind in ((STYLE, "style"), (SCRIPT, "script")):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert f"<{kind}>{text}</{kind}>" in hostile
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for address in re.findall(r"(?:https?:)?//[\w.]+|url\(|@import", STYLE + SCRIPT):
        pytest.fail(address)


def test_headings_anchors_and_heads_of_tables(hostile):
    found = Reader(hostile)
    ids = [attributes["id"] for _, attributes in found.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in found.all("a")} <= set(ids)
    assert {attributes.get("scope") for attributes in found.all("th")} == {"col", "row"}
    assert len(found.all("table")) == len(found.all("caption")) and len(found.all("h1")) == 1
    assert found.all("html") == [{"lang": "en"}]


def test_what_is_not_known_is_never_fine():
    known = overview(("plain", "other", "third", "fourth", "fifth", "sixth", "seventh", "eighth"))
    text = page.page(known, STYLE, SCRIPT)
    assert "7 not known" in text and "no status was collected" in text and "no probe was collected" in text
    for silent in (replace(known, facts={}, given=False), _stale(known)):
        text = "".join(Reader(page.page(silent, STYLE, SCRIPT)).text)
        assert "Every host is as applied" not in text and "closed" not in text.replace("as closed only", "")
        assert "Every line has met something" not in text and not re.search(r"\d as applied", text)
        assert "Not known: no host's counters are." in text and "of 9 it is not known" in text
    assert "the status is 3 days old" in "".join(Reader(page.page(_stale(known), STYLE, SCRIPT)).text)


def _stale(known):
    old = Facts(
        *(Heard(None, NOW - 259_200, f"the {kind} is 3 days old") for kind in ("status", "counters", "probe"))
    )
    return replace(known, facts=dict.fromkeys(known.groups["all"], old))


def test_what_is_wrong_comes_first_and_an_unproved_page_says_so():
    text = page.page(overview(), STYLE, SCRIPT)
    assert text.index('id="wrong"') < text.index('id="risky"')
    assert "policies wrong, 1 broken invariant" in text and "kept" not in text
    well = replace(overview(proved=False), judgement=Judgement(2, ()), units=overview().units[:1])
    text = page.page(well, STYLE, SCRIPT)
    assert "all are not proved; 2 invariants kept" in text and 'id="wrong"' not in text


def test_a_host_of_another_commit_is_told():
    at = Facts(*(Heard(None, None, "") for _ in range(3)))
    status = overview(("commit-a",)).facts["commit-a"].status.said
    here = replace(overview(("commit-a",)), facts={"commit-a": replace(at, status=Heard(status, NOW))})
    assert "of commit commit-a" not in page.page(here, STYLE, SCRIPT)
    moved = replace(here, came=replace(here.came, commit="commit-b"))
    assert "8 of commit commit-a" in page.page(moved, STYLE, SCRIPT)


def test_the_picture_is_within_its_box_and_nothing_overlaps():
    drawn = graph.graph(overview())
    boxes = [(MIDDLE, each.y, BOX_WIDTH, each.height) for each in drawn.boxes]
    boxes += [(each.x, each.y, PLACE_WIDTH, PLACE_HEIGHT) for each in (*drawn.left, *drawn.right)]
    assert {each.x for each in drawn.left} == {LEFT} and {each.x for each in drawn.right} == {RIGHT}
    for number, (x, y, width, height) in enumerate(boxes):
        assert x >= 0 and y >= 0 and x + width <= WIDTH and y + height <= drawn.height
        for left, top, wide, high in boxes[number + 1 :]:
            assert x + width <= left or left + wide <= x or y + height <= top or top + high <= y
