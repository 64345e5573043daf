"""What the verbs have in common: policy operands in, problems and JSON out."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress

from fwpolicy.errors import CheckFailedError, LeftBehindError, PolicyError
from fwpolicy.host import texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.subject import Subject
    from fwpolicy.errors import FwpolicyError, Problem, Span
    from fwpolicy.policy.model import Policy


SUBJECT = "a policy, live, generation:N, git:REV:PATH, a bundle, an nft ruleset or an iptables-save file"


def policy_arguments(parser: argparse.ArgumentParser) -> None:
    """POLICY..., several of which merge into one policy."""
    parser.add_argument("policy", nargs="+", metavar="POLICY", help="a file, or the name of a shipped policy")


def fleet_arguments(parser: argparse.ArgumentParser, policies: bool = True) -> None:
    """Every host of an inventory instead of one policy; with `policies`: POLICY... or --all [INVENTORY]."""
    if policies:
        text = "a file, or the name of a shipped policy; with --all the inventory, or its folder (.)"
        parser.add_argument("policy", nargs="*", metavar="POLICY", help=text)
    parser.add_argument("--all", action="store_true", help="every host of an inventory (docs/fleet.md)")
    parser.add_argument("--cache", metavar="DIR", help="results to build on (~/.cache/fwpolicy/fleet)")
    parser.add_argument("--no-cache", action="store_true", help="build on no earlier result")


def offline_argument(parser: argparse.ArgumentParser) -> None:
    """For pipelines that say so: no verb but `lock` ever resolves a name."""
    parser.add_argument("--offline", action="store_true", help="resolve nothing (only lock ever does)")


def require_operands(verb: str, options: argparse.Namespace) -> None:
    """Exits with 64: without --all a policy is needed, with it no more than one inventory."""
    if options.all and len(options.policy) > 1:
        options.parsers()[verb].error("--all takes one inventory, or its folder")
    if not options.all and not options.policy:
        options.parsers()[verb].error("the following arguments are required: POLICY")


def prove_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-prove", action="store_true", help="skip the proofs (docs/proof.md)")


def report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine output (docs/cli.md)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def prometheus_arguments(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    parser.add_argument(
        "--prometheus", action="store_true", help="for the textfile collector of node_exporter"
    )


def text_place(text: str) -> str | None:
    """Where one text goes, for argparse; None is stdout, as everybody's `-`."""
    return None if text == "-" else text


def place(text: str) -> str:
    """Where files go, for argparse."""
    if text == "-":
        import argparse  # noqa: PLC0415

        raise argparse.ArgumentTypeError(
            "files are written, and nothing to stdout; a place of that name is ./-"
        )
    return text


def output_argument(parser: argparse.ArgumentParser) -> None:
    """Where what a collector reads is put."""
    text = "--prometheus: written there, whole or not"
    parser.add_argument("-o", dest="output", type=text_place, metavar="FILE", help=text)


def write_metrics(text: str, output: str | None) -> None:
    """To the file, in one step; else to stdout. Raises HostError."""
    if output is None:
        print(text, end="")
        return
    from fwpolicy.host.outputs import fresh_file  # noqa: PLC0415

    fresh_file(output, text.encode("utf-8", "replace"), 0o644)


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


@contextmanager
def at_work(options: argparse.Namespace, verb: str) -> Iterator[Machine]:
    """The host that the options name, and nobody else changes it while the block runs. Raises HostError."""
    from fwpolicy.host.lock import keep_private, locked  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    machine = machine_of(options)
    require_root(machine.live, verb)
    if keep_private(lock_place(machine)):
        teller(options)(f"{machine.state_dir} could be read by others, who could hold its lock: 0700 now")
    with locked(lock_place(machine)), entered(options.netns):
        yield machine


def lock_place(machine: Machine) -> str:
    """The folder whose lock keeps two changes of one host apart."""
    return f"{str(machine.files.root).rstrip('/')}{machine.state_dir}"


def teller(options: argparse.Namespace) -> Callable[[str], None]:
    """Who hears the steps of what is done: whoever reads, or nobody."""
    return _silence if options.json or options.quiet else _told


def _told(step: str) -> None:
    """A reader who goes away ends nothing that is under way."""
    with suppress(OSError):
        print(step)


def _silence(step: str) -> None:
    """Nobody listens."""


