"""What a value may look like, as JSON Schema (draft 07, which every YAML language server reads).

Patterns are those of ECMA-262 and of Python's `re` alike. They are never stricter than the
parser, and judge form only: whether a name is declared, the parser says.
"""

from __future__ import annotations

from fwpolicy.policy.names import BUILT_IN_GROUPS, RESERVED_GROUPS, RESERVED_SERVICES
from fwpolicy.policy.services import BUILT_IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    Schema = dict[str, object]

_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_PORTS = f"{_PORT}(-{_PORT})?"
_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_V4 = rf"{_BYTE}(\.{_BYTE}){{3}}"
_V6 = rf"([0-9A-Fa-f]{{0,4}}:){{2,7}}([0-9A-Fa-f]{{0,4}}|{_V4})"
_LENGTH_4 = r"/([12]?[0-9]|3[0-2])"
_LENGTH_6 = r"/(1[01][0-9]|12[0-8]|[1-9]?[0-9])"
_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
# A word of printable characters with no space around it; what stands in the ruleset has no quotes.
_WORD = r"^[^\s\x00-\x1f\x7f\u200b]([^\x00-\x1f\x7f\u200b]*[^\s\x00-\x1f\x7f\u200b])?$"
_TEXT = r'^[^\x00-\x1f\x7f"\\]*[^\x00-\x20\x7f"\\][^\x00-\x1f\x7f"\\]*$'


def pattern(text: str, message: str) -> Schema:
    """A string of this form; `patternErrorMessage` is what YAML language servers show otherwise."""
    return {"type": "string", "pattern": text, "patternErrorMessage": message}


def listed(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


def one_or_more(item: Schema) -> Schema:
    return {"anyOf": [item, listed(item)]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


_ADDRESS = f"{_V4}({_LENGTH_4}|-{_V4})?|{_V6}({_LENGTH_6}|-{_V6})?"
_ONE_ADDRESS = f"{_V4}|{_V6}"
_PACKET = f"(tcp|udp|sctp|dccp)/{_PORTS}|(ip|icmp|icmpv6)/{_BYTE}"
_SERVICE_MESSAGE = "A service: a name, tcp/8443, udp/60000-61000, ip/112 or icmp/8."

# Shared by many keys; in the schema's `definitions`.
DEFINITIONS: dict[str, Schema] = {
    "service": {
        "anyOf": [
            {"enum": list(BUILT_IN), "enumDescriptions": list(BUILT_IN.values())},
            {
                **pattern(f"^({_PACKET}|{_NAME})$", _SERVICE_MESSAGE),
                "not": {"enum": [*RESERVED_SERVICES, *BUILT_IN_GROUPS]},
            },
        ]
    },
    "packet": {
        "anyOf": [
            {"enum": list(BUILT_IN), "enumDescriptions": list(BUILT_IN.values())},
            pattern(f"^({_PACKET}|{_NAME})$", _SERVICE_MESSAGE),
        ]
    },
    "address": {
        "anyOf": [
            {"enum": list(BUILT_IN_GROUPS)},
            pattern(f"^({_ADDRESS}|{_NAME})$", "An address, prefix, range (A-B) or group; no host names."),
        ]
    },
}

_NUMBER_OR = ["string", "number"]
_DATE = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_PREFIX = r"^[A-Za-z0-9]([A-Za-z0-9 ._:/-]{0,25}[A-Za-z0-9._:/-])?$"
_HOST = r"^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*$"


# 5s to 1h, in each unit.
_WINDOW = "([5-9]|[1-9][0-9]{1,2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s|([1-9]|[1-5][0-9]|60)m|1h"


def _has_one_tcp_port(text: str) -> bool:
    ports = [part for part in text.split() if part.startswith("tcp/")]
    return len(ports) == 1 and "-" not in ports[0]


def number(low: int, high: int) -> Schema:
    """A number, with or without quotes."""
    digits = pattern(r"^(0|[1-9][0-9]{0,5})$", f"A number, {low} to {high}.")
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, digits]}


