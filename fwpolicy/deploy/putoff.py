"""Connections whose end waits until the apply is confirmed: an operator who is taken back lost nothing."""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64

from fwpolicy.deploy.journal import OPEN
from fwpolicy.deploy.state import fields
from fwpolicy.errors import HostError
from fwpolicy.host.conntrack import Flow
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.state import State

_FILE = f"{OPEN}/flows.json"


def put_off(state: State, flows: tuple[Flow, ...]) -> None:
    """Keep them with the apply that waits."""
    if flows:
        state.files.write(state.path(_FILE), json.dumps([_stored(flow) for flow in flows]) + "\n", 0o600)


def waiting_flows(state: State) -> tuple[Flow, ...]:
    """What put_off() kept. Raises HostError."""
    path = state.path(_FILE)
    text = state.files.read(path)
    try:
        found = [Flow(**stored) for stored in json.loads(text)] if text else []
        return tuple(replace(flow, entry=a2b_base64(flow.entry)) for flow in found)
    except (RecursionError, TypeError, ValueError) as error:
        raise HostError(
            f"{path} is damaged: {error!r}; take it away, and the connections that it names go on"
        ) from None


def _stored(flow: Flow) -> dict[str, object]:
    entry = b2a_base64(flow.entry, newline=False).decode("ascii")
    return {name: entry if name == "entry" else getattr(flow, name) for name in fields(flow)}
