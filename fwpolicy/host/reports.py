"""A folder of what hosts said of themselves: FOLDER/HOST.json, or files FOLDER/HOST/*.json."""

from __future__ import annotations

import os

from fwpolicy.errors import HostError
from fwpolicy.host.texts import read_file

ENDING = ".json"


class Reports:
    """Raises HostError where the folder cannot be read."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208
            self._files = {name: self._files_of(name) for name in names}
        except OSError as error:
            raise HostError(f"{folder}: {error.strerror or error}") from None

    def _files_of(self, name: str) -> list[str]:
        path = f"{self.folder}/{name}"
        if not os.path.isdir(path):  # noqa: PTH112
            return [path] if name.endswith(ENDING) else []
        return [f"{path}/{each}" for each in sorted(os.listdir(path)) if each.endswith(ENDING)]  # noqa: PTH208

    def hosts(self) -> frozenset[str]:
        """Whose files there are."""
        return frozenset(name.removesuffix(ENDING) for name, files in self._files.items() if files)

    def of(self, host: str) -> list[tuple[str, bytes]]:
        """(name, bytes) of a host's files; what cannot be read is empty."""
        files = [*self._files.get(f"{host}{ENDING}", ()), *self._files.get(host, ())]
        return [(path, _content(path)) for path in files]


def _content(path: str) -> bytes:
    try:
        return read_file(path)
    except OSError:
        return b""
