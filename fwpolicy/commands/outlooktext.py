"""What follows from a plan, for people and for programs (docs/cli.md)."""

from __future__ import annotations

from fwpolicy.deploy.foreign import interference, title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.bootorder import Loader
    from fwpolicy.deploy.foreign import ForeignChain
    from fwpolicy.deploy.listeners import Fate
    from fwpolicy.deploy.outlook import Neighbour, Outlook


def as_text(outlook: Outlook) -> list[str]:
    """Ports that close, foreign chains that do something, who else loads rules at boot, and notes."""
    lines = _ports([each for each in outlook.fates if each.closes])
    for each in outlook.neighbours:
        if not each.chain.idle:
            lines += _neighbour(each)
    lines += [f"also loaded at boot: {loader}" for loader in outlook.loaders]
    return [*lines, *(f"note: {note}" for note in outlook.notes)]


def _ports(closing: list[Fate]) -> list[str]:
    """One line for the ports of one listener that share their fate."""
    if not closing:
        return []
    grouped: dict[tuple[str, str], list[str]] = {}
    for each in closing:
        rest = "for its own questions, most likely; answers come in" if each.passing else each.rest
        grouped.setdefault((each.who, rest), []).append(each.what)
    lines = [
        f"  {', '.join(ports)} {who}{f': {rest}' if rest else ''}" for (who, rest), ports in grouped.items()
    ]
    return ["listening ports that close:", *lines]


def _neighbour(each: Neighbour) -> list[str]:
    head = f"foreign: {title(each.chain, each.order)}"
    if len(each.says) == 1:
        return [f"{head} {each.says[0]}"]
    return [head.removesuffix(","), *(f"  {says}" for says in each.says)]


def as_json(outlook: Outlook) -> dict[str, object]:
    """Stable keys (docs/cli.md), beside the plan's own."""
    return {
        "ports": [_port_json(each) for each in outlook.fates],
        "foreign": [_neighbour_json(each) for each in outlook.neighbours],
        "boot_loaders": [_loader_json(each) for each in outlook.loaders],
    }


def _port_json(fate: Fate) -> dict[str, object]:
    return {
        "protocol": fate.protocol,
        "port": fate.port,
        "programs": list(fate.programs),
        "units": list(fate.units),
        "closes": fate.closes,
        "lost": list(fate.lost),
        "kept": list(fate.kept),
        "nobody": fate.closed,
        "passing": fate.passing,
    }


def foreign_json(chain: ForeignChain, order: str) -> dict[str, object]:
    """As its words alone tell."""
    return {
        "table": chain.table,
        "chain": chain.chain,
        "hook": chain.hook,
        "priority": chain.priority,
        "policy": chain.policy,
        "tools": list(chain.tools),
        "legacy": chain.legacy,
        "order": order,
        "says": list(interference(chain, order)),
    }


def _neighbour_json(each: Neighbour) -> dict[str, object]:
    return foreign_json(each.chain, each.order) | {
        "says": list(each.says),
        "drops_ours": list(each.overlap.taken) if each.overlap else None,
        "accepts_denied": list(each.overlap.refused) if each.overlap else None,
    }


def _loader_json(loader: Loader) -> dict[str, object]:
    return {
        "name": loader.name,
        "files": list(loader.files),
        "flushes": loader.flushes or None,
        "names_ours": loader.touches or None,
        "order": loader.order,
        "harmful": loader.harmful,
    }
