"""What sets of addresses hold: looked at, changed and read back over netlink, elements alone.

libnftables lists 100,000 networks as JSON in 800 to 2,600 ms of CPU, the kernel itself in 100 to 200.
Nobody lists anything of a state that is known: a generation of the ruleset never comes back.
"""

from __future__ import annotations

import json
from time import sleep

from fwpolicy.backends.nft import elements
from fwpolicy.errors import HostError
from fwpolicy.host.nfnetlink import BatchRefusedError, Netfilter
from fwpolicy.ir.ruleset import TABLE
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.backends.nft.elements import Change
    from fwpolicy.host.libnftables import Nftables
    from fwpolicy.ir.ruleset import Set

    Json = dict[str, Any]

_KEY_TYPES = {4: 7, 6: 8}
# A lookup takes 4 us, a dump 1 to 2 an element, and more the larger the set: it begins anew every 32 KiB.
_LOOKUPS = 2_000
_SAMPLES = 250
_ATTEMPTS = 3
# A hash that still grows, some ms after 100,000 were added, is dumped with some twice and others not at all.
_SETTLING = 20


@record
class Known:
    """What sets and maps held at `moment`, by name, as listings of ours have it."""

    moment: str
    held: dict[str, Any]


def listing(nft: Nftables, known: Known | None) -> tuple[Json, str]:
    """(`list ruleset`, its moment): the elements of our sets in our own text, other tables' left out.

    As libnftables lists everything, with the moment "", where that cannot be had: another kernel, a set
    unlike ours, somebody who changes the ruleset all the time.
    """
    try:
        with Netfilter() as kernel:
            return _quick_listing(nft, kernel, known)
    except HostError:
        return nft.listing("ruleset"), ""


def _quick_listing(nft: Nftables, kernel: Netfilter, known: Known | None) -> tuple[Json, str]:
    for _ in range(_ATTEMPTS):
        before = kernel.moment()
        found: Json = nft.listing("ruleset", terse=True)
        held = known if known and known.moment == before else None
        try:
            for kind, body in _ours(found):
                _fill(kind, body, nft, kernel, held)
        except InterruptedError:
            continue
        if kernel.moment() == before:
            return found, before
    raise HostError("the ruleset changes all the time")


def _ours(listed: Json) -> list[tuple[str, Json]]:
    """Our table's sets and maps, but those that are filled at run time (they alone have a size)."""
    every = (next(iter(entry.items())) for entry in listed["nftables"])
    return [
        (kind, body)
        for kind, body in every
        if kind in ("set", "map")
        and (body.get("family"), body.get("table")) == ("inet", TABLE)
        and "size" not in body
    ]


def _fill(kind: str, body: Json, nft: Nftables, kernel: Netfilter, known: Known | None) -> None:
    """Put its elements into a set or map of a terse listing. Raises HostError where only libnftables can."""
    name = body["name"]
    if known and name in known.held:
        held = known.held[name]
    elif kind == "map":
        held = _map_elements(nft.listing(f"map inet {TABLE} {name}"))
    else:
        held = _set_elements(body, kernel)
    if held:
        body["elem"] = held


def _map_elements(listed: Json) -> Any:
    return next((entry["map"].get("elem") for entry in listed["nftables"] if "map" in entry), None)


def _set_elements(body: Json, kernel: Netfilter) -> str:
    where = elements.name_of_set(TABLE, body["name"])
    kind = kernel.set_kind(where)
    family = {number: family for family, number in _KEY_TYPES.items()}.get(kind.key_type if kind else 0)
    if kind is None or not kind.plain or kind.flags not in (0, elements.INTERVAL) or family is None:
        raise HostError(f"set {body['name']} is unlike ours")
    for _ in range(_SETTLING):
        intervals = elements.held(kernel.elements(where), family, interval=bool(kind.flags))
        if intervals is None:
            break
        if kind.flags or (len(set(intervals)) == len(intervals) and kind.count in (None, len(intervals))):
            return elements.to_text(family, intervals)
        sleep(0.02)
    raise HostError(f"set {body['name']} cannot be dumped")


def known_sets(moment: str, sets: tuple[Set, ...]) -> Known:
    """That at `moment` each of `sets` holds what it says."""
    return Known(moment, {each.name: elements.to_text(each.family, each.intervals) for each in sets})


def with_changes(listed: str, changes: tuple[Change, ...]) -> str:
    """The JSON text of a listing of ours after `changes`. Raises ValueError where it was of another state."""
    found = json.loads(listed)
    about = {change.name: change for change in changes}
    for _, body in _ours(found):
        if change := about.get(body["name"]):
            body["elem"] = elements.changed_text(body.get("elem", ""), change)
    return json.dumps(found, separators=(",", ":"))


# Changes


def send(changes: tuple[Change, ...], at: str, new_table: bool = False) -> str:
    """All of `changes` in one transaction, on top of the ruleset as it was `at` that moment ("": any).

    The moment after, if the kernel then holds the changes and nobody else changed anything; else "".
    Raises HostError; then nothing has changed.
    """
    with Netfilter() as kernel:
        for change in changes:
            _require(kernel, change)
        batch = elements.messages(TABLE, changes, new_table)
        try:
            kernel.commit(batch, int(at.rpartition(" ")[2]) if at else None)
        except BatchRefusedError as error:
            culprit = elements.culprit(batch[error.number], error.offset) if batch else "a set"
            raise HostError(f"the kernel refused {culprit}: {error.reason}") from None
        after = following(at)
        arrived = after and all(_has_arrived(kernel, change) for change in changes)
        return after if arrived and kernel.moment() == after else ""


def following(at: str) -> str:
    """The moment after one transaction more."""
    instance, _, generation = at.rpartition(" ")
    return f"{instance} {int(generation) + 1}" if at else ""


def _require(kernel: Netfilter, change: Change) -> None:
    """A start without an end, which an address in a hash is, would be half of the world in a tree."""
    if change.made:
        return
    kind = kernel.set_kind(elements.name_of_set(TABLE, change.name))
    flags = elements.INTERVAL if change.interval else 0
    if kind is None or not kind.plain or (kind.key_type, kind.flags) != (_KEY_TYPES[change.family], flags):
        raise HostError(f"set {change.name} is not of the kind that was loaded")


def _has_arrived(kernel: Netfilter, change: Change) -> bool:
    """All that changed is looked up. Of a new set of very many some, where the kernel counts the rest: it
    took each as one that was not there yet."""
    gone, new = change.gone, change.new
    if len(gone) + len(new) > _LOOKUPS:
        if not change.made or not _counts(kernel, change):
            return False
        new = new[:: len(new) // _SAMPLES]
    return all(
        (_answers(kernel, elements.lookups(TABLE, change, interval)) == elements.answers(change, interval))
        is there
        for intervals, there in ((gone, False), (new, True))
        for interval in intervals
    )


def _counts(kernel: Netfilter, change: Change) -> bool:
    """Does the kernel have as many elements (Linux 6.16)? It counts starts and ends, and half of that."""
    kind = kernel.set_kind(elements.name_of_set(TABLE, change.name))
    bounds = sum(map(len, (elements.answers(change, each) for each in change.new[-1:]))) - 2
    wanted = len(change.new) + (bounds // 2 if change.interval else 0)
    return kind is not None and kind.count == wanted


def _answers(kernel: Netfilter, bodies: tuple[bytes, ...]) -> tuple[bytes | None, ...]:
    return tuple(kernel.lookup(body) for body in bodies)
