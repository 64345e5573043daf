# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """What all actions say of how they ask a host."""

    DOCUMENTATION = r"""
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
notes:
  - An action plugin does the work. The host needs root (O(ignore:become)), POSIX sh, awk, sed and tar;
    no Python.
  - A raw connection is enough; neither sftp nor scp is used.
"""
