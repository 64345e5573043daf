"""What the sections of the report are made of: tables, lists of hosts, cells."""

from __future__ import annotations

from time import gmtime, strftime

from fwpolicy.fleet.naming import cover
from fwpolicy.view.html import Markup, joined, name, tag
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from fwpolicy.view.html import Content

    Groups = Mapping[str, tuple[str, ...]]

# More names than these are folded away.
_NAMED = 4


def section(anchor: str, title: str, said: Content, *content: Content) -> Markup:
    """A part of the page with its heading, and a sentence that says what it is."""
    heading = tag("h2", title, id=f"{anchor}-title")
    lead = tag("p", said, class_="lead") if said else None
    return tag("section", heading, lead, content, id=anchor, aria_labelledby=f"{anchor}-title")


def table(caption: str, columns: Iterable[Content], rows: Sequence[Markup], kind: str = "") -> Markup:
    """A table whose rows can be filtered, in a box that scrolls where it is too wide."""
    heads = tag(
        "tr", [each if isinstance(each, Markup) else tag("th", each, scope="col") for each in columns]
    )
    whole = tag(
        "table",
        tag("caption", caption),
        tag("thead", heads),
        tag("tbody", rows),
        class_=f"rows {kind}".strip(),
    )
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def row(hosts: Collection[str], groups: Groups, *cells: Content, value: int | None = None) -> Markup:
    """A row that is about these hosts; its first cell is its head, by whose `value` it is sorted."""
    first, *rest = cells
    found = [
        each if isinstance(each, Markup) and each.startswith("<td") else tag("td", each) for each in rest
    ]
    among = " ".join(groups_of(hosts, groups))
    return tag("tr", tag("th", first, scope="row", data_value=value), found, data_groups=among)


def groups_of(hosts: Collection[str], groups: Groups) -> list[str]:
    """The groups that one of the hosts is in."""
    wanted = set(hosts)
    return [group for group, members in groups.items() if not wanted.isdisjoint(members)]


def hosts_named(hosts: Sequence[str], groups: Groups) -> Markup:
    """Groups where they are whole, a few names, the others folded away."""
    whole, single = cover(hosts, groups)
    found = [joined((name(each), f" ({counted(len(groups[each]), 'host')})")) for each in whole]
    found += [name(each) for each in single[:_NAMED]]
    if len(single) > _NAMED:
        found.append(joined(f"{len(single) - _NAMED:,} more"))
    said = listed(found)
    if len(hosts) <= 1 or (not whole and len(single) <= _NAMED):
        return tag("div", said, class_="hosts")
    names = tag("span", listed([name(host) for host in hosts]), class_="names")
    return tag("div", said, tag("details", tag("summary", "names"), names), class_="hosts")


def listed(parts: Sequence[Content]) -> Markup:
    """With commas."""
    return joined([(", " if place else None, part) for place, part in enumerate(parts)])


def code(text: str) -> Markup:
    return tag("code", name(text))


def badge(text: str, kind: str) -> Markup:
    """A word in a colour; the word alone says it."""
    return tag("span", text, class_=f"badge {kind}")


def day(second: int) -> str:
    return strftime("%Y-%m-%d", gmtime(second))


def moment(second: int) -> str:
    return strftime("%Y-%m-%d %H:%M UTC", gmtime(second))


def nothing(text: str) -> Markup:
    """Where a table would be, and has no row."""
    return tag("p", text, class_="nothing")
