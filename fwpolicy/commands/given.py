"""What plan and apply are given: policies, or a signed bundle of them."""

from __future__ import annotations

from fwpolicy.commands import operands
from fwpolicy.host import texts
from fwpolicy.record import record
from fwpolicy.source import BUNDLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.provenance import Provenance
    from fwpolicy.deploy.subject import Subject
    from fwpolicy.fleet.bundle import Bundle
    from fwpolicy.policy.model import Policy

    _Files = tuple[tuple[str, bytes], ...]


@record
class Given:
    """`files`: all that the policy was read of, in order, the first `named` of them the operands. `came`: who
    signed it; `notes`: what is to be told of that. `digests`: of the files on this host, by path."""

    policy: Policy
    named: int
    files: _Files
    digests: dict[str, str]
    came: Provenance | None = None
    notes: tuple[str, ...] = ()


def bundle_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", action="store_true", help="POLICY is a bundle, and nothing else is taken")
    signers_argument(parser)
    parser.add_argument("--host", metavar="HOST", help="a bundle for this host, not the one that we are on")
    parser.add_argument("--older", action="store_true", help="a bundle older than the newest that counted")


def signers_argument(parser: argparse.ArgumentParser) -> None:
    text = "who may sign a bundle, instead of /etc/fwpolicy/allowed_signers"
    parser.add_argument("--signers", metavar="FILE", help=text)


def bundle_of(options: argparse.Namespace, machine: Machine) -> Bundle | None:
    """The bundle that is the only operand, verified but for its number, or None. Raises HostError."""
    from fwpolicy.errors import HostError  # noqa: PLC0415

    # Who says how a bundle is verified must not get something else applied.
    only = options.bundle or options.older or (options.signers, options.host) != (None, None)
    for operand in options.policy:
        name, data = texts.read_operand(operand) if only or operand != "-" else ("", b"")
        if not only and not data.startswith(BUNDLE):
            continue
        if len(options.policy) > 1:
            raise HostError(f"{operand} is a bundle: it is applied alone")
        from fwpolicy.fleet.received import receive  # noqa: PLC0415

        return receive(name, data, machine, options.signers, options.host)
    return None


def subject_of_bundle(operand: str, options: argparse.Namespace) -> Subject | None:
    """The policy in a bundle, whichever host's and however old, for questions; None where it is none. Raises
    PolicyError, HostError."""
    if operand == "-" or texts.shipped(operand) or not texts.begins_with(operand, BUNDLE):
        return None
    from fwpolicy.deploy.subject import of_files  # noqa: PLC0415
    from fwpolicy.fleet.received import look_into  # noqa: PLC0415

    name, data = texts.read_operand(operand)
    bundle = look_into(name, data, operands.machine_of(options), options.signers)
    operands.know({f"{operand}:{inside}": content for inside, content in bundle.files.items()})
    return of_files(operand, bundle.operands, bundle.read_file)


def given(options: argparse.Namespace, machine: Machine, bundle: Bundle | None) -> Given:
    """What the operands say. Raises PolicyError, HostError."""
    if bundle is not None:
        return of_bundle(options.policy[0], bundle, machine, older=options.older)
    kept: list[tuple[str, bytes]] = []
    policy = operands.read_policy(options.policy, kept)
    files = tuple(kept)
    return Given(policy, len(options.policy), files, operands.digests(files))


def of_bundle(
    path: str, bundle: Bundle, machine: Machine, *, older: bool = False, compiled: bool = True, way: str = ""
) -> Given:
    """What a bundle says that is verified, and not older than the newest that counted (`way`: what takes one
    that is). `compiled`: it has what it compiles to. Raises PolicyError, HostError."""
    from fwpolicy.fleet import received  # noqa: PLC0415

    if not older:
        received.require_newer(path, bundle, machine, way or received.OLDER)
    found = of_files(bundle)
    note = received.require_as_compiled(path, bundle, found.policy) if compiled else None
    digests = {texts.absolute(path): bundle.digest}
    return Given(
        found.policy,
        found.named,
        found.files,
        digests,
        received.provenance(bundle),
        (note,) if note else (),
    )


def of_files(bundle: Bundle) -> Given:
    """The policy that a bundle's files make, read of them alone. Raises PolicyError."""
    from time import time  # noqa: PLC0415

    from fwpolicy.policy.load import load  # noqa: PLC0415

    operands.know(bundle.files)
    every = list(bundle.operands)

    def read_file(name: str) -> bytes:
        data = bundle.read_file(name)
        every.append((name, data))
        return data

    policy = load(bundle.operands, read_file, int(time()))
    return Given(policy, len(bundle.operands), tuple(every), {})
