"""`plan -o FILE` and `apply FILE`: a plan that is kept, and carried out as it was shown."""

from __future__ import annotations

from fwpolicy.errors import HostError
from fwpolicy.host import texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.savedplan import SavedPlan

# Options that a plan is made with; an apply of it takes them from there.
_OWN = (
    *("replace", "backend", "no_persist", "no_daemon", "no_prove", "force", "netns", "root", "state_dir"),
    *("bundle", "signers", "host", "older"),
)


def save(
    options: argparse.Namespace,
    plan: Plan,
    machine: Machine,
    sources: dict[str, str],
    shown: dict[str, object],
    now: str,
) -> None:
    """Write it to options.output. Raises HostError: it would be refused, standard input, no room."""
    from fwpolicy import VERSION  # noqa: PLC0415
    from fwpolicy.deploy.savedplan import HEAD, SavedPlan, facts_of, to_text  # noqa: PLC0415

    if plan.refusals:
        raise HostError(f"{options.output} was not written: the plan would be refused")
    if "-" in options.policy:
        raise HostError("a policy from standard input cannot be read again: name a file")
    policy = tuple(texts.absolute(operand) for operand in options.policy)
    kept = {name: getattr(options, name) for name in _OWN}
    kept["signers"] = options.signers and texts.absolute(options.signers)
    saved = SavedPlan(now, VERSION, policy, sources, kept, facts_of(plan, machine), shown)
    texts.write_private(options.output, to_text(saved), HEAD, "saved plan")


def saved_in(operands: list[str]) -> SavedPlan | None:
    """The saved plan that the operands name; None for policies. Raises HostError: beside other operands,
    damaged, or somebody else's."""
    from fwpolicy.deploy.savedplan import is_one, of_text  # noqa: PLC0415

    for operand in operands:
        name, data = ("", b"") if operand == "-" else texts.read_operand(operand)
        if not is_one(data):
            continue
        if len(operands) > 1:
            raise HostError(f"{operand} is a saved plan: it is applied alone")
        # Its options are believed, its policy is applied: whoever may write it does what root may.
        data, status = texts.read_with_status(name)
        if why := texts.not_ours(status):
            raise HostError(f"{operand} {why}, and is not carried out: make a plan of your own (plan -o)")
        return of_text(name, data)
    return None


def options_of(saved: SavedPlan, given: argparse.Namespace) -> argparse.Namespace:
    """What apply was called with, as the plan was. Raises HostError where the call wants something else."""
    import argparse  # noqa: PLC0415

    values = dict(vars(given))
    usual = {"root": "/", "backend": "auto", **dict.fromkeys(("netns", "state_dir", "signers", "host"))}
    for name in _OWN:
        kept, said = saved.options.get(name, usual.get(name)), values[name]
        if said not in (kept, usual.get(name, False)):
            word = f"--{name.replace('_', '-')}"
            raise HostError(f"{given.policy[0]} was not made with {word}: a plan is applied as it was shown")
        values[name] = kept
    return argparse.Namespace(**values | {"policy": list(saved.policy)})
