"""What is new in a repository for this host, believed only where somebody signed it."""

from __future__ import annotations

from fwpolicy import VERSION
from fwpolicy.errors import CheckFailedError, HostError
from fwpolicy.fleet import digests, received
from fwpolicy.fleet.bundle import ENDING, SIGNERS, Bundle
from fwpolicy.fleet.judging import judge_all
from fwpolicy.fleet.making import contents_of
from fwpolicy.fleet.payload import Manifest
from fwpolicy.fleet.repository import open_repository
from fwpolicy.fleet.run import Run
from fwpolicy.host.identity import names
from fwpolicy.host.mirror import CommitTree, Mirror
from fwpolicy.host.store import Store
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.syncconfig import SyncConfig
    from fwpolicy.fleet.syncstate import SyncState
    from fwpolicy.fleet.unit import Unit


@record
class News:
    """What a commit has for this host. `name`: of what was signed; `bundle`: that, verified; `signed_apart`:
    it is a bundle's file, and no policy of the commit's own. `contents`: a digest of what it is made of."""

    commit: str
    name: str
    bundle: Bundle
    signed_apart: bool
    contents: str


def mirror_of(config: SyncConfig, place: str) -> Mirror:
    return Mirror(place, config.repository, config.branch, config.timeout)


def require_forward(state: SyncState, commit: str, mirror: Mirror) -> None:
    """Raises HostError for a branch that was rewound, or is another one."""
    if state.good and not mirror.leads_to(state.good, state.says, commit):
        raise HostError(
            f"refused: commit {commit[:12]} does not follow {state.good[:12]}, which counts here: somebody "
            "has rewound or rewritten the branch (--retry takes another history)"
        )


def news(config: SyncConfig, mirror: Mirror, commit: str, machine: Machine, now: int) -> News:
    """What `commit` has for this host, verified. Raises PolicyError, CheckFailedError, HostError."""
    hosts = _hosts(config, machine)
    signers = None if config.signers == SIGNERS else _trusted(config.signers, machine)
    if config.bundles:
        return _bundle(config, mirror, commit, machine, signers, hosts)
    return _policies(config, mirror, commit, machine, signers, hosts, now)


def asked(config: SyncConfig, machine: Machine) -> str:
    """What a verdict rests on beside the commit, as a digest: this program, what it was told, whom it
    believes and what the host is called. Raises HostError."""
    signers = machine.files.read_bytes(config.signers)
    believed = "" if signers is None else digests.of_bytes(signers)
    return digests.of_value([VERSION, config.text, believed, *_hosts(config, machine)])


def _hosts(config: SyncConfig, machine: Machine) -> tuple[str, ...]:
    return (config.host,) if config.host else names(machine.files)


def _trusted(path: str, machine: Machine) -> str:
    if exposed := machine.files.exposed(path):
        raise HostError(f"{path}: others than root can change {exposed}")
    return path


def _bundle(
    config: SyncConfig,
    mirror: Mirror,
    commit: str,
    machine: Machine,
    signers: str | None,
    hosts: tuple[str, ...],
) -> News:
    for host in hosts:
        path = f"{config.bundles}/{host}{ENDING}"
        name = f"{commit[:12]}:{path}"
        try:
            data = mirror.read(commit, path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise HostError(f"{name}: refused: {error.strerror}") from None
        bundle = received.receive(name, data, machine, signers, config.host or None)
        return News(commit, name, bundle, True, _digest(bundle.manifest))
    raise HostError(f"commit {commit[:12]} has no bundle {config.bundles}/{hosts[0]}{ENDING}")


def _policies(
    config: SyncConfig,
    mirror: Mirror,
    commit: str,
    machine: Machine,
    signers: str | None,
    hosts: tuple[str, ...],
    now: int,
) -> News:
    name = f"commit {commit[:12]}"
    try:
        signer = mirror.signer(commit, received.signers_of(machine, signers))
    except HostError as error:
        raise HostError(f"{name}: refused: {error}") from None
    tree = CommitTree(mirror, commit, config.inventory)
    found = open_repository(tree)
    host, unit = _own(found, hosts)
    _require_invariants(found, unit, host, now)
    files, operands = contents_of(unit, found.inventory, tree, lambda *_: None)
    about = mirror.about(commit)
    listed = {name: digests.of_bytes(data) for name, data in files.items()}
    manifest = Manifest(
        host=host,
        policy="",
        tool=VERSION,
        sequence=about.number,
        commit=commit,
        author=about.author,
        time=about.time,
        beside_nat=unit.facts.nat,
        operands=operands,
        files=listed,
        without_script={},
        script_notes=(),
    )
    bundle = Bundle(manifest, signer, commit, files, "", mirror.says(commit))
    return News(commit, name, bundle, False, _digest(manifest))


def _own(found: Repository, hosts: tuple[str, ...]) -> tuple[str, Unit]:
    """This host's name in the inventory, and its unit with no other host in it."""
    for host in hosts:
        for unit in found.units:
            if host in unit.hosts:
                return host, replace(unit, hosts=(host,))
    raise HostError(f"{found.inventory.text.file} has no policies for a host '{hosts[0]}'")


def _require_invariants(found: Repository, unit: Unit, host: str, now: int) -> None:
    """The repository's rules about rules hold for this host, too."""
    run = Run(Store(None), now, True, lambda *_: None)
    judgement = judge_all(replace(found, units=(unit,)), run)
    if judgement.broken:
        raise CheckFailedError("\n".join(f"{each.message}\n  on {host}" for each in judgement.broken))


def _digest(manifest: Manifest) -> str:
    return digests.of_value([manifest.contents, sorted(manifest.files.items())])
