"""Programs that answer with their exit status, or with a few lines."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import contextmanager, suppress

from fwpolicy.errors import HostError
from fwpolicy.host.files import printable
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from subprocess import Popen

# Whoever starts us, and from wherever: a program that answers must answer the same.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_KEPT = 65536
# Between two looks at a program that closed its output and goes on.
_LOOK = 0.05


@record
class Ended:
    """`status`: its exit status, or the number of the signal that ended it, below zero. `out`, `errors`:
    the last of each, 64 KiB unless more was asked for."""

    status: int
    out: str
    errors: str

    @property
    def last_word(self) -> str:
        """The last line that it wrote, of its errors if there are any."""
        lines = [line.strip() for line in (self.errors.strip() or self.out).splitlines() if line.strip()]
        return printable(lines[-1][:200]) if lines else ""


def run(arguments: tuple[str, ...], seconds: float, kept: int = _KEPT) -> Ended:
    """Run a program by its absolute path: no shell, no input, no terminal, `ENVIRONMENT`. Of its output the
    last `kept` bytes.

    One that takes longer than `seconds` is killed, with all of its session. Raises HostError for that, and
    where it cannot be started.
    """
    with started(arguments) as process:
        out, errors = _heard(process, time.monotonic() + seconds, kept)
    if out is None:
        raise HostError(f"{printable(arguments[0])} did not end within {seconds:.0f} s")
    return Ended(process.returncode, _text(out), _text(errors))


@contextmanager
def started(
    arguments: Sequence[str],
    environment: Mapping[str, str] = ENVIRONMENT,
    limit: Callable[[], None] | None = None,
    *,
    asked: bool = False,
) -> Iterator[Popen[bytes]]:
    """A program in a session of its own, in /, with pipes for what it says and, where it is `asked`
    something, for that. `limit` is called in its process before it.

    Where the block ends before it, or by an exception, all of its session is killed. Raises HostError where
    it cannot be started.
    """
    import subprocess  # noqa: PLC0415  (15 ms)

    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment,
            start_new_session=True,
            preexec_fn=limit,  # noqa: PLW1509  (there are no threads here)
        )
    except OSError as error:
        raise HostError(f"{printable(arguments[0])} cannot be started: {error.strerror}") from None
    with process:
        try:
            yield process
        except BaseException:
            _kill(process)
            raise
        if process.poll() is None:
            _kill(process)


def _kill(process: Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _heard(process: Popen[bytes], end: float, kept: int) -> tuple[bytes | None, bytes]:
    """The last of what it wrote until it ended; (None, b"") where it did not end.

    Not until its output is closed: what it left in the background may hold that for ever.
    """
    assert process.stdout  # noqa: S101  (they are pipes)
    assert process.stderr  # noqa: S101
    said = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    out, errors = said
    open_ones = set(said)
    for descriptor in said:
        os.set_blocking(descriptor, False)
    while (ended := process.poll()) is None and (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select(open_ones, (), (), min(left, _LOOK))
        open_ones -= {descriptor for descriptor in ready if not _read(descriptor, said, kept)}
    if ended is None:
        return None, b""
    for descriptor in open_ones:
        _read(descriptor, said, kept)
    return said[out], said[errors]


def _read(descriptor: int, said: dict[int, bytes], kept: int) -> bool:
    """Whether there may be more to read."""
    try:
        new = os.read(descriptor, kept)
    except BlockingIOError:
        return True
    said[descriptor] = (said[descriptor] + new)[-kept:]
    return bool(new)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
