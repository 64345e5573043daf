"""Files of this host or of an image below a root, written so that a power cut can't tear them.

A rename without fsync of file and folder is lost by a power cut every time, with both it stays every
time (measured on ext4). Links are followed as the image's own system would: an absolute one starts
at the root again, and one that climbs above the root is refused.

Root writes here, and daemons own some of the folders: what is written, kept or put back never goes
through a link that another user can have made, and the way to it is walked without following any.
"""

from __future__ import annotations

import errno
import os
import stat
from binascii import a2b_base64, b2a_base64
from contextlib import contextmanager
from fnmatch import filter as matching
from pathlib import Path

from fwpolicy.errors import HostError
from fwpolicy.host.folders import sync
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# As the kernel's (path_resolution(7)): more links than this are a loop.
_MOST_LINKS = 40
_WORLD_WRITABLE = stat.S_IWOTH
# A set-user-ID file would give its owner's rights to a text that another user may have made.
_KEPT_MODE = 0o777 & ~_WORLD_WRITABLE
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MAGIC = frozenset("*?[")


@record
class Snapshot:
    """A file as it was: `content` is base64 text, so that a manifest in JSON can hold any bytes.

    `path` is absolute below the root. Of a file that did not exist only `path` counts.
    """

    path: str
    existed: bool
    content: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0


