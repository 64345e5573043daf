"""fwpolicy completion: what the shell completes, from the verbs' own parsers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

SHELLS = ("bash", "zsh", "fish")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    parser.epilog = "bash: source <(fwpolicy completion bash)"


def run(options: argparse.Namespace) -> int:
    from importlib import import_module  # noqa: PLC0415

    from fwpolicy.host.texts import shipped_names  # noqa: PLC0415
    from fwpolicy.reference.verbs import verbs  # noqa: PLC0415

    shell = import_module(f"fwpolicy.reference.shells.{options.shell}")
    print(shell.script(verbs(options.parsers()), shipped_names()), end="")
    return 0
