"""Ruleset -> nft text, one rule a line, as nft 1.0.6 lists it."""

from __future__ import annotations

from itertools import accumulate, repeat, starmap
from operator import ne

from fwpolicy.artifact import Artifact
from fwpolicy.backends.nft.words import interval_texts, joined_intervals, port_texts, rate_text, rule_text
from fwpolicy.ir.maps import CounterMap, Element, Map, VerdictMap
from fwpolicy.ir.ruleset import (
    DSTNAT,
    MANGLE,
    RAW,
    SRCNAT,
    Chain,
    DynamicSet,
    Jump,
    LimitObject,
    Ruleset,
    Set,
    Table,
)
from fwpolicy.record import assert_never

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import Intervals
    from fwpolicy.errors import Span

    Line = tuple[str, Span | None]
    Lines = Iterable[Line]

FILE_NAME = "ruleset.nft"
_HEADER = """\
#!/usr/sbin/nft -f
# Compiled by fwpolicy from {source}. Do not edit: change the policy and apply it again.
# Loading it replaces table inet fwpolicy in one transaction, and touches nothing else.
"""
_FAMILIES = {"ipv4_addr": 4, "ipv6_addr": 6}
_PRIORITIES = {RAW: "raw", MANGLE: "mangle", DSTNAT: "dstnat", SRCNAT: "srcnat"}


def render(ruleset: Ruleset, source: str) -> Artifact:
    """The ruleset as a file that `nft -f` loads in one transaction, any number of times.

    `source` names the policy in the header. Lines that stem from the policy carry their span.
    """
    lines: list[Line] = []
    for table in ruleset.tables:
        # Declare, delete, declare: the delete needs a table, the first load has none. nft(8) "TABLES".
        lines.append((f"table {table.family} {table.name}", None))
        lines.append((f"delete table {table.family} {table.name}", None))
        lines += table_lines(table)
    return artifact(lines, source)


def artifact(lines: Lines, source: str) -> Artifact:
    """`lines` under the header, with the spans of those that have one. The elements of a set are one of
    `lines`: 100,000 are not worth a look each."""
    # A newline in a policy's name would end the comment; the name's own grammar has none.
    header = _HEADER.format(source=" ".join(source.split())).splitlines()
    whole = [*((line, None) for line in header), *lines]
    texts = [f"{line}\n" for line, _ in whole]
    numbers = accumulate(map(str.count, texts, repeat("\n")), initial=1)
    origins = tuple(
        [(number, span) for number, (_, span) in zip(numbers, whole, strict=False) if span is not None]
    )
    return Artifact(FILE_NAME, "".join(texts), 0o600, origins)


def table_lines(table: Table, filled: frozenset[str] = frozenset()) -> list[Line]:
    """The table's declaration with all that is in it; without the elements of the sets `filled`."""
    lines: list[Line] = [(f"table {table.family} {table.name} {{", None)]
    objects = [(f"\tcounter {name} {{ }}", None) for name in table.counters]
    blocks: list[Lines] = [objects] if objects else []
    blocks += [*map(_limit, table.limits), *(_set(each, each.name in filled) for each in table.sets)]
    blocks += _callees_first(table)
    for number, block in enumerate(blocks):
        if number:
            lines.append(("", None))
        lines += block
    lines.append(("}", None))
    return lines


def _callees_first(table: Table) -> list[Lines]:
    """A jump's target must exist when the jump is added, and a map when it is looked up: nft resolves
    names in file order."""
    by_name = {chain.name: chain for chain in table.chains}
    maps = {each.name: each for each in table.maps}
    ordered: list[Lines] = []

    def add(chain: Chain) -> None:
        for rule in chain.rules:
            if isinstance(rule.counter, CounterMap) and (found := maps.pop(rule.counter.map_name, None)):
                ordered.append(_map(found))
            if isinstance(rule.verdict, VerdictMap) and (found := maps.pop(rule.verdict.map_name, None)):
                for name in dict.fromkeys(element.to for element in found.elements):
                    add_once(name)
                ordered.append(_map(found))
            if isinstance(rule.verdict, Jump):
                add_once(rule.verdict.chain)
        ordered.append(_chain(chain))

    def add_once(name: str) -> None:
        if chain := by_name.pop(name, None):
            add(chain)

    for chain in sorted(table.chains, key=lambda chain: chain.base is not None):
        add_once(chain.name)
    return [*map(_map, maps.values()), *ordered]