class Files:
    """The files below `root`; every path is absolute as the host sees it. Raises HostError, one line each."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root).resolve()
        self._below = str(self.root).rstrip("/")

    def locate(self, path: str, follow: bool = True) -> Path:
        """Where `path` is on this machine, its links followed (the last one only with `follow`)."""
        return Path(self._place(self._walk(path, follow)[0]))

    def _place(self, names: list[str]) -> str:
        """A text: every way is walked a name at a time, and a Path costs ten times what the kernel does."""
        return f"{self._below}/{'/'.join(names)}"

    def _walk(self, path: str, follow: bool) -> tuple[list[str], list[list[str]]]:
        """(the names that lead to it below the root, the folders that hold the links on the way)."""
        done: list[str] = []
        linked: list[list[str]] = []
        todo = [part for part in reversed(path.split("/")) if part not in {"", "."}]
        while todo:
            part = todo.pop()
            if part == "..":
                self._climb(done, path)
                continue
            target = self._link(done, part) if todo or follow else None
            if target is None:
                done.append(part)
                continue
            linked.append(done.copy())
            if len(linked) > _MOST_LINKS:
                raise HostError(f"cannot open {printable(path)}: too many symbolic links")
            if target.startswith("/"):
                done.clear()
            todo += [part for part in reversed(target.split("/")) if part not in {"", "."}]
        return done, linked

    def _climb(self, done: list[str], path: str) -> None:
        if done:
            done.pop()
        elif self.root != Path("/"):
            raise HostError(f"cannot open {printable(path)}: it leads out of {self.root}")

    def _link(self, folder: list[str], name: str) -> str | None:
        try:
            return os.readlink(self._place([*folder, name]))  # noqa: PTH115
        except OSError:
            return None

    def exposed(self, path: str) -> str | None:
        """What others than root (and we ourselves) can change: a folder on the way to `path`, or it itself.

        None if there is nothing such. What does not exist nobody can make where that is None.
        """
        try:
            done, linked = self._walk(path, True)
            for folder in (*linked, done[:-1]):
                if found := self._exposed_folder(folder):
                    return found
            status = self.root.joinpath(*done).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _refused("look at", path, error) from error
        return None if self._is_roots(status) and not status.st_mode & _OTHERS_WRITE else path

    def _exposed_folder(self, names: list[str]) -> str | None:
        """The outermost folder on the way to `names`, they included, in which others can change a name."""
        for count in range(len(names) + 1):
            try:
                status = os.lstat(self._place(names[:count]))
            except (FileNotFoundError, NotADirectoryError):
                return None
            if self._is_roots(status) and not status.st_mode & _OTHERS_WRITE:
                continue
            # In /tmp and its like a folder of root's own stays what it is: only its owner may move it, and
            # nobody can make a hard link to one (as to a file or a link).
            if not self._is_roots(status) or not status.st_mode & stat.S_ISVTX or count == len(names):
                return "/" + "/".join(names[:count])
        return None

    def _is_roots(self, status: os.stat_result) -> bool:
        """Root's, ours, or of the user whom an image's root folder belongs to."""
        image = self.root != Path("/")
        return status.st_uid in {0, os.geteuid(), *((self.root.stat().st_uid,) if image else ())}

    def _guarded(self, path: str) -> Path:
        """As locate(), and no link on the way is of a user other than root. Raises HostError, OSError."""
        done, linked = self._walk(path, True)
        for folder in linked:
            if exposed := self._exposed_folder(folder):
                raise HostError(
                    f"cannot open {printable(path)}: it is behind a symbolic link in {printable(exposed)}, "
                    "which others than root can change"
                )
        return self.root.joinpath(*done)

    def exists(self, path: str) -> bool:
        """Is there a file or folder? (A dangling link leads to none.)"""
        return self.locate(path).exists()

    def status(self, path: str) -> os.stat_result | None:
        """stat(2) of what the path leads to, or None where there is nothing."""
        try:
            return self.locate(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _refused("look at", path, error) from error

    def read(self, path: str) -> str | None:
        """The text of a regular file, or None; surrogates stand for bytes that are not UTF-8."""
        content = self.read_bytes(path)
        return None if content is None else content.decode("utf-8", "surrogateescape")

    def read_guarded(self, path: str) -> str | None:
        """As read(), but for what is then written: HostError for a link that others than root can change."""
        try:
            found = self._held(path)
        except OSError as error:
            raise _refused("read", path, error) from error
        return found[0].decode("utf-8", "surrogateescape") if found else None

    def _held(self, path: str) -> tuple[bytes, os.stat_result] | None:
        """A regular file's content and status, both of the same file whoever renames others onto it."""
        try:
            place = self._guarded(path)
            with (
                _folder(place.parent, os.O_PATH) as folder,
                _opened(folder, place.name) as descriptor,
                os.fdopen(descriptor, "rb", closefd=False) as stream,
            ):
                return stream.read(), os.fstat(descriptor)
        except (FileNotFoundError, NotADirectoryError, _NotRegularError):
            return None

    def read_bytes(self, path: str) -> bytes | None:
        """The content of a regular file, or None where there is none (a folder or device is none either)."""
        try:
            place = self.locate(path)
            return place.read_bytes() if stat.S_ISREG(place.stat().st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _refused("read", path, error) from error

    def glob(self, pattern: str) -> tuple[str, ...]:
        """The paths (as the host sees them) that match the shell pattern, sorted.

        Raises HostError for a folder that cannot be looked into; one that is not there holds nothing.
        """
        folder, _, last = pattern.rpartition("/")
        parents = self.glob(folder) if _MAGIC & set(folder) else (folder,)
        found: list[str] = []
        for parent in parents:
            names = [name for name in self._names(parent) if last.startswith(".") or not name.startswith(".")]
            found += [f"{parent}/{name}" for name in matching(names, last)]
        return tuple(sorted(found))

    def _names(self, folder: str) -> list[str]:
        try:
            return [child.name for child in self.locate(folder or "/").iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _refused("list", folder or "/", error) from error

    def write(self, path: str, text: str, mode: int | None = None) -> None:
        """Replace or make the file, atomically and durably; through a link it is the link's target.

        The old file's owner, mode and extended attributes are kept; `mode` overrides, and a new file
        without one gets 0644. The bit that lets everybody write is never set, nor a set-ID one.
        HostError for a link in a folder that is not root's alone.
        """
        try:
            self._replace(self._guarded(path), text.encode("utf-8", "surrogateescape"), mode)
        except OSError as error:
            raise _refused("write", path, error) from error

    def _replace(
        self,
        place: Path,
        content: bytes,
        mode: int | None,
        owner: tuple[int, int] | None = None,
        mtime_ns: int | None = None,
    ) -> None:
        with _folder(place.parent) as folder, _old(folder, place.name) as old:
            status = None if old is None else os.fstat(old)
            if owner is None and status:
                owner = (status.st_uid, status.st_gid)
            if mode is None:
                mode = (status.st_mode if status else 0o644) & _KEPT_MODE
            temporary = _temporary(place).name
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                try:
                    _fill(descriptor, content)
                    if old is not None:
                        _copy_attributes(old, descriptor)
                    if owner and owner != (os.geteuid(), os.getegid()):
                        os.fchown(descriptor, *owner)
                    os.fchmod(descriptor, mode)
                    if mtime_ns is not None:
                        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.rename(temporary, place.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)

    def snapshot(self, path: str) -> Snapshot:
        """The file as it is now, for restore()."""
        try:
            found = self._held(path)
        except OSError as error:
            raise _refused("keep", path, error) from error
        if found is None:
            if self.exists(path):
                raise HostError(f"cannot keep {printable(path)}: not a regular file")
            return Snapshot(path, False)
        content, status = found
        text = b2a_base64(content, newline=False).decode("ascii")
        mode = stat.S_IMODE(status.st_mode)
        return Snapshot(path, True, text, mode, status.st_uid, status.st_gid, status.st_mtime_ns)

    def restore(self, snapshot: Snapshot) -> None:
        """Put the file back: bytes, mode, owner and modification time; or its absence."""
        try:
            place = self._guarded(snapshot.path)
            if not snapshot.existed:
                _remove(place)
                return
            owner = (snapshot.uid, snapshot.gid)
            content = a2b_base64(snapshot.content)
            self._replace(place, content, snapshot.mode, owner, snapshot.mtime_ns)
        except OSError as error:
            raise _refused("restore", snapshot.path, error) from error

    def require_changeable(self, path: str) -> None:
        """HostError where a folder, or the one that a file is in, takes no change: the file system is
        read-only, or something immutable."""
        place = self.locate(path)
        while not place.is_dir():
            place = place.parent
        if os.access(place, os.W_OK):
            return
        read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        raise _refused("change", path, OSError(errno.EROFS if read_only else errno.EPERM, ""))

    def make_directory(self, path: str, mode: int = 0o755) -> tuple[str, ...]:
        """Make the folder and its parents; returns those that were made, the outermost first."""
        made: list[str] = []
        try:
            for folder in _parents(path):
                place = self.locate(folder)
                if place.is_dir():
                    continue
                place.mkdir(0o700)
                place.chmod(mode & ~_WORLD_WRITABLE)
                made.append(folder)
                sync(place.parent)
        except OSError as error:
            raise _refused("make the directory", path, error) from error
        return tuple(made)

    def remove_directory_if_empty(self, path: str) -> bool:
        """True if the folder was there, empty, and is gone now."""
        try:
            place = self.locate(path)
            place.rmdir()
            sync(place.parent)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
                return False
            raise _refused("remove the directory", path, error) from error
        return True

    def replace_symlink(self, path: str, target: str) -> None:
        """Make `path` a link to `target`, atomically and durably; a file or link of that name is replaced."""
        try:
            place = self.locate(path, follow=False)
            temporary = _temporary(place)
            temporary.symlink_to(target)
            try:
                temporary.rename(place)
            except BaseException:
                temporary.unlink()
                raise
            sync(place.parent)
        except OSError as error:
            raise _refused("link", path, error) from error

    def remove(self, path: str) -> bool:
        """Remove the file, or the link itself; False if there was none."""
        try:
            return _remove(self.locate(path, follow=False))
        except OSError as error:
            raise _refused("remove", path, error) from error


_WHY = {
    errno.EROFS: "the file system is read-only; remount it read-write first",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied; run as root",
    errno.EPERM: "not permitted; run as root, and look for an immutable flag (lsattr)",
}


def _refused(doing: str, path: str, error: OSError) -> HostError:
    number = error.errno or 0
    why = _WHY.get(number) or (error.strerror or str(error)).lower()
    return HostError(f"cannot {doing} {printable(path)}: {why}")


def printable(text: str) -> str:
    """For display: what a terminal would obey, or could not encode, as an escape sequence of Python's."""
    return "".join(char if char == "\t" or char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    # A surrogate of surrogateescape stands for a byte (PEP 383).
    byte = "\udc80" <= char <= "\udcff"
    return f"\\x{ord(char) - 0xDC00:02x}" if byte else char.encode("unicode_escape").decode("ascii")


class _NotRegularError(OSError):
    def __init__(self) -> None:
        super().__init__(errno.EINVAL, "not a regular file")


@contextmanager
def _folder(place: Path, how: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor of the folder, reached without following a link (locate() has followed those).

    O_RDONLY is for fsync; with O_PATH the folder need only be searched, as those before it.
    """
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    names = place.parts[1:]
    descriptor = os.open("/", flags | (os.O_PATH if names else how))
    try:
        for count, name in enumerate(names, 1):
            inner = os.open(name, flags | (how if count == len(names) else os.O_PATH), dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened(folder: int, name: str) -> Iterator[int]:
    """A descriptor of the regular file `name`. Raises _NotRegularError, for a link too."""
    if not name or not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise _NotRegularError
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _NotRegularError
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _old(folder: int, name: str) -> Iterator[int | None]:
    """As _opened(), None where there is nothing yet."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        yield None
        return
    with _opened(folder, name) as descriptor:
        yield descriptor


def _temporary(place: Path) -> Path:
    """A name beside `place` that no *.conf or *.sources pattern of a daemon takes up."""
    return place.with_name(f".{place.name}.{os.getpid()}-{os.urandom(4).hex()}.fwpolicy")


def _fill(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _copy_attributes(old: int, descriptor: int) -> None:
    """Labels and ACLs (SELinux refuses a daemon a file without its own)."""
    try:
        for name in os.listxattr(old):
            os.setxattr(descriptor, name, os.getxattr(old, name))
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.ENODATA, errno.EINVAL}:
            raise


def _remove(place: Path) -> bool:
    try:
        with _folder(place.parent) as folder:
            os.unlink(place.name, dir_fd=folder)
            os.fsync(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _parents(path: str) -> Iterator[str]:
    parts = [part for part in path.split("/") if part]
    for count in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:count])
