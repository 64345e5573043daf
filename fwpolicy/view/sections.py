"""The sections of the report about hosts and lines."""

from __future__ import annotations

from fwpolicy.fleet import findings
from fwpolicy.fleet.facts import age
from fwpolicy.fleet.findings import DIFFERS, SAME, UNKNOWN
from fwpolicy.fleet.flows import ALL, PART
from fwpolicy.view.html import joined, name, tag
from fwpolicy.view.parts import (
    badge,
    code,
    day,
    groups_of,
    hosts_named,
    listed,
    nothing,
    row,
    section,
    table,
)
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.fleet.findings import Posture, Unused
    from fwpolicy.fleet.looked import Line
    from fwpolicy.fleet.openings import Opening
    from fwpolicy.fleet.overview import Overview, Seen
    from fwpolicy.fleet.places import Place
    from fwpolicy.view.html import Content, Markup

_KINDS = {SAME: "good", DIFFERS: "bad", UNKNOWN: "unknown"}
_LEVELS = {3: ("high", "bad"), 2: ("medium", "warn"), 1: ("low", "calm")}
# More prefixes of a name than these are counted.
_PREFIXES = 6


def wrong(overview: Overview) -> Markup | None:
    """Policies that are wrong, and rules about rules that do not hold; None where all is well."""
    items = [
        tag("li", hosts_named(unit.hosts, overview.groups), tag("pre", _lines(unit.wrong)))
        for unit in overview.units
        if unit.wrong
    ]
    items += [
        tag("li", hosts_named(each.hosts, overview.groups), tag("pre", _lines(each.message)))
        for each in overview.judgement.broken
    ]
    failures = {
        (unit.looked.failure, unit.hosts) for unit in overview.units if unit.looked and unit.looked.failure
    }
    items += [
        tag("li", hosts_named(hosts, overview.groups), ": not worked out: ", why) for why, hosts in failures
    ]
    if not items:
        return None
    said = "Of these hosts nothing below can be relied on, or a rule about rules is broken."
    return section("wrong", "Wrong", said, tag("ul", items, class_="wrong"))


def _lines(text: str) -> Iterator[Content]:
    """A message with its lines, each by itself: what does not print is shown."""
    for number, line in enumerate(text.splitlines()):
        if number:
            yield joined(tag("br"))
        yield line


def risky(overview: Overview) -> Markup:
    found = findings.openings(overview)
    said = (
        "New connections that the policies let in or through: administrative ports or amplifiers from the "
        "Internet (high), anything else from the Internet (medium), administrative ports from anywhere (low)."
    )
    lines = findings.line_at(overview)
    rows = [_opening(each, hosts, lines.get(each.at), overview) for each, hosts in found]
    columns = ("Risk", "What is open", "Hosts", "Because of")
    body = table("Risky openings", columns, rows) if rows else nothing(_none(overview))
    return section("risky", "Risky openings", said, body)


def _none(overview: Overview) -> str:
    unread = findings.unread(overview)
    return f"None where it is known; of {counted(unread, 'host')} it is not." if unread else "None."


def _opening(each: Opening, hosts: tuple[str, ...], line: Line | None, overview: Overview) -> Markup:
    word, kind = _LEVELS[each.level]
    passing = tag("small", "through the hosts") if each.hook == "forward" else None
    classes = joined(([tag("span", code(text), class_="line") for text in each.classes], passing))
    risk = joined((badge(word, kind), tag("small", ", ".join(each.risks))))
    labels = _labels(line) if line else None
    because = (code(each.by), labels)
    named = hosts_named(hosts, overview.groups)
    return row(hosts, overview.groups, risk, classes, named, because, value=-each.level)


def _labels(line: Line) -> Markup:
    """Whose line it is, why it is there, and until when."""
    parts: list[Content] = []
    if line.owner:
        parts.append(("owner ", name(line.owner)))
    if line.ticket:
        parts.append(("ticket ", name(line.ticket)))
    if line.expires is not None:
        parts.append(f"until {day(line.expires - 1)}")
    return tag("small", listed([joined(part) for part in parts]), class_="labels")


def hosts(overview: Overview) -> Markup:
    said = (
        "Hosts with the same policies are one row. Whether what was applied is still there is what they said "
        "last, and that it was of another commit than this report."
    )
    columns = ("Hosts", "In force", "Policies", "What is not named", "NTP", "Groups")
    rows = [_unit(unit, overview) for unit in overview.units]
    left = _unmanaged(overview)
    return section(
        "hosts", "Hosts", said, table("Hosts, their policies and their state", columns, rows), left
    )


