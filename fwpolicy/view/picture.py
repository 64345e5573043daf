"""The zone graph as inline SVG."""

from __future__ import annotations

from fwpolicy.view.graph import (
    BOX_WIDTH,
    LEFT,
    MIDDLE,
    PLACE_HEIGHT,
    PLACE_WIDTH,
    RIGHT,
    ROW,
    WIDTH,
)
from fwpolicy.view.html import escaped, joined, tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.view.graph import Box, Graph, Spot
    from fwpolicy.view.html import Markup

# Of a letter of the picture's font, at most, on the average; wide ones (CJK) have two.
_LETTER, _BOLD = 7.6, 8.6
_WIDE = 0x1100


def picture(graph: Graph) -> Markup:
    """All of it; what is too long for its place is whole in its title."""
    said = "Who may talk to which hosts, and where it goes; the tables below say the same."
    return tag(
        "svg",
        _heads(graph),
        tag("g", list(_edges(graph)), class_="edges"),
        [_spot(each) for each in (*graph.left, *graph.right)],
        [_box(each) for each in graph.boxes],
        viewBox=f"0 0 {WIDTH} {graph.height}",
        width=WIDTH,
        height=graph.height,
        role="img",
        aria_label=said,
    )


def _heads(graph: Graph) -> Iterator[Markup]:
    for x, text, shown in (
        (LEFT, "from", graph.left),
        (MIDDLE, "hosts, and what they let through", graph.boxes),
        (RIGHT, "to", graph.right),
    ):
        if shown:
            yield tag("text", text, x=x, y=24, class_="head")


def _edges(graph: Graph) -> Iterator[Markup]:
    left = {spot.name: spot for spot in graph.left}
    right = {spot.name: spot for spot in graph.right}
    for box in graph.boxes:
        for number, line in enumerate(box.lines):
            for place, whole in line.starts:
                spot, said = left[place], f"{place} to {box.title}: {line.text}"
                way = (spot.x + PLACE_WIDTH, spot.middle, MIDDLE, box.at(number))
                yield _edge(way, spot, whole, said)
            for place, whole in line.ends:
                spot, said = right[place], f"{box.title} to {place}: {line.text}"
                yield _edge((MIDDLE + BOX_WIDTH, box.at(number), spot.x, spot.middle), spot, whole, said)


def _edge(way: tuple[int, int, int, int], spot: Spot, whole: bool, said: str) -> Markup:
    """A curve that says what it is where the pointer is."""
    x, y, to_x, to_y = way
    bend = (x + to_x) // 2
    curve = f"M{x} {y} C{bend} {y} {bend} {to_y} {to_x} {to_y}"
    return tag("path", tag("title", said), d=curve, class_=f"edge {spot.kind}{'' if whole else ' part'}")


def _spot(spot: Spot) -> Markup:
    shape = tag("rect", x=spot.x, y=spot.y, width=PLACE_WIDTH, height=PLACE_HEIGHT, rx=15)
    word = _text(spot.name, spot.x + 16, spot.middle, PLACE_WIDTH - 32)
    return tag("g", shape, word, class_=f"spot {spot.kind}")


def _box(box: Box) -> Markup:
    shape = tag("rect", x=MIDDLE, y=box.y, width=BOX_WIDTH, height=box.height, rx=6)
    title = _text(box.title, MIDDLE + 12, box.y + 16, BOX_WIDTH - 24, "title")
    lines = [
        _text(line.text, MIDDLE + 12, box.at(number), BOX_WIDTH - 24) for number, line in enumerate(box.lines)
    ]
    if box.more:
        lines.append(
            _text(f"and {box.more} more", MIDDLE + 12, box.at(len(box.lines)), BOX_WIDTH - 24, "more")
        )
    return tag("g", shape, title, lines, class_="box")


def _text(text: str, x: int, middle: int, width: int, kind: str | None = None) -> Markup:
    short = _fitted(text, width / (_BOLD if kind == "title" else _LETTER))
    whole = tag("title", text) if short != text else None
    return tag("text", whole, joined(escaped(short)), x=x, y=middle + ROW // 5, class_=kind)


def _fitted(text: str, room: float) -> str:
    """As much of it as there is room for, in letters."""
    if _letters(text) <= room:
        return text
    kept, used = [], 1
    for letter in text:
        used += _letters(letter)
        if used > room:
            break
        kept.append(letter)
    return f"{''.join(kept)}\N{HORIZONTAL ELLIPSIS}"


def _letters(text: str) -> int:
    return sum(2 if ord(letter) >= _WIDE else 1 for letter in text)
