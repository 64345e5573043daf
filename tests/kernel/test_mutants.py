"""Wrong emitters: each text that one would write is refuted by the prover, with packets on which the kernel
does what the wrong text says and not what the policy says."""

from __future__ import annotations

import re
from random import Random

import pytest

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.model import prove
from fwpolicy.model.build import Build
from fwpolicy.model.nft import of_text
from fwpolicy.model.of_policy import of_policy

from ..golden import cases
from ..lab.drawing import Drawer, realised
from ..lab.judge import Judge, agrees
from ..property.strategies import loaded
from .test_model import no_nat

pytestmark = pytest.mark.kernel

DRAWN = 8
# Lines that differ in addresses and ports: they become a map.
MANY = "version: 1\nname: many\ninput:\n  default: drop\n  allow:\n" + "".join(
    f"    - {{service: tcp/{port}, from: 192.0.2.{port}}}\n" for port in range(20, 60)
)
ANY = "[^\n]*"
# (what is wrong, policy, hook, (pattern, instead), ...): each pattern's first occurrence.
MUTANTS = (
    ("port off by one", "database", "input", (r"@app_v4 tcp dport 5432", "@app_v4 tcp dport 5433")),
    ("port of a set off by one", "web-server-small", "input", (r"dport \{ 80, 443 \}", "dport { 80, 444 }")),
    ("end of a range off by one", "holes", "input", ("60000-61000 jump", "60000-60999 jump")),
    ("lost family guard", "web-server-small", "input", ("meta nfproto ipv4 udp sport 67", "udp sport 67")),
    (
        "wider protocol guard",
        "container-host",
        "forward",
        ("dnat meta l4proto tcp ct", "dnat meta l4proto { tcp, udp } ct"),
    ),
    ("lost negation", "ntp-server", "input", ("ip saddr != @ntp", "ip saddr @ntp")),
    ("lost hole", "holes", "input", (r"\t\tip saddr 10.0.0.66 return" + ANY + "\n", "")),
    ("lost hole of a service", "holes", "input", (r"\t\tudp dport 60500 return" + ANY + "\n", "")),
    ("wrong member of a set", "web-server-small", "input", (r"203.0.113.64/26", "203.0.113.0/26")),
    ("wrong hook", "holes", "input", ("hook input", "hook forward")),
    (
        "wrong policy of a chain",
        "holes",
        "input",
        ("policy drop", "policy accept"),
        (r"\t\tcounter name \"default_input\"" + ANY + "\n", ""),
    ),
    ("lost state related", "database", "input", ("established,related", "established")),
    ("lost invalid", "web-server-small", "input", (r"\t\tct state invalid" + ANY + "\n", "")),
    ("lost family", "database", "input", (r"\t\tip6 saddr @app_v6" + ANY + "\n", "")),
    ("longer prefix", "holes", "input", ("fe80::/10", "fe80::/12")),
    ("shorter prefix", "database", "input", ("192.0.2.0/28, ", "192.0.2.0/27, ")),
    ("wrong mode", "ntp-client", "input", ("0x7 == 0x4", "0x7 == 0x3")),
    ("accept for return", "holes", "input", (r"(@printers_v4 tcp dport \{ 22, 443 \}) return", r"\1 accept")),
    ("lost jump", "holes", "input", (r"\t\ttcp dport 23 jump" + ANY + "\n", "")),
    ("goto for jump", "holes", "input", ("@lan_v4 jump", "@lan_v4 goto")),
    ("lost element of a map", "many", "input", (r'192.0.2.31 . 31 : "[^"]*",\s*', "")),
    ("wrong element of a map", "many", "input", (r"192.0.2.31 . 31 :", "192.0.2.31 . 32 :")),
    ("another rejection", "database", "output", ("type port-unreachable", "type admin-prohibited")),
    ("drop for a reset", "database", "output", ("reject with tcp reset", "drop")),
    ("another interface", "router", "input", (r'iifname "wlan\*" tcp', 'iifname "wlan1" tcp')),
    ("pattern for a name", "router", "forward", ('iifname "eth1" oifname', 'iifname "eth1*" oifname')),
    ("source for destination port", "database", "output", (r"tcp dport \{ 80", "tcp sport { 80")),
    ("source for destination", "database", "output", ("ip daddr @replica_v4", "ip saddr @replica_v4")),
    ("drop for accept", "holes", "input", (r"(udp dport 546) accept", r"\1 drop")),
    ("lost ICMP type", "web-server-small", "input", (r"icmp type \{ 3, 11, 12 \}", "icmp type { 3, 11 }")),
    ("lost loopback", "holes", "input", (r"\t\tiif \"lo\" accept" + ANY + "\n", "")),
    (
        "swapped rules",
        "web-server-small",
        "input",
        (rf"(\t\tct state established{ANY}\n)(\t\tip saddr @abuse_v4{ANY}\n)", r"\2\1"),
    ),
    (
        "lost original port",
        "router",
        "forward",
        (r"ct status dnat ct original proto-dst 443 ", "ct status dnat "),
    ),
    ("lost published", "router", "forward", (r"ct status dnat ct original proto-dst 443 ", "")),
)


@pytest.fixture(scope="module")
def judge():
    with Judge() as found:
        yield found


def policy_of(case: str):
    return loaded(MANY) if case == "many" else cases.policy(case)


def emitted(case: str) -> str:
    if case == "many":
        return render(compile_ruleset(loaded(MANY)), "many").text
    return cases.rendered(case)


def refuting(programs, hook: str, random: Random):
    """Packets on which the two programs differ, drawn like all others."""
    build = Build(programs, hook)
    roots = build.outcome(0), build.outcome(1)
    impossible = build.terminal("impossible")
    differ = build.diagrams.pairs(
        *roots, lambda one, other: impossible if build.kind(one) == build.kind(other) else other
    )
    if differ == impossible:
        return []
    drawer = Drawer(build, differ, random)
    drawn = (drawer.packet() for _ in range(DRAWN))
    return [(hook, realised(hook, packet)) for packet in drawn if packet is not None]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant[0])
def test_a_wrong_emitter_is_refuted(judge, mutant):
    what, case, hook, *changes = mutant
    right = text = emitted(case)
    for pattern, instead in changes:
        text, count = re.subn(pattern, instead, text, count=1)
        assert count == 1, f"{what}: {pattern} is nowhere in {case}"
    says, does, wrong = of_policy(policy_of(case)), of_text(right, "right.nft"), of_text(text, "wrong.nft")
    assert prove.difference(says, does, hook) is None
    assert prove.difference(says, wrong, hook) is not None
    judge.load(text + no_nat(wrong))
    questions = judge.ask(refuting((says, wrong), hook, Random(0)), (says, wrong))
    assert questions, "no packet of those that differ can be sent"
    for question in questions:
        assert agrees(question.said[1], question), question
    assert any(not agrees(question.said[0], question) for question in questions), questions
