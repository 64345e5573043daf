"""Which bundles a host may take: who signs, what it is called, and the newest that it has had."""

from __future__ import annotations

import json

from fwpolicy.errors import HostError
from fwpolicy.fleet.bundle import SIGNERS, Seen, open_bundle
from fwpolicy.host.identity import names
from fwpolicy.host.texts import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.fleet.bundle import Bundle


def receive(
    path: str, machine: Machine, signers: str | None = None, host: str | None = None, older: bool = False
) -> Bundle:
    """The bundle in the file `path`, verified for this machine: what an apply begins with. `signers`: another
    file than /etc/fwpolicy/allowed_signers; `host`: by another name than the machine has.

    Raises HostError for whatever is wrong with it, and has changed nothing.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror or error}") from None
    called = (host,) if host else names(machine.files)
    try:
        return open_bundle(data, _signers(machine, signers), called, last_seen(machine), older)
    except HostError as error:
        raise HostError(f"{path}: refused: {error}") from None


def _signers(machine: Machine, asked: str | None) -> str:
    """The file of allowed signers. Who can write there decides what this host lets through."""
    path = asked or SIGNERS
    if not asked and (exposed := machine.files.exposed(path)):
        raise HostError(f"{path}: others than root can change {exposed}")
    place = asked or str(machine.files.locate(path))
    try:
        read_file(place)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror or error}; it has the keys that may sign") from None
    return place


def last_seen(machine: Machine) -> Seen | None:
    """The newest bundle that was taken here. Raises HostError where what is remembered of it is wrong: it
    must not be taken for nothing."""
    text = machine.files.read(_path(machine))
    if text is None:
        return None
    try:
        found = json.loads(text)
        seen = Seen(found["sequence"], found["commit"])
        if type(seen.sequence) is not int or type(seen.commit) is not str:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise HostError(f"{_path(machine)} is damaged; take it away, and any bundle is taken") from None
    return seen


def remember(bundle: Bundle, machine: Machine) -> None:
    """After the bundle is in force: nothing older is taken from now on without asking for it."""
    last = last_seen(machine)
    if last is not None and last.sequence >= bundle.manifest.sequence:
        return
    machine.files.make_directory(machine.state_dir, 0o700)
    plain = {"sequence": bundle.manifest.sequence, "commit": bundle.manifest.commit}
    machine.files.write(_path(machine), json.dumps(plain) + "\n", 0o600)


def _path(machine: Machine) -> str:
    return f"{machine.state_dir}/bundle.json"
