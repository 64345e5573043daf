"""What is remembered of what was applied: generations, and the host as it was before the first.

STATE/current -> generations/3     swapped atomically; the boot unit loads what it names
STATE/previous -> generations/2    what the boot falls back on
STATE/generations/N/               the rules (ruleset.nft; rules.v4, rules.v6, sets.ipset), listing.json (read
                                   back), manifest.json
STATE/originals.json               files and services as they were before us
"""

from __future__ import annotations

import hashlib
import json
import re

from fwpolicy.deploy.counters import PolicyLine
from fwpolicy.deploy.provenance import Provenance
from fwpolicy.errors import HostError
from fwpolicy.host.files import Snapshot
from fwpolicy.host.services import ServiceState
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.deploy.elements import Known
    from fwpolicy.deploy.machine import Machine

FORMAT = 1
# What a generation's rules are in, in the order of their texts.
RULES = ("ruleset.nft", "sets.ipset", "rules.v4", "rules.v6")
_LISTING = "listing.json"
# A folder of generations/, as write() names it: "²" is a digit to str.isdigit(), and none to int().
_NUMBER = re.compile(r"[1-9][0-9]*", re.ASCII)
_LOST_ORIGINALS = "the next apply keeps the host as it is now, and remove brings back no earlier one"
_FALLBACKS = ("fallback.nft", "fallback.v4", "fallback.v6")
_OURS = (
    "running",
    "current",
    "previous",
    "originals.json",
    "undo.sh",
    "boot.sh",
    "open.sh",
    "opened",
    "rules.sh",
    *_FALLBACKS,
)


@record
class Generation:
    """One apply. `files`: (path, SHA-256 of its text as written), `boot`: the same of what loads the
    rules at boot. `services`: (unit, "on" or "off"). `sections`: which were present. `texts`: the rules, by
    file name, as `backend` loads them.

    `listing` is the kernel's own JSON of our table after the apply, counters and handles left out, and
    `moment` when it was read (elements.py).
    `lines`: those of the policy that count, so that nobody needs the policy to read the counters.
    `by`: who applied it; `before`: the generation that ran until then; `again`: the earlier one that it
    brought back; `came`: who signed it. `damaged`: the paths of those of its files that are not what was
    written; nothing is loaded from there (require_whole).
    """

    number: int
    policy: str
    sections: tuple[str, ...]
    sources: tuple[str, ...]
    time: str
    tool: str
    nat: bool
    files: tuple[tuple[str, str], ...]
    services: tuple[tuple[str, str], ...]
    boot: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, str], ...]
    listing: str
    lines: tuple[PolicyLine, ...] = ()
    moment: str = ""
    by: str = ""
    before: int | None = None
    again: int | None = None
    backend: str = "nft"
    came: Provenance | None = None
    damaged: tuple[str, ...] = ()

    @property
    def is_compared(self) -> bool:
        """Is what was read back at the apply still there to compare with?"""
        return not any(path.endswith(f"/{_LISTING}") for path in self.damaged)

    @property
    def ruleset(self) -> str:
        """nft's text; "" of another backend."""
        return dict(self.texts).get("ruleset.nft", "")


@record
class Originals:
    """The host before us: enough to bring it back byte for byte."""

    snapshots: tuple[Snapshot, ...] = ()
    services: tuple[ServiceState, ...] = ()
    directories: tuple[str, ...] = ()


def known(generation: Generation | None) -> Known | None:
    """What our sets and maps held when `generation` was read back."""
    if generation is None or not generation.moment:
        return None
    from fwpolicy.deploy.elements import Known  # noqa: PLC0415

    entries = (next(iter(e.items())) for e in json.loads(generation.listing)["nftables"])
    held = {body["name"]: body.get("elem") for kind, body in entries if kind in ("set", "map")}
    return Known(generation.moment, held)


