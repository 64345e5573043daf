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
    brought back; `came`: who signed it.
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

    entries = (next(iter(e.items())) for e in _object(generation.listing, "listing.json")["nftables"])
    held = {body["name"]: body.get("elem") for kind, body in entries if kind in ("set", "map")}
    return Known(generation.moment, held)


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
        manifest = _object(text, "manifest.json")
        if manifest.get("format") != FORMAT:
            raise HostError(f"{self.directory} was written in format {manifest.get('format')}, not {FORMAT}")
        listing = self.files.read(self.path(f"{place}/listing.json")) or ""
        try:
            return Generation(
                number=manifest["number"],
                policy=manifest["policy"],
                sections=tuple(manifest["sections"]),
                sources=tuple(manifest["sources"]),
                time=manifest["time"],
                tool=manifest["tool"],
                nat=manifest["nat"],
                files=tuple((path, sha) for path, sha in manifest["files"]),
                services=tuple((unit, what) for unit, what in manifest["services"]),
                boot=tuple((path, sha) for path, sha in manifest["boot"]),
                texts=self._rules(place),
                listing=listing,
                lines=tuple(PolicyLine(**each) for each in manifest.get("lines", ())),
                # What nobody lists again must be what was written.
                moment=manifest["moment"] if manifest.get("listing") == digest(listing) else "",
                by=manifest.get("by", ""),
                before=manifest.get("before"),
                again=manifest.get("again"),
                backend=manifest.get("backend", "nft"),
                came=Provenance(**manifest["came"]) if manifest.get("came") else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HostError(f"the state's manifest.json is damaged: {error!r}") from None

    def _rules(self, place: str) -> tuple[tuple[str, str], ...]:
        found = ((name, self.files.read(self.path(f"{place}/{name}"))) for name in RULES)
        return tuple((name, text) for name, text in found if text is not None)

    def opened(self) -> str | None:
        """Since when our rules are out of the way by somebody's wish (opening.py); None: they are not."""
        text = self.files.read(self.path("opened"))
        return None if text is None else text.partition(" ")[0].strip()

    def next_number(self) -> int:
        names = (path.rsplit("/", 1)[1] for path in self.files.glob(self.path("generations/*")))
        return 1 + max((int(name) for name in names if name.isdigit()), default=0)

    def texts(self, number: int) -> dict[str, str]:
        """The texts of the files that the generation wrote, by path; {} where they are not kept."""
        text = self.files.read(self.path(f"generations/{number}/files.json"))
        return {} if text is None else {path: str(each) for path, each in _object(text, "files.json").items()}

    def write(self, generation: Generation, texts: dict[str, str]) -> None:
        """Store a generation, durable, without making it the current one; `texts` of files that it wrote."""
        folder = self.path(f"generations/{generation.number}")
        self.files.make_directory(self.directory, 0o700)
        self.files.make_directory(folder, 0o700)
        manifest = {"format": FORMAT} | fields(generation)
        del manifest["texts"]
        manifest["listing"] = digest(generation.listing)
        manifest["lines"] = [fields(line) for line in generation.lines]
        manifest["came"] = fields(generation.came) if generation.came else None
        for name, text in generation.texts:
            self.files.write(f"{folder}/{name}", text, 0o600)
        self.files.write(f"{folder}/listing.json", generation.listing, 0o600)
        self.files.write(f"{folder}/files.json", json.dumps(texts) + "\n", 0o600)
        self.files.write(f"{folder}/manifest.json", json.dumps(manifest, indent=2) + "\n", 0o600)

    def renew(self, number: int, came: Provenance) -> None:
        """The generation says what another that was signed says, too: from now on it is that one's."""
        path = self.path(f"generations/{number}/manifest.json")
        manifest = _object(self.files.read(path) or "", "manifest.json") | {"came": fields(came)}
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
            number = None if text is None else _object(text, "manifest.json").get("number")
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
        text = self.files.read(self.path("originals.json"))
        if text is None:
            return Originals()
        stored = _object(text, "originals.json")
        try:
            return Originals(
                tuple(Snapshot(**each) for each in stored["snapshots"]),
                tuple(_service_state(each) for each in stored["services"]),
                tuple(stored["directories"]),
            )
        except (KeyError, TypeError) as error:
            raise HostError(f"the state's originals.json is damaged: {error!r}") from None

    def keep(self, originals: Originals) -> None:
        self.files.make_directory(self.directory, 0o700)
        stored = {
            "snapshots": [fields(each) for each in originals.snapshots],
            "services": [fields(each) for each in originals.services],
            "directories": originals.directories,
        }
        self.files.write(self.path("originals.json"), json.dumps(stored, indent=1) + "\n", 0o600)

    def forget(self) -> None:
        """Remove everything that we keep, the directory included."""
        for folder in self.files.glob(self.path("generations/*")):
            name = folder.rsplit("/", 1)[1]
            if name.isdigit():
                self.drop(int(name))
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


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise HostError(f"the state's {name} is damaged: {error}") from None
    if not isinstance(found, dict):
        raise HostError(f"the state's {name} is damaged")
    return found
