# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

# What it does is in the action plugin of the same name: nothing of Python is sent to the host.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollback
short_description: Go back to what was before an apply
version_added: 0.1.0
description:
  - What waits to be confirmed is taken back.
  - Else, if O(applied) is what runs there, the host goes back to what ran before it, or to what it was
    without any policy. If something else runs there nothing is done.
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
  applied:
    description: The result of M(fwpolicy.fwpolicy.apply) that is to be taken back, as it was registered.
    type: dict
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
- name: Apply
  fwpolicy.fwpolicy.apply:
    bundle: "bundles/{{ inventory_hostname }}.fwb"
  register: pushed

- name: And back
  fwpolicy.fwpolicy.rollback:
    applied: "{{ pushed }}"
"""

RETURN = r"""
way:
  description: How the host was asked.
  returned: always
  type: str
  sample: script
why:
  description: The reason.
  returned: on failure
  type: str
"""
