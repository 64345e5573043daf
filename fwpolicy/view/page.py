"""The whole page: one file that needs nothing else, and may load nothing else."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from fwpolicy.fleet import findings
from fwpolicy.fleet.findings import DIFFERS, UNKNOWN
from fwpolicy.fleet.naming import of_policies
from fwpolicy.view import sections, traffic
from fwpolicy.view.graph import graph
from fwpolicy.view.html import Markup, joined, name, tag
from fwpolicy.view.parts import code, moment, section
from fwpolicy.view.picture import picture
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.fleet.overview import Overview
    from fwpolicy.view.html import Content

_NAVIGATION = (
    ("risky", "Risky openings"),
    ("traffic", "Traffic"),
    ("hosts", "Hosts"),
    ("drift", "Drift"),
    ("expiring", "Temporary lines"),
    ("unused", "Unused lines"),
    ("ntp", "NTP"),
    ("names", "Names"),
)


def page(overview: Overview, style: str, script: str) -> str:
    """The report as HTML. `style`, `script`: the page's own, which are all that it may run."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"Firewall report: {overview.inventory}"),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        tag("a", "To the report", href="#main", class_="skip"),
        _header(overview),
        _tools(overview),
        tag("main", list(_sections(overview)), id="main"),
        _footer(overview),
        tag("script", Markup(script)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, sent or run but what is in the page."""
    own = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _header(overview: Overview) -> Markup:
    hosts = sum(len(unit.hosts) for unit in overview.units)
    sentence = of_policies(hosts, len(overview.units))
    sentence = sentence.replace("policys", "policies")
    return tag(
        "header",
        tag("h1", "What the firewalls let through"),
        tag("p", name(overview.inventory), f", {sentence}, as of {moment(overview.now)}", class_="lead"),
        tag("p", _came(overview), class_="came"),
        tag("ul", list(_tiles(overview)), class_="tiles"),
        tag(
            "nav",
            [tag("a", title, href=f"#{anchor}") for anchor, title in _NAVIGATION],
            aria_label="Sections",
        ),
    )


def _came(overview: Overview) -> Content:
    came = overview.came
    if came is None:
        return "From files that are in no git repository."
    changed = ", with changes that are not committed" if came.changed else ""
    return (
        "Commit ",
        code(came.commit[:12]),
        f" of {moment(came.time)} by ",
        name(came.author),
        changed,
        ".",
    )


def _tiles(overview: Overview) -> Iterator[Markup]:
    hosts = list(findings.hosts_of(overview))
    states = findings.states(overview)
    yield _wrong(overview)
    yield _risky(overview)
    differs, unknown = states.count(DIFFERS), states.count(UNKNOWN)
    yield _tile(
        "drift", f"{differs}", f"hosts differ; of {unknown:,} it is not known", differs > 0, unknown > 0
    )
    soon = sum(left < findings.SOON for _, _, left in findings.expiring(overview))
    yield _tile("expiring", f"{soon}", f"lines end within {findings.SOON} days, or are over", False, soon > 0)
    idle = len(findings.unused(overview))
    counted = sum(overview.facts_of(host).counters.said is not None for host in hosts)
    yield _tile(
        "unused",
        f"{idle}" if counted else "?",
        f"lines met nothing ({counted:,} of {len(hosts):,} hosts known)",
        False,
        not counted,
    )
    postures = findings.ntp(overview)
    answering = sum(len({host for host, _ in each.answered}) for each in postures)
    closed = sum(len(each.closed) for each in postures)
    silent = len(hosts) - closed - answering
    known = f"{answering}" if closed or answering else "?"
    yield _tile(
        "ntp", known, f"hosts answer NTP probes; of {silent:,} it is not known", answering > 0, silent > 0
    )


def _risky(overview: Overview) -> Markup:
    openings, unread = findings.openings(overview), findings.unread(overview)
    high = sum(each.level == 3 for each, _ in openings)
    left = f"; of {counted(unread, 'host')} it is not known" if unread else ""
    none = 0 < unread == len(list(findings.hosts_of(overview)))
    number = "?" if none else f"{len(openings):,}"
    return _tile("risky", number, f"risky openings, {high:,} of them high{left}", high > 0, unread > 0)


def _wrong(overview: Overview) -> Markup:
    wrong, judgement = sum(bool(unit.wrong) for unit in overview.units), overview.judgement
    proved = "proved" if overview.proved else "not proved"
    if wrong or judgement.broken:
        broken = counted(len({each.origin for each in judgement.broken}), "broken invariant")
        return _tile("wrong", f"{wrong:,}", f"policies wrong, {broken}", True)
    kept = f"; {counted(judgement.number, 'invariant')} kept" if judgement.number else ""
    return _tile("", "0", f"policies wrong: all are {proved}{kept}", False, not overview.proved)


def _tile(anchor: str, number: str, text: str, bad: bool, warn: bool = False) -> Markup:
    kind = "bad" if bad else "warn" if warn else "good"
    inside = (tag("b", number), tag("span", text))
    return tag("li", tag("a", inside, href=f"#{anchor}") if anchor else tag("div", inside), class_=kind)


def _tools(overview: Overview) -> Markup:
    """Filters; without JavaScript they are not there."""
    choices = [tag("option", "every group", value="")]
    choices += [tag("option", each, value=each) for each in overview.groups if each != "all"]
    return tag(
        "div",
        tag(
            "label",
            "Find ",
            tag("input", type="search", id="find", placeholder="host, port, line, owner ..."),
        ),
        tag("label", "Group ", tag("select", choices, id="group")),
        tag("span", id="found", role="status"),
        class_="tools",
        id="tools",
        hidden=True,
    )


def _sections(overview: Overview) -> Iterator[Markup | None]:
    yield sections.wrong(overview)
    yield sections.risky(overview)
    yield _traffic(overview)
    yield sections.hosts(overview)
    yield sections.drift(overview)
    yield sections.expiring(overview)
    yield sections.unused(overview)
    yield sections.ntp(overview)
    yield sections.names(overview)


def _traffic(overview: Overview) -> Markup:
    said = (
        "Worked out from the packet model, for every packet: new connections, with limits unspent, at the "
        "time of this report. “part” says which part; what is not listed passes from and to nowhere. "
        "In the picture a dashed line is a part, and a host without a line to the right may send anything."
    )
    drawn = graph(overview)
    left = (
        tag("p", f"In the tables only: {counted(drawn.left_out, 'more kind')} of hosts.", class_="note")
        if drawn.left_out
        else None
    )
    box = tag(
        "div", picture(drawn), class_="scroll graph", tabindex=0, role="region", aria_label="Zone graph"
    )
    return section("traffic", "What may talk to what", said, box, left, list(traffic.tables(overview)))


def _footer(overview: Overview) -> Markup:
    facts = (
        "with facts of the hosts"
        if overview.given
        else "without facts of the hosts: what they do is not known"
    )
    return tag("footer", tag("p", joined(f"fwpolicy {overview.tool}, {moment(overview.now)}, {facts}.")))
