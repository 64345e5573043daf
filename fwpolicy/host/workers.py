"""Work in as many processes as there are processors for us."""

from __future__ import annotations

import os
import sys

from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")


def processors() -> int:
    return len(os.sched_getaffinity(0))


def each(work: Callable[[int], T], count: int, most: int | None = None) -> Iterator[tuple[int, T]]:
    """(number, work(number)) for each of range(count), as they are done. What `work` needs is inherited, what
    it returns is pickled. Raises HostError where a process is killed."""
    workers = min(count, most or processors())
    if workers <= 1:
        yield from ((number, work(number)) for number in range(count))
        return
    import gc  # noqa: PLC0415
    from concurrent.futures import ProcessPoolExecutor, as_completed  # noqa: PLC0415
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415
    from multiprocessing import get_context  # noqa: PLC0415

    _Task.work = work
    # What is there already is everybody's: a collection in a worker would copy all of it.
    gc.freeze()
    sys.stdout.flush()
    pool = ProcessPoolExecutor(workers, get_context("fork"), initializer=_begin)
    try:
        waiting = {pool.submit(_Task.run, number): number for number in range(count)}
        for future in as_completed(waiting):
            yield waiting.pop(future), future.result()
    except BrokenProcessPool:
        raise HostError("a process that worked for us was killed (out of memory?)") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """In a worker: Ctrl-C is for who started it; what a piece of work leaves behind goes before the next."""
    import gc  # noqa: PLC0415
    import signal  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.enable()


class _Task:
    """What forked workers find in their copy of this process."""

    work: Callable[[int], Any]

    @classmethod
    def run(cls, number: int) -> Any:
        return cls.work(number)
