"""What an earlier policy did and this one no longer wants: given back."""

from __future__ import annotations

from fwpolicy import markedtext
from fwpolicy.deploy.changes import FileChange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.state import Generation, Originals
    from fwpolicy.host.files import Files
    from fwpolicy.host.services import ServiceState
    from fwpolicy.ir.timeservice import TimeService


def returned_files(
    current: Generation | None, originals: Originals, service: TimeService | None, files: Files
) -> tuple[FileChange, ...]:
    """Daemon files without our marks, where the new policy has no role that needs them."""
    if current is None or service is not None:
        return ()
    ours = {snapshot.path for snapshot in originals.snapshots if not snapshot.existed}
    found = []
    for path, _ in current.files:
        text = files.read(path)
        if text is not None and markedtext.is_marked(text):
            left = markedtext.strip(text)
            found.append(FileChange(path, text, left, gone=not left and path in ours))
    return tuple(found)


def revived_services(
    current: Generation | None, originals: Originals, service: TimeService | None
) -> tuple[ServiceState, ...]:
    """Services that a role took off and the new policy does not: as they were before us."""
    if current is None or (service is not None and service.mode == "closed"):
        return ()
    off = {unit for unit, what in current.services if what == "off"}
    return tuple(state for state in originals.services if state.unit in off)