def _map(each: Map) -> Lines:
    yield f"\tmap {each.name} {{", None
    yield f"\t\ttype {' . '.join(each.types)} : {each.holds}", None
    # A field at a time, as there may be ten thousand elements.
    columns = tuple(zip(*[element.key for element in each.elements], strict=True))
    if any(any(starmap(ne, column)) for column in columns):
        yield "\t\tflags interval", None
    keys = map(" . ".join, zip(*map(_field_texts, each.types, columns), strict=True))
    texts = _listed(list(map(_element, repeat(each.holds), keys, each.elements)))
    yield from zip(texts, [element.origin for element in each.elements], strict=True)
    yield "\t}", None


def _field_texts(kind: str, intervals: Intervals) -> list[str]:
    return port_texts(intervals) if kind == "inet_service" else interval_texts(_FAMILIES[kind], intervals)


def _element(holds: str, key: str, element: Element) -> str:
    comment = f' comment "{element.comment}"' if element.comment else ""
    return f'{key}{comment} : "{element.to}"' if holds == "counter" else f"{key}{comment} : jump {element.to}"


def _limit(limit: LimitObject) -> Lines:
    yield f"\tlimit {limit.name} {{", None
    yield f"\t\t{rate_text(limit.rate)}", None
    yield "\t}", None


def _set(each: Set | DynamicSet, filled: bool) -> Lines:
    yield f"\tset {each.name} {{", None
    yield f"\t\ttype ipv{each.family}_addr", None
    match each:
        case Set():
            if each.has_ranges:
                yield "\t\tflags interval", None
            yield from () if filled else _elements(each)
        case DynamicSet(_, _, timeout, size):
            yield f"\t\tsize {size}", None
            yield f"\t\tflags dynamic{'' if timeout is None else ',timeout'}", None
            if timeout:
                yield f"\t\ttimeout {_duration(timeout)}", None
        case _:
            assert_never(each)
    yield "\t}", None


def _duration(seconds: int) -> str:
    """nft 1.0.6 reads no number of more than eight digits there."""
    return f"{seconds}s" if seconds < 10**8 else f"{seconds // 86400}d{seconds % 86400}s"


def _elements(each: Set) -> Lines:
    if each.intervals:
        elements = joined_intervals(each.family, each.intervals, ",\n\t\t\t     ")
        yield f"\t\telements = {{ {elements} }}", None


def _listed(elements: list[str]) -> list[str]:
    """The lines of `elements = { ... }`; none for none."""
    if not elements:
        return []
    lines = [f"\t\t\t     {element}," for element in elements]
    lines[0] = f"\t\telements = {{ {elements[0]},"
    lines[-1] = f"{lines[-1][:-1]} }}"
    return lines


def _chain(chain: Chain) -> Lines:
    yield f"\tchain {chain.name} {{", None
    if chain.base:
        base = chain.base
        hook = f"type {base.type} hook {base.hook} priority {_priority(base.priority)}"
        yield f"\t\t{hook}; policy {base.policy};", None
    for rule in chain.rules:
        yield f"\t\t{rule_text(rule)}", rule.origin
    yield "\t}", None


def _priority(priority: int) -> str:
    """As nft lists it: nft(8) "Standard priority names"."""
    if priority in _PRIORITIES:
        return _PRIORITIES[priority]
    offset = f" {'-' if priority < 0 else '+'} {abs(priority)}" if priority else ""
    return f"filter{offset}"
