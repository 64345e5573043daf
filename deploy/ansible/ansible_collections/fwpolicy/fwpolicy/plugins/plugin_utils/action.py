# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

"""What the actions have in common."""

from __future__ import annotations

from typing import ClassVar

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

WAY = {"type": "str", "choices": ["auto", "fwpolicy", "script"], "default": "auto"}


class HostAction(ActionBase):
    """An action that asks the host itself, and sends no module there."""

    _supports_check_mode = True
    _supports_async = False
    _supports_diff = True
    SPEC: ClassVar[dict] = {}

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self.task_vars = task_vars or {}
        _checked, self.args = self.validate_argument_spec(argument_spec=self.SPEC)
        try:
            result.update(self.carry_out())
        except AnsibleConnectionFailure as error:
            # A failure as any other: of one that is unreachable no rescue would hear.
            result.update(failed(f"the host cannot be reached: {' '.join(str(error).split())}"))
        return result

    def carry_out(self) -> dict:
        """The result; what is wrong is in it, or raises AnsibleError."""
        raise NotImplementedError


def failed(why: str, **more: object) -> dict:
    """A result that says why."""
    return {"failed": True, "changed": False, "msg": why, "why": why, **more}