# Of the table's kinds; those that are mappings or lists of them are schema.py's.
KINDS: dict[str, Schema] = {
    "version": {"const": 1},
    "boolean": {"type": "boolean"},
    "count": number(1, 999_999),
    "count-or-0": number(0, 999_999),
    "nflog-group": number(0, 65535),
    "text": {"type": _NUMBER_OR, "pattern": _TEXT, "maxLength": 100},
    "policy-name": {"type": _NUMBER_OR, "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    "backends": one_or_more({"enum": ["nft", "iptables"]}),
    "file": pattern(_WORD, "A path, relative to this file."),
    "files": one_or_more(pattern(_WORD, "A path, relative to this file.")),
    "overrides": one_or_more(pattern(_WORD, "A key, or a rule's id.")),
    "hosts": one_or_more(pattern(_HOST, "A host's full name, as in deb.example.org.")),
    "members": {"anyOf": [_ref("address"), {"type": "array", "items": _ref("address")}]},
    "address": pattern(f"^({_ONE_ADDRESS})$", "One address."),
    "addresses": one_or_more(_ref("address")),
    "servers": {
        "anyOf": [
            {"enum": ["any", "from-daemon"]},
            pattern(f"^({_ADDRESS}|{_NAME})$", "A group, from-daemon or any; pools rotate: use any."),
        ]
    },
    "service-list": one_or_more(_ref("service")),
    "packet": _ref("packet"),
    "port": number(1, 65535),
    "ports": one_or_more(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                pattern(f"^{_PORTS}$", "A port or a range, as in 10000-20000."),
            ]
        }
    ),
    "zone-list": one_or_more(pattern(f"^{_NAME}$", "A zone that this policy declares.")),
    "rate": pattern(r"^[1-9][0-9]{0,5}/(second|minute|hour|day)$", "N/second, N/minute, N/hour or N/day."),
    "duration": {
        "anyOf": [
            pattern(r"^(0|[1-9][0-9]{0,5}[smhd])$", "A time, as in 90s, 15m, 1h or 7d; 0 is without end."),
            {"const": 0},
        ]
    },
    "confirm": {
        "anyOf": [
            pattern(f"^({_WINDOW})$", "A time of 5s to 1h, as in 60s or 5m; false asks nobody."),
            {"const": False},
        ]
    },
    "date": pattern(_DATE, "A date, as in 2027-01-31."),
    "id": pattern(r"^[A-Za-z][A-Za-z0-9_-]{0,47}$", "A letter, then letters, digits, _ and -; at most 48."),
    "prefix": {"type": _NUMBER_OR, "pattern": _PREFIX},
    "log-prefix": {"type": ["boolean", *_NUMBER_OR], "pattern": _PREFIX},
    "dynamic-groups": one_or_more(pattern(f"^{_NAME}$", "A dynamic group, or none.")),
    "ntp-mode": {"enum": [*range(8), *map(str, range(8))]},
    "tcp-service": {
        "anyOf": [
            {"enum": [name for name, text in BUILT_IN.items() if _has_one_tcp_port(text)]},
            pattern(f"^(tcp/{_PORT}|{_NAME})$", "A service with one TCP port: a name, or tcp/8443."),
        ]
    },
    "command": {
        "anyOf": [
            pattern(r"^/[^\s\x00-\x1f\x7f]*$", "The absolute path of a program."),
            {
                "type": "array",
                "items": [pattern(r"^/([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$", "The absolute path.")],
                "additionalItems": {"type": _NUMBER_OR, "pattern": _WORD},
                "minItems": 1,
            },
        ]
    },
}

GROUP_NAMES: Schema = {"pattern": f"^{_NAME}$", "not": {"enum": [*BUILT_IN_GROUPS, *RESERVED_GROUPS]}}
SERVICE_NAMES: Schema = {"pattern": f"^{_NAME}$", "not": {"enum": [*BUILT_IN, *RESERVED_SERVICES]}}
ZONE_NAMES: Schema = {"pattern": f"^{_NAME}$"}
_INTERFACE = r"""^(?!lo$|\.\.?\*?$|[-!]|.*\+\*?$)(?=[!-~]{1,15}$)[^/:"'\\*?\[\]{},;#@]+\*?$"""
INTERFACES = one_or_more(pattern(_INTERFACE, "An interface's name; a trailing '*' stands for any rest."))
# '+' first: the group of an included file, and more.
EXTENDED_MEMBERS: Schema = {
    "anyOf": [
        _ref("address"),
        {"type": "array", "items": {"anyOf": [_ref("address"), {"const": "+"}]}, "minItems": 1},
    ]
}
