"""What is emitted stays within the words of iptables 1.4.7, which its own help and its source have."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from fwpolicy.deploy import xtproof
from tests.golden import cases
from tests.property.strategies import loaded

if TYPE_CHECKING:
    from collections.abc import Iterator

RULE = {"-A", "-I", "-s", "-d", "-i", "-o", "-p"}
# By match and target; what is missing here has to be looked up, and tried with a 1.4.7, first.
WORDS = {
    "addrtype": {"--dst-type", "--limit-iface-in"},
    "comment": {"--comment"},
    "connlimit": {"--connlimit-above", "--connlimit-mask"},
    "conntrack": {"--ctstate", "--ctorigdst", "--ctorigdstport"},
    "hashlimit": {f"--hashlimit-{word}" for word in ("upto", "burst", "mode", "srcmask", "name")}
    | {f"--hashlimit-htable-{word}" for word in ("size", "max", "expire")},
    "icmp": {"--icmp-type"},
    "icmp6": {"--icmpv6-type"},
    "iprange": {"--src-range", "--dst-range"},
    "limit": {"--limit", "--limit-burst"},
    "multiport": {"--sports", "--dports"},
    "set": {"--match-set"},
    "tcp": {"--sport", "--dport", "--tcp-flags"},
    "time": {"--datestart", "--datestop", "--utc"},
    "u32": {"--u32"},
    "udp": {"--sport", "--dport"},
    "DNAT": {"--to-destination"},
    "DROP": set(),
    "LOG": {"--log-prefix", "--log-level"},
    "MASQUERADE": set(),
    "NFLOG": {"--nflog-group", "--nflog-prefix"},
    "REJECT": {"--reject-with"},
    "RETURN": set(),
    "SNAT": {"--to-source"},
    "TCPMSS": {"--clamp-mss-to-pmtu"},
}
# What no golden case says.
RARE = """\
version: 1
name: rare
zones: {wan: eth0, lan: eth1}
log: {group: 5}
input:
  default: drop
  allow:
    - {service: ssh, log: true}
    - {service: tcp/8080, expires: 2030-01-01}
    - {service: tcp/25, sport: 1024-65535, limit: 3/minute, family: ipv4}
    - {service: http, published: true, local: 198.51.100.9}
forward: {default: drop}
nat:
  snat: [{out: wan, from: 192.168.2.0/24, to: 198.51.100.9}]
"""


def foreign(text: str) -> Iterator[str]:
    """Words of a restore text that 1.4.7 does not know."""
    for line in text.splitlines():
        if line.startswith("-"):
            yield from _foreign(shlex.split(line), line)


def _foreign(words: list[str], line: str) -> Iterator[str]:
    known = RULE
    names = iter(words)
    for word in names:
        if word in ("-m", "-j", "-g"):
            name = next(names)
            known = RULE | WORDS.get(name, set())
            if name not in WORDS and not name.startswith("FWPOLICY"):
                yield f"{name}: {line}"
        elif word.startswith("-") and not word.lstrip("-").isdigit() and word not in known:
            yield f"{word}: {line}"


@pytest.mark.parametrize("case", cases.SAID)
def test_golden_cases_say_what_1_4_7_knows(case: str) -> None:
    for artifact in cases.iptables(case).rules:
        assert list(foreign(artifact.text)) == []


def test_so_does_what_they_leave_out() -> None:
    texts = xtproof.compiled(loaded(RARE))
    said = "".join(artifact.text for artifact in texts.rules)
    assert list(foreign(said)) == []
    for word in ("NFLOG", "SNAT", "--datestop", "--sport"):
        assert word in said


def test_a_word_of_later_ones_is_found() -> None:
    later = "-A INPUT -m connlimit --connlimit-upto 3 -m bpf --bytecode 1 -j DROP\n-A FWPOLICY-X -j CT\n"
    assert [each.partition(":")[0] for each in foreign(later)] == [
        "--connlimit-upto",
        "bpf",
        "--bytecode",
        "CT",
    ]
