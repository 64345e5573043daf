"""Reading the texts that a user names: policies and what they include."""

from __future__ import annotations

import os
import stat
import sys

from fwpolicy.errors import HostError
from fwpolicy.source import MAX_BYTES, Hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Beside the package when installed, beside its folder in a checkout.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 (pathlib: 8 ms)
_OF_THE_KERNEL = ("/proc/", "/sys/")
SHIPPED = (f"{_PACKAGE}/policies", f"{os.path.dirname(_PACKAGE)}/policies")  # noqa: PTH120


def read_operand(operand: str) -> tuple[str, bytes]:
    """(name, bytes) of a policy: a file, `-` for standard input, or a shipped policy's name.

    Raises HostError: not there, a directory, not a regular file, unreadable.
    """
    if operand == "-":
        return "<stdin>", sys.stdin.buffer.read(MAX_BYTES + 1)
    place = shipped(operand)
    if place is not None:
        return place, read_file(place)
    try:
        return operand, reader((operand,))(operand)
    except FileNotFoundError:
        hint = f"; shipped policies: {', '.join(shipped_names())}" if "/" not in operand else ""
        raise HostError(f"{operand}: no such file{hint}") from None
    except OSError as error:
        raise HostError(f"{operand}: {error.strerror or error}") from None


def shipped(operand: str) -> str | None:
    """A shipped policy's file. A bare word without a dot names one, whatever lies in the current folder: sudo
    in /tmp must not run somebody's file of that name. `./NAME` is the file."""
    if "/" in operand or "." in operand:
        return None
    paths = (f"{directory}/{operand}.yaml" for directory in SHIPPED)
    return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113


def read_file(path: str) -> bytes:
    """At most 64 MiB and one byte of a regular file. Raises OSError; a FIFO or device is refused too, and
    what the kernel shows as a file, of which reading can take something away (/proc/kmsg)."""
    return read_with_status(path)[0]


def read_with_status(path: str) -> tuple[bytes, os.stat_result]:
    """The same, and whose the very file is that was read, whatever has its name by now."""
    if os.path.realpath(path).startswith(_OF_THE_KERNEL):
        raise OSError(None, "is not a regular file", path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(None, "is a directory", path)
        if not stat.S_ISREG(mode):
            raise OSError(None, "is not a regular file", path)
        return stream.read(MAX_BYTES + 1), status


def reader(operands: Iterable[str]) -> Callable[[str], bytes]:
    """Reads the files that the policies of `operands` lead to, as read_file. What lies, where links lead,
    outside of their repositories is Hidden."""
    roots = tuple(_root_beside(each) for each in operands)

    def read(path: str) -> bytes:
        data = read_file(path)
        place = os.path.realpath(path)
        inside = any(below(place, root) for root in roots) or is_shipped(path)
        return data if inside else Hidden(data)

    return read


def _root_beside(operand: str) -> str:
    return root_of(os.path.realpath(os.path.dirname(operand) or "."))  # noqa: PTH120


def root_of(folder: str) -> str:
    """The repository that a folder (without links) is in: the one with `.git`, else itself."""
    above = folder
    while not os.path.exists(f"{above}/.git"):  # noqa: PTH110
        if above == "/":
            return folder
        above = os.path.dirname(above)  # noqa: PTH120
    return above


def write_new(path: str, text: str) -> None:
    """Make the file; HostError where there is one already, or a link: nothing is ever overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise HostError(f"{path} exists, and is not overwritten; name another file") from None
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)


def write_private(path: str, text: str, head: str, what: str) -> None:
    """Make the file, readable by its owner alone, or replace one that begins with `head` (`what` it is);
    whole or not at all. HostError for any other file that is there, and for a link."""
    try:
        if os.path.lexists(path) and not _is_own(path, head.encode()):
            raise HostError(f"{path} exists and is no {what}; name another file")
        temporary = f"{path}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            os.unlink(temporary)  # noqa: PTH108
            raise
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from None


def _is_own(path: str, head: bytes) -> bool:
    return not os.path.islink(path) and begins_with(path, head)  # noqa: PTH114


def begins_with(path: str, head: bytes) -> bool:
    """Whether it is a regular file that does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as stream:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and stream.read(len(head)) == head


def not_ours(status: os.stat_result) -> str:
    """Why others than root (and we ourselves) say what is in a file; "" where they do not."""
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to user {status.st_uid}"
    return "can be written by others than its owner" if status.st_mode & 0o022 else ""


def absolute(operand: str) -> str:
    """The operand as it is understood in any folder: a path from the root, or a shipped policy's name."""
    return operand if shipped(operand) else os.path.abspath(operand)  # noqa: PTH100


def is_shipped(path: str) -> bool:
    """Whether the file, where its links lead, is a policy that comes with the program."""
    return any(below(os.path.realpath(path), each) for each in SHIPPED)


def below(place: str, folder: str) -> bool:
    """Whether a path leads into the folder; both without links and dots."""
    return place.startswith(f"{folder.rstrip('/')}/")


def shipped_names() -> tuple[str, ...]:
    """The names of the policies that come with the program."""
    found = {name.removesuffix(".yaml") for d in SHIPPED if os.path.isdir(d) for name in os.listdir(d)}  # noqa: PTH112, PTH208
    return tuple(sorted(name for name in found if "." not in name))
