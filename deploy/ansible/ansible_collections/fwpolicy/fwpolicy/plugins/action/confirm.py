# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

from __future__ import annotations

from typing import ClassVar

from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils.action import WAY, HostAction, failed
from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils.remote import ask_anew


class ActionModule(HostAction):
    """What waits counts from now on: told over a new connection."""

    SPEC: ClassVar[dict] = {
        "way": WAY,
        "required": {"type": "bool", "default": False},
        "seconds": {"type": "int", "default": 60},
    }

    def carry_out(self) -> dict:
        verb = "look" if self._task.check_mode else "confirm"
        answer, why = ask_anew(self, verb, {"way": self.args["way"]}, self.args["seconds"])
        if answer is None:
            return failed(f"no new connection could be opened within {self.args['seconds']} s ({why})")
        way, waits = answer.one("way"), answer.one("waits")
        if answer.code:
            return failed(answer.reason(), way=way)
        if waits == "0" and self.args["required"]:
            return failed("nothing waits to be confirmed: it was taken back before", way=way)
        return {"changed": waits == "1", "way": way}