def _unmanaged(overview: Overview) -> Markup | None:
    if not overview.unmanaged:
        return None
    return tag("p", "Without a policy: ", hosts_named(overview.unmanaged, overview.groups), class_="note")


def _unit(unit: Seen, overview: Overview) -> Markup:
    looked = unit.looked
    groups = groups_of(unit.hosts, overview.groups)
    defaults = listed([f"{hook} {default}" for hook, default in looked.defaults]) if looked else None
    policies = [tag("span", code(each), class_="line") for each in unit.policies]
    if unit.wrong:
        policies.append(badge("wrong", "bad"))
    return row(
        unit.hosts,
        overview.groups,
        hosts_named(unit.hosts, overview.groups),
        _states(unit, overview),
        (tag("b", name(looked.policy)) if looked else None, policies),
        defaults or "left to others",
        (looked.ntp or "no role") if looked else None,
        listed([name(each) for each in groups if each != "all"]),
    )


def _states(unit: Seen, overview: Overview) -> Markup:
    found: dict[str, int] = {}
    for host in unit.hosts:
        state = findings.state(overview, unit, host)
        found[state] = found.get(state, 0) + 1
    parts = [
        badge(f"{found[each]:,} {each}", _KINDS[each]) for each in (DIFFERS, UNKNOWN, SAME) if each in found
    ]
    parts += [
        badge(f"{number:,} of commit {commit[:12]}", "warn") for commit, number in _others(unit, overview)
    ]
    return joined([tag("span", part, class_="line") for part in parts])


def _others(unit: Seen, overview: Overview) -> Iterator[tuple[str, int]]:
    """The commits in force on hosts, where they say so and it is not this report's; with how many."""
    found: dict[str, int] = {}
    for host in unit.hosts:
        said = overview.facts_of(host).status.said
        if said is not None and said.commit:
            found[said.commit] = found.get(said.commit, 0) + 1
    here = overview.came.commit if overview.came else ""
    return ((commit, number) for commit, number in found.items() if commit != here)


def drift(overview: Overview) -> Markup:
    said = (
        "What on the hosts is not as it was applied, or is another policy than theirs, as they said last; "
        "and of which hosts nothing is known."
    )
    found = findings.drifted(overview)
    rows = [
        row(
            each.hosts,
            overview.groups,
            joined((badge(DIFFERS, "bad"), " ", name(each.what))),
            hosts_named(each.hosts, overview.groups),
            [tag("span", code(line), class_="line") for line in each.detail],
        )
        for each in found
    ]
    rows += [
        row(
            silent,
            overview.groups,
            joined((badge(UNKNOWN, "unknown"), " ", why)),
            _silent(silent, overview),
            None,
        )
        for why, silent in findings.unknown(overview).items()
    ]
    body = (
        table("Drift", ("What", "Hosts", "In detail"), rows) if rows else nothing("Every host is as applied.")
    )
    return section("drift", "Drift", said, body)


def _silent(silent: list[str], overview: Overview) -> Markup:
    return hosts_named(silent, overview.groups)


def expiring(overview: Overview) -> Markup:
    said = (
        f"Lines that end by themselves, the soonest first: over, within {findings.SOON} days, within "
        f"{findings.LATER}, later."
    )
    rows = [
        row(
            own,
            overview.groups,
            joined((_left(left), tag("small", day(line.expires - 1)) if line.expires else None)),
            (code(line.text), tag("small", f"{line.at}, {line.hook}", class_="labels")),
            name(line.owner) if line.owner else badge("nobody", "warn"),
            name(line.ticket) if line.ticket else badge("none", "warn"),
            hosts_named(own, overview.groups),
            value=left,
        )
        for line, own, left in findings.expiring(overview)
    ]
    columns = ("Ends", "Line", "Owner", "Ticket", "Hosts")
    body = table("Temporary openings and blocks", columns, rows) if rows else nothing("No line expires.")
    return section("expiring", "Temporary lines", said, body, *_exceptions(overview))


def _left(days: int) -> Markup:
    if days < 0:
        return badge("over", "bad")
    kind = "warn" if days < findings.SOON else "calm" if days < findings.LATER else "good"
    return badge("last day" if days == 0 else f"in {counted(days, 'day')}", kind)


def _exceptions(overview: Overview) -> Iterator[Markup]:
    rows = [
        row(
            own,
            overview.groups,
            code(line.text),
            f"{line.hook} {line.verdict}",
            line.at,
            hosts_named(own, overview.groups),
        )
        for line, own in findings.lines(overview).items()
        if line.holes
    ]
    if rows:
        yield tag("h3", "Exceptions")
        yield table("Lines with except", ("Line", "What it does", "Place", "Hosts"), rows)


