"""Undoing what was done, in reverse, whatever happens on the way."""

from __future__ import annotations

from fwpolicy.errors import FwpolicyError, LeftBehindError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Undo:
    """A stack of steps back. Leaving the block by an exception runs them, the last one first.

    A step that fails does not stop the others; the first error is the one that is told, and after it
    what could not be put back. `last` steps run at the very end, and only if nothing failed: they
    destroy what a repair would need.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self._last: list[Callable[[], object]] = []

    def then(self, step: Callable[..., object], *arguments: object) -> None:
        self._steps.append(lambda: step(*arguments))

    def last(self, step: Callable[..., object], *arguments: object) -> None:
        self._last.append(lambda: step(*arguments))

    def __enter__(self) -> Undo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        failed = self._run(self._steps)
        if not failed:
            failed = self._run(self._last)
        if failed:
            said = "; ".join(failed)
            raise LeftBehindError(
                f"{error}; and not all could be put back ({said}): run fwpolicy remove"
            ) from error

    @staticmethod
    def _run(steps: list[Callable[[], object]]) -> list[str]:
        failed = []
        while steps:
            try:
                steps.pop()()
            except (FwpolicyError, OSError) as error:
                failed.append(str(error))
        return failed
