"""Where each mapping of the language stands, and what the parser knows there: asked of the parser itself."""

from __future__ import annotations

import json

from fwpolicy import source
from fwpolicy.policy.parse import parse
from fwpolicy.policy.reader import Reader
from fwpolicy.reference import keys

STRANGE = "zzz"
# Place, and a policy with a mapping there in which '@' stands for its content.
PROBES = {
    "policy": "@",
    "group": "groups: {a: {@}}",
    "roles": "roles: {@}",
    "roles.ntp": "roles: {ntp: {@}}",
    "nat": "nat: {@}",
    "nat.masquerade": "nat: {masquerade: [{@}]}",
    "nat.forward": "nat: {forward: [{@}]}",
    "nat.snat": "nat: {snat: [{@}]}",
    "log": "log: {@}",
    "test": "tests: [{@}]",
    "apply": "apply: {@}",
    "apply.gates": "apply: {gates: [{@}]}",
}
PROBES |= {hook: f"{hook}: {{@}}" for hook in keys.HOOKS}
PROBES |= {
    f"{hook} {which}": f"{hook}: {{default: drop, {which}: [{{@}}]}}"
    for hook in keys.HOOKS
    for which in keys.LISTS
}
PROBES |= {
    f"{hook} except": f"{hook}: {{default: drop, allow: [{{service: ssh, except: {{@}}}}]}}"
    for hook in keys.HOOKS
}


def table(place: str) -> tuple[keys.Key, ...]:
    """What our own table says of the place."""
    hook, _, which = place.partition(" ")
    if which:
        return keys.rule_keys(hook, which)
    name = "section" if place in keys.HOOKS else place
    return next(one.keys for one in keys.PLACES if one.name == name)


def document(place: str, content: str) -> str:
    head = "" if place == "policy" and content.startswith("version") else "version: 1\n"
    return f"{head}{PROBES[place].replace('@', content)}\n"


def problems(text: str) -> list[str]:
    """What the parser says of the text's grammar; names are not its business."""
    return [problem.message for problem in parse(source.load("probe.yaml", text.encode())).problems]


def known(place: str, monkeypatch) -> set[str] | None:
    """The keys that the parser has there; None where it never looks."""
    found = []
    original = Reader.keys

    def spy(self, node, what, known, elsewhere=None, form=None):
        if any(key.value == STRANGE for key, _ in getattr(node, "pairs", ())):
            found.append(set(known))
        return original(self, node, what, known, elsewhere or {}, form)

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "keys", spy)
        problems(document(place, f"{STRANGE}: 1"))
    return found[0] if found else None


def choices(place: str, key: str, monkeypatch) -> set[str] | None:
    """The words that the parser takes for a key; None where it never looks."""
    found = []
    original = Reader.choice

    def spy(self, node, what, choices):
        if getattr(node, "value", None) == STRANGE:
            found.append(set(choices))
        return original(self, node, what, choices)

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "choice", spy)
        problems(document(place, f"{key}: {STRANGE}"))
    return found[0] if found else None


def written(key: keys.Key) -> str:
    return f"{key.name}: {json.dumps(key.example)}"