def require_whole(generation: Generation) -> None:
    """HostError where a file of the generation is not what was written at the apply."""
    if generation.damaged:
        raise HostError(
            f"{generation.damaged[0]} is damaged, it is not what was written at the apply: "
            "apply the policy again, and all of it is written anew"
        )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class State:
    """The state directory of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.files = machine.files
        self.directory = machine.state_dir

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def running(self) -> Generation | None:
        """The generation that was applied last, or None where nothing ever was. Raises HostError."""
        return self.generation("running")

    def generation(self, place: str) -> Generation | None:
        """The one that is kept in `place`, a folder or link of the state directory. Raises HostError."""
        text = self.files.read(self.path(f"{place}/manifest.json"))
        if text is None:
            return None
        manifest = self._manifest(place, text)
        if manifest.get("format") != FORMAT:
            raise HostError(f"{self.directory} was written in format {manifest.get('format')}, not {FORMAT}")
        listing = self.files.read(self.path(f"{place}/{_LISTING}")) or ""
        texts = self._rules(place)
        try:
            return Generation(
                number=_of(int, manifest["number"]),
                policy=_of(str, manifest["policy"]),
                sections=tuple(manifest["sections"]),
                sources=tuple(manifest["sources"]),
                time=_of(str, manifest["time"]),
                tool=_of(str, manifest["tool"]),
                nat=_of(bool, manifest["nat"]),
                files=tuple((path, sha) for path, sha in manifest["files"]),
                services=tuple((unit, what) for unit, what in manifest["services"]),
                boot=tuple((path, sha) for path, sha in manifest["boot"]),
                texts=texts,
                listing=listing,
                lines=tuple(PolicyLine(**each) for each in manifest.get("lines", ())),
                # What nobody lists again must be what was written.
                moment=manifest["moment"] if manifest.get("listing") == digest(listing) else "",
                by=manifest.get("by", ""),
                before=manifest.get("before"),
                again=manifest.get("again"),
                backend=manifest.get("backend", "nft"),
                came=Provenance(**manifest["came"]) if manifest.get("came") else None,
                damaged=tuple(self.path(f"{place}/{name}") for name in _unlike(manifest, listing, texts)),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._without_manifest(place, repr(error)) from None

    def _manifest(self, place: str, text: str) -> dict[str, Any]:
        try:
            return _parsed(text)
        except ValueError as error:
            raise self._without_manifest(place, str(error)) from None

    def _without_manifest(self, place: str, why: str) -> HostError:
        """As if it had never been applied: `apply` and `remove` know what to do then."""
        folder = self.files.locate(self.path(place))
        return HostError(
            f"{self.path(place)}/manifest.json is damaged: {why}; put it back from a backup, or take the "
            f"folder away (mv {folder} /root/) and apply the policy again, or run fwpolicy remove"
        )

    def _rules(self, place: str) -> tuple[tuple[str, str], ...]:
        found = ((name, self.files.read(self.path(f"{place}/{name}"))) for name in RULES)
        return tuple((name, text) for name, text in found if text is not None)

    def opened(self) -> str | None:
        """Since when our rules are out of the way by somebody's wish (opening.py); None: they are not."""
        text = self.files.read(self.path("opened"))
        return None if text is None else text.partition(" ")[0].strip()

    def next_number(self) -> int:
        return 1 + max(self.numbers(), default=0)

    def numbers(self) -> list[int]:
        """Of the generations that are kept, and of those of which something is left; the latest first."""
        names = (path.rpartition("/")[2] for path in self.files.glob(self.path("generations/*")))
        return sorted((int(name) for name in names if _NUMBER.fullmatch(name)), reverse=True)

    def texts(self, number: int) -> dict[str, str]:
        """The texts of the files that the generation wrote, by path; {} where they are not kept."""
        path = self.path(f"generations/{number}/files.json")
        text = self.files.read(path)
        if text is None:
            return {}
        way_out = "what was edited since the apply is not merged then, but refused"
        return {name: str(each) for name, each in _object_at(path, text, way_out).items()}

    def write(self, generation: Generation, texts: dict[str, str]) -> None:
        """Store a generation, durable, without making it the current one; `texts` of files that it wrote."""
        folder = self.path(f"generations/{generation.number}")
        self.files.make_directory(self.directory, 0o700)
        self.files.make_directory(folder, 0o700)
        manifest = {"format": FORMAT} | fields(generation)
        del manifest["damaged"]
        manifest["texts"] = {name: digest(text) for name, text in generation.texts}
        manifest["listing"] = digest(generation.listing)
        manifest["lines"] = [fields(line) for line in generation.lines]
        manifest["came"] = fields(generation.came) if generation.came else None
        for name, text in generation.texts:
            self.files.write(f"{folder}/{name}", text, 0o600)
        self.files.write(f"{folder}/{_LISTING}", generation.listing, 0o600)
        self.files.write(f"{folder}/files.json", json.dumps(texts) + "\n", 0o600)
        self.files.write(f"{folder}/manifest.json", json.dumps(manifest, indent=2) + "\n", 0o600)

    def renew(self, number: int, came: Provenance) -> None:
        """The generation says what another that was signed says, too: from now on it is that one's."""
        path = self.path(f"generations/{number}/manifest.json")
        manifest = self._manifest(f"generations/{number}", self.files.read(path) or "") | {
            "came": fields(came)
        }
        self.files.write(path, json.dumps(manifest, indent=2) + "\n", 0o600)

    def make_current(self, number: int, boots: bool) -> None:
        """What runs now; with `boots` also the one moment at which the boot changes its mind: rename(2)
        of a symbolic link."""
        if boots:
            before = self.pointers()["current"]
            if before is not None:
                self.files.replace_symlink(self.path("previous"), f"generations/{before}")
            self.files.replace_symlink(self.path("current"), f"generations/{number}")
        self.files.replace_symlink(self.path("running"), f"generations/{number}")

    def pointers(self) -> dict[str, int | None]:
        """What `running`, `current` and `previous` point at, for point()."""
        found: dict[str, int | None] = {}
        for name in ("running", "current", "previous"):
            text = self.files.read(self.path(f"{name}/manifest.json"))
            number = None if text is None else self._manifest(name, text).get("number")
            found[name] = number if isinstance(number, int) else None
        return found

    def point(self, pointers: dict[str, int | None]) -> None:
        now = self.pointers()
        for name, number in pointers.items():
            if number == now[name]:
                continue
            if number is None:
                self.files.remove(self.path(name))
            else:
                self.files.replace_symlink(self.path(name), f"generations/{number}")

    def drop(self, number: int) -> None:
        """Remove a generation that never came into force."""
        folder = self.path(f"generations/{number}")
        for path in self.files.glob(f"{folder}/*"):
            self.files.remove(path)
        self.files.remove_directory_if_empty(folder)

    # What was there before us

    def originals(self) -> Originals:
        path = self.path("originals.json")
        text = self.files.read(path)
        if text is None:
            return Originals()
        stored = _object_at(path, text, _LOST_ORIGINALS)
        try:
            return Originals(
                tuple(Snapshot(**each) for each in stored["snapshots"]),
                tuple(_service_state(each) for each in stored["services"]),
                tuple(stored["directories"]),
            )
        except (KeyError, TypeError) as error:
            raise _damaged(path, repr(error), _LOST_ORIGINALS) from None

    def keep(self, originals: Originals) -> None:
        self.files.make_directory(self.directory, 0o700)
        stored = {
            "snapshots": [fields(each) for each in originals.snapshots],
            "services": [fields(each) for each in originals.services],
            "directories": originals.directories,
        }
        self.files.write(self.path("originals.json"), json.dumps(stored, indent=1) + "\n", 0o600)

    def folders(self) -> list[str]:
        """Those of ours that are there, in which forget() removes something."""
        inner = [f"generations/{number}" for number in self.numbers()]
        found = [self.path(name) for name in ("generations", *inner)]
        return [self.directory, *(path for path in found if self.files.exists(path))]

    def forget(self) -> None:
        """Remove everything that we keep, the directory included."""
        for number in self.numbers():
            self.drop(number)
        for name in _OURS:
            self.files.remove(self.path(name))
        for path in self.files.glob(self.path("edited-*")):
            self.files.remove(path)
        self.files.remove_directory_if_empty(self.path("generations"))
        self.files.remove_directory_if_empty(self.directory)


