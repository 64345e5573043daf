"""/etc/fwpolicy/sync.yaml: what a host pulls, from where, and whom it believes."""

from __future__ import annotations

import re

from fwpolicy import source
from fwpolicy.errors import HostError, PolicyError, Span
from fwpolicy.fleet.bundle import SIGNERS
from fwpolicy.fleet.hostnames import NAME
from fwpolicy.policy import values
from fwpolicy.policy.reader import Reader
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.host.files import Files
    from fwpolicy.source import Node

PLACE = "/etc/fwpolicy/sync.yaml"
KEYS = (
    *("version", "repository", "branch", "bundles", "inventory", "host", "signers", "every", "timeout"),
    *("confirm", "replace"),
)
# What git's own transports are called in a URL; what runs a program of the URL's choice is none of them.
SCHEMES = ("https", "ssh", "git", "http", "file")
_URL = re.compile(rf"(?:{'|'.join(SCHEMES)})://[!-~]+\Z")
_SECRET = re.compile(r"[^/]*//[^/@]*:[^/@]*@")
# git-check-ref-format(1), and nothing that an option could be.
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|\.lock(?:/|\Z)|/\.|\.\Z|/\Z))[A-Za-z0-9_][A-Za-z0-9._/+-]{0,200}\Z")
_INSIDE = re.compile(r"(?!/|.*(?:\A|/)\.\.(?:/|\Z))[^\0-\x1f]{1,500}\Z")
_SHORTEST, _LONGEST = 10, 86400


@record
class SyncConfig:
    """`bundles`: the folder of HOST.fwb, "" where the repository's own policies are taken, by `inventory`, of
    commits that are signed. `host`: "" for the machine's own name. `every`, `timeout`, `confirm`: seconds.
    `text`: the file, for who asks whether it changed."""

    repository: str
    branch: str
    bundles: str
    inventory: str
    host: str
    signers: str
    every: int
    timeout: int
    confirm: int
    replace: bool
    text: str


def load(path: str, files: Files) -> SyncConfig:
    """Raises HostError where there is none, or others than root can write it; PolicyError with all that is
    wrong in it."""
    if exposed := files.exposed(path):
        raise HostError(f"{path} is not read: others than root can change {exposed}")
    data = files.read_bytes(path)
    if data is None:
        raise HostError(f"{path}: there is no such file; it says what is synced from where (docs/fleet.md)")
    return parse(path, data)


def parse(name: str, data: bytes) -> SyncConfig:
    """Raises PolicyError."""
    document = source.load(name, data)
    reader = Reader(document.text)
    reader.problems += document.problems
    if document.root is None:
        reader.error("the file is empty", Span(name, 1, 1, 2), "it needs version, repository and branch")
        raise PolicyError(tuple(reader.problems))
    found = reader.keys(document.root, "a sync file", KEYS)
    config = _read(reader, found, document.root, data)
    if any(problem.severity == "error" for problem in reader.problems):
        raise PolicyError(tuple(reader.problems))
    return config


def _read(reader: Reader, found: dict[str, Node], root: Node, data: bytes) -> SyncConfig:
    reader.choice(found.get("version"), "'version'", ("1",))
    for key in ("version", "repository", "branch"):
        if key not in found:
            reader.error(f"'{key}' is missing", root)
    if ("bundles" in found) == ("inventory" in found):
        message = "one of 'bundles' and 'inventory' says what of the repository is taken"
        reader.error(message, root, "signed bundles in a folder, or policies of signed commits")
    hint = f"it begins with {', '.join(SCHEMES)} and ://; git@HOST:PATH is ssh://git@HOST/PATH"
    repository = _matching(reader, found, "repository", _URL, hint)
    if _SECRET.match(repository):
        hint = "root's ~/.netrc is the place for one, and what git is called with is no secret"
        reader.error("'repository' has a password in it", found["repository"], hint)
    return SyncConfig(
        repository=repository,
        branch=_matching(reader, found, "branch", _BRANCH, "a branch's name, as in: main"),
        bundles=_matching(reader, found, "bundles", _INSIDE, "a folder of the repository").rstrip("/"),
        inventory=_matching(reader, found, "inventory", _INSIDE, "a file of the repository"),
        host=_matching(reader, found, "host", NAME, "a host of the inventory"),
        signers=_matching(reader, found, "signers", re.compile("/."), "an absolute path") or SIGNERS,
        every=_seconds(reader, found, "every", 300),
        timeout=_seconds(reader, found, "timeout", 120),
        confirm=_seconds(reader, found, "confirm", 60),
        replace=reader.boolean(found.get("replace"), "'replace'"),
        text=data.decode("utf-8", "replace"),
    )


def _matching(reader: Reader, found: dict[str, Node], key: str, wanted: re.Pattern[str], hint: str) -> str:
    word = reader.word(found.get(key), f"'{key}'")
    if word is None:
        return ""
    if not wanted.match(word.text):
        reader.error(f"'{key}' is '{word.text}'", word.span, hint)
    return word.text


def _seconds(reader: Reader, found: dict[str, Node], key: str, otherwise: int) -> int:
    node = found.get(key)
    seconds = values.duration(reader, node, f"'{key}'")
    if node is None or seconds is None:
        return otherwise
    if not _SHORTEST <= seconds <= _LONGEST:
        reader.error(f"'{key}' can be 10s to 1d", node)
    return seconds
