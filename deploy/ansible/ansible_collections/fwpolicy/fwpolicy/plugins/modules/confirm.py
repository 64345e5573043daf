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
  required:
    description: Fail where nothing waits; the host has taken it back before, that is.
    type: bool
    default: false
  seconds:
    description: For how long a new connection is tried.
    type: int
    default: 60
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
