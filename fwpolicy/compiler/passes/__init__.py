"""Ruleset -> Ruleset: the same decisions, counted and logged by the same lines, in fewer steps a packet.

One pass a file; each has a NAME, a one-line ABOUT and a pure `run`. Small rulesets stay as they are:
a pass works where it is faster, and every threshold stands beside what was measured.
"""

from __future__ import annotations

from fwpolicy.compiler.passes import dispatch, merge, prefixhash, verdictmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# In this order: the first leaves fewer rules to the next.
PASSES: tuple[ModuleType, ...] = (merge, verdictmap, dispatch, prefixhash)
# Those that need neither maps nor sets of networks by prefix: what iptables can use.
PLAIN: tuple[ModuleType, ...] = (merge,)
