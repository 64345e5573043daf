"""How far a long piece of work is, on stderr."""

from __future__ import annotations

import sys
import time

_SECOND = 1.0
# Where nobody watches a line change in its place, each costs a line of a log.
_SELDOM = 10.0


class Progress:
    """`12 of 50 WHAT`, once it takes longer than a second, in a log ten; nothing where not `shown`."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self._live = sys.stderr.isatty()
        self._next = time.monotonic() + (_SECOND if self._live else _SELDOM)
        self._said = False

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if not self.shown or now < self._next:
            return
        self._next = now + (_SECOND / 5 if self._live else _SELDOM)
        self._said = True
        text = f"fwpolicy: {done} of {total} {what}"
        if self._live:
            print(f"\r{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line."""
        if self._said and self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
