"""What a backend renders: a file's name, text and mode, and where each of its lines comes from."""

from __future__ import annotations

from fwpolicy.errors import Span
from fwpolicy.record import record


@record
class Artifact:
    """A rendered file. `origins` maps 1-based line numbers of `text` to the policy text behind them."""

    name: str
    text: str
    mode: int = 0o600
    origins: tuple[tuple[int, Span], ...] = ()

    def origin(self, line: int) -> Span | None:
        """The policy span behind line `line` (1-based) of the text, or None for a line of ours."""
        return dict(self.origins).get(line)
