"""fwpolicy counters: packets and bytes, line by line of the policy."""

from __future__ import annotations

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.counters import Count, Counted, PolicyLine
    from fwpolicy.deploy.state import Generation


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "policy", nargs="*", metavar="POLICY", help="show the lines of this one, not those applied"
    )
    parser.add_argument("--netns", metavar="NAME", help="work inside this network namespace (ip-netns(8))")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="what is remembered of applies (/var/lib/fwpolicy)"
    )
    # An image has no kernel that could count.
    parser.set_defaults(root="/")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="machine output (docs/cli.md)")
    operands.prometheus_arguments(how)
    how.add_argument("--quiet", action="store_true", help="print nothing but errors")
    operands.output_argument(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.counters import joined, prometheus  # noqa: PLC0415
    from fwpolicy.deploy.state import State  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    if options.output and not options.prometheus:
        options.parsers()["counters"].error("-o goes with --prometheus")
    machine = operands.machine_of(options)
    require_root(machine.live, "counters")
    generation = State(machine).running()
    counts: tuple[Count, ...] = ()
    if generation is not None:
        lines = _lines_of(options.policy, generation) if options.policy else generation.lines
        counts = joined(lines, _live(options.netns, generation))
    if options.json:
        operands.print_json(_as_json(generation, counts))
    elif options.prometheus:
        text = prometheus(generation.policy if generation else "", counts)
        operands.write_metrics(text, options.output)
    elif not options.quiet:
        print(_as_text(generation, counts))
    return 2 if generation is None else 0


def _lines_of(policies: list[str], generation: Generation) -> tuple[PolicyLine, ...]:
    from fwpolicy.compiler.facts import Facts  # noqa: PLC0415
    from fwpolicy.compiler.lower import lower  # noqa: PLC0415
    from fwpolicy.deploy.counters import line_texts, policy_lines  # noqa: PLC0415
    from fwpolicy.host.texts import read_file  # noqa: PLC0415

    policy = operands.read_policy(policies)
    ruleset = lower(policy, Facts(nat=generation.nat))
    return policy_lines(policy, ruleset, line_texts(read_file))


def _live(netns: str | None, generation: Generation) -> Counted:
    from fwpolicy.deploy.backend import rules_of  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415

    with entered(netns):
        return rules_of(generation.backend).counted()


def _as_text(generation: Generation | None, counts: tuple[Count, ...]) -> str:
    if generation is None:
        return "nothing was ever applied here"
    rows = [("packets", "bytes", "line", "what")]
    rows += [
        (_number(count.packets), _number(count.bytes), _place(count.line), _what(count)) for count in counts
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{packets:>{widths[0]}}  {size:>{widths[1]}}  {place:<{widths[2]}}  {what}"
        for packets, size, place, what in rows
    )


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _place(line: PolicyLine | None) -> str:
    return f"{line.file}:{line.line}" if line else ""


def _what(count: Count) -> str:
    """One line of the policy may have several counters: a role's, say."""
    if count.line is None or not count.line.text:
        return count.counter
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in count.line.text)
    return f"{text}  ({count.line.id or count.counter})"


def _as_json(generation: Generation | None, counts: tuple[Count, ...]) -> dict[str, object]:
    return {
        "changed": False,
        "at": operands.now(),
        "applied": generation is not None,
        "policy": generation.policy if generation else None,
        "generation": generation.number if generation else None,
        "counters": [
            {
                "counter": count.counter,
                "packets": count.packets,
                "bytes": count.bytes,
                "file": count.line.file if count.line else None,
                "line": count.line.line if count.line else None,
                "text": count.line.text if count.line else None,
                "id": count.line.id if count.line else None,
            }
            for count in counts
        ],
    }
