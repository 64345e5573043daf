"""What may talk to what: a table for each direction, service by place."""

from __future__ import annotations

from fwpolicy.fleet.flows import ALL, PART, UNSAID
from fwpolicy.fleet.matrix import matrix
from fwpolicy.view.html import joined, name, tag
from fwpolicy.view.parts import code, hosts_named, listed, nothing, row, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.fleet.flows import Cell
    from fwpolicy.fleet.matrix import Matrix, Row
    from fwpolicy.fleet.overview import Overview
    from fwpolicy.fleet.places import Place
    from fwpolicy.view.html import Content, Markup

# hook: (heading, caption, what is said of places where nothing passes).
_DIRECTIONS = {
    "input": ("To the hosts", "Who may open a connection to which hosts", "Nothing comes in from: "),
    "forward": (
        "Through the hosts",
        "What passes through which hosts, from where and to where",
        "Nothing goes to: ",
    ),
    "output": ("From the hosts", "Whom the hosts themselves may ask", "Nothing is sent to: "),
}


def tables(overview: Overview) -> Iterator[Markup]:
    """One for each direction that anything is known of."""
    for hook, (heading, caption, shut) in _DIRECTIONS.items():
        found = matrix(overview, hook)
        if not found.rows and hook == "forward":
            continue
        yield tag("h3", heading)
        yield _table(found, overview, caption, hook == "forward") if found.rows else nothing("Nothing.")
        if found.shut:
            yield tag("p", shut, listed([name(place.name) for place in found.shut]), ".", class_="note")


def _table(found: Matrix, overview: Overview, caption: str, passing: bool) -> Markup:
    heads: list[Content] = ["Service", *(["From"] if passing else []), "Hosts"]
    heads += [_head(place) for place in found.columns]
    return table(caption, heads, [_row(each, overview, passing) for each in found.rows], "matrix")


def _head(place: Place) -> Markup:
    kind = "anybody else" if place.kind == place.name else place.kind
    return tag("th", tag("span", name(place.name)), tag("small", kind), scope="col", class_="place")


def _row(each: Row, overview: Overview, passing: bool) -> Markup:
    start = [name(each.start)] if passing else []
    cells = [_cell(cell) for cell in each.cells]
    services = listed([_service(*service) for service in each.services])
    return row(
        each.hosts, overview.groups, services, *start, hosts_named(each.hosts, overview.groups), *cells
    )


def _service(service: str, ports: str) -> Markup:
    if not ports or ports == service:
        return name(service)
    return joined((name(service), tag("small", " ", ports, class_="ports")))


def _cell(cell: Cell) -> Markup:
    limited = tag("small", "limited") if cell.limited else None
    if cell.extent == ALL:
        return tag("td", tag("span", "yes", class_="mark all"), limited, class_="cell")
    if cell.extent == PART:
        words = listed([code(text) for text in cell.words])
        return tag("td", tag("span", "part", class_="mark part"), tag("small", words), limited, class_="cell")
    if cell.extent == UNSAID:
        return tag(
            "td", tag("span", "\N{EN DASH}", class_="mark unsaid", title="no such place here"), class_="cell"
        )
    return tag("td", tag("span", "no", class_="mark none"), class_="cell")
