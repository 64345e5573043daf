"""Files of this host or of an image below a root, written so that a power cut can't tear them.

A rename without fsync of file and folder is lost by a power cut every time, with both it stays every
time (measured on ext4). Links are followed as the image's own system would: an absolute one starts
at the root again, and one that climbs above the root is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from binascii import a2b_base64, b2a_base64
from fnmatch import filter as matching
from pathlib import Path

from fwpolicy.errors import HostError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# As the kernel's (path_resolution(7)): more links than this are a loop.
_MOST_LINKS = 40
_WORLD_WRITABLE = stat.S_IWOTH
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

    def locate(self, path: str, follow: bool = True) -> Path:
        """Where `path` is on this machine, its links followed (the last one only with `follow`)."""
        done: list[str] = []
        todo = [part for part in reversed(path.split("/")) if part not in {"", "."}]
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                self._climb(done, path)
                continue
            target = self._link(done, part) if todo or follow else None
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise HostError(f"cannot open {path}: too many symbolic links")
            if target.startswith("/"):
                done.clear()
            todo += [part for part in reversed(target.split("/")) if part not in {"", "."}]
        return self.root.joinpath(*done)

    def _climb(self, done: list[str], path: str) -> None:
        if done:
            done.pop()
        elif self.root != Path("/"):
            raise HostError(f"cannot open {path}: it leads out of {self.root}")

    def _link(self, folder: list[str], name: str) -> str | None:
        try:
            return str(self.root.joinpath(*folder, name).readlink())
        except OSError:
            return None

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
        """The paths (as the host sees them) that match the shell pattern, sorted."""
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
        except (OSError, HostError):
            return []

    def write(self, path: str, text: str, mode: int | None = None) -> None:
        """Replace or make the file, atomically and durably; through a link it is the link's target.

        The old file's owner, mode and extended attributes are kept; `mode` overrides, and a new file
        without one gets 0644. The bit that lets everybody write is never set.
        """
        try:
            self._replace(self.locate(path), text.encode("utf-8", "surrogateescape"), mode)
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
        old = _stat(place)
        if old and not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if owner is None and old:
            owner = (old.st_uid, old.st_gid)
        if mode is None:
            mode = (stat.S_IMODE(old.st_mode) if old else 0o644) & ~_WORLD_WRITABLE
        temporary = _temporary(place)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                _fill(descriptor, content)
                if old:
                    _copy_attributes(place, descriptor)
                if owner and owner != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
                if mtime_ns is not None:
                    os.utime(descriptor, ns=(mtime_ns, mtime_ns))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(place)
        except BaseException:
            temporary.unlink()
            raise
        _sync_folder(place)

    def snapshot(self, path: str) -> Snapshot:
        """The file as it is now, for restore()."""
        content = self.read_bytes(path)
        if content is None:
            if self.exists(path):
                raise HostError(f"cannot keep {path}: not a regular file")
            return Snapshot(path, False)
        status = self.locate(path).stat()
        text = b2a_base64(content, newline=False).decode("ascii")
        mode = stat.S_IMODE(status.st_mode)
        return Snapshot(path, True, text, mode, status.st_uid, status.st_gid, status.st_mtime_ns)

    def restore(self, snapshot: Snapshot) -> None:
        """Put the file back: bytes, mode, owner and modification time; or its absence."""
        try:
            place = self.locate(snapshot.path)
            if not snapshot.existed:
                _unlink(place)
                return
            owner = (snapshot.uid, snapshot.gid)
            content = a2b_base64(snapshot.content)
            self._replace(place, content, snapshot.mode, owner, snapshot.mtime_ns)
        except OSError as error:
            raise _refused("restore", snapshot.path, error) from error

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
                _sync_folder(place)
        except OSError as error:
            raise _refused("make the directory", path, error) from error
        return tuple(made)

    def remove_directory_if_empty(self, path: str) -> bool:
        """True if the folder was there, empty, and is gone now."""
        try:
            place = self.locate(path)
            place.rmdir()
            _sync_folder(place)
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
            _sync_folder(place)
        except OSError as error:
            raise _refused("link", path, error) from error

    def remove(self, path: str) -> bool:
        """Remove the file, or the link itself; False if there was none."""
        try:
            return _unlink(self.locate(path, follow=False))
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
    return HostError(f"cannot {doing} {path}: {why}")


def _stat(place: Path) -> os.stat_result | None:
    try:
        return place.stat()
    except FileNotFoundError:
        return None


def _temporary(place: Path) -> Path:
    """A name beside `place` that no *.conf or *.sources pattern of a daemon takes up."""
    return place.with_name(f".{place.name}.{os.getpid()}-{os.urandom(4).hex()}.fwpolicy")


def _fill(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _copy_attributes(place: Path, descriptor: int) -> None:
    """Labels and ACLs (SELinux refuses a daemon a file without its own)."""
    try:
        for name in os.listxattr(place):
            os.setxattr(descriptor, name, os.getxattr(place, name))
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.ENODATA, errno.EINVAL}:
            raise


def _sync_folder(place: Path) -> None:
    descriptor = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(place: Path) -> bool:
    try:
        place.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    _sync_folder(place)
    return True


def _parents(path: str) -> Iterator[str]:
    parts = [part for part in path.split("/") if part]
    for count in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:count])
