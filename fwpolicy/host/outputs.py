"""A folder with a folder, or a file, for each host: what is there already is not written again, what is no
host's any more goes. Nothing but what was written here earlier is ever removed: an index names it before it
is there, so that a run which is killed leaves nothing that the next one does not know.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from fwpolicy.errors import HostError
from fwpolicy.host.texts import begins_with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Content = Mapping[str, tuple[str, int]]

INDEX, FLAT_INDEX = "fleet.json", "bundles.json"


class _Indexed:
    """Raises HostError where the folder cannot be written to, or its index is none of ours."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder, self.index = folder, f"{folder}/{name}"
        try:
            _make(folder)
            self._about, self.before = _index(self.index)
        except OSError as error:
            raise _refused(folder, error) from None

    def expect(self, files: Mapping[str, Sequence[str]]) -> None:
        """Name in the index, beside what it has, the files of each host that will be written now. What is
        there already and not in it is somebody else's until it is written over. Raises HostError."""
        names = dict(self.before)
        try:
            for host, wanted in files.items():
                known = self.before.get(host, [])
                missing = [
                    name
                    for name in wanted
                    if name not in known and not os.path.lexists(self._path(host, name))
                ]
                if missing:
                    names[host] = [*known, *missing]
            self._list(self._about, names)
        except OSError as error:
            raise _refused(self.folder, error) from None

    def _path(self, host: str, name: str) -> str:
        """Of a host's file. Raises OSError for one behind a link."""
        _refuse_link(f"{self.folder}/{host}")
        return f"{self.folder}/{host}/{name}"

    def _list(self, index: Mapping[str, object], files: Mapping[str, Sequence[str]]) -> None:
        """Write the index, with `files` of each host in it. Raises OSError."""
        whole = {**index, "files": {host: list(names) for host, names in files.items()}}
        _write(self.index, json.dumps(whole, indent=1, sort_keys=True) + "\n", 0o644)


class Outputs(_Indexed):
    """A folder for each host, of files that are expected."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, INDEX)

    def write(self, host: str, files: Content) -> bool:
        """The host's files ({name: (text, mode)}) as they should be; whether anything had to be written."""
        place = f"{self.folder}/{host}"
        try:
            _refuse_link(place)
            _make(place)
            changed = [_write(f"{place}/{name}", text, mode) for name, (text, mode) in files.items()]
            gone = [name for name in self.before.get(host, ()) if name not in files]
            removed = [_remove(f"{place}/{name}") for name in gone]
        except OSError as error:
            raise _refused(place, error) from None
        return any((*changed, *removed))

    def finish(self, index: Mapping[str, object], files: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        """Write the index, with `files` of each host in it; the hosts that are gone."""
        gone = tuple(sorted(host for host in self.before if host not in files))
        try:
            for host in gone:
                for path in (self._path(host, name) for name in self.before[host]):
                    _remove(path)
                    _remove(_unfinished(path))
                with suppress(OSError):
                    os.rmdir(f"{self.folder}/{host}")  # noqa: PTH106
            self._list(index, files)
        except OSError as error:
            raise _refused(self.folder, error) from None
        return gone


class FlatOutputs(_Indexed):
    """A file for each host, expected, which begins with `head`: what does not is not removed, whoever listed
    it."""

    def __init__(self, folder: str, head: bytes) -> None:
        super().__init__(folder, FLAT_INDEX)
        self.head = head

    def finish(
        self, index: Mapping[str, object], files: Mapping[str, str], *, whole: bool
    ) -> tuple[str, ...]:
        """Write the index, with the file of each host in it, those of before among them unless these are the
        `whole` of it; the hosts that are gone."""
        gone = tuple(sorted(host for host in self.before if whole and host not in files))
        kept = {host: names for host, names in self.before.items() if host not in gone}
        try:
            for path in (self._path(host, name) for host in gone for name in self.before[host]):
                half = _unfinished(path)
                if begins_with(path, self.head):
                    _remove(path)
                if begins_with(half, self.head) or _is_empty(half):
                    _remove(half)
            self._list(index, kept | {host: [name] for host, name in files.items()})
        except OSError as error:
            raise _refused(self.folder, error) from None
        return gone

    def _path(self, _host: str, name: str) -> str:
        return f"{self.folder}/{name}"


def write_file(path: str, content: bytes, mode: int) -> bool:
    """The file as it should be, and its folder; whether it had to be written. Raises HostError, also for what
    is there and no file: a device would be replaced, and read without end."""
    folder = os.path.dirname(path)  # noqa: PTH120
    try:
        _refuse_others(path)
        _make(folder or ".")
        return _replace(path, content, mode)
    except OSError as error:
        raise _refused(path, error) from None


def fresh_file(path: str, content: bytes, mode: int) -> None:
    """The same, written in any case: who reads it looks at its age, and never sees half of it."""
    try:
        _refuse_others(path)
        _written(path, content, mode)
    except OSError as error:
        raise _refused(path, error) from None


def _make(folder: str) -> None:
    """The folder, and those above it, which others cannot write to whatever the umask. Raises OSError."""
    missing = []
    above = folder
    while not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above) or "."  # noqa: PTH120
    for each in reversed(missing):
        with suppress(FileExistsError):  # somebody else's, at the same time
            os.mkdir(each, 0o755)  # noqa: PTH102
    if not os.path.isdir(folder):  # noqa: PTH112
        raise FileExistsError(None, "is there, and is no folder", folder)


def _index(path: str) -> tuple[dict[str, object], dict[str, list[str]]]:
    """(what else it says, host -> names of its files), as they were written last."""
    try:
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123
            whole = json.load(stream)
        found = whole.pop("files")
        names = [*found, *(name for names in found.values() for name in names)]
    except FileNotFoundError:
        return {}, {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OSError(None, "is no index of ours; move it away", path) from None
    if any(not isinstance(name, str) or "/" in name or name in ("", ".", "..") for name in names):
        raise OSError(None, "names files outside of its folder", path)
    return whole, found


def _write(path: str, text: str, mode: int) -> bool:
    return _replace(path, text.encode(), mode)


def _replace(path: str, content: bytes, mode: int) -> bool:
    with suppress(OSError), open(path, "rb") as stream:  # noqa: PTH123
        if stream.read() == content and os.fstat(stream.fileno()).st_mode & 0o777 == mode:
            return False
    _written(path, content, mode)
    return True


def _written(path: str, content: bytes, mode: int) -> None:
    """By rename."""
    temporary = _unfinished(path)
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # noqa: PTH108
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(content)
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:
        os.unlink(temporary)  # noqa: PTH108
        raise OSError(error.errno, error.strerror, path) from None


def _unfinished(path: str) -> str:
    """What a file is called until it is whole."""
    return f"{path}.new"


def _is_empty(path: str) -> bool:
    """Whether it is a file with nothing in it."""
    return os.path.isfile(path) and os.path.getsize(path) == 0  # noqa: PTH113, PTH202


def _refuse_others(path: str) -> None:
    """What is neither a file nor nothing."""
    _refuse_link(path)
    if os.path.lexists(path) and not os.path.isfile(path):  # noqa: PTH113
        raise OSError(None, "is there, and is not a regular file", path)


def _refuse_link(place: str) -> None:
    if os.path.islink(place):  # noqa: PTH114
        raise OSError(None, "is a symbolic link, and is not followed", place)


def _remove(path: str) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)  # noqa: PTH108
        return True
    return False


def _refused(path: str, error: OSError) -> HostError:
    return HostError(f"{error.filename or path}: {error.strerror or error}")
