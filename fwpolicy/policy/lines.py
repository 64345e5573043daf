"""The lines of sections and of `tests`, as written: which keys stand where, and what is missing."""

from __future__ import annotations

from fwpolicy.policy.syntax import UNLABELLED, LabelText, MatchText, RuleText, TestText
from fwpolicy.source import Mapping, Node, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.reader import Reader

MATCH_KEYS = {
    "input": ("service", "from", "in", "sport", "local", "published", "family"),
    "output": ("service", "to", "out", "sport", "family"),
    "forward": ("service", "from", "to", "in", "out", "sport", "family"),
}
# Without one of these a line would be a default in disguise.
NEEDED = {
    "input": ("service", "from", "in"),
    "output": ("service", "to", "out"),
    "forward": ("service", "from", "to", "in", "out"),
}
LIMIT_KEYS = ("limit", "burst", "per", "max")
LABEL_KEYS = ("log", "id", "owner", "ticket", "expires")
_OF_INPUT = "'{}' belongs to input"
ELSEWHERE = {
    "input": {
        "to": "'to' belongs to output and forward; input has 'from', and 'local' for the host's own address",
        "out": "'out' belongs to output and forward; input has 'in'",
    },
    "output": {
        "from": "'from' belongs to input and forward; output has 'to'",
        "in": "'in' belongs to input and forward; output has 'out'",
        "local": _OF_INPUT.format("local"),
        "published": _OF_INPUT.format("published"),
    },
    "forward": {
        "local": f"{_OF_INPUT.format('local')}; forward has 'to'",
        "published": f"{_OF_INPUT.format('published')}; a redirected connection is: nat: {{forward: ...}}",
    },
}
_HARDWARE = "the language knows no hardware addresses, which any sender can write; 'from' has addresses"
OF_ANY = dict.fromkeys(("mac", "mac-source", "ether"), _HARDWARE)
OF_KIND = {
    "allow": {"action": "'action' belongs to 'block'"},
    "block": dict.fromkeys(LIMIT_KEYS, "limits belong to 'allow'"),
}
_OWN = {"allow": LIMIT_KEYS, "block": ("action",)}
# By (hook, kind): how messages call such a line, its keys, and what to say of those that belong elsewhere.
_GRAMMAR = {
    (hook, kind): (
        f"a rule of '{hook}: {kind}'",
        (*keys, "except", *_OWN[kind], "comment", *LABEL_KEYS),
        ELSEWHERE[hook] | OF_KIND[kind] | OF_ANY,
    )
    for hook, keys in MATCH_KEYS.items()
    for kind in ("allow", "block")
}
# The key of a destination, and how messages call it.
_TO = {"input": ("local", "'local'"), "output": ("to", "'to'"), "forward": ("to", "'to'")}
# What most lines have none of.
_RARE = frozenset((*LABEL_KEYS, *LIMIT_KEYS))
_BESIDE = frozenset((*_RARE, "except", "action", "comment"))
_RARE_MATCHES = frozenset(("sport", "in", "out", "published", "family"))
TEST_KEYS = ("allow", "deny", "from", "to", "state", "mode")
TEST_MORE = ("in", "out", "local", "sport", "published", "at", "source-in", "destination-in")
STATES = ("new", "established", "related", "invalid", "untracked")


def rule(reader: Reader, node: Node, hook: str, kind: str) -> RuleText | None:
    """A line of `allow` or `block` (`kind`); None, and a problem, where it is neither word nor mapping."""
    if isinstance(node, Scalar):
        service = reader.word(node, "a service")
        return RuleText(MatchText(service.span, (service,))) if service else None
    what, keys, elsewhere = _GRAMMAR[hook, kind]
    found = reader.keys(node, what, keys, elsewhere=elsewhere)
    if not isinstance(node, Mapping):
        return None
    if found.keys().isdisjoint(NEEDED[hook]) and all_known(node, found):
        reader.error(f"{what} says nothing about the traffic: it needs {_or(NEEDED[hook])}", node)
    match = _match(reader, node, found, hook)
    if _BESIDE.isdisjoint(found):
        return RuleText(match)
    return RuleText(
        match,
        _holes(reader, found.get("except"), hook),
        reader.choice(found.get("action"), "'action'", ("drop", "reject")),
        _label(reader, node, found),
    )