def seconds(text: str) -> int:
    """`90s`, `15m`, `1h` or `90` as seconds, for argparse."""
    amount, unit = (text, "s") if text.isdigit() else (text[:-1], text[-1:])
    units = {"s": 1, "m": 60, "h": 3600}
    if unit not in units or not (amount.isascii() and amount.isdigit()) or not 0 < int(amount) <= 86400:
        import argparse  # noqa: PLC0415

        raise argparse.ArgumentTypeError(f"'{text}' is not a time: write 90s, 15m or 1h")
    return int(amount) * units[unit]


def now() -> str:
    """The time to record, ISO 8601 in UTC."""
    import time  # noqa: PLC0415

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read_policy(operands: list[str], kept: list[tuple[str, bytes]] | None = None) -> Policy:
    """The policy that the operands make together; `kept` gets (name, content) of all that was read for it,
    the operands first. Raises PolicyError, HostError."""
    from time import time  # noqa: PLC0415

    from fwpolicy.policy.load import load  # noqa: PLC0415

    named = tuple(texts.read_operand(operand) for operand in operands)
    every = [] if kept is None else kept
    every += named
    read = texts.reader(operands)

    def read_file(path: str) -> bytes:
        data = read(path)
        every.append((path, data))
        return data

    return load(named, read_file, int(time()))


def digests(kept: tuple[tuple[str, bytes], ...]) -> dict[str, str]:
    """File -> SHA-256 of what was read of it."""
    from hashlib import sha256  # noqa: PLC0415

    return {texts.absolute(name): sha256(data).hexdigest() for name, data in kept}


def read_subject(operand: str, options: argparse.Namespace) -> Subject:
    """What a question is asked of (docs/cli.md), in the network namespace that the options name.
    Raises PolicyError, HostError."""
    from fwpolicy.commands.given import subject_of_bundle  # noqa: PLC0415
    from fwpolicy.deploy.subject import subject  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415

    found = subject_of_bundle(operand, options)
    if found is not None:
        return found
    with entered(options.netns):
        return subject(operand, machine_of(options))


# Files of bundles that were opened, by the names that places in them have.
_KNOWN: dict[str, bytes] = {}


def know(files: Mapping[str, bytes]) -> None:
    """From now on places in these files are quoted from here, and from no file of this host."""
    _KNOWN.update(files)


def _read_source(name: str) -> bytes:
    """A file that a span names, again: of a git revision where it came from there. Raises OSError."""
    if name in _KNOWN:
        return _KNOWN[name]
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
    """Run the policy's own tests; how many held. Raises CheckFailedError with those that did not, and
    PolicyError with gates that the policy itself shuts."""
    if policy.apply.gates:
        from fwpolicy.model.expect import shut  # noqa: PLC0415

        refuse_errors([_with_line(problem) for problem in shut(policy)])
    if not policy.tests:
        return 0
    from fwpolicy.model.expect import failures  # noqa: PLC0415

    failed = failures(policy)
    if failed:
        raise CheckFailedError("\n".join(located(problem) for problem in failed))
    return len(policy.tests)


def located(problem: Problem) -> str:
    """The problem as it is told, with its source line."""
    return _with_line(problem).render()


def _with_line(problem: Problem) -> Problem:
    """The problem with its source line, read again where it came without."""
    from fwpolicy.deploy.counters import line_texts  # noqa: PLC0415
    from fwpolicy.record import replace  # noqa: PLC0415

    if problem.text is None and problem.span is not None:
        text = line_texts(_read_source)(problem.span)
        return replace(problem, text=text or None)
    return problem


@contextmanager
def quoting() -> Iterator[None]:
    """Problems that are found after the policy's text was let go of get their lines again."""
    try:
        yield
    except PolicyError as error:
        raise PolicyError(tuple(map(_with_line, error.problems))) from None


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


def print_failure(error: FwpolicyError | OSError, message: str) -> None:
    """Instead of a verb's report (docs/cli.md), on one line, as each of `status --watch` is."""
    import json  # noqa: PLC0415

    print(json.dumps(failure_json(error, message), sort_keys=True), flush=True)


def failure_json(error: FwpolicyError | OSError, message: str) -> dict[str, object]:
    """`changed`: what was begun on the host is undone first, if that is possible."""
    return {
        "ok": False,
        "changed": isinstance(error, LeftBehindError),
        "problems": problems_json(error) if isinstance(error, PolicyError) else [],
        "message": message,
    }


def problem_json(problem: Problem) -> dict[str, object]:
    span = problem.span
    place = place_json(span) if span else None
    return {"severity": problem.severity, "message": problem.message, "at": place, "hint": problem.hint}


def problems_json(error: PolicyError) -> list[dict[str, object]]:
    return [problem_json(problem) for problem in error.problems]
