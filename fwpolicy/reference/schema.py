"""The policy language as JSON Schema: what an editor completes, explains and underlines."""

from __future__ import annotations

from fwpolicy.policy.gates import SYNCHRONISED
from fwpolicy.policy.roles import WITHOUT_NTS
from fwpolicy.record import replace
from fwpolicy.reference import keys, kinds
from fwpolicy.reference.keys import Key, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.reference.kinds import Schema

DRAFT = "http://json-schema.org/draft-07/schema#"


def schema() -> Schema:
    """The whole schema; the same every time."""
    return {
        "$schema": DRAFT,
        "title": "fwpolicy: a firewall policy, version 1",
        **mapping(keys.TOP),
        "anyOf": [{"required": ["include"]}, {"properties": dict.fromkeys(keys.HOOKS, _HAS_DEFAULT)}],
        "definitions": {**kinds.DEFINITIONS, **_rules(), **_mappings()},
    }


# Unless an included file says it.
_HAS_DEFAULT: Schema = {"required": ["default"]}


def mapping(place: Place, members: tuple[Key, ...] | None = None, hook: str = "") -> Schema:
    """A mapping of `place`, with `members` of its keys: no others, and those that it must have."""
    members = place.keys if members is None else members
    names = [key.name for key in members]
    found: Schema = {
        "type": "object",
        "description": place.text,
        "properties": {key.name: property_of(key, hook) for key in members},
        "additionalProperties": False,
    }
    if place.required:
        found["required"] = list(place.required)
    conditions: list[Schema] = []
    if place.some:
        conditions.append({"anyOf": [{"required": [name]} for name in place.some if name in names]})
    if place.one:
        conditions.append({"oneOf": [{"required": [name]} for name in place.one if name in names]})
    for name, others in place.needs:
        beside = [{"required": [other]} for other in others if other in names]
        if name in names:
            conditions.append({"anyOf": [{"not": {"required": [name]}}, *beside]})
    return found | ({"allOf": conditions} if conditions else {})


def property_of(key: Key, hook: str = "") -> Schema:
    """A key's value, with what an editor shows about it."""
    text = f"{key.text} Default: {key.default}." if key.default else key.text
    found: Schema = {"description": text, **_value(key, hook)}
    return found if key.example is None else found | {"examples": [key.example]}


def _value(key: Key, hook: str) -> Schema:
    if key.kind == "word":
        words = [word for word, _ in key.words]
        return {"enum": words, "enumDescriptions": [meaning for _, meaning in key.words]}
    if key.kind == "section":
        return _refer(key.name)
    if key.kind == "rules":
        return {"type": "array", "items": _refer(f"{hook}-{key.name}")}
    if key.kind == "holes":
        return kinds.one_or_more(_refer(f"{hook}-except"))
    if key.kind in kinds.KINDS:
        found = kinds.KINDS[key.kind]
        return _beside(found) if "$ref" in found else found
    return _MAPPINGS[key.kind]


def _refer(name: str) -> Schema:
    return _beside({"$ref": f"#/definitions/{name}"})


def _beside(reference: Schema) -> Schema:
    """Draft 07 ignores whatever stands beside a $ref; inside allOf it does not stand beside."""
    return {"allOf": [reference]}


def _rules() -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for hook in keys.HOOKS:
        found[hook] = mapping(keys.SECTION, hook=hook)
        for which in keys.LISTS:
            long = mapping(keys.RULE, keys.rule_keys(hook, which), hook)
            found[f"{hook}-{which}"] = {"anyOf": [{"$ref": "#/definitions/service"}, long]}
        hole = replace(keys.RULE, some=())
        found[f"{hook}-except"] = mapping(hole, keys.rule_keys(hook, "except")) | {"minProperties": 1}
    return found


def _mappings() -> dict[str, Schema]:
    return {"ntp": {"anyOf": [_mode_alone(), _ntp()]}, "group": _group(), "test": mapping(keys.TEST)}


def _mode_alone() -> Schema:
    """`ntp: MODE`; a server needs more than that."""
    alone = [(word, meaning) for word, meaning in keys.NTP_MODES if word != "server"]
    return {"enum": [word for word, _ in alone], "enumDescriptions": [meaning for _, meaning in alone]}


def _ntp() -> Schema:
    """What goes with which mode and daemon: policy/roles.py."""
    server = _when("mode", "server")
    refused = [
        {"required": ["serve"], "not": server},
        {"required": ["mode"], **server, "not": {"required": ["serve"]}},
        {"required": ["mode", "daemon"], **_when("mode", "server", daemon=("timesyncd",))},
        {"required": ["mode", "servers"], **_when("mode", "closed")},
        {"required": ["mode", "monitors"], **_when("mode", "closed")},
        {"required": ["mode", "nts"], **_when("mode", "closed", nts=(True,))},
        {"required": ["daemon", "nts"], **_when("nts", True, daemon=WITHOUT_NTS)},
    ]
    return mapping(keys.NTP) | {"allOf": [{"not": combination} for combination in refused]}


def _when(name: str, value: object, **others: tuple[object, ...]) -> Schema:
    properties: Schema = {name: {"const": value}}
    return {"properties": properties | {other: {"enum": list(words)} for other, words in others.items()}}


def _group() -> Schema:
    long = mapping(keys.GROUP)
    empty = {"required": ["addresses"], "properties": {"addresses": {"const": []}}}
    may = {"required": ["optional"], "properties": {"optional": {"const": True}}}
    return {"anyOf": [kinds.EXTENDED_MEMBERS, long | {"not": {**empty, "not": may}}]}


def _named(names: Schema, value: Schema) -> Schema:
    return {"type": "object", "propertyNames": names, "additionalProperties": value}


# Kinds of the table that are mappings, or lists of them.
_MAPPINGS: dict[str, Schema] = {
    "groups": _named(kinds.GROUP_NAMES, {"$ref": "#/definitions/group"}),
    "services": _named(kinds.SERVICE_NAMES, kinds.one_or_more({"$ref": "#/definitions/service"})),
    "zones": _named(kinds.ZONE_NAMES, kinds.INTERFACES),
    "ntp": _refer("ntp"),
    "tests": {"type": "array", "items": {"$ref": "#/definitions/test"}},
}
_MAPPINGS["roles"] = mapping(keys.ROLES)
_MAPPINGS |= {
    f"nat.{name}": {"type": "array", "items": mapping(place)}
    for name, place in (
        ("masquerade", keys.MASQUERADE),
        ("forward", keys.PORT_FORWARD),
        ("snat", keys.SNAT),
    )
}
_MAPPINGS |= {"nat": mapping(keys.NAT), "log": mapping(keys.LOG)}
_MAPPINGS["gates"] = kinds.listed({"anyOf": [{"const": SYNCHRONISED}, mapping(keys.GATE)]})
_MAPPINGS["apply"] = mapping(keys.APPLY)
