"""The zone graph: who asks on the left, hosts and what they let through in the middle, where it goes on the
right. Only numbers here; picture.py draws them."""

from __future__ import annotations

from fwpolicy.fleet.flows import ALL, PART, REDIRECTED, REST
from fwpolicy.fleet.naming import spoken
from fwpolicy.fleet.places import GROUP, INTERNET, ZONE
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fwpolicy.fleet.flows import Flow
    from fwpolicy.fleet.overview import Overview, Seen
    from fwpolicy.fleet.places import Place

    _Ends = tuple[tuple[str, bool], ...]

WIDTH = 1000
LEFT, MIDDLE, RIGHT = 10, 340, 810
PLACE_WIDTH, BOX_WIDTH = 180, 320
ROW, HEAD, GAP, PLACE_HEIGHT, TOP = 20, 28, 16, 30, 40
# More kinds of hosts, or rows of one, make no picture; the tables have them all.
MOST_BOXES, MOST_ROWS = 14, 10


@record
class Line:
    """A row of a box: services, where they come from and where they go to (names of places, by whether all
    of it passes)."""

    text: str
    starts: tuple[tuple[str, bool], ...]
    ends: tuple[tuple[str, bool], ...]


@record
class Box:
    """Hosts of one kind, with its place in the picture; `more`: rows that are not shown."""

    title: str
    lines: tuple[Line, ...]
    more: int
    y: int

    @property
    def height(self) -> int:
        return HEAD + ROW * (len(self.lines) + (1 if self.more else 0)) + 8

    def at(self, number: int) -> int:
        """The middle of a row."""
        return self.y + HEAD + ROW * number + ROW // 2


@record
class Spot:
    """A place, on the left or on the right."""

    name: str
    kind: str
    x: int
    y: int

    @property
    def middle(self) -> int:
        return self.y + PLACE_HEIGHT // 2


@record
class Graph:
    """`left_out`: kinds of hosts that are not in the picture."""

    boxes: tuple[Box, ...]
    left: tuple[Spot, ...]
    right: tuple[Spot, ...]
    height: int
    left_out: int


def graph(overview: Overview) -> Graph:
    """The picture of a fleet; if not all have room, of the hosts most open to the Internet."""
    drawn: dict[tuple[Line, ...], list[str]] = {}
    for unit in overview.units:
        if lines := tuple(_lines(unit, overview.places)):
            drawn.setdefault(lines, []).extend(unit.hosts)
    shown = sorted(drawn, key=lambda lines: -_exposed(lines))[:MOST_BOXES]
    boxes, y = [], TOP
    for lines in (lines for lines in drawn if lines in shown):
        more = max(len(lines) - MOST_ROWS, 0)
        boxes.append(Box(spoken(drawn[lines], overview.groups, 2), lines[:MOST_ROWS], more, y))
        y += boxes[-1].height + GAP
    kinds = {place.name: place.kind for place in overview.places}
    left = tuple(
        Spot(place, kinds.get(place, GROUP), LEFT, top)
        for place, top in _spread(_weights(boxes, "starts"), y)
    )
    right = tuple(
        Spot(place, kinds.get(place, GROUP), RIGHT, top) for place, top in _near(_weights(boxes, "ends"), y)
    )
    lowest = max((spot.y + PLACE_HEIGHT for spot in (*left, *right)), default=0)
    return Graph(tuple(boxes), left, right, max(y, lowest + GAP), len(drawn) - len(boxes))


def _exposed(lines: Iterable[Line]) -> int:
    return sum(INTERNET in dict(line.starts) for line in lines)


def _lines(unit: Seen, places: Sequence[Place]) -> list[Line]:
    """Services with the same ends share a row. What a host may send is drawn only if it is not everything."""
    flows = unit.looked.flows if unit.looked else ()
    free = any(flow.hook == "output" and flow.service == REST and _anywhere(flow, places) for flow in flows)
    found: dict[tuple[_Ends, _Ends], dict[str, None]] = {}
    for flow in flows:
        ends = _ends(flow, places)
        if ends and not (free and flow.hook == "output"):
            found.setdefault(_sides(flow, ends), {})[flow.service] = None
    return [Line(", ".join(names), *sides) for sides, names in found.items()]


def _anywhere(flow: Flow, places: Sequence[Place]) -> bool:
    return _ends(flow, places) == ((INTERNET, True),)


def _sides(flow: Flow, ends: _Ends) -> tuple[_Ends, _Ends]:
    """(where it comes from, where it goes to); where what is redirected goes to, its name says."""
    if flow.hook == "input":
        return ends, ()
    start = ((flow.start, True),) if flow.start else ()
    return start, () if REDIRECTED in flow.service else ends


def _ends(flow: Flow, places: Sequence[Place]) -> _Ends:
    """The places that say most: the Internet alone where everybody else may, too; zones before groups where
    all of a zone may; and those of which a part may where nobody may all."""
    extents = {place: cell.extent for place, cell in zip(places, flow.cells, strict=True)}
    whole = [place for place, extent in extents.items() if extent == ALL]
    parts = [place for place, extent in extents.items() if extent == PART]
    if any(place.kind == INTERNET for place in whole):
        return ((INTERNET, True),)
    zones = [place for place in whole if place.kind == ZONE]
    chosen = zones or whole
    if chosen:
        return tuple((place.name, True) for place in chosen)
    zones = [place for place in parts if place.kind == ZONE]
    return tuple((place.name, False) for place in zones or parts)


def _weights(boxes: Sequence[Box], side: str) -> dict[str, float]:
    """For each place the mean height of what it is joined to: fewer lines cross."""
    heights: dict[str, list[int]] = {}
    for box in boxes:
        for number, line in enumerate(box.lines):
            for place, _ in getattr(line, side):
                heights.setdefault(place, []).append(box.at(number))
    return {place: sum(own) / len(own) for place, own in heights.items()}


def _spread(weights: dict[str, float], height: int) -> Iterator[tuple[str, int]]:
    """In the order of their weights, over the whole height."""
    step = max((height - TOP) / max(len(weights), 1), PLACE_HEIGHT + GAP)
    for number, place in enumerate(_ordered(weights)):
        yield place, TOP + int(step * (number + 0.5)) - PLACE_HEIGHT // 2


def _near(weights: dict[str, float], height: int) -> Iterator[tuple[str, int]]:
    """Each as near to its weight as the others let it."""
    lowest, left = TOP, len(weights)
    for place in _ordered(weights):
        y = max(lowest, min(int(weights[place]) - PLACE_HEIGHT // 2, height - left * (PLACE_HEIGHT + GAP)))
        yield place, y
        lowest, left = y + PLACE_HEIGHT + GAP, left - 1


def _ordered(weights: dict[str, float]) -> list[str]:
    return sorted(weights, key=lambda place: (weights[place], place))
