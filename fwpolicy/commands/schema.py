"""fwpolicy schema: the policy language for editors, as JSON Schema."""

from __future__ import annotations

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "first line of a policy: # yaml-language-server: $schema=/path/to/this.json"


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    from fwpolicy.reference.schema import schema  # noqa: PLC0415

    operands.print_json(schema(), in_order=True)
    return 0
