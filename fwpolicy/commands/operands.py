"""What the verbs have in common: policy operands in, problems and JSON out."""

from __future__ import annotations

import sys
from contextlib import contextmanager

from fwpolicy.errors import CheckFailedError, PolicyError
from fwpolicy.host import texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.subject import Subject
    from fwpolicy.errors import Problem, Span
    from fwpolicy.policy.model import Policy


SUBJECT = "a policy, live, generation:N, git:REV:PATH, an nft ruleset or an iptables-save file"


def policy_arguments(parser: argparse.ArgumentParser) -> None:
    """POLICY..., several of which merge into one policy."""
    parser.add_argument("policy", nargs="+", metavar="POLICY", help="a file, or the name of a shipped policy")


def prove_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-prove", action="store_true", help="skip the proofs (docs/proof.md)")


def report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine output (docs/cli.md)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def host_arguments(parser: argparse.ArgumentParser) -> None:
    """Which host: this one, a network namespace of it, or the files of an image."""
    parser.add_argument("--netns", metavar="NAME", help="work inside this network namespace (ip-netns(8))")
    parser.add_argument("--root", metavar="DIR", default="/", help="the files of an image instead of /")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="what is remembered of applies (/var/lib/fwpolicy)"
    )


def machine_of(options: argparse.Namespace) -> Machine:
    from fwpolicy.deploy.machine import machine  # noqa: PLC0415

    return machine(options.root, options.netns, options.state_dir)


def lock_place(machine: Machine) -> str:
    """The folder whose lock keeps two changes of one host apart."""
    return f"{str(machine.files.root).rstrip('/')}{machine.state_dir}"


def read_policy(operands: list[str]) -> Policy:
    """The policy that the operands make together. Raises PolicyError, HostError."""
    from time import time  # noqa: PLC0415

    from fwpolicy.policy.load import load  # noqa: PLC0415

    named = tuple(texts.read_operand(operand) for operand in operands)
    return load(named, texts.read_file, int(time()))


def read_subject(operand: str, options: argparse.Namespace) -> Subject:
    """What a question is asked of (docs/cli.md), in the network namespace that the options name.
    Raises PolicyError, HostError."""
    from fwpolicy.deploy.subject import subject  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415

    with entered(options.netns):
        return subject(operand, machine_of(options))


def _read_source(name: str) -> bytes:
    """A file that a span names, again: of a git revision where it came from there. Raises OSError."""
    kind, _, rest = name.partition(":")
    if kind != "git" or ":" not in rest:
        return texts.read_file(name)
    from fwpolicy.host.git import read  # noqa: PLC0415

    return read(*rest.split(":", 1))


def place_json(span: Span) -> dict[str, object]:
    return {"file": span.file, "line": span.line, "column": span.column}


def quoted(span: Span) -> str:
    """A line of a policy with its place."""
    from fwpolicy.deploy.counters import line_texts  # noqa: PLC0415

    text = line_texts(_read_source)(span).strip()
    return f"{span.file}:{span.line}: {text}" if text else f"{span.file}:{span.line}"


def refuse_errors(problems: list[Problem]) -> None:
    """Raises PolicyError with the errors among `problems`, if there are any."""
    errors = tuple(problem for problem in problems if problem.severity == "error")
    if errors:
        raise PolicyError(errors)


def require_tests(policy: Policy) -> int:
    """Run the policy's own tests; how many held. Raises CheckFailedError with those that did not."""
    if not policy.tests:
        return 0
    from fwpolicy.model.expect import failures  # noqa: PLC0415

    failed = failures(policy)
    if failed:
        raise CheckFailedError("\n".join(located(problem) for problem in failed))
    return len(policy.tests)


def located(problem: Problem) -> str:
    """The problem with its source line, read again where it came without."""
    from fwpolicy.deploy.counters import line_texts  # noqa: PLC0415
    from fwpolicy.record import replace  # noqa: PLC0415

    if problem.text is None and problem.span is not None:
        text = line_texts(_read_source)(problem.span)
        return replace(problem, text=text or None).render()
    return problem.render()


@contextmanager
def quoting() -> Iterator[None]:
    """Problems that are found after the policy's text was let go of get their lines again."""
    from fwpolicy.deploy.counters import line_texts  # noqa: PLC0415
    from fwpolicy.record import replace  # noqa: PLC0415

    try:
        yield
    except PolicyError as error:
        text_of = line_texts(_read_source)
        problems = (
            replace(each, text=text_of(each.span) or None) if each.span and each.text is None else each
            for each in error.problems
        )
        raise PolicyError(tuple(problems)) from None


def line_reader() -> Callable[[str, int], str]:
    """What gives the text of a line of a file; "" where it cannot be read."""
    from fwpolicy.deploy.counters import line_texts  # noqa: PLC0415
    from fwpolicy.errors import Span  # noqa: PLC0415

    text_of = line_texts(_read_source)
    return lambda file, line: text_of(Span(file, line, 1, 2)) if line else ""


def warn(policy: Policy) -> None:
    """The policy's warnings, on stderr, in one write."""
    if policy.warnings:
        print("\n".join(problem.render() for problem in policy.warnings), file=sys.stderr)


def print_json(value: object, in_order: bool = False) -> None:
    """`in_order`: keys as they come, where their order says something."""
    import json  # noqa: PLC0415

    print(json.dumps(value, indent=2, sort_keys=not in_order))


def problem_json(problem: Problem) -> dict[str, object]:
    span = problem.span
    place = place_json(span) if span else None
    return {"severity": problem.severity, "message": problem.message, "at": place, "hint": problem.hint}


def problems_json(error: PolicyError) -> list[dict[str, object]]:
    return [problem_json(problem) for problem in error.problems]
