"""A change of a fleet's traffic as Markdown: what a reviewer reads instead of the text's own diff."""

from __future__ import annotations

import re

from fwpolicy.fleet.changes import NEW
from fwpolicy.fleet.naming import spoken
from fwpolicy.fleet.rulechanges import CAME, CHANGED, GONE
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeVar

    from fwpolicy.fleet.changes import Comparison, Traffic
    from fwpolicy.fleet.inventory import Inventory
    from fwpolicy.fleet.rulechanges import RuleChange

    Changes = Sequence[tuple[Traffic, tuple[str, ...]]]
    Told = TypeVar("Told")

# More classes than these of one change are counted, not shown: --json has them all.
_SHOWN = 6
# More hosts than these are folded away.
_NAMED = 12
# Of more hosts than these the rest are in --json.
_LISTED = 100
# What GitHub takes for a comment, and some room for who posts it.
_LONGEST = 60_000
_HEADINGS = {
    "allowed": "Newly allowed",
    "denied": "Newly denied",
    "denied otherwise": "Denied otherwise",
    "translated otherwise": "Sent elsewhere",
}
_RULES = {
    GONE: "asked for no longer",
    CAME: "asked for from now on",
    CHANGED: "means something else in the same words",
}
_ABANDONED = (
    "They are in the inventory still. What is in force there stays, looked at by nobody, and is open where "
    "somebody removes it."
)


def comment(found: Comparison, revision: str, old: Inventory, new: Inventory) -> str:
    """The whole comment, or as much of it as a comment may have."""
    blocks = ["## What this does to traffic\n", *_summary(found, revision)]
    blocks += _blocks(found, old, new)
    text, left = "", len(blocks)
    for block in blocks:
        if len(text) + len(block) > _LONGEST:
            return f"{text}\n... and {left} parts more, for which a comment has no room: `--json` has all.\n"
        text += f"{block}\n"
        left -= 1
    return text


def _blocks(found: Comparison, old: Inventory, new: Inventory) -> Iterator[str]:
    """Headings, each with what is below it; a block is whole by itself."""
    risky = [item for item in found.traffic if item[0].level]
    if found.risk:
        yield "\n### :warning: Risky: look here first"
        yield from _abandoned(found.abandoned, new)
        yield from _rules([item for item in found.rules if item[0].level], new)
        yield from _sections(risky, new)
    for now, heading in _HEADINGS.items():
        own = [item for item in found.traffic if item[0].now == now and not item[0].level]
        if own:
            yield f"\n### {heading}"
            yield from _sections(own, new)
    rules = [item for item in found.rules if not item[0].level]
    if rules:
        yield "\n### Rules about rules"
        yield from _rules(rules, new)
    for message, hosts in found.wrong:
        what = _hosts(hosts, new) if hosts else "rules about rules"
        yield "\n".join((f"\n### Not compared: {what}", "", *_fenced(message)))
    for what, hosts, inventory in (("added", found.added, new), ("removed", found.removed, old)):
        if hosts:
            yield "\n".join((f"\n### Hosts {what}", "", _hosts(hosts, inventory), *_folded(hosts)))


def _summary(found: Comparison, revision: str) -> Iterator[str]:
    brought = [each for each, _ in found.traffic if each.old == NEW]
    changed = [(each, hosts) for each, hosts in found.traffic if each.old != NEW]
    risky = sum(each.level > 0 for each, _ in changed)
    touched = len({host for _, hosts in changed for host in hosts})
    total = touched + len(found.same) + sum(len(hosts) for _, hosts in found.wrong)
    number = len(changed)
    if found.abandoned:
        yield f"**{counted(len(found.abandoned), 'host')}** without a policy from now on.\n"
    if weaker := sum(each.level > 0 for each, _ in found.rules):
        yield f"**{counted(weaker, 'rule')} about rules** asked for no longer.\n"
    if brought:
        yield f"**{counted(len(brought), 'risky opening')}** of hosts that are new.\n"
    if not number and not found.wrong:
        yield f"No difference: on {total:,} hosts every packet meets the same end as in {code(revision)}."
        return
    compared = touched + len(found.same)
    if compared < total:
        yield f"**{compared:,} of {total:,} hosts compared**; what changes on the others is not known.\n"
    if compared:
        changes = counted(number, "change")
        text = f"Against {code(revision)}: {changes} on {touched:,} of {compared:,} hosts"
        yield f"{text}, **{risky} risky**." if risky else f"{text}, none risky."


def _abandoned(hosts: Sequence[str], inventory: Inventory) -> Iterator[str]:
    if hosts:
        heading = f"\n#### Without a policy from now on: {_hosts(hosts, inventory)}"
        yield "\n".join((heading, *_folded(hosts), "", _ABANDONED))


def _rules(changes: Sequence[tuple[RuleChange, tuple[str, ...]]], inventory: Inventory) -> Iterator[str]:
    for heading, own in _by_hosts(changes, inventory):
        yield heading
        for each in own:
            yield f"- {_RULES[each.now]}: {code(each.line)} ({code(each.at)})"


def _sections(changes: Changes, inventory: Inventory) -> Iterator[str]:
    for heading, own in _by_hosts(changes, inventory):
        yield heading
        for each in own:
            yield "\n".join(_change(each))


def _by_hosts(
    changes: Sequence[tuple[Told, tuple[str, ...]]], inventory: Inventory
) -> Iterator[tuple[str, list[Told]]]:
    """(the hosts that they are about, as a heading; what is told of those), in the order of the changes."""
    by_hosts: dict[tuple[str, ...], list[Told]] = {}
    for each, hosts in changes:
        by_hosts.setdefault(hosts, []).append(each)
    for hosts, own in by_hosts.items():
        yield "\n".join(("", f"#### {_hosts(hosts, inventory)}", *_folded(hosts), "")), own


def _change(each: Traffic) -> Iterator[str]:
    risk = f": **{', '.join(each.risks)}**" if each.level else ""
    said = f"newly {each.now}: " if each.level else ""
    shown = each.classes[:_SHOWN]
    yield f"- {said}{code(shown[0])}{risk}"
    yield from (f"  <br>{code(more)}" for more in shown[1:])
    if len(each.classes) > _SHOWN:
        yield f"  <br>and {len(each.classes) - _SHOWN} more classes"
    yield f"  - now {each.new.verdict}: {code(each.new.by)}"
    yield f"  - before {each.old.verdict}: {code(each.old.by)}"
    yield f"  - for example {code(each.packet)}"


def _hosts(hosts: Sequence[str], inventory: Inventory) -> str:
    """Groups and hosts; names are letters, digits, '.', '_' and '-', which Markdown may take for its own."""
    return spoken(hosts, inventory.groups).replace("_", r"\_")


def _folded(hosts: Sequence[str]) -> Iterator[str]:
    """All the names, where the heading has not said them."""
    if len(hosts) <= 1:
        return
    names = ", ".join(code(host) for host in hosts[:_LISTED])
    if len(hosts) > _LISTED:
        names += f" and {len(hosts) - _LISTED:,} more"
    if len(hosts) <= _NAMED:
        yield from ("", names)
    else:
        yield from ("", f"<details><summary>{len(hosts):,} hosts</summary>", "", names, "", "</details>")


def code(text: str) -> str:
    """A code span of any text: nothing in it is markup (CommonMark 6.1)."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    longest = max(map(len, re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    space = " " if "`" in plain or not plain.strip() else ""
    return f"{fence}{space}{plain}{space}{fence}"


def _fenced(text: str) -> Iterator[str]:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (fence + "text", *text.splitlines(), fence)
