"""What each line of a policy has counted: the kernel's counters beside the lines that they count for."""

from __future__ import annotations

from fwpolicy.deploy.exposition import exposition, family
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from fwpolicy.errors import Span
    from fwpolicy.ir.ruleset import Ruleset
    from fwpolicy.policy.model import Policy

    Counted = dict[str, tuple[int, int]]

# A line of a policy may be as long as the file.
_LONGEST = 200


@record
class PolicyLine:
    """The line behind a counter: `line` of `file` (from 1), its `text` ("" where unreadable), its id."""

    counter: str
    file: str
    line: int
    text: str
    id: str | None = None


@record
class Count:
    """`line` is None for what no line says; `packets` and `bytes` for a counter that is not in force."""

    counter: str
    line: PolicyLine | None
    packets: int | None
    bytes: int | None


def policy_lines(policy: Policy, ruleset: Ruleset, text_of: Callable[[Span], str]) -> tuple[PolicyLine, ...]:
    """The lines of `policy` that count, in the order in which a packet meets them.

    `ruleset`: before any pass, where each rule still counts for one line.
    """
    ids = {
        rule.origin: rule.id
        for section in policy.sections
        for rule in (*section.block, *section.allow)
        if rule.id is not None
    }
    origins: dict[str, Span] = {}
    for rule in (rule for table in ruleset.tables for chain in table.chains for rule in chain.rules):
        if isinstance(rule.counter, str) and rule.origin:
            origins.setdefault(rule.counter, rule.origin)
    return tuple(
        PolicyLine(name, span.file, span.line, text_of(span).strip()[:_LONGEST], ids.get(span))
        for table in ruleset.tables
        for name in table.counters
        if (span := origins.get(name))
    )


def line_texts(read_file: Callable[[str], bytes]) -> Callable[[Span], str]:
    """The text at a span's line, of files that `read_file` gives or raises OSError for."""
    from fwpolicy.source import Text  # noqa: PLC0415

    files: dict[str, Text] = {}

    def text_of(span: Span) -> str:
        if span.file not in files:
            try:
                content = read_file(span.file).decode("utf-8-sig", "replace")
            except OSError:
                content = ""
            files[span.file] = Text(span.file, content)
        return files[span.file].line(span.line)

    return text_of


def counted(listing: dict[str, Any]) -> Counted:
    """(packets, bytes) by the counters' names, of libnftables' JSON."""
    found = (entry["counter"] for entry in listing["nftables"] if "counter" in entry)
    return {body["name"]: (body["packets"], body["bytes"]) for body in found}


def joined(lines: Iterable[PolicyLine], live: Counted) -> tuple[Count, ...]:
    """Every line with what it counted, then the counters that no line is behind."""
    known = {line.counter: line for line in lines}
    return tuple(
        Count(name, known.get(name), *live.get(name, (None, None))) for name in dict.fromkeys((*known, *live))
    )


def prometheus(policy: str, counts: tuple[Count, ...]) -> str:
    """The text format, for node_exporter's textfile collector.

    Where a line stands is a metric of its own: a series must not end because a comment was added above.
    """
    lines: list[str] = []
    for name, what in (("packets", "Packets"), ("bytes", "Bytes")):
        found = ((count.counter, getattr(count, name)) for count in counts)
        samples = [
            ({"policy": policy, "counter": counter}, value) for counter, value in found if value is not None
        ]
        text = f"{what} that a line of the policy decided."
        lines += family(f"fwpolicy_{name}_total", "counter", text, samples)
    named = [count.line for count in counts if count.line]
    text = "The line of the policy behind a counter."
    lines += family("fwpolicy_line_info", "gauge", text, [(_info(policy, line), 1) for line in named])
    return exposition(lines)


def _info(policy: str, line: PolicyLine) -> dict[str, str]:
    where = {"id": line.id or "", "file": line.file, "line": str(line.line), "text": line.text}
    return {"policy": policy, "counter": line.counter, **where}
