# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

from __future__ import annotations

from typing import ClassVar

from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils.action import WAY, HostAction, failed
from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils.remote import ask


class ActionModule(HostAction):
    """Is the host what was applied?"""

    SPEC: ClassVar[dict] = {"way": WAY}

    def carry_out(self) -> dict:
        answer = ask(self, "status", {"way": self.args["way"]})
        if answer.code not in (0, 2) or "why" in answer.told:
            return failed(answer.reason())
        report = answer.report()
        applied = report.get("applied", "applied" not in answer.told)
        return {
            "changed": False,
            "way": answer.one("way"),
            "applied": bool(applied),
            "as_applied": bool(applied) and answer.code == 0,
            "waits": answer.one("waits") == "1",
            "bundle": answer.mapping("bundle") or None,
            "report": report,
            "said": [] if report else answer.said.splitlines(),
        }
