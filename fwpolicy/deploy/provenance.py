"""Where a policy came from that somebody signed, and the newest that has counted here."""

from __future__ import annotations

import json

from fwpolicy.errors import HostError
from fwpolicy.host.files import printable
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.changes import FileChange
    from fwpolicy.deploy.machine import Machine

_NAME = "bundle.json"


@record
class Provenance:
    """`sequence`: a higher one is newer. `commit`, `author` and `time` (of the commit, Unix) are "" and 0
    without a repository. `signer`: who signed it; `host`: for whom. `contents`: a digest of the policy;
    `says`: what the commit says, whatever its name (Mirror.says). The last three are "" where they are not
    known."""

    sequence: int
    commit: str
    author: str
    time: int
    signer: str
    host: str = ""
    contents: str = ""
    says: str = ""


@record
class Seen:
    """The newest that has counted on a host. `contents`, `says`: as in Provenance."""

    sequence: int
    commit: str
    contents: str = ""
    says: str = ""


def seen_path(machine: Machine) -> str:
    return f"{machine.state_dir}/{_NAME}"


def last_seen(machine: Machine) -> Seen | None:
    """The newest that has counted here. Raises HostError where what is remembered of it is wrong: it must not
    be taken for nothing."""
    path = seen_path(machine)
    text = machine.files.read(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
        more = (found.get(name, "") for name in ("contents", "says"))
        seen = Seen(found["sequence"], found["commit"], *more)
        kinds = [type(each) for each in (seen.sequence, seen.commit, seen.contents, seen.says)]
        if kinds != [int, str, str, str]:
            raise ValueError
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise HostError(f"{path} is damaged; take it away, and any bundle is taken") from None
    return seen


def newest(came: Provenance | None, machine: Machine) -> FileChange | None:
    """What is to be remembered once it counts: nothing older is taken from then on without asking for it.
    None where that is so already."""
    if came is None:
        return None
    last = last_seen(machine)
    seen = _newer(came, last)
    if seen == last:
        return None
    from fwpolicy.deploy.changes import FileChange  # noqa: PLC0415  (a status asks for none)

    path = seen_path(machine)
    plain = {"sequence": seen.sequence, "commit": seen.commit, "contents": seen.contents, "says": seen.says}
    return FileChange(path, machine.files.read(path), json.dumps(plain) + "\n", 0o600)


def _newer(came: Provenance, last: Seen | None) -> Seen:
    """The newer of the two; where they are the same, all that is known of it."""
    seen = Seen(came.sequence, came.commit, came.contents, came.says)
    if last is None or came.sequence > last.sequence:
        return seen
    if (came.sequence, came.commit) != (last.sequence, last.commit):
        return last
    return replace(seen, contents=last.contents or came.contents, says=last.says or came.says)


def of_another_host(before: Provenance | None, now: Provenance | None) -> tuple[str, ...]:
    """Why not, where both are known and of two hosts: all hosts of a fleet may call their policies alike."""
    one, other = (came.host if came else "" for came in (before, now))
    if not one or not other or same_host(one, other):
        return ()
    return (f"the policy in force here is host {one}'s, not {other}'s; --replace puts this one in its place",)


def same_host(one: str, other: str) -> bool:
    """Whether two names are one host's, whole or up to the first dot."""
    return one in (other, other.partition(".")[0]) or other == one.partition(".")[0]


def sentence(came: Provenance) -> str:
    """In words, for a line of its own."""
    commit = f", commit {came.commit[:12]} by {came.author}" if came.commit else ""
    return printable(f"number {came.sequence}{commit}; signed by {came.signer}")


def as_json(came: Provenance | None) -> dict[str, object] | None:
    if came is None:
        return None
    return {
        "sequence": came.sequence,
        "commit": came.commit or None,
        "author": came.author or None,
        "time": came.time or None,
        "signer": came.signer,
        "host": came.host or None,
    }
