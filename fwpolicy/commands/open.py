"""fwpolicy open: emergency, our rules out of the way now."""

from __future__ import annotations

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for", dest="time", metavar="TIME", type=operands.seconds, help="they come back after TIME (15m)"
    )
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.opening import ends, open_up  # noqa: PLC0415
    from fwpolicy.errors import HostError  # noqa: PLC0415

    with operands.at_work(options, "open") as machine:
        if not machine.live:
            raise HostError("an image has no rules that are in force")
        shut = ends(machine, options.time or 0)
        comes_back = open_up(machine, options.time or 0, operands.now())
    if options.json:
        operands.print_json({"changed": True, "seconds": options.time if shut is None else shut})
    elif not options.quiet and not comes_back:
        print("nothing is remembered of an apply here; if there were rules of ours, they are gone for good")
    elif not options.quiet:
        print(f"the host is open: our rules are out of the way {_until(options.time, shut)}")
        print(f"sooner: sh {machine.state_dir}/open.sh close")
    return 0


def _until(seconds: int | None, shut: int | None) -> str:
    if shut is not None:
        return (
            f"for {shut} s, until what waits to be confirmed is taken back: the rules before it come back "
            "then (to stay open: fwpolicy rollback, then fwpolicy open)"
        )
    return f"for {seconds} s" if seconds else "until the next apply or boot"
