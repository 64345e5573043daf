"""Which sets are read as this host's own addresses, and which may hold anything."""

from __future__ import annotations

import json

import pytest

from fwpolicy.addresses import parse
from fwpolicy.model import fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.nft import of_json, of_text
from tests.lab.holder import run

OWN = "type ipv4_addr\n\t\tsize 1024\n\t\tflags dynamic,timeout\n\t\ttimeout 10s"
FILL = "fib daddr type local add @own { ip daddr }"
MEMBER = "member:inet t own:daddr"
TO = {"nfproto": 4, "th": 1, "daddr4": parse("192.0.2.1")[1]}


def ruleset(*lines: str, own: str = OWN, more: str = "") -> str:
    rules = "".join(f"\t\t{line}\n" for line in lines)
    base = "\t\ttype filter hook prerouting priority raw; policy accept;\n"
    return f"table inet t {{\n\tset own {{\n\t\t{own}\n\t}}\n{more}\tchain c {{\n{base}{rules}\t}}\n}}\n"


def said(text: str, hook: str, kind: str) -> str:
    """What becomes of a packet to an address that is in the set, and of that kind to the host."""
    packet = TO | {MEMBER: 1, "daddrtype": fields.ADDRESS_TYPES.index(kind)}
    return decide(of_text(text, "t.nft"), hook, packet)[0].kind


LOOK, ELSE = "ip daddr @own drop", "fib daddr type != { local, broadcast } return"
LOG = "\tchain noted {\n\t\tlimit rate 5/minute log\n\t\tcounter drop\n\t}\n"
LEAKY = LOG.replace("limit rate", "tcp dport 22 return\n\t\tlimit rate")
ELEMENTS = "elements = { 192.0.2.1 expires 9s996ms, 192.0.2.2 expires 5ms }"
THESE = {
    "as we write it": ruleset(LOOK, ELSE, FILL, 'counter drop comment "x"'),
    "with a log": ruleset(LOOK, ELSE, FILL, "counter jump noted", more=LOG),
    "without link-local addresses": ruleset(LOOK, ELSE, f"ip daddr != 169.254.0.0/16 {FILL}", "drop"),
    "with elements": ruleset(LOOK, ELSE, FILL, "drop", own=f"{OWN}\n\t\t{ELEMENTS}"),
}


@pytest.mark.parametrize("text", THESE.values(), ids=THESE.keys())
def test_what_is_in_the_set_is_local(text):
    assert of_text(text, "t.nft").unmodelled == ()
    assert said(text, "input", "local") == "drop"
    assert said(text, "forward", "unicast") == "accept"


def test_and_what_is_not_may_be_anything():
    text = ruleset("ip daddr != @own accept", ELSE, FILL, "drop")
    assert said(text, "input", "local") == "drop"
    assert said(text, "forward", "unicast") == "accept"
    text = ruleset("ip daddr != @own drop", ELSE, FILL, "drop")
    assert said(text, "forward", "unicast") == "drop"


def filled(line: str, **more: str) -> str:
    return ruleset(LOOK, ELSE, line, "drop", **more)


def listed(element: str) -> str:
    return filled(FILL, own=f"{OWN}\n\t\telements = {{ {element} }}")


OTHERS = {
    "also filled with what is not local": ruleset(LOOK, FILL, "add @own { ip daddr }", "drop"),
    "also filled with sources": ruleset(LOOK, FILL, "fib daddr type local add @own { ip saddr }", "drop"),
    "filled with what is not local": filled("fib daddr type != local add @own { ip daddr }"),
    "filled with what is local or not": filled("fib daddr type { local, unicast } add @own { ip daddr }"),
    "filled with what is local to an interface": filled("fib daddr . iif type local add @own { ip daddr }"),
    "filled by the same rule, too": filled(f"add @own {{ ip saddr }} {FILL}"),
    "filled by the same rule for longer": filled(f"update @own {{ ip daddr timeout 1h }} {FILL}"),
    "renewed": filled("fib daddr type local update @own { ip daddr }"),
    "filled on the way to a verdict": filled(f"{FILL} accept"),
    "filled for longer": filled("fib daddr type local add @own { ip daddr timeout 1h }"),
    "filled by another chain": filled(FILL, more=f"\tchain d {{\n\t\t{FILL}\n\t}}\n"),
    "looked up by another chain": filled(FILL, more="\tchain d {\n\t\tip daddr @own accept\n\t}\n"),
    "looked up after that": ruleset(LOOK, FILL, "ip daddr @own accept"),
    "looked up before it is dropped": ruleset(LOOK, FILL, "ip daddr @own drop", "drop"),
    "not dropped after that": ruleset(LOOK, ELSE, FILL),
    "not always dropped after that": ruleset(LOOK, ELSE, FILL, "tcp dport 22 drop"),
    "accepted after that": ruleset(LOOK, ELSE, FILL, "accept"),
    "accepted before that": ruleset(LOOK, ELSE, FILL, "tcp dport 22 accept", "drop"),
    "in a chain that lets go": ruleset(LOOK, ELSE, FILL, "jump noted", more=LEAKY),
    "in an empty chain": ruleset(LOOK, ELSE, FILL, "jump noted", more="\tchain noted {\n\t}\n"),
    "kept for longer": filled(FILL, own=OWN.replace("10s", "1h")),
    "kept for ever": filled(FILL, own=OWN.replace(",timeout\n\t\ttimeout 10s", "")),
    "with an element for longer": listed("192.0.2.1 timeout 1h"),
    "with an element that stays longer": listed("192.0.2.1 expires 1h"),
    "with an element for who knows how long": listed("192.0.2.1 timeout soon"),
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS.keys())
def test_a_set_that_may_hold_anything_is_named(text):
    """It is filled by rules and matched by others: the model follows no such thing."""
    program = of_text(text, "t.nft")
    assert program.unmodelled
    assert said(text, "forward", "unicast") == "drop"


def test_a_set_that_only_others_fill_may_hold_anything():
    assert said(ruleset("ip daddr @own drop"), "forward", "unicast") == "drop"


@pytest.mark.parametrize(
    ("time", "own"), [("60s", True), ("1m", True), ("1m1s", False), ("1h", False), ("1d", False)]
)
def test_how_long_a_moment_is(time, own):
    text = filled(FILL, own=OWN.replace("10s", time))
    assert (said(text, "forward", "unicast") == "accept") is own


@pytest.mark.kernel
@pytest.mark.parametrize("options", [("-j",), ("-n", "-j")], ids=" ".join)
def test_as_the_kernel_lists_it(netns, options):
    text = listed("192.0.2.1")
    run("ip", "netns", "exec", netns, "nft", "-f", "-", input=text)
    listing = json.loads(run("ip", "netns", "exec", netns, "nft", *options, "list", "ruleset").stdout)
    program = of_json(listing, "live")
    packet = TO | {MEMBER: 1, "daddrtype": fields.ADDRESS_TYPES.index("unicast")}
    assert program.unmodelled == () and decide(program, "forward", packet)[0].kind == "accept"
    run("ip", "netns", "exec", netns, "nft", "add element inet t own { 192.0.2.9 timeout 1h }")
    listing = json.loads(run("ip", "netns", "exec", netns, "nft", *options, "list", "ruleset").stdout)
    assert of_json(listing, "live").unmodelled
