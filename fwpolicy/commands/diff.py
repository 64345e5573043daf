"""fwpolicy diff: which traffic a change allows, and which it denies."""

from __future__ import annotations

from fwpolicy.commands import operands
from fwpolicy.model.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.model.compare import Change
    from fwpolicy.model.program import Decided

# More classes than these of one change are counted, not shown: --json has them all.
_SHOWN = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help=operands.SUBJECT)
    parser.add_argument("new", metavar="NEW", help="the same")
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.proof import comparable  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415
    from fwpolicy.model.compare import changes  # noqa: PLC0415
    from fwpolicy.policy.vocabulary import joined  # noqa: PLC0415

    with entered(options.netns):
        old = operands.read_subject(options.old, options)
        new = operands.read_subject(options.new, options)
    found = tuple(changes(*comparable(old, new), joined(new.names, old.names)))
    if options.json:
        operands.print_json({"changed": False, "changes": [_as_json(each) for each in found]}, in_order=True)
    elif not options.quiet:
        _print(found)
        for subject in (old, new):
            for where in subject.program.unmodelled:
                print(f"not followed by the model: {where}")
    return 2 if found else 0


def _print(found: tuple[Change, ...]) -> None:
    if not found:
        print("no difference: every packet meets the same end")
    for what in dict.fromkeys(change.what for change in found):
        print(f"newly {what}")
        for change in found:
            if change.what == what:
                _print_change(change)


def _print_change(change: Change) -> None:
    for line in change.classes[:_SHOWN]:
        print(f"  {line}")
    if len(change.classes) > _SHOWN:
        print(f"  ... and {len(change.classes) - _SHOWN} more classes")
    print(f"      now {change.new.kind.replace(':', ' with ')} by {_decider(change.new)}")
    print(f"      before {change.old.kind.replace(':', ' with ')} by {_decider(change.old)}")
    print(f"      for example: {_packet(change)}")


def _decider(decided: Decided) -> str:
    rule = decided.rule
    if rule is None:
        return f"the policy of chain {decided.chain}" if decided.chain else "nobody"
    if not isinstance(rule.origin, Step):
        return str(rule.where)
    span = rule.origin.origin
    return f"step {rule.origin.step}" if span is None else operands.quoted(span)


def _packet(change: Change) -> str:
    from fwpolicy.model.concrete import to_packet  # noqa: PLC0415

    return str(to_packet(change.hook, change.packet))


def _as_json(change: Change) -> dict[str, object]:
    return {
        "now": change.what.partition(" ")[0],
        "hook": change.hook,
        "classes": list(change.classes),
        "old": {"verdict": change.old.kind, "by": _decider(change.old)},
        "new": {"verdict": change.new.kind, "by": _decider(change.new)},
        "packet": _packet(change),
    }
