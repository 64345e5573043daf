"""Which bundles a host may take: who signs, what it is called, and the newest that it has had."""

from __future__ import annotations

from fwpolicy import VERSION
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.facts import Facts
from fwpolicy.deploy.artifacts import beside_ruleset
from fwpolicy.deploy.provenance import Provenance, last_seen
from fwpolicy.errors import HostError
from fwpolicy.fleet.bundle import SIGNERS, open_bundle, refuse_replay
from fwpolicy.host.identity import names
from fwpolicy.host.texts import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.fleet.bundle import Bundle
    from fwpolicy.policy.model import Policy


def receive(
    path: str,
    data: bytes,
    machine: Machine,
    signers: str | None = None,
    host: str | None = None,
) -> Bundle:
    """The bundle in `data`, those of `path`, verified for this machine; only its number is not looked at.
    `signers`: another file than /etc/fwpolicy/allowed_signers; `host`: by another name than the machine has.

    Raises HostError for whatever is wrong with it, and has changed nothing.
    """
    return _opened(path, data, machine, signers, names(machine.files) if host is None else (host,))


def look_into(path: str, data: bytes, machine: Machine, signers: str | None = None) -> Bundle:
    """A bundle of any host's, to be asked about. Raises HostError."""
    return _opened(path, data, machine, signers, None)


def _opened(
    path: str, data: bytes, machine: Machine, signers: str | None, hosts: Collection[str] | None
) -> Bundle:
    try:
        return open_bundle(data, signers_of(machine, signers), hosts)
    except HostError as error:
        raise HostError(f"{path}: refused: {error}") from None


OLDER = "--older takes it all the same"


def require_newer(path: str, bundle: Bundle, machine: Machine, way: str = OLDER) -> None:
    """Raises HostError for one that is older than the newest that counted here, or another of its number;
    `way`: what takes it."""
    last = last_seen(machine)
    try:
        if last is not None:
            refuse_replay(bundle, last)
    except HostError as error:
        raise HostError(f"{path}: refused: {error}: {way}") from None


def require_as_compiled(path: str, bundle: Bundle, policy: Policy) -> str | None:
    """A bundle's artifacts are what this program makes of the policy in it; a sentence where another version
    made them. The scripts, which hosts without Python run, are not looked at. Raises HostError."""
    manifest = bundle.manifest
    if manifest.tool != VERSION:
        return f"the bundle was made by fwpolicy {manifest.tool}, and this is {VERSION}: compiled anew"
    text = render(compile_ruleset(policy, Facts(nat=manifest.beside_nat)), policy.name)
    for each in (text, *beside_ruleset(policy)):
        name = each.name.rsplit("/", 1)[-1]
        if bundle.files.get(f"artifacts/{name}") != each.text.encode():
            why = f"its artifacts/{name} is not what fwpolicy {VERSION} compiles from the policy in it"
            raise HostError(f"{path}: refused: {why}")
    return None


def provenance(bundle: Bundle) -> Provenance:
    """What is remembered with its generation."""
    manifest = bundle.manifest
    return Provenance(
        manifest.sequence,
        manifest.commit,
        manifest.author,
        manifest.time,
        bundle.signer,
        manifest.host,
        bundle.contents,
        bundle.says,
    )


def signers_of(machine: Machine, asked: str | None) -> str:
    """The file of allowed signers. Who can write there decides what this host lets through."""
    path = SIGNERS if asked is None else asked
    if asked is None and (exposed := machine.files.exposed(path)):
        raise HostError(f"{path}: others than root can change {exposed}")
    place = str(machine.files.locate(path)) if asked is None else asked
    try:
        read_file(place)
    except OSError as error:
        raise HostError(
            f"{path}: {error.strerror or error}; it has the keys that may sign (docs/fleet.md)"
        ) from None
    return place
