"""The tree of a rule back in nft's words: for messages, and as the name of what stays opaque.

One spelling for one meaning: two listings of the same rule, with words or with numbers, name it alike.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Json = Any


def rule(statements: list[Json]) -> str:
    """The whole rule."""
    return " ".join(statement(each) for each in statements)


def statement(tree: Json) -> str:
    """One statement."""
    ((kind, of),) = tree.items()
    if kind == "match":
        return match(of["left"], of["op"], value(of["right"]))
    if kind == "vmap":
        return f"{expression(of['key'])} vmap {value(of['data'])}"
    if kind == "mangle":
        return f"{expression(of['key'])} set {value(of['value'])}"
    if kind in ("jump", "goto"):
        return f"{kind} {of['target']}"
    if kind == "set":
        inner = [expression(of["elem"]), *(statement(each) for each in of.get("stmt", ()))]
        return f"{of['op']} {of['set']} {{ {' '.join(inner)} }}"
    if kind in _NAT:
        return nat(kind, of)
    render = _STATEMENTS.get(kind)
    return render(of) if render else f"{kind}{_rest(of)}"


def _rest(of: Json) -> str:
    if of is None:
        return ""
    if isinstance(of, dict):
        return "".join(f" {key} {value(of[key])}" for key in sorted(of))
    return f" {value(of)}"


def _counter(of: Json) -> str:
    if isinstance(of, dict) and "map" in of:
        return f"counter name {value(of)}"
    return f'counter name "{of}"' if isinstance(of, str) else "counter"


def limit(of: Json) -> str:
    """`limit rate over 5/minute burst 3 packets`."""
    if not isinstance(of, dict) or "map" in of:
        return f"limit name {value(of)}"
    unit = f" {of['rate_unit']}" if "rate_unit" in of else ""
    burst = f" burst {of.get('burst', 5)} {of.get('burst_unit', 'packets')}"
    return f"limit rate {'over ' if of.get('inv') else ''}{of['rate']}{unit}/{of['per']}{burst}"


def _reject(of: Json) -> str:
    if not of:
        return "reject"
    if of["type"] == "tcp reset":
        return "reject with tcp reset"
    return f"reject with {of['type']} {of.get('expr', '')}"


_NAT = ("snat", "dnat", "masquerade", "redirect", "tproxy")


def nat(kind: str, of: Json) -> str:
    """`dnat to 192.0.2.10:8443`, `masquerade`, ...: the policy's own words for it."""
    of = of or {}
    text = kind
    if "addr" in of or "port" in of:
        address = value(of["addr"]) if "addr" in of else ""
        if "port" in of:
            colon = isinstance(of.get("addr"), str) and ":" in address
            address = f"[{address}]:{value(of['port'])}" if colon else f"{address}:{value(of['port'])}"
        text += f" to {address}"
    flags = of.get("flags", ())
    return " ".join((text, *([flags] if isinstance(flags, str) else sorted(flags))))


def _ct_count(of: Json) -> str:
    return f"ct count {'over ' if of.get('inv') else ''}{of['val']}"


_STATEMENTS: dict[str, Callable[[Json], str]] = {
    "counter": _counter,
    "limit": limit,
    "reject": _reject,
    "ct count": _ct_count,
}


def match(left: Json, operator: str, right: str) -> str:
    """A match; `in` is nft's test of single bits."""
    shown = "" if operator == "==" and "&" not in left else f"{operator} "
    return f"{expression(left)} {'' if operator == 'in' else shown}{right}"


def expression(tree: Json) -> str:
    """A left side."""
    if not isinstance(tree, dict):
        return value(tree)
    ((kind, of), *_) = tree.items()
    if render := _EXPRESSIONS.get(kind):
        return render(of)
    if kind in ("&", "|", "^", "<<", ">>"):
        return f" {kind} ".join(expression(part) for part in of)
    return value(tree) if kind in _VALUES else f"{kind}{_rest(of)}"


def _payload(of: Json) -> str:
    if "base" in of:
        return f"@{of['base']},{of['offset']},{of['len']}"
    return f"{of['protocol']} {of['field']}"


def _fib(of: Json) -> str:
    flags = [of["flags"]] if isinstance(of["flags"], str) else of["flags"]
    return f"fib {' . '.join(flags)} {of['result']}"


_EXPRESSIONS: dict[str, Callable[[Json], str]] = {
    "payload": _payload,
    "meta": lambda of: f"meta {of['key']}",
    "ct": lambda of: " ".join(("ct", *([of["dir"]] if "dir" in of else []), of["key"])),
    "fib": _fib,
    "concat": lambda of: " . ".join(expression(part) for part in of),
    "elem": lambda of: expression(of["val"]),
    "exthdr": lambda of: f"exthdr {of['name']} {of.get('field', '')}".rstrip(),
}


def value(tree: Json) -> str:
    """A right side."""
    if isinstance(tree, bool):
        return "exists" if tree else "missing"
    if isinstance(tree, list):
        return ",".join(value(each) for each in tree)
    if not isinstance(tree, dict):
        return str(tree)
    ((kind, of), *_) = tree.items()
    render = _VALUES.get(kind)
    if render:
        return render(of)
    return expression(tree)


def _set(of: Json) -> str:
    return "{ " + ", ".join(sorted(map(_member, of))) + " }"


def _member(of: Json) -> str:
    if isinstance(of, list):
        to = of[1]
        data = statement(to) if isinstance(to, dict) and set(to) & _VERDICTS else value(to)
        return f"{value(of[0])} : {data}"
    return value(of)


_VERDICTS = {"accept", "drop", "continue", "return", "jump", "goto"}
_VALUES: dict[str, Callable[[Json], str]] = {
    "prefix": lambda of: f"{of['addr']}/{of['len']}",
    "range": lambda of: f"{value(of[0])}-{value(of[1])}",
    "set": _set,
    "concat": lambda of: " . ".join(value(part) for part in of),
    "elem": lambda of: value(of["val"]),
    "|": lambda of: " | ".join(value(part) for part in of),
    "map": lambda of: f"{expression(of['key'])} map {value(of['data'])}",
}
