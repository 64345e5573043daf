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
  applied:
    description: The result of M(fwpolicy.fwpolicy.apply) that is to be taken back, as it was registered.
    type: dict
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
