"""fwpolicy bundle: one signed file for each host, and what such a file says."""

from __future__ import annotations

import sys

from fwpolicy.commands import fleet, operands
from fwpolicy.errors import HostError
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.fleet.bundle import Bundle
    from fwpolicy.fleet.making import Making
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.run import Built

VERIFY = "verify"
HERE = "."
# The shell of a host without Python compares them, too.
_HIGHEST = 10**18 - 1


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "hosts of the inventory, with --all the inventory or its folder (.); or: verify BUNDLE"
    parser.add_argument("what", nargs="*", metavar="HOST", help=text)
    operands.fleet_arguments(parser, policies=False)
    parser.add_argument("--inventory", metavar="FILE", default=HERE, help="of the hosts; or its folder (.)")
    text = "where HOST.fwb is written"
    parser.add_argument("-o", dest="directory", type=operands.place, metavar="DIR", help=text)
    parser.add_argument(
        "--key", metavar="FILE", help="the private key that signs, or its public half (agent)"
    )
    parser.add_argument("--sequence", type=int, metavar="N", help="instead of the number of commits")
    parser.add_argument("--signers", metavar="FILE", help="verify: instead of /etc/fwpolicy/allowed_signers")
    parser.add_argument("--host", metavar="HOST", help="verify: for this host, not the one that we are on")
    parser.add_argument("--older", action="store_true", help="verify: older than the newest seen is good")
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    if options.what[:1] == [VERIFY] and not options.all:
        return _verify(options)
    if wrong := _misses(options):
        options.parsers()["bundle"].error(wrong)
    return _make(options)


def _misses(options: argparse.Namespace) -> str:
    if options.all and (len(options.what) > 1 or (options.what and options.inventory != HERE)):
        return "--all takes one inventory, or its folder"
    if not options.all and not options.what:
        return "the following arguments are required: HOST, or --all"
    if options.sequence is not None and not 0 <= options.sequence <= _HIGHEST:
        return f"--sequence is a number from 0 to {_HIGHEST}"
    return "" if options.directory and options.key else "-o DIR and --key FILE are needed"


def _verify(options: argparse.Namespace) -> int:
    from fwpolicy.fleet.received import receive, require_newer  # noqa: PLC0415

    if len(options.what) != 2:
        options.parsers()["bundle"].error("verify takes one BUNDLE")
    path = options.what[1]
    machine = operands.machine_of(options)
    found = receive(path, _content(path), machine, options.signers, options.host)
    if not options.older:
        require_newer(path, found, machine)
    if options.json:
        operands.print_json({"changed": False, "file": path, "signer": found.signer, **_plain(found)})
    elif not options.quiet:
        print(_sentence(path, found))
    return 0


def _content(path: str) -> bytes:
    from fwpolicy.host.texts import read_file  # noqa: PLC0415

    try:
        return read_file(path)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror or error}") from None


def _plain(found: Bundle) -> dict[str, object]:
    manifest = found.manifest
    return {
        "host": manifest.host,
        "policy": manifest.policy,
        "tool": manifest.tool,
        "sequence": manifest.sequence,
        "commit": manifest.commit or None,
        "author": manifest.author or None,
        "time": manifest.time or None,
        "digest": found.digest,
        "files": manifest.files,
    }


def _sentence(path: str, found: Bundle) -> str:
    from fwpolicy.deploy.provenance import sentence  # noqa: PLC0415
    from fwpolicy.fleet.received import provenance  # noqa: PLC0415
    from fwpolicy.host.files import printable  # noqa: PLC0415

    manifest = found.manifest
    text = printable(f"{path}: good: policy {manifest.policy} for {manifest.host}")
    return f"{text}, {sentence(provenance(found))}"


def _make(options: argparse.Namespace) -> int:
    """Nothing is written unless every host of the inventory is right."""
    from fwpolicy.fleet.making import Making, origin  # noqa: PLC0415
    from fwpolicy.host.tree import WorkTree  # noqa: PLC0415

    operand = options.what[0] if options.all and options.what else options.inventory
    found = fleet.repository(operand)
    wanted = _wanted(found, None if options.all else options.what)
    units, judgement = fleet.built(found, options, proved=True)
    code = fleet.exit_code(units, judgement)
    if code:
        fleet.print_failures(found, units, judgement)
        return code
    tree = found.tree
    assert isinstance(tree, WorkTree)  # noqa: S101  (fleet.repository opens no other)
    came = origin(tree, options.sequence)
    written, gone = _written(Making(found, tree, came), units, wanted, options)
    if options.json:
        bundles = [{"host": host, "file": path, "changed": changed} for host, path, changed in written]
        report = {"sequence": came.sequence, "commit": came.commit or None, "bundles": bundles}
        changed = bool(gone) or any(each[2] for each in written)
        operands.print_json({"changed": changed, **report, "removed": list(gone)})
    elif not options.quiet:
        number = sum(changed for _, _, changed in written)
        said = f"{counted(number, 'bundle')} written, {len(written) - number:,} unchanged"
        said += f", {len(gone):,} removed" if gone else ""
        print(f"{options.directory}: {said}, number {came.sequence}", file=sys.stderr)
    return 0


def _wanted(found: Repository, hosts: list[str] | None) -> frozenset[str]:
    known = frozenset(host.name for host in found.inventory.hosts)
    for host in hosts or ():
        if host not in known:
            if host in found.inventory.groups:
                raise HostError(f"{found.inventory.text.file}: '{host}' is a group: name its hosts, or --all")
            from fwpolicy.policy.reader import nearest  # noqa: PLC0415

            near = nearest(host, tuple(known))
            hint = f"; {near}" if near else ""
            raise HostError(f"{found.inventory.text.file} has no policies for a host '{host}'{hint}")
    return known if hosts is None else frozenset(hosts)


def _written(
    making: Making, units: tuple[Built, ...], wanted: frozenset[str], options: argparse.Namespace
) -> tuple[list[tuple[str, str, bool]], tuple[str, ...]]:
    """((host, file, whether it had to be written) of each, hosts that are gone)."""
    from fwpolicy import VERSION  # noqa: PLC0415
    from fwpolicy.commands.progress import Progress  # noqa: PLC0415
    from fwpolicy.fleet.bundle import ENDING, seal  # noqa: PLC0415
    from fwpolicy.host.outputs import FlatOutputs, write_file  # noqa: PLC0415
    from fwpolicy.source import BUNDLE  # noqa: PLC0415

    outputs = FlatOutputs(options.directory, BUNDLE)
    names = {host: f"{host}{ENDING}" for each in units for host in each.unit.hosts if host in wanted}
    progress = Progress(not options.quiet)
    done: list[tuple[str, str, bool]] = []
    for each in units:
        hosts = [host for host in each.unit.hosts if host in wanted]
        archives = making.archives(each.unit, each.outcome) if hosts else {}
        for host in hosts:
            path, content = f"{options.directory}/{names[host]}", seal(archives[host], options.key)
            if not done:  # a key that signs nothing leaves nothing
                outputs.expect({host: (name,) for host, name in names.items()})
            done.append((host, path, write_file(path, content, 0o644)))
            progress(len(done), len(wanted), "bundles")
    progress.end()
    return done, outputs.finish({"format": 1, "tool": VERSION}, names, whole=options.all)
