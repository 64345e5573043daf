"""A plan, for people and for programs (docs/cli.md)."""

from __future__ import annotations

from fwpolicy.deploy.foreign import order
from fwpolicy.deploy.starters import starter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.timeservice import DaemonPlan
    from fwpolicy.host.conntrack import Flow


def as_text(plan: Plan) -> str:
    """What would be done; sections without content are left out."""
    lines = [_headline(plan)]
    lines += plan.rules.told(plan)
    for daemon in plan.daemons:
        lines += _daemon(daemon)
    for change in plan.returned:
        lines += [f"given back: {change.path}", *_indented(change.diff().splitlines())]
    lines += [f"given back: {state.unit}, as it was before" for state in plan.revived]
    lines += [f"restart: {unit}" for unit in plan.restarts]
    lines += [f"stop, and keep out of the boot: {unit}" for unit in plan.stops]
    lines += _flows(plan.purge)
    if plan.losing:
        lines.append(f"clients that lose their time server: {', '.join(plan.losing)}")
    lines += [f"boot: write {change.path}" for change in plan.boot]
    if plan.boot or plan.enable_boot:
        lines.append(f"boot: enable {starter(plan.boot_files)}, which loads the rules before the network")
    return "\n".join(lines)


def endings(plan: Plan) -> list[str]:
    """What is to be known about it, and why it would not be done."""
    notes = [f"note: {note}" for note in plan.notes]
    return [*notes, *(f"refused: {refusal}" for refusal in plan.refusals)]


def _headline(plan: Plan) -> str:
    what = f"policy {plan.policy.name}"
    if plan.current is None:
        return f"{what}: not applied here yet"
    in_force = (
        f"generation {plan.current.number} of '{plan.current.policy}' is in force since {plan.current.time}"
    )
    return f"{what}: {in_force}" if plan.changed else f"{what}: nothing to change; {in_force}"


def _daemon(daemon: DaemonPlan) -> list[str]:
    lines = [f"time daemon: {daemon.title} ({daemon.main})"]
    if not daemon.changed:
        lines[0] += ": nothing to change"
    for change in daemon.changes:
        lines += _indented(change.diff().splitlines())
    return lines + [f"  {note}" for note in daemon.notes]


def _flows(flows: tuple[Flow, ...]) -> list[str]:
    if not flows:
        return []
    from fwpolicy.deploy.purge import flow_text  # noqa: PLC0415

    shown = [f"  {flow_text(flow)}" for flow in flows[:5]]
    more = [f"  ... and {len(flows) - 5} more"] if len(flows) > 5 else []
    return [f"connections to delete: {len(flows)}", *shown, *more]


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def as_json(plan: Plan) -> dict[str, object]:
    """Stable keys (docs/cli.md)."""
    from fwpolicy.commands.outlooktext import foreign_json  # noqa: PLC0415
    from fwpolicy.deploy.purge import flow_text  # noqa: PLC0415

    return {
        "changed": plan.changed,
        "policy": plan.policy.name,
        "rules": {
            "changed": plan.rules_changed,
            "backend": plan.rules.name,
            "text": "".join(each.text for each in plan.texts),
        },
        "daemons": [
            {
                "kind": daemon.kind,
                "version": ".".join(map(str, daemon.version)),
                "file": daemon.main,
                "unit": daemon.state.unit if daemon.state else None,
                "files": [{"path": change.path, "diff": change.diff()} for change in daemon.changes],
                "notes": list(daemon.notes),
            }
            for daemon in plan.daemons
        ],
        "returned": [change.path for change in plan.returned],
        "revived": [state.unit for state in plan.revived],
        "restart": list(plan.restarts),
        "stop": list(plan.stops),
        "connections": [flow_text(flow) for flow in plan.purge],
        "losing_clients": list(plan.losing),
        "boot": [change.path for change in plan.boot],
        "foreign": [foreign_json(chain, order(chain, plan.ruleset)) for chain in plan.survey.foreign],
        "nat": plan.facts.nat,
        "notes": list(plan.notes),
        "refusals": list(plan.refusals),
    }
