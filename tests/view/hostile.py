"""An overview whose every name wants to be more than a name, made by hand: nothing is read or worked out."""

from __future__ import annotations

from fwpolicy.addresses import of
from fwpolicy.fleet.facts import Count, Facts, Heard, Probed, Status
from fwpolicy.fleet.flows import ALL, NONE, PART, Cell, Flow
from fwpolicy.fleet.judging import Broken, Judgement
from fwpolicy.fleet.looked import Line, Looked
from fwpolicy.fleet.openings import Opening
from fwpolicy.fleet.overview import Came, Overview, Seen
from fwpolicy.fleet.places import Place

NOW = 1_790_000_000
DAY = 86400
NAMES = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'\" onmouseover='document.title=1' x='",
    "</style></title></svg><iframe src=https://example.org>",
    "\N{RIGHT-TO-LEFT OVERRIDE}elif.exe",
    "שרת־הדואר",
    "x" * 300,
    "{{7*7}} ${7*7} <!-- -->",
)


def overview(names: tuple[str, ...] = NAMES, proved: bool = True) -> Overview:
    """Two units, with facts of one host; every text is one of `names`."""
    text = [names[number % len(names)] for number in range(64)]
    places = (
        Place("internet", "internet"),
        Place(text[0], "zone"),
        *(Place(t, "group", of("192.0.2.0/24")) for t in text[1:8]),
    )
    cells = (
        Cell(ALL),
        Cell(PART, (text[1], text[2]), limited=True),
        *(Cell(NONE) for _ in range(6)),
        Cell(ALL),
    )
    flows = tuple(
        Flow(hook, text[3] if hook == "forward" else "", f"{text[number]} {number}", "tcp/1", cells)
        for hook in ("input", "forward", "output")
        for number in range(4)
    )
    flows += tuple(
        Flow("input", "", t, "udp/123", (Cell(NONE), Cell(NONE), Cell(ALL), *cells[3:])) for t in text[:8]
    )
    opening = Opening(3, (text[0],), "input", (text[1], text[2]), text[3], text[4])
    lines = (
        Line(text[4], text[5], "input", "accept", text[6], text[7], NOW + 12 * DAY, 1),
        Line(text[5], text[6], "input", "drop", "", "", NOW - DAY, 0),
    )
    looked = Looked(text[0], text[1], (("input", "drop"),), "client-only", text[2], flows, (opening,), lines)
    hosts = tuple(text[:8])
    status = Status(
        True, text[0], 1, "2026-01-01T00:00:00Z", ((text[1], (text[2], text[3])),), (), text[4], 3
    )
    counts = (Count(text[0], 3, text[1], text[2], f"allow_{text[3]}", 0),)
    facts = Facts(
        Heard(status, NOW), Heard(counts, NOW), Heard((Probed(text[4], "OPEN", text[5], 556.9),), NOW)
    )
    broken = Broken(None, text[1], text[2], f"{text[3]}\n{text[4]}", hosts)  # type: ignore[arg-type]
    return Overview(
        text[3],
        NOW,
        "0.1",
        Came(text[0], text[1], NOW - DAY, changed=True),
        proved,
        {"all": (*hosts, "bad-01"), text[2]: hosts[:3]},
        (text[3],),
        places,
        (Seen(hosts, (text[5],), "", looked), Seen(("bad-01",), (text[6],), f"{text[0]}\n{text[7]}", None)),
        Judgement(1, (broken,)),
        True,
        {hosts[0]: facts},
    )