def fields(record_: Any) -> dict[str, object]:
    """A record as the keys of an object."""
    return {name: getattr(record_, name) for name in record_.__slots__}


def _service_state(stored: dict[str, Any]) -> ServiceState:
    return ServiceState(**stored | {"kept": tuple(stored.get("kept", ()))})


def _unlike(manifest: dict[str, Any], listing: str, texts: tuple[tuple[str, str], ...]) -> list[str]:
    """The files that are not what was written with the manifest; an earlier version's says less."""
    found = {name: digest(text) for name, text in texts}
    written = manifest.get("texts", found)
    names = sorted(name for name in written.keys() | found.keys() if written.get(name) != found.get(name))
    if "listing" in manifest and manifest["listing"] != digest(listing):
        names.append(_LISTING)
    return names


def _of(kind: type, value: Any) -> Any:
    """Raises TypeError for a value of another type."""
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _parsed(text: str) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _object_at(path: str, text: str, way_out: str) -> dict[str, Any]:
    try:
        return _parsed(text)
    except ValueError as error:
        raise _damaged(path, str(error), way_out) from None


def _damaged(path: str, why: str, then: str) -> HostError:
    return HostError(
        f"{path} is damaged: {why}; put it back from a backup, or take it away (mv {path} /root/): {then}"
    )
