# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

from __future__ import annotations

from typing import ClassVar

from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils.action import WAY, HostAction, failed
from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils.remote import ask


class ActionModule(HostAction):
    """Back to what was before an apply."""

    SPEC: ClassVar[dict] = {"way": WAY, "applied": {"type": "dict"}}

    def carry_out(self) -> dict:
        applied = self.args["applied"] or {}
        way = applied.get("way") or self.args["way"]
        number = applied.get("generation") if way != "script" else applied.get("number")
        if not applied.get("changed"):
            number = None
        options = {"way": way, "generation": number, "before": applied.get("before")}
        if self._task.check_mode:
            answer = ask(self, "look", options)
            return {"changed": answer.one("waits") == "1" or number is not None, "way": answer.one("way")}
        answer = ask(self, "rollback", options)
        if answer.code:
            return failed(answer.reason(), way=answer.one("way"))
        return {"changed": answer.one("changed") == "1", "way": answer.one("way")}
