"""What a bundle holds: a tar archive, the same bytes for the same files, and nothing in it that a host would
have to be careful with: plain files, each named in the manifest with its digest.
"""

from __future__ import annotations

import io
import json
import tarfile

from fwpolicy.errors import HostError
from fwpolicy.fleet import digests
from fwpolicy.record import record
from fwpolicy.source import MAX_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Contents = Mapping[str, tuple[bytes, int]]

FORMAT = 1
MANIFEST = "manifest.json"
# The repository's files as they were read, shipped policies, what is the host's own; what they compile to.
FOLDERS = ("repository", "shipped", "host", "artifacts")
MOST_BYTES = MAX_BYTES
_LONGEST = 250


@record
class Manifest:
    """`sequence`: a higher one is newer. `commit`, `author` and `time` (Unix, 0) are "" without a repository.
    `beside_nat`: for a host that translates addresses. `operands`: the files of the policy, in order;
    `files`: the digest of each by name. `without_script`: why there is no script for hosts without Python, by
    backend; `script_notes`: what the scripts do not do.
    """

    host: str
    policy: str
    tool: str
    sequence: int
    commit: str
    author: str
    time: int
    beside_nat: bool
    operands: tuple[str, ...]
    files: dict[str, str]
    without_script: dict[str, str]
    script_notes: tuple[str, ...]

    @property
    def contents(self) -> str:
        """A digest of the policy: of all that it is made of, and of nothing that it compiles to."""
        own = sorted(each for each in self.files.items() if not each[0].startswith("artifacts/"))
        return digests.of_value([self.beside_nat, self.operands, own])


_TYPES = {
    **dict.fromkeys(("host", "policy", "tool", "commit", "author"), str),
    **dict.fromkeys(("sequence", "time"), int),
    "beside_nat": bool,
}
_LISTS, _OBJECTS = ("operands", "script_notes"), ("files", "without_script")


def pack(manifest: Manifest, contents: Contents) -> bytes:
    """The archive: {name: (bytes, mode)}. Raises HostError for a name that it cannot hold."""
    plain = {name: getattr(manifest, name) for name in manifest.__slots__}  # type: ignore[attr-defined]
    plain |= {"format": FORMAT, "contents": manifest.contents}
    text = json.dumps(plain, indent=1, sort_keys=True).encode() + b"\n"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (data, mode) in {MANIFEST: (text, 0o644), **dict(sorted(contents.items()))}.items():
            if name != MANIFEST:
                _refuse_name(name)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), mode, manifest.time
            try:
                archive.addfile(entry, io.BytesIO(data))
            except ValueError as error:
                raise HostError(f"{name}: an archive cannot hold this name: {error}") from None
    return stream.getvalue()


def unpack(payload: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """What pack took. Raises HostError for anything else."""
    files: dict[str, bytes] = {}
    for name, data in _entries(payload):
        if name in files:
            raise HostError(f"the bundle has {name!r} twice")
        files[name] = data
    manifest = _manifest(files.pop(MANIFEST, None))
    if files.keys() != manifest.files.keys():
        wrong = min(files.keys() ^ manifest.files.keys())
        raise HostError(f"the bundle's manifest and its files differ: {wrong!r}")
    for name, data in files.items():
        if digests.of_bytes(data) != manifest.files[name]:
            raise HostError(f"the bundle's {name!r} is not the one in its manifest")
    return manifest, files


def _entries(payload: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(payload), mode="r:") as archive:
            for entry in archive:
                if entry.type != tarfile.REGTYPE or entry.pax_headers:
                    raise HostError(f"the bundle holds {entry.name!r}, which is no plain file")
                if entry.name != MANIFEST:
                    _refuse_name(entry.name)
                stream = archive.extractfile(entry)
                data = stream.read() if stream else b""
                if len(data) != entry.size:
                    raise HostError(f"the bundle's {entry.name!r} is cut short")
                yield entry.name, data
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise HostError(f"the bundle holds no archive: {error}") from None


def _refuse_name(name: str) -> None:
    """A name leads into one of the folders, and nowhere else."""
    folder, *rest = name.split("/")
    inside = bool(rest) and all(part not in ("", ".", "..") for part in rest)
    if folder not in FOLDERS or not inside or not name.isprintable() or len(name.encode()) > _LONGEST:
        raise HostError(f"the bundle cannot hold {name!r}: it leads out of it, or is too long")


def _manifest(data: bytes | None) -> Manifest:
    try:
        found = json.loads((data or b"").decode())
        if found.pop("format") != FORMAT:
            raise HostError("the bundle is of another version of the program: upgrade it")
        contents = found.pop("contents", None)
        held: dict[str, Any] = {name: tuple(found.pop(name)) for name in _LISTS}
        held |= {name: dict(found.pop(name)) for name in _OBJECTS}
        texts = [text for each in held.values() for text in each]
        texts += [text for name in _OBJECTS for text in held[name].values()]
        right = found.keys() == _TYPES.keys() and all(
            type(found[key]) is kind for key, kind in _TYPES.items()
        )
        if not right or not all(isinstance(text, str) for text in texts):
            raise ValueError
        if not set(held["operands"]) <= held["files"].keys():
            raise ValueError
        manifest = Manifest(**found, **held)
        # A shell on a host without Python believes what is written there.
        if contents not in (None, manifest.contents):
            raise ValueError
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise HostError("the bundle has no manifest, or a wrong one") from None
