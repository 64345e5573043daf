"""The two backends as what mutants are made of: their code, policies that meet it, and how what is written
is read and loaded."""

from __future__ import annotations

from functools import cached_property

from fwpolicy.backends.iptables.refusal import Dialect
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import UNKNOWN, compile_ruleset
from fwpolicy.deploy import xtproof
from fwpolicy.deploy.proof import OURS, refuse_unmodelled
from fwpolicy.host.libnftables import RefusedError
from fwpolicy.model.nft import of_text
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.pairing import paired
from fwpolicy.model.program import ALWAYS, with_literal

from ..compiler.passes.cases import DISPATCH, MERGE, PREFIXHASH, VERDICTMAP
from ..golden import cases
from ..lab.emitters import Emitters, NotLoadedError
from ..lab.holder import CommandError
from ..property.strategies import loaded
from .test_iptables_golden import restores
from .test_model import NAT, XTABLES, no_nat

# Names of counters and chains come from `compiler/names.py`, which changes no verdict.
COMPILER = "lower lines matches denial sets nat ntp"
PASSES = "chains conflicts dispatch keys merge prefixhash verdictmap"
# `reload` writes for hosts that have some of it already.
IPTABLES = "addresses apart disjoint flow matches memory names old render sets shared steps targets"
# Policies for the passes, which change little of the golden ones.
PASSED = {"merge": MERGE, "verdictmap": VERDICTMAP, "dispatch": DISPATCH, "prefixhash": PREFIXHASH}
MANY4 = ", ".join(f"198.51.{number}.0/24" for number in range(0, 40, 2))
MANY6 = ", ".join(f'"2001:db8:{number:x}::/48"' for number in range(0, 40, 2))
PORTS = ", ".join(f"tcp/{port}" for port in range(1000, 1034, 2))
# What takes iptables sets, chains and rules that the golden policies have no use for.
WIDE = f"""version: 1
name: wide
groups:
  many: [{MANY4}, {MANY6}, 203.0.113.7-203.0.113.90]
  few: [192.0.2.0/24, 198.51.100.8-198.51.100.11, "2001:db8:a::/64"]
zones: {{wan: eth0, lan: [eth1, "wg*"], odd: [wg0, "e*", wlan0]}}
input:
  default: reject
  allow:
    - {{service: ssh, from: many}}
    - {{service: [{PORTS}], in: lan, except: [{{in: odd, service: tcp/1000-1010}}, {{from: many}}]}}
    - {{service: [dns, ping], in: odd, except: [{{in: wan}}, {{service: ping, from: few}}]}}
    - {{service: icmp/13, from: few, except: {{service: ssh, from: 10.0.0.0/8}}}}
    - {{service: http, family: ipv4, limit: 6/minute, max: 9}}
    - {{service: https, limit: 20/minute, per: source}}
    - {{service: tcp/8080, published: true, from: few, local: 192.0.2.1, expires: 2027-01-31}}
  block:
    - {{from: 203.0.113.9, action: reject, log: a prefix}}
nat:
  forward:
    - {{in: odd, service: tcp/22, to: 10.1.2.3, from: few, hairpin: true}}
    - {{in: lan, service: tcp/80, to: 10.1.2.3, port: 443, hairpin: true}}
"""
# Lines with holes that other lines are about: where their packets may go on.
APART = """version: 1
name: apart
zones: {lan: [eth1, "wg*"], wan: eth0, vpn: wg0}
input:
  default: drop
  allow:
    - {from: 10.0.0.0/8, except: {from: 10.1.0.0/16}}
    - {from: 192.0.2.0/24, except: {from: 192.0.2.7}}
    - {from: "2001:db8::/32", family: ipv6, except: {service: ssh}}
    - {service: ssh, family: ipv4, except: {from: 203.0.113.0/24}}
    - {service: ssh, from: 203.0.113.0/28}
    - {in: lan, except: {service: [dns, ping]}}
    - {in: wan, service: dns, except: {from: 10.1.2.0/24}}
    - {in: vpn, service: ping}
"""


def within(package: str, names: str) -> list[str]:
    return [f"fwpolicy.{package}.{name}" for name in names.split()]


class OfNft(Emitters):
    """The compiler, its passes, and the backend."""

    share = 1

    def __init__(self) -> None:
        self.modules = [
            *within("compiler", COMPILER),
            *within("compiler.passes", PASSES),
            *within("backends.nft", "render expressions words"),
        ]
        self.policies = {case: cases.policy(case) for case in cases.CASES} | PASSED

    def emit(self, case):
        facts = cases.facts(case) if case in cases.CASES else UNKNOWN
        return render(compile_ruleset(self.policies[case], facts), case)

    def texts(self, emitted):
        return (emitted.text,)

    def program(self, emitted, says):
        origins = dict(emitted.origins)
        read = of_text(emitted.text, "wrong.nft")
        return paired(read, says, f"{OURS} ", lambda rule: origins.get(rule.where.line))

    def load(self, judge, found):
        try:
            judge.load(found.emitted.text + no_nat(found.program))
        except RefusedError as error:
            raise NotLoadedError from error
        return {}


class OfIptables(Emitters):
    """The backend, for both variants in turn."""

    share = 2

    def __init__(self) -> None:
        self.modules = within("backends.iptables", IPTABLES)
        # Without the u32 match the NTP mode is any mode, in the policy too.
        self._old = {f"{case}, old": cases.policy(case) for case in ("ntp-client", "ntp-server")}
        self.policies = {case: cases.policy(case) for case in cases.SAID} | self._old
        self.policies |= {"wide": loaded(WIDE), "apart": loaded(APART)}

    def emit(self, case):
        facts = cases.facts(case) if case in cases.SAID else UNKNOWN
        texts = xtproof.compiled(self.policies[case], facts, Dialect(u32=case not in self._old))
        _four, _six = texts.rules
        return texts

    def texts(self, emitted):
        return tuple(each.text for each in emitted.all)

    @cached_property
    def says(self):
        wanted = {case: of_policy(policy) for case, policy in self.policies.items()}
        return wanted | {case: with_literal(wanted[case], "ntpmode", ALWAYS) for case in self._old}

    def program(self, emitted, says):
        read = xtproof.program_of(emitted)
        refuse_unmodelled(read)
        return xtproof.named(read, says, emitted)

    def load(self, judge, found):
        variant = ("legacy", "nft")[len(self.right[found.case][-1]) % 2]
        texts = [(command, NAT.sub("", given)) for command, given in restores(found.emitted, variant)]
        try:
            judge.load("", texts)
        except CommandError as error:
            raise NotLoadedError from error
        return XTABLES[variant]
