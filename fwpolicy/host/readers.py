"""Output that somebody reads, or stops reading: whatever is under way goes on, and ends as it ends."""

from __future__ import annotations

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Dropping(FileIO):
    """What nobody reads any more (signal(7), SIGPIPE; Python ignores it) is dropped."""

    unread = False

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            self.unread = True
            self._let_go()
            return memoryview(data).nbytes

    def _let_go(self) -> None:
        """For programs that are started from now on, too."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        except OSError:
            pass  # contextlib.suppress would cost each verb's start 2 ms


def tolerate_absence() -> None:
    """From now on a reader of stdout or stderr who goes away ends nothing. What was said is dropped, and the
    exit code tells what became of the command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # One that we were started with: another would be closed once nothing refers to it.
        given = stream is getattr(sys, f"__{name}__") and type(stream) is TextIOWrapper
        if given and type(getattr(stream.buffer, "raw", stream.buffer)) is FileIO:
            stream.flush()
            setattr(sys, name, _like(stream))


def _like(stream: TextIOWrapper) -> TextIOWrapper:
    """As Python made it: with PYTHONUNBUFFERED nothing is between."""
    file = _Dropping(stream.fileno(), "w", closefd=False)
    return TextIOWrapper(
        file if isinstance(stream.buffer, FileIO) else BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def is_unread() -> bool:
    """Has whoever read stdout gone away? For what would go on for ever."""
    buffer = getattr(sys.stdout, "buffer", None)
    return bool(getattr(getattr(buffer, "raw", buffer), "unread", False))