def all_known(node: Mapping, found: dict[str, Node]) -> bool:
    """No key was refused: only then is a missing one a mistake of its own."""
    return len(found) == len(node.pairs)


def _or(keys: tuple[str, ...]) -> str:
    return " or ".join(f"'{key}'" for key in keys)


def _label(reader: Reader, node: Node, found: dict[str, Node]) -> LabelText:
    if not _RARE.isdisjoint(found):
        from fwpolicy.policy.labels import label  # noqa: PLC0415  (most lines have none)

        return label(reader, node, found)
    if "comment" not in found:
        return UNLABELLED
    comment = reader.comment(found["comment"], "'comment'")
    return LabelText(comment=comment.text) if comment else UNLABELLED


def _match(reader: Reader, node: Node, found: dict[str, Node], hook: str) -> MatchText:
    words, key = reader.words, found.get
    to, what = _TO[hook]
    span = reader.text.span(node)
    ends = words(key("service"), "'service'"), words(key("from"), "'from'"), words(key(to), what)
    if _RARE_MATCHES.isdisjoint(found):
        return MatchText(span, *ends)
    return MatchText(
        span,
        *ends,
        words(key("sport"), "'sport'"),
        words(key("in"), "'in'"),
        words(key("out"), "'out'"),
        reader.boolean(key("published"), "'published'"),
        reader.choice(key("family"), "'family'", ("ipv4", "ipv6")),
    )


def _holes(reader: Reader, node: Node | None, hook: str) -> tuple[MatchText, ...]:
    if node is None:
        return ()
    items = node.items if isinstance(node, Sequence) else [node]
    if not items:
        reader.error("'except' is an empty list", node, "leave it out where there is no exception")
    holes = []
    for item in items:
        example = item.value if isinstance(item, Scalar) and item.value else "192.0.2.1"
        form = f"it has keys, as a line has: except: {{{'to' if hook == 'output' else 'from'}: {example}}}"
        found = reader.keys(item, "'except'", MATCH_KEYS[hook], ELSEWHERE[hook], form)
        if isinstance(item, Mapping) and not item.pairs:
            hint = f"it needs {_or(NEEDED[hook])}"
            reader.error("'except' is empty: it would except everything", item, hint)
        if found:
            holes.append(_match(reader, item, found, hook))
    return tuple(holes)


def test(reader: Reader, node: Node) -> TestText | None:
    """A line of `tests`; None, and a problem, where it expects nothing or says no direction."""
    found = reader.keys(node, "a test", (*TEST_KEYS, *TEST_MORE))
    if not isinstance(node, Mapping):
        return None
    whole = all_known(node, found)
    if ("allow" in found) == ("deny" in found):
        if whole or "allow" in found:
            reader.error("a test says either 'allow' or 'deny'", node)
        return None
    verdict = "allow" if "allow" in found else "deny"
    form = "a test asks about one service; write a line for each"
    what = reader.word(found[verdict], f"'{verdict}'", form)
    if "from" not in found and "to" not in found:
        if whole:
            reader.error("a test needs 'from' (input), 'to' (output), or both (forward)", node)
        return None
    if what is None:
        return None
    more = None
    if any(key in found for key in TEST_MORE):
        from fwpolicy.policy.expectations import more_keys  # noqa: PLC0415  (most tests have none)

        more = more_keys(reader, found)
    return TestText(
        verdict == "allow",
        what,
        reader.text.span(node),
        reader.words(found.get("from"), "'from'"),
        reader.words(found.get("to"), "'to'"),
        reader.choice(found.get("state"), "'state'", STATES),
        reader.choice(found.get("mode"), "'mode'", tuple("01234567")),
        more,
    )
