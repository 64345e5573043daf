"""What a look at the rules tells, whichever backend has them."""

from __future__ import annotations

import difflib

from fwpolicy.deploy.status import Drift, may_meet_nat
from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwpolicy.deploy.state import Generation
    from fwpolicy.deploy.survey import Survey


def readable(seen: Survey) -> Survey:
    """Raises HostError where nobody could look."""
    if seen.unreadable:
        raise HostError(f"cannot look at the rules: {seen.unreadable}")
    return seen


def nat(generation: Generation, seen: Survey) -> tuple[Drift, ...]:
    """NAT that came since the apply, where that matters."""
    if not seen.nat or not may_meet_nat(generation):
        return ()
    what = "NAT has appeared since the apply, and what is dropped before it may be its replies: apply again"
    return (Drift(what),)


def difference(before: Sequence[str], after: Sequence[str], what: str = "") -> tuple[str, ...]:
    """The lines that differ, with the names of both sides; `what`: of what they are."""
    was, now = (f"{side} {what}".strip() for side in ("applied", "live"))
    lines = difflib.unified_diff(before, after, was, now, n=0, lineterm="")
    return tuple(line for line in lines if not line.startswith("@@"))