def unused(overview: Overview) -> Markup:
    said = (
        "Lines whose counters stand at nothing on every host that told them, and for how long at least. "
        "Counters begin anew at boot, so this is a question to ask, not an answer."
    )
    found = findings.unused(overview)
    silent = sum(overview.facts_of(host).counters.said is None for host in findings.hosts_of(overview))
    known = sum(1 for _ in findings.hosts_of(overview)) - silent
    note = tag(
        "p", f"Counters are known of {counted(known, 'host')}, and not known of {silent:,}.", class_="note"
    )
    rows = [_unused(each, overview) for each in found]
    columns = ("Line", "For", "Hosts", "Not known of")
    empty = "Every line has met something." if known else "Not known: no host's counters are."
    body = table("Lines that met nothing", columns, rows) if rows else nothing(empty)
    return section("unused", "Unused lines", said, body, note)


def _unused(each: Unused, overview: Overview) -> Markup:
    return row(
        each.hosts,
        overview.groups,
        joined((code(each.text or "(its text is not known)"), tag("small", name(each.at), class_="labels"))),
        tag("td", badge("not known", "unknown"))
        if each.seconds is None
        else tag("td", age(each.seconds), data_value=each.seconds),
        hosts_named(each.hosts, overview.groups),
        counted(each.silent, "host") if each.silent else "none",
    )


def ntp(overview: Overview) -> Markup:
    said = (
        "The role of each host, who is answered by the policy's word, and what probes found. Silence counts "
        "as closed only where a control answered over the same path."
    )
    rows = [_posture(each, overview) for each in findings.ntp(overview)]
    columns = ("Hosts", "Role", "Asks", "Answers", "Probed")
    body = table("NTP", columns, rows) if rows else nothing("Nothing is known.")
    return section("ntp", "NTP", said, body)


def _posture(each: Posture, overview: Overview) -> Markup:
    role = name(each.role) if each.role else badge("no role", "warn")
    answers: Content = badge("not known", "unknown")
    if each.answers is not None:
        cells = zip(overview.places, each.answers.cells, strict=True)
        named = [_answered(place, cell.extent) for place, cell in cells if cell.extent in (ALL, PART)]
        answers = listed(named) if named else "nobody"
    asks = each.asks or "as its policy has it"
    return row(
        each.hosts,
        overview.groups,
        hosts_named(each.hosts, overview.groups),
        role,
        asks,
        answers,
        _probed(each, overview),
    )


def _answered(place: Place, extent: str) -> Markup:
    if place.kind == "internet":
        return badge("the Internet", "bad")
    return name(place.name) if extent == ALL else joined(("some of ", name(place.name)))


def _probed(each: Posture, overview: Overview) -> Markup:
    parts: list[Content] = []
    for host, found in each.answered:
        sentence = f"{found.address}: {found.reason}, up to {found.factor:g} times the bytes"
        parts.append((badge("open", "bad"), " ", name(host), tag("small", name(sentence))))
    if each.closed:
        parts.append((badge("closed", "good"), " ", hosts_named(each.closed, overview.groups)))
    by_reason: dict[str, list[str]] = {}
    for host, why in each.unknown:
        by_reason.setdefault(why, []).append(host)
    for why, silent in by_reason.items():
        parts.append(
            (badge("not known", "unknown"), " ", hosts_named(silent, overview.groups), tag("small", why))
        )
    return joined([tag("span", part, class_="line") for part in parts])


def names(overview: Overview) -> Markup:
    said = (
        "Places as the policies name them. “internet” is whoever has a global address and is in none of the "
        "groups; a zone is whoever comes in by its interfaces and is not blocked altogether."
    )
    rows = [row((), overview.groups, name(each.name), each.kind, _meaning(each)) for each in overview.places]
    return section("names", "Names", said, table("Places", ("Name", "Kind", "Stands for"), rows))


def _meaning(place: Place) -> Content:
    from fwpolicy.addresses import BITS, format_address, prefixes  # noqa: PLC0415

    if place.meaning is None:
        return {"group": "different addresses in different policies", "zone": "interfaces of each host"}.get(
            place.kind, "global addresses in no group"
        )
    texts = []
    for family in (4, 6):
        for interval in place.meaning.of(family)[:_PREFIXES]:
            for network, length in prefixes(family, interval)[:_PREFIXES]:
                address = format_address(family, network)
                texts.append(address if length == BITS[family] else f"{address}/{length}")
    more = len(place.meaning.v4) + len(place.meaning.v6) - 2 * _PREFIXES
    return listed([code(text) for text in texts[: 2 * _PREFIXES]]), " and more" if more > 0 or len(
        texts
    ) > 2 * _PREFIXES else None
