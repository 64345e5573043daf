"""Files of somebody else's that a policy leads to: what is wrong with them is told without a word of theirs.

Who runs the program may read more than who wrote the policy, and who wrote it reads what is said of it.
"""

from __future__ import annotations

from fwpolicy import source
from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.policy.parse import parse
from fwpolicy.source import Hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.syntax import PolicyText


def policy_text(name: str, data: bytes, *, included: bool = False) -> PolicyText:
    """What a policy file says. Raises PolicyError."""
    if not isinstance(data, Hidden):
        return parse(source.load(name, data), included=included)
    try:
        found = parse(source.load(name, data), included=included)
    except PolicyError:
        raise refusal(name, "a policy") from None
    if any(problem.severity == "error" for problem in found.problems):
        raise refusal(name, "a policy")
    return found


def refusal(name: str, what: str) -> PolicyError:
    message = f"this cannot be read as {what}; it lies outside of the policy's folder: nothing of it is shown"
    hint = "to see what is wrong name the file itself, where it lies"
    return PolicyError((Problem(message, Span(name, 1, 1, 2), None, hint),))
