"""fwpolicy status: is the host what was applied?"""

from __future__ import annotations

import sys

from fwpolicy.commands import operands
from fwpolicy.deploy.provenance import as_json, sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.status import Memory, Status

# Files make no noise when they change; seconds.
_LOOK_AGAIN = 2.0
# sd-daemon(3): a warning, and a notice.
_WARNING, _NOTICE = "<4>", "<5>"
_MOST = 30


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="go on, and tell of every change as it comes")
    parser.add_argument("--heal", action="store_true", help="put the rules back if somebody changed them")
    parser.add_argument(
        "--journal", action="store_true", help="tell the journal of differences and of nothing else"
    )
    operands.host_arguments(parser)
    operands.report_arguments(parser)
    operands.prometheus_arguments(parser)
    operands.output_argument(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    if wrong := _misses(options):
        options.parsers()["status"].error(wrong)
    machine = operands.machine_of(options)
    require_root(machine.live, "status")
    if options.netns is None:
        return _watch(options, machine) if options.watch else _once(options, machine)
    from fwpolicy.host.netns import entered  # noqa: PLC0415

    with entered(options.netns):
        return _watch(options, machine) if options.watch else _once(options, machine)


def _misses(options: argparse.Namespace) -> str:
    if options.output and not options.prometheus:
        return "-o goes with --prometheus"
    if options.prometheus and (options.watch or options.journal or options.json):
        return "--prometheus goes with neither of --watch, --journal and --json"
    return ""


def _once(options: argparse.Namespace, machine: Machine) -> int:
    healed = False
    if options.heal or options.journal:
        status, healed = _between_applies(options, machine)
    else:
        from fwpolicy.deploy.status import look  # noqa: PLC0415

        status = look(machine)
    if options.prometheus:
        _tell_prometheus(options, status, machine)
    else:
        _report(options, status, healed)
    return _code(status)


def _tell_prometheus(options: argparse.Namespace, status: Status, machine: Machine) -> None:
    from time import time  # noqa: PLC0415

    from fwpolicy.deploy.metrics import metrics  # noqa: PLC0415
    from fwpolicy.fleet import syncmetrics  # noqa: PLC0415

    found = metrics(status, machine, int(time())) + syncmetrics.metrics(machine)
    operands.write_metrics(found, options.output)


def _between_applies(
    options: argparse.Namespace, machine: Machine, memory: Memory | None = None
) -> tuple[Status, bool]:
    """(the host as it is when nobody is about to change it, with `--heal` afterwards; was it healed?)"""
    from fwpolicy.deploy.confirm import settled  # noqa: PLC0415
    from fwpolicy.deploy.status import look  # noqa: PLC0415
    from fwpolicy.host.lock import locked  # noqa: PLC0415

    with locked(operands.lock_place(machine)):
        settled(machine, _tell_settled(options))
        status = look(machine, memory)
        if not options.heal or not status.drifts:
            return status, False
        from fwpolicy.deploy.ruledrift import heal  # noqa: PLC0415

        if not heal(machine):
            return status, False
        _tell_healed(options, status)
        return look(machine, memory), True


def _tell_settled(options: argparse.Namespace) -> Callable[[str], None]:
    if options.journal:
        return lambda step: print(f"{_NOTICE}{step}")
    if options.prometheus:
        return lambda step: print(step, file=sys.stderr)
    return operands.teller(options)


def _tell_healed(options: argparse.Namespace, before: Status) -> None:
    """What was found, and that it is no more."""
    if options.json or options.quiet or options.prometheus:
        return
    if options.journal:
        _tell_journal(before)
        print(f"{_NOTICE}the rules were put back")
    else:
        print("\n".join([*_differences(before), "the rules were put back"]))


def _watch(options: argparse.Namespace, machine: Machine) -> int:
    """Until it is interrupted: a report to begin with, and one whenever something else is to be said."""
    import gc  # noqa: PLC0415

    from fwpolicy.host.events import RulesetEvents  # noqa: PLC0415
    from fwpolicy.host.readers import is_unread  # noqa: PLC0415

    gc.enable()  # cli.py turns it off for verbs that are over soon
    watch = _Watch(options, machine)
    with RulesetEvents() as events:
        by: tuple[str, ...] = ()
        try:
            while True:
                watch.look(by)
                if is_unread():
                    return watch.code
                by = events.wait(_LOOK_AGAIN)
        except KeyboardInterrupt:
            return watch.code


class _Watch:
    """What was said last, and the exit code of that."""

    def __init__(self, options: argparse.Namespace, machine: Machine) -> None:
        from fwpolicy.deploy.status import Memory  # noqa: PLC0415

        self._options, self._machine, self._memory = options, machine, Memory()
        self._said: object = None
        self.code = 0

    def look(self, by: tuple[str, ...]) -> None:
        """One that fails is told, and the next one may not."""
        from fwpolicy.errors import HostError  # noqa: PLC0415

        try:
            status, healed = _between_applies(self._options, self._machine, self._memory)
        except HostError as error:
            if str(error) != self._said:
                print(f"fwpolicy: {error}", file=sys.stderr)
            self._said, self.code = str(error), 1
            return
        news = healed or _content(status) != self._said
        # First: whoever reads the report may interrupt at once.
        self._said, self.code = _content(status), _code(status)
        if news:
            _report_change(self._options, status, healed, by)


def _content(status: Status) -> object:
    number = status.generation.number if status.generation else None
    return number, status.drifts, status.notes


def _report_change(options: argparse.Namespace, status: Status, healed: bool, by: tuple[str, ...]) -> None:
    now = operands.now()
    if options.json:
        import json  # noqa: PLC0415

        print(json.dumps(_as_json(status, healed) | {"at": now, "by": list(by)}, sort_keys=True))
    elif not options.quiet:
        who = f", after a change by {', '.join(by)}" if by else ""
        print(f"{now}{who}\n{_as_text(status)}")
    sys.stdout.flush()


def _report(options: argparse.Namespace, status: Status, healed: bool) -> None:
    if options.json:
        operands.print_json(_as_json(status, healed))
    elif options.journal:
        _tell_journal(status)
    elif not options.quiet:
        print(_as_text(status))


def _tell_journal(status: Status) -> None:
    """Not all of what a table that is gone had denied."""
    lines = _differences(status)
    rest = len(lines) - _MOST
    more = [f"... and {rest} more lines: fwpolicy status"] if rest > 0 else []
    for line in (*lines[:_MOST], *more):
        print(f"{_WARNING}{line}")


def _code(status: Status) -> int:
    return 2 if status.drifts or status.generation is None else 0


def _as_text(status: Status) -> str:
    generation = status.generation
    if generation is None:
        return "\n".join(drift.what for drift in status.drifts) or "nothing was ever applied here"
    lines = [f"{generation.policy}: generation {generation.number}, applied {generation.time}"]
    if generation.came:
        lines.append(sentence(generation.came))
    lines.append("the host is what was applied" if not status.drifts else "the host differs:")
    return "\n".join([*lines, *(f"  {line}" for line in _differences(status))])


def _differences(status: Status) -> list[str]:
    lines = []
    for drift in status.drifts:
        lines += [drift.what, *(f"  {line}" for line in drift.detail)]
    lines += _traffic(status)
    return lines + [f"note: {note}" for note in status.notes]


def _traffic(status: Status) -> list[str]:
    if status.traffic is None:
        return []
    from fwpolicy.commands import difftext  # noqa: PLC0415

    return difftext.as_text(status.traffic) or ["the same traffic all the same: no packet meets another end"]


def _as_json(status: Status, healed: bool = False) -> dict[str, object]:
    generation = status.generation
    return {
        "changed": healed,
        "at": operands.now(),
        "applied": generation is not None,
        "policy": generation.policy if generation else None,
        "generation": generation.number if generation else None,
        "time": generation.time if generation else None,
        "provenance": as_json(generation.came if generation else None),
        "drift": [{"what": drift.what, "detail": list(drift.detail)} for drift in status.drifts],
        "traffic": _traffic_json(status),
        "notes": list(status.notes),
    }


def _traffic_json(status: Status) -> list[dict[str, object]] | None:
    if status.traffic is None:
        return None
    from fwpolicy.commands import difftext  # noqa: PLC0415

    return difftext.as_json(status.traffic)
