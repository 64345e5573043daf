"""fwpolicy services: the built-in services, by name or by what they stand for."""

from __future__ import annotations

from fwpolicy.commands import operands
from fwpolicy.errors import FwpolicyError
from fwpolicy.policy.services import BUILT_IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="only this service; tcp/443 lists those that have it"
    )
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    found = _found(options.name)
    if options.json:
        parts = {name: text.split() for name, text in found.items()}
        operands.print_json({"changed": False, "services": parts})
    elif not options.quiet:
        width = max(map(len, found))
        print("\n".join(f"{name:<{width}}  {text.replace(' ', ', ')}" for name, text in found.items()))
    return 0


def _found(name: str | None) -> dict[str, str]:
    """The services that `name` picks: all, the one, or those with this proto/port."""
    if name is None:
        return BUILT_IN
    if name in BUILT_IN:
        return {name: BUILT_IN[name]}
    from fwpolicy.policy import services  # noqa: PLC0415
    from fwpolicy.policy.reader import nearest  # noqa: PLC0415
    from fwpolicy.reference.known import having  # noqa: PLC0415

    try:
        wanted = services.parse(name)
    except services.ServiceError as error:
        hint = error.hint or nearest(name, BUILT_IN)
        raise FwpolicyError(f"{error}{f'; {hint}' if hint else ''}") from None
    names = having(wanted)
    if not names:
        raise FwpolicyError(f"no built-in service has {name}; a policy may say {name} itself")
    return {one: BUILT_IN[one] for one in names}
