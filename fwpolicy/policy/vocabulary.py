"""The names that a policy gives to addresses, services and interfaces: for reports in its own words."""

from __future__ import annotations

from fwpolicy.addresses import AddressSet
from fwpolicy.policy import services
from fwpolicy.policy.names import Names
from fwpolicy.policy.services import Service
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.names import ReadFile
    from fwpolicy.policy.syntax import Sources


@record
class Vocabulary:
    """(name, what it stands for) pairs; the policy's own first, then the built-in ones."""

    groups: tuple[tuple[str, AddressSet], ...] = ()
    services: tuple[tuple[str, tuple[Service, ...]], ...] = ()
    zones: tuple[tuple[str, tuple[str, ...]], ...] = ()


def vocabulary(sources: Sources, read_file: ReadFile) -> Vocabulary:
    """The names of policies that were read without errors."""
    names = Names(sources, read_file)
    groups = [
        (name, addresses)
        for name, group in names.groups.items()
        if name not in names.filled and (addresses := names.addresses((group.name,)))
    ]
    own = [(name, names.service((service.name,))) for name, service in names.services.items()]
    zones = [
        (name, tuple(sorted(each.text for each in zone.interfaces))) for name, zone in names.zones.items()
    ]
    return Vocabulary(tuple(groups), (*own, *built_in_services()), tuple(zones))


def built_in_services() -> tuple[tuple[str, tuple[Service, ...]], ...]:
    return tuple((name, services.built_in(name) or ()) for name in services.BUILT_IN)


def joined(one: Vocabulary, other: Vocabulary) -> Vocabulary:
    """The names of two policies, of which one may call things otherwise: the first's count."""
    return Vocabulary(
        tuple(dict([*other.groups, *one.groups]).items()),
        tuple(dict([*one.services, *other.services]).items()),
        tuple(dict([*other.zones, *one.zones]).items()),
    )
