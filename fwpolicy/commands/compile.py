"""fwpolicy compile: the artifacts of a policy, the same bytes every time."""

from __future__ import annotations

import sys

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.artifact import Artifact
    from fwpolicy.ir.ruleset import Ruleset
    from fwpolicy.policy.model import Policy


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.fleet_arguments(parser)
    parser.add_argument("--backend", choices=("nft", "iptables"), default="nft", help="default: %(default)s")
    parser.add_argument(
        "--format",
        choices=("text", "script"),
        default="text",
        help="script: one shell script that applies it, for hosts without Python (docs/old-hosts.md)",
    )
    parser.add_argument("--without-u32", action="store_true", help="for an iptables without the u32 match")
    parser.add_argument("--beside-nat", action="store_true", help="for a host that translates addresses")
    text = "write every artifact into DIR"
    parser.add_argument("-o", dest="directory", type=operands.place, metavar="DIR", help=text)
    parser.add_argument("--explain-passes", action="store_true", help="what each pass did, to stderr")
    operands.prove_argument(parser)
    operands.offline_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no warnings")


def run(options: argparse.Namespace) -> int:
    operands.require_operands("compile", options)
    if options.all:
        if options.format == "script":
            options.parsers()["compile"].error("--format script takes one policy, and no --all")
        from fwpolicy.commands import fleetcompile  # noqa: PLC0415

        return fleetcompile.run(options)
    policy = operands.read_policy(options.policy)
    if not options.quiet:
        operands.warn(policy)
    if options.explain_passes:
        _explain(policy, options.beside_nat)
    if options.format == "script":
        return _script(policy, options)
    rulesets = (_nft if options.backend == "nft" else _iptables)(policy, options)
    if options.directory is None:
        print("\n".join(each.text for each in rulesets), end="")
        return 0
    from fwpolicy.deploy.artifacts import beside_iptables, beside_ruleset  # noqa: PLC0415

    beside = beside_ruleset(policy) if options.backend == "nft" else beside_iptables(policy)
    _write(options.directory, (*rulesets, *beside))
    return 0


def _write(directory: str, artifacts: tuple[Artifact, ...]) -> None:
    from fwpolicy.host.files import Files  # noqa: PLC0415

    files = Files("/")
    target = _absolute(directory)
    files.make_directory(target)
    for artifact in artifacts:
        path = f"{target}/{artifact.name.rsplit('/', 1)[-1]}"
        files.write(path, artifact.text, artifact.mode)
        print(path, file=sys.stderr)


def _script(policy: Policy, options: argparse.Namespace) -> int:
    from fwpolicy.compiler.facts import Facts  # noqa: PLC0415
    from fwpolicy.deploy.script import assemble, compiled  # noqa: PLC0415

    facts, u32 = Facts(nat=options.beside_nat), not options.without_u32
    with operands.quoting():
        made = compiled.script(policy, options.backend, facts, u32=u32, proved=not options.no_prove)
    if options.backend == "iptables":
        _note_without_u32(policy, options)
    if not options.quiet:
        for note in assemble.notes(policy):
            print(f"note: {note}", file=sys.stderr)
    if options.directory is not None:
        _write(options.directory, (made,))
    else:
        print(made.text, end="")
    return 0


def _nft(policy: Policy, options: argparse.Namespace) -> tuple[Artifact, ...]:
    from fwpolicy.backends.nft.render import render  # noqa: PLC0415
    from fwpolicy.compiler.compile import compile_ruleset  # noqa: PLC0415
    from fwpolicy.compiler.facts import Facts  # noqa: PLC0415

    ruleset = render(compile_ruleset(policy, Facts(nat=options.beside_nat)), policy.name)
    if not options.no_prove:
        from fwpolicy.deploy.proof import prove_compiled  # noqa: PLC0415

        prove_compiled(policy, None, ruleset)
    return (ruleset,)


def _iptables(policy: Policy, options: argparse.Namespace) -> tuple[Artifact, ...]:
    from fwpolicy.backends.iptables.refusal import Dialect  # noqa: PLC0415
    from fwpolicy.compiler.facts import Facts  # noqa: PLC0415
    from fwpolicy.deploy import xtproof  # noqa: PLC0415

    dialect = Dialect(u32=not options.without_u32)
    with operands.quoting():
        texts = xtproof.compiled(policy, Facts(nat=options.beside_nat), dialect)
    if not options.no_prove:
        xtproof.prove_compiled(policy, None, texts, dialect)
    _note_without_u32(policy, options)
    return texts.all


def _note_without_u32(policy: Policy, options: argparse.Namespace) -> None:
    if policy.ntp and options.without_u32 and not options.quiet:
        from fwpolicy.deploy.xtproof import WITHOUT_U32  # noqa: PLC0415

        print(WITHOUT_U32, file=sys.stderr)


def _explain(policy: Policy, nat: bool) -> None:
    from fwpolicy.compiler.compile import stages  # noqa: PLC0415
    from fwpolicy.compiler.facts import Facts  # noqa: PLC0415

    before = ""
    for each, ruleset in stages(policy, Facts(nat=nat)):
        size = _size(ruleset)
        if each is None:
            print(f"lowered     {size}", file=sys.stderr)
        else:
            done = "nothing to do" if size == before else size
            print(f"{each.NAME:<11} {done}  ({each.ABOUT})", file=sys.stderr)
        before = size


def _size(ruleset: Ruleset) -> str:
    counts: dict[str, int] = {}
    for table in ruleset.tables:
        parts = (
            ("rules", sum(len(chain.rules) for chain in table.chains)),
            ("chains", len(table.chains)),
            ("sets", len(table.sets)),
            ("maps", len(table.maps)),
        )
        for word, number in parts:
            counts[word] = counts.get(word, 0) + number
    return ", ".join(f"{number} {word}" for word, number in counts.items())


def _absolute(path: str) -> str:
    import os  # noqa: PLC0415

    return os.path.abspath(path)  # noqa: PTH100
