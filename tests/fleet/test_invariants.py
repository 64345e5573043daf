"""Rules about rules: what they say, what they refuse, and that they hold for every packet or show one."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fwpolicy.cli import main
from fwpolicy.errors import PolicyError
from fwpolicy.fleet import judging
from fwpolicy.fleet.invariants import load
from fwpolicy.fleet.judge import region, violations
from fwpolicy.model import hooks
from fwpolicy.model.concrete import to_fields
from fwpolicy.model.decide import decide
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.packet import Packet, parse_packet
from fwpolicy.model.program import holds
from fwpolicy.record import replace
from tests.fleet.conftest import BASE, DB, INVENTORY, WEB
from tests.policy.reading import read
from tests.property.strategies import loaded, policy_texts, sample

KNOWN = ("all", "web", "web-01")
DAY = 86400


def nothing(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", path)


def invariants(text: str, read_file=nothing):
    return load("rules.yaml", f"version: 1\n{text}".encode(), read_file, KNOWN)


def broken(policy: str, text: str, now: int = 0) -> list[str]:
    """The packets that show what does not hold."""
    found = violations(read(f"version: 1\n{policy}"), invariants(text), now)
    return [str(each.packet) for each in found]


def shown(policy: str, text: str, now: int = 0) -> str:
    (packet,) = broken(policy, text, now)
    return packet


SSH = "input: {default: drop, allow: [{service: ssh, from: 192.0.2.0/24}]}\n"


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (SSH, "never: {allow: ssh, from: internet}"),
        (SSH, "always: {allow: ssh, from: 192.0.2.0/24}"),
        (SSH, "never: [{allow: any, from: any, except: {allow: ssh, from: 192.0.2.0/24}}]"),
        (SSH, "never: {allow: [ntp, telnet, tcp/1024-65535], from: any}"),
        ("roles: {ntp: client-only}", "never: {allow: ntp, from: any}"),
        ("roles: {ntp: client-only}", "always: {allow: ntp, to: any}"),
        ("input: {default: accept, block: [telnet]}", "never: {allow: telnet, from: any}"),
        (
            "input: {default: drop, allow: [{service: ssh, limit: 5/minute}]}",
            "always: {allow: ssh, from: any}",
        ),
        (
            "groups: {b: {dynamic: 1h}}\ninput: {default: drop, allow: [ssh], block: [{from: b}]}",
            "always: {allow: ssh, from: any}",
        ),
        ("forward: {default: drop}", "never: {allow: any, from: any, to: any}"),
        (
            "zones: {wan: eth0, lan: eth1}\nforward: {default: drop, allow: [{in: lan, out: wan}]}",
            "zones: {outside: eth0}\nnever: {allow: any, from: any, to: any, in: outside}",
        ),
    ],
)
def test_what_holds(policy, text):
    assert broken(policy, text) == []


@pytest.mark.parametrize(
    ("policy", "text", "packet"),
    [
        (SSH, "always: {allow: ssh, from: 192.0.0.0/16}", "input tcp/22 from 192.0.0.1:40000 "),
        (SSH, "always: {allow: http, from: 192.0.2.0/24}", "input tcp/80 from 192.0.2.1:40000 "),
        (SSH, "never: {allow: ssh, from: 192.0.2.200}", "input tcp/22 from 192.0.2.200:40000 "),
        # One source port in all, one address of a billion.
        (
            "input: {default: drop, allow: [{service: udp/500, sport: 7, from: 8.8.8.8}]}",
            "never: {allow: udp, from: internet}",
            "input udp/500 from 8.8.8.8:7 ",
        ),
        # An absent section leaves everything to others.
        ("output: {default: accept}", "never: {allow: telnet, from: internet}", "input tcp/23 from 1.0.0.1:"),
        # A line with a limit lets through what is within it, a group filled at run time its members.
        (
            "input: {default: drop, allow: [{service: ssh, limit: 1/day}]}",
            "never: {allow: ssh, from: internet}",
            "input tcp/22 from 1.0.0.1:40000 ",
        ),
        (
            "groups: {friend: {dynamic: 1h}}\ninput: {default: drop, allow: [{service: ssh, from: friend}]}",
            "never: {allow: ssh, from: internet}",
            "source-in friend",
        ),
        # What every policy lets through counts where it is named.
        (SSH, "never: {allow: icmp/3, from: any}", "input icmp/3 "),
        # The hole of one is not the hole of all.
        (SSH, "never: {allow: any, from: any, except: {allow: http}}", "input tcp/22 "),
        (
            "input: {default: drop, allow: [ssh], block: [{from: 198.51.100.0/24}]}",
            "always: {allow: ssh, from: any}",
            "from 198.51.100.",
        ),
        (
            "input: {default: drop, allow: [ssh]}",
            "never: {allow: ssh, from: '2000::/3'}",
            "input tcp/22 from [2001:db8:bad::9]",
        ),
    ],
)
def test_what_does_not_hold_is_shown(policy, text, packet):
    assert packet in shown(policy, text)


def test_lines_that_end():
    policy = "input: {default: drop, allow: [{service: telnet, expires: 2027-01-31}]}"
    never, always = "never: {allow: telnet, from: any}", "always: {allow: telnet, from: any}"
    assert "input tcp/23" in shown(policy, never, 20000 * DAY)
    assert broken(policy, never, 20850 * DAY) == []  # February 2027
    assert "at 2027-02-01" in shown(policy, always, 20000 * DAY)
    assert broken("input: {default: accept, block: [{service: telnet, expires: 2027-01-31}]}", never) != []


def problems(text: str, read_file=nothing) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        invariants(text, read_file)
    return [f"{each.span.line}:{each.span.column}: {each.message}" for each in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: {a: [192.0.2.1]}", ["1:1: nothing is never or always"]),
        ("nevr: {allow: ssh, from: any}", ["2:1: unknown key 'nevr' in a file of invariants"]),
        ("never: []", ["2:8: 'never' is an empty list"]),
        ("never: [ssh]", ["2:9: a line of 'never' must be a mapping (KEY: VALUE), not 'ssh'"]),
        ("never: {from: any}", ["2:8: a line of 'never' says what, as in: allow: ssh"]),
        ("never: {allow: ssh}", ["2:8: the line needs 'from' (input), 'to' (output), or both (forward)"]),
        ("never: {deny: ssh, from: any}", ["2:9: unknown key 'deny' in a line of 'never'"]),
        ("never: {allow: shh, from: any}", ["2:16: unknown service 'shh'"]),
        ("never: {allow: [any, ssh], from: any}", ["2:16: 'any' stands alone: it is everything"]),
        ("never: {allow: ssh, from: admin}", ["2:27: 'admin' is neither an address nor a group"]),
        (
            "never: {allow: ssh, from: any, out: wan}",
            ["2:32: 'out' does not belong in a line of input", "2:37: zone 'wan' is not declared"],
        ),
        ("never: {allow: ssh, from: any, in: wan}", ["2:36: zone 'wan' is not declared"]),
        ("never: {allow: any, from: any, sport: 1}", ["2:8: 'sport' needs a 'service' beside it"]),
        (
            "never: {allow: ssh, from: any, hosts: wbe}",
            ["2:39: 'wbe' is neither a group nor a host of the inventory"],
        ),
        (
            "never: {allow: ssh, from: any, except: {}}",
            ["2:40: 'except' is empty: it would except everything"],
        ),
        ("never: {allow: ssh, from: any, except: {to: any}}", ["2:41: 'to' does not belong in 'except'"]),
        ("never: {allow: icmp/8, from: '2001:db8::1'}", ["2:8: no packet is what this line is about"]),
        (
            "never: {allow: ssh, from: 192.0.2.1, to: '2001:db8::1'}",
            ["2:8: no packet is what this line is about"],
        ),
        (
            "groups: {b: {dynamic: 1h}}\nnever: {allow: ssh, from: b}",
            ["3:27: the members of 'b' are known at run time only"],
        ),
        (
            "include: [groups.yaml]\nnever: {allow: ssh, from: any}",
            ["2:11: cannot read groups.yaml: No such file or directory"],
        ),
        ("", ["1:1: nothing is never or always"]),
    ],
)
def test_refusals_at_their_places(text, said):
    assert problems(text) == said


def test_names_are_its_own(fleet, capsys):
    """A policy that calls nobody `admin` weakens no rule about admin."""
    fleet.write(
        inventory=INVENTORY.replace("all:\n", "all:\n  vars: {fwpolicy_invariants: rules.yaml}\n", 1),
        groups="groups: {admin: [192.0.2.0/24]}\n",
        rules="version: 1\ninclude: [groups.yaml]\nalways: {allow: ssh, from: admin}\n",
        policies__base=BASE.replace("input:", "groups: {admin: [192.0.2.0/25]}\ninput:").replace(
            "192.0.2.0/24", "admin"
        ),
    )
    assert main(["check", "--all"]) == 3
    said = capsys.readouterr().err
    assert "rules.yaml:3:9: error: this must always be let through, and is not" in said
    assert "packet: input tcp/22 from 192.0.2.129:40000" in said
    assert "stopped by policies/base.yaml:4: input:" in said and "on all (5 hosts)" in said


def rules(fleet, text: str) -> None:
    inventory = INVENTORY.replace("all:\n", "all:\n  vars: {fwpolicy_invariants: [rules.yaml]}\n", 1)
    fleet.write(inventory=inventory, rules=f"version: 1\n{text}")


def test_a_violation_fails_with_packet_line_and_hosts(fleet, capsys):
    rules(
        fleet,
        "never:\n  - {allow: https, from: internet, hosts: [db, web-02]}\n  - {allow: telnet, from: any}\n",
    )
    assert main(["check", "--all"]) == 3
    assert capsys.readouterr().err == (
        "rules.yaml:3:5: error: this must never be let through, and is\n"
        "    - {allow: https, from: internet, hosts: [db, web-02]}\n"
        "      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "  hint: packet: input tcp/443 from 1.0.0.1:40000 to 192.0.2.1 state new\n"
        "        let through by policies/web.yaml:2: input: {allow: [https]}\n"
        "  on web-02\n"
    )
    assert main(["check", "--all", "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    (found,) = report["invariants"]["broken"]
    assert report["ok"] is False and report["invariants"]["number"] == 2 and found["hosts"] == ["web-02"]
    assert found["at"] == {"file": "rules.yaml", "line": 3, "column": 5}
    assert main(["compile", "--all", "-o", "build"]) == 3
    assert not (fleet.path / "build").exists()
    rules(fleet, "never: {allow: https, from: internet, hosts: db}\n")
    assert main(["check", "--all"]) == 0
    assert "1 invariant proved" in capsys.readouterr().out


def test_wrong_invariants_are_an_error(fleet, capsys):
    rules(fleet, "never: {allow: https, from: intrenet}\n")
    assert main(["check", "--all"]) == 1
    assert "rules.yaml:2:29: error: 'intrenet' is neither an address nor a group" in capsys.readouterr().err
    (fleet.path / "rules.yaml").unlink()
    assert main(["check", "--all"]) == 1
    assert "inventory.yaml:2:32: error: cannot read rules.yaml" in capsys.readouterr().err


def test_an_invariant_about_nobody_is_an_error(fleet, capsys):
    rules(fleet, "never: {allow: telnet, from: any, hosts: old}\n")
    inventory = (fleet.path / "inventory.yaml").read_text()
    fleet.write(inventory=inventory + "    old:\n      hosts: {old-01: }\n")
    assert main(["check", "--all"]) == 1
    assert "rules.yaml:2:8: error: no host that this line is about has a policy" in capsys.readouterr().err


def test_what_held_is_kept_with_its_rules_and_its_day(fleet, monkeypatch):
    judged = []
    real = judging.violations

    def watched(policy, *rest):
        judged.append(policy.name)
        return real(policy, *rest)

    monkeypatch.setattr(judging, "violations", watched)
    monkeypatch.setattr("fwpolicy.host.workers.processors", lambda: 1)

    def count() -> int:
        judged.clear()
        assert main(["check", "--all", "--quiet"]) == 0
        return len(judged)

    rules(fleet, "never: {allow: telnet, from: any}\nalways: {allow: ssh, from: 192.0.2.7, hosts: db}\n")
    assert (count(), count()) == (3, 0)
    fleet.write(policies__db=DB.replace("5432", "5433"))
    assert count() == 1
    rules(fleet, "never: {allow: telnet, from: internet}\n")
    assert (count(), count()) == (3, 0)
    fleet.write(policies__web=WEB.replace("[https]", "[{service: https, expires: 2040-01-31}]"))
    assert (count(), count()) == (1, 0)
    tomorrow = time.time() + DAY
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    assert count() == 1


POOL = (
    "never: {allow: ssh, from: any}",
    "never: {allow: any, from: 10.1.2.0/24, except: [{allow: ssh}, {from: 10.1.2.3}]}",
    "never: {allow: [dns, ntp, tcp/1-1023], from: '2001:db8::/32'}",
    "always: {allow: https, from: 10.0.0.0/8}",
    "always: {allow: ping, from: any}",
    "never: {allow: udp/100-200, to: any}",
    "always: {allow: dns, to: 192.0.2.7}",
    "never: {allow: tcp, from: any, to: 10.0.0.0/8}",
    "always: {allow: tcp/443, from: 203.0.113.9, to: any}",
    "zones: {wan: eth0, wide: 'e*'}\nnever: {allow: any, from: any, in: wide, except: {in: wan}}",
)


def ordinary(packet: Packet) -> Packet:
    """As most invariants have it."""
    usual = {"state": "new", "loopback": False, "spent": False, "published": None}
    return replace(packet, **usual, source_in=(), destination_in=())


def test_what_is_proved_is_so_packet_by_packet():
    """Beside the language's own reading of a single packet, on random policies."""
    rules_of = [each for text in POOL for each in invariants(text)]
    met = Counter()

    @settings(
        max_examples=60,
        derandomize=True,
        phases=(Phase.generate,),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(policy_texts(), st.integers(0, 2**32))
    def run(text, seed):
        try:
            policy = loaded(text)
        except PolicyError:
            return
        program = of_policy(policy)
        found = {each.number: each for each in violations(policy, rules_of, 0)}
        for each in found.values():
            packet = parse_packet(each.packet)
            accepts = decide(policy, packet).verdict in ("accept", "undecided")
            assert accepts != rules_of[each.number].always, (text, each.packet)
            met["shown"] += 1
        regions = {number: region(each, program, 0) for number, each in enumerate(rules_of)}
        for packet in (ordinary(each) for each in sample(policy, seed, 120)):
            values = to_fields(packet, () if packet.spent else program.limiters)
            if not holds(hooks.possible(packet.hook), values):
                continue
            for number, each in enumerate(rules_of):
                if number in found or each.hook != packet.hook or not holds(regions[number], values):
                    continue
                accepts = decide(policy, packet).verdict in ("accept", "undecided")
                assert accepts == each.always, (text, str(packet), POOL[number])
                met["held"] += 1

    run()
    assert met["shown"] > 200 and met["held"] > 200, met


def test_a_zone_of_other_interfaces_is_a_warning(fleet, capsys):
    """What the line says of `wan` it does not say of the host's."""
    rules = "version: 1\nzones: {wan: eth0}\nnever: {allow: tcp/3389, from: any, in: wan}\n"
    inventory = "all:\n  vars: {fwpolicy_invariants: rules.yaml}\n" + INVENTORY.removeprefix("all:\n")
    inventory = inventory.replace("web-[01:03]:", "web-[01:03]: {fwpolicy_zones: {wan: ens3}}")
    web = "version: 1\ninput: {allow: [{service: tcp/3389, in: wan}]}\n"
    fleet.write(inventory=inventory, rules=rules, policies__web=web)
    for _ in range(2):  # what is doubtful is not kept as if it held
        assert main(["check", "--all"]) == 0
        assert "rules.yaml:3:8: warning: zone 'wan' is eth0 here, and ens3 on these hosts\n" in (
            said := capsys.readouterr().err
        )
        assert "hint: zones: {wan: [eth0, ens3]}" in said and "  on web (3 hosts)\n" in said
    assert main(["check", "--all", "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["invariants"]["warnings"]
    assert warning["hosts"] == ["web-01", "web-02", "web-03"]
    for zone in ("[eth0, ens3]", "e*"):
        fleet.write(rules=rules.replace("{wan: eth0}", f"{{wan: {zone}}}"))
        assert main(["check", "--all"]) == 3
        assert "warning" not in capsys.readouterr().err
