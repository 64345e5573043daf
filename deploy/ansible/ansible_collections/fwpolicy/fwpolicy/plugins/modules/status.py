# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

# What it does is in the action plugin of the same name: nothing of Python is sent to the host.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: status
short_description: Is the host what was applied
version_added: 0.1.0
description:
  - Asks the host what is applied there, and whether it is so still.
extends_documentation_fragment: fwpolicy.fwpolicy.host
attributes:
  diff_mode:
    support: none
author:
  - the fwpolicy authors (!UNKNOWN)
seealso:
  - module: fwpolicy.fwpolicy.apply
"""

EXAMPLES = r"""
- name: Ask
  fwpolicy.fwpolicy.status:
  register: found

- name: Drift is a failure
  ansible.builtin.assert:
    that: found.as_applied
"""

RETURN = r"""
way:
  description: How the host was asked.
  returned: always
  type: str
  sample: script
applied:
  description: Is a policy applied there?
  returned: success
  type: bool
as_applied:
  description: Is everything as it was applied?
  returned: success
  type: bool
waits:
  description: Does an apply wait to be confirmed?
  returned: success
  type: bool
bundle:
  description: The newest bundle that was in force there.
  returned: success
  type: dict
  sample: {sequence: 42, commit: 3f8fb04c1d2e5a6b7c8d9e0f1a2b3c4d5e6f7a8b}
report:
  description: What C(fwpolicy status --json) says, if RV(way=fwpolicy).
  returned: success
  type: dict
said:
  description: What the script's C(status) says, if RV(way=script).
  returned: success
  type: list
  elements: str
"""
