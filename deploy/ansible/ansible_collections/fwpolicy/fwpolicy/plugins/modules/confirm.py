# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

# What it does is in the action plugin of the same name: nothing of Python is sent to the host.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: confirm
short_description: Let an apply count that waits to be confirmed
version_added: 0.1.0
description:
  - Opens a new connection to the host, and tells it that the apply that waits there counts from now on.
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
  required:
    description: Fail where nothing waits; the host has taken it back before, that is.
    type: bool
    default: false
  seconds:
    description: For how long a new connection is tried.
    type: int
    default: 60
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
- name: All of them can be reached, so all of them count
  fwpolicy.fwpolicy.confirm:
    required: true
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
