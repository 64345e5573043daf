"""fwpolicy init: a first policy, from what this host is now."""

from __future__ import annotations

import sys

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    from fwpolicy.deploy.firstpolicy import ROLES  # noqa: PLC0415

    parser.add_argument(
        "role",
        nargs="?",
        choices=tuple(ROLES),
        metavar="ROLE",
        help=f"{', '.join(ROLES)}; default: what fits",
    )
    text = "write it there, where nothing is yet"
    parser.add_argument("-o", dest="file", type=operands.text_place, metavar="FILE", help=text)
    parser.add_argument("--netns", metavar="NAME", help="of this network namespace (ip-netns(8))")


def run(options: argparse.Namespace) -> int:
    import os  # noqa: PLC0415

    from fwpolicy.deploy.firstlook import look  # noqa: PLC0415
    from fwpolicy.deploy.firstpolicy import policy_text  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415
    from fwpolicy.host.texts import write_new  # noqa: PLC0415

    with entered(options.netns):
        scene = look(os.environ, os.uname().nodename)
    text = policy_text(scene, options.role or "")
    if os.geteuid() != 0:
        print("note: without root, programs of other users have no name here", file=sys.stderr)
    if options.file is None:
        print(text, end="")
        return 0
    write_new(options.file, text)
    print(f"wrote {options.file}; next: fwpolicy check {options.file}", file=sys.stderr)
    return 0
