"""The host that is worked on: this one, a network namespace of it, or an image's files."""

from __future__ import annotations

import re

from fwpolicy.errors import HostError
from fwpolicy.host.files import Files
from fwpolicy.host.services import NoServices, detect
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.host.services import Services

STATE_DIR = "/var/lib/fwpolicy"


@record
class Machine:
    """`files` below its root, `services` of its init, `state_dir` on it.

    `live`: its kernel is ours to ask; False for an image. `netns`: the network namespace by name.
    """

    files: Files
    services: Services
    state_dir: str
    live: bool
    netns: str | None = None


def machine(root: str, netns: str | None, state_dir: str | None) -> Machine:
    """The machine that the options name.

    A named namespace has neither an init system nor files of its own: its state is kept apart.

    Raises HostError: `--netns` and `--root` together, a root that is no directory.
    """
    if root != "/" and netns:
        raise HostError("--root is an image without a kernel; it cannot go with --netns")
    files = Files(root)
    if root != "/" and not files.exists("/"):
        raise HostError(f"--root {root}: no such directory")
    services: Services = NoServices() if netns else detect(root)
    if state_dir and not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", state_dir):
        raise HostError(f"--state-dir {state_dir}: an absolute path of letters, digits, '.', '_' and '-'")
    directory = state_dir or (f"{STATE_DIR}/netns/{netns}" if netns else STATE_DIR)
    return Machine(files, services, directory, root == "/", netns)
