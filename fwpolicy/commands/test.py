"""fwpolicy test: the policy's own `tests:`, each with what became of it."""

from __future__ import annotations

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from fwpolicy.deploy.trial.run import Tried
    from fwpolicy.errors import Problem
    from fwpolicy.policy.model import Policy, Test

    # Of each test: what is wrong with it, and what became of its packets under each backend.
    Found = list[tuple[Test, Problem | None, dict[str, Tried]]]

FAILED = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.policy_arguments(parser)
    text = "send them as real packets, too, on a throw-away host of their own (takes root)"
    parser.add_argument("--kernel", action="store_true", help=text)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.model.expect import failure  # noqa: PLC0415

    policy = operands.read_policy(options.policy)
    sent = _sent(policy) if options.kernel else [{} for _ in policy.tests]
    found: Found = [
        (test, failure(policy, test) or _first_problem(tried), tried)
        for test, tried in zip(policy.tests, sent, strict=True)
    ]
    if options.json:
        told = [_told(*each) for each in found]
        operands.print_json({"changed": False, "policy": policy.name, "tests": told})
    else:
        _print(policy, found, options.quiet)
    return FAILED if any(problem for _, problem, _ in found) else 0


def _sent(policy: Policy) -> list[dict[str, Tried]]:
    """What became of each test's packets, by backend. Raises HostError."""
    from fwpolicy.deploy.trial.run import tried  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    require_root(True, "test --kernel")
    with operands.quoting():
        found = [(backend, tried(policy, backend)) for backend in policy.backends] if policy.tests else []
    return [{backend: each[number] for backend, each in found} for number in range(len(policy.tests))]


def _first_problem(tried: dict[str, Tried]) -> Problem | None:
    return next((each.problem for each in tried.values() if each.problem), None)


def _print(policy: Policy, found: Found, quiet: bool) -> None:
    for test, problem, tried in found:
        if problem is not None:
            print(operands.located(problem))
        elif not quiet:
            print(f"{_word(tried)}: {operands.quoted(test.origin)}")
        if not quiet:
            print("".join(f"  {line}\n" for line in _packets(tried)), end="")
    if not found and not quiet:
        print(f"{policy.name}: no tests; write some, as in: tests: [{{deny: ssh, from: any}}]")
    elif not quiet:
        print(f"{policy.name}: {_sentence(found)}")


def _word(tried: dict[str, Tried]) -> str:
    return "not sent, held by the model" if any(not each.count for each in tried.values()) else "held"


def _packets(tried: dict[str, Tried]) -> Iterator[str]:
    for backend, each in tried.items():
        if each.packet is not None:
            more = "" if each.count == 1 else f"{each.count} packets, the first "
            yield f"{backend}: {more}{each.packet}: {each.verdict}"
        for left in each.unsent:
            many = "" if left.count == 1 else f"{left.count} packets, the first "
            yield f"{backend}: not tried: {many}{left.packet}: {left.reason}"


def _sentence(found: Found) -> str:
    failed = sum(problem is not None for _, problem, _ in found)
    packets = sum(each.count for _, _, tried in found for each in tried.values())
    unsent = sum(any(not each.count for each in tried.values()) for _, _, tried in found)
    parts = [f"{len(found) - failed} held", f"{failed} failed"]
    parts += [f"{packets} packets sent"] if packets else []
    parts += [f"{unsent} not sent"] if unsent else []
    return ", ".join(parts)


def _told(test: Test, problem: Problem | None, tried: dict[str, Tried]) -> dict[str, object]:
    said = {
        "held": problem is None,
        "at": operands.place_json(test.origin),
        "message": problem.message if problem else None,
        "hint": problem.hint if problem else None,
    }
    return said | ({"kernel": {name: _tried_json(each) for name, each in tried.items()}} if tried else {})


def _tried_json(tried: Tried) -> dict[str, object]:
    unsent = [
        {"packets": left.count, "packet": str(left.packet), "reason": left.reason} for left in tried.unsent
    ]
    packet = str(tried.packet) if tried.packet else None
    return {
        "packets": tried.count,
        "packet": packet,
        "verdict": tried.verdict or None,
        "not_tried": unsent,
    }
