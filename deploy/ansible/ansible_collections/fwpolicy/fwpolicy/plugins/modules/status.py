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
options:
  way:
    description:
      - How the host is asked.
      - V(fwpolicy) by the command of this name there. V(script) by the shell script that the bundle
        holds, on a host without it.
      - V(auto) is V(fwpolicy) where the command is there and no script has applied anything.
    type: str
    choices: [auto, fwpolicy, script]
    default: auto
attributes:
  check_mode:
    description: Can run in check_mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change in check_mode.
    support: none
notes:
  - An action plugin does the work. The host needs root (O(ignore:become)), POSIX sh, awk, sed and tar;
    no Python.
  - A raw connection is enough; neither sftp nor scp is used.
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
