"""What iptables cannot say exactly is refused with the policy's line, never widened."""

from __future__ import annotations

from fwpolicy.errors import PolicyError, Problem
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.errors import Span


class CannotSayError(Exception):
    """This rule cannot be said; `hint`: what could be written instead; `origin`: where, if that is known."""

    def __init__(self, message: str, hint: str | None = None, origin: Span | None = None) -> None:
        super().__init__(message)
        self.hint, self.origin = hint, origin


@record
class Dialect:
    """What the host's iptables knows. `u32`: the match that the NTP mode takes; without it replies are told
    by their state alone, and docs/iptables.md says what that leaves open."""

    u32: bool = True


class Refusals:
    """Collects them, each once, so that all are told together."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}

    def add(self, error: CannotSayError, origin: Span | None) -> None:
        self._problems[Problem(f"iptables: {error}", error.origin or origin, hint=error.hint)] = None

    def raise_any(self) -> None:
        """Raises PolicyError if there are any."""
        if self._problems:
            raise PolicyError(tuple(self._problems))
