"""iptables-save and ip6tables-save text, read into the model's words.

What is not in the text is not in the program: an opaque condition is one that only the same text has, the
effects of MARK and its like are named as unmodelled. A transport header cut short, which iptables-legacy
drops at the first match that wants to read it (`hotdrop`) and iptables-nft does not, matches nothing here.
"""

from __future__ import annotations

from fwpolicy.model.iptables.build import merged, of_both, of_text, own, without
from fwpolicy.model.iptables.ipsets import of_text as sets_of_text

__all__ = ["merged", "of_both", "of_text", "own", "sets_of_text", "without"]
