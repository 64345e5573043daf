"""Policies written as records: a line of the language, without its parser."""

from __future__ import annotations

from fwpolicy import addresses
from fwpolicy.addresses import AddressSet
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.errors import Span
from fwpolicy.policy import model, services

OF_RULES = ("id", "log", "limit", "expires", "comment", "families")
HERE = Span("policy.yaml", 1, 1, 2)


def some(text: str | None) -> AddressSet | None:
    """Addresses, separated by spaces."""
    return addresses.of(*text.split()) if text is not None else None


def service(text: str) -> tuple[services.Service, ...]:
    """Services by name or as proto/port, separated by spaces."""
    return tuple(each for word in text.split() for each in services.built_in(word) or (services.parse(word),))


def match(what: str | None = None, **more: object) -> model.Match:
    """`source`, `destination`: texts; `sports`: (first, last); the rest as the model has it."""
    for side in ("source", "destination"):
        more[side] = some(more.get(side))
    if "sports" in more:
        more["sports"] = (more["sports"],)
    return model.Match(service(what) if what else None, **more)


def line(verdict: str, what: model.Match, *holes: model.Match, **more: object) -> model.Rule:
    """One line; `families` follow from the addresses unless given."""
    sides = ((what.source, what.source_dynamic), (what.destination, what.destination_dynamic))
    families = more.pop("families", None) or tuple(
        family
        for family in (4, 6)
        if all(known is None or dynamic or known.of(family) for known, dynamic in sides)
    )
    return model.Rule(verdict, what, holes, families, HERE, **more)


def allow(what: str | None = None, *holes: model.Match, **more: object) -> model.Rule:
    """An `allow` line; keys of `match` go there, the rest to the rule."""
    return _line("accept", what, holes, more)


def block(what: str | None = None, *holes: model.Match, action: str = "drop", **more: object) -> model.Rule:
    return _line(action, what, holes, more)


def _line(
    verdict: str, what: str | None, holes: tuple[model.Match, ...], more: dict[str, object]
) -> model.Rule:
    own = {
        key: more.pop(key) for key in ("id", "log", "limit", "expires", "comment", "families") if key in more
    }
    return line(verdict, match(what, **more), *holes, **own)


def section(hook: str, default: str, *lines: model.Rule) -> model.Section:
    allowed = tuple(each for each in lines if each.verdict == "accept")
    blocked = tuple(each for each in lines if each.verdict != "accept")
    return model.Section(hook, default, allowed, blocked, HERE)


def policy(*sections: model.Section, **more: object) -> model.Policy:
    by_hook: dict[str, model.Section | None] = dict.fromkeys(("input", "output", "forward"))
    by_hook |= {each.hook: each for each in sections}
    ntp = more.pop("ntp", None)
    return model.Policy(
        "built",
        "",
        ("nft",),
        model.NtpRole(ntp, HERE) if ntp else None,
        by_hook["input"],
        by_hook["output"],
        (),
        model.ApplyOptions(),
        forward=by_hook["forward"],
        **more,
    )


def forwarding(
    incoming: str, what: str, to: str, port: int | None = None, **more: object
) -> model.PortForward:
    family, address, _ = addresses.parse(to)
    ((each),) = service(what)
    hairpin = bool(more.get("hairpin"))
    source = some(more.get("source"))
    return model.PortForward((incoming,), each, (family, address), port, hairpin, source, HERE)


def compiled(wanted: model.Policy, facts: Facts | None = None) -> str:
    """The policy as nft text."""
    return render(lower(wanted, facts or Facts()), wanted.name).text
