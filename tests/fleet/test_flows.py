"""What may talk to what: each cell against single packets, decided the slow way."""

from __future__ import annotations

import pytest

from fwpolicy.fleet.flows import ALL, MOST_SERVICES, NONE, PART, REST, UNSAID, flows
from fwpolicy.fleet.openings import openings
from fwpolicy.fleet.places import places
from fwpolicy.fleet.unit import Reading
from fwpolicy.model.concrete import to_fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.packet import parse_packet
from fwpolicy.model.reach import fixed_new
from fwpolicy.policy.load import gather
from fwpolicy.policy.resolve import resolve
from fwpolicy.policy.vocabulary import vocabulary

NOW = 1_790_000_000
SERVER = """\
version: 1
groups:
  admin: [192.0.2.0/28]
  desks: [10.20.0.0/16, "2001:db8:20::/48"]
  bad: [203.0.113.0/24]
roles: {ntp: client-only}
input:
  default: drop
  allow:
    - {service: ssh, from: admin}
    - {service: https}
    - {service: tcp/8088, from: desks, except: {from: 10.20.9.0/24}}
    - {service: tcp/8089, from: desks, expires: 2026-01-31}
    - {service: dns, limit: 10/second}
  block:
    - {from: bad}
output: {default: drop, allow: [{service: https, to: desks}]}
"""
ROUTER = """\
version: 1
zones: {wan: eth0, lan: [eth1, "wlan*"], dmz: eth2}
input: {default: drop, allow: [{service: dns, in: lan}]}
forward:
  default: drop
  allow:
    - {in: lan, out: wan}
    - {service: https, in: wan, out: dmz, to: 192.0.2.10}
  block:
    - {service: smtp, in: lan}
nat:
  masquerade: [{out: wan, family: ipv4}]
  forward: [{in: wan, service: http, to: 192.0.2.11, port: 8080}]
"""


def read(text: str):
    sources = gather((("p.yaml", text.encode()),), None, NOW)
    return resolve(sources, None), vocabulary(sources, None)


def told(text: str) -> dict[tuple[str, str, str], dict[str, object]]:
    """(hook, start, service) -> cells by place."""
    policy, names = read(text)
    known = places([names])
    return {
        (flow.hook, flow.start, flow.service): dict(zip((p.name for p in known), flow.cells, strict=True))
        for flow in flows(policy, names, known, NOW)
    }


def extents(cells) -> dict[str, str]:
    return {name: cell.extent for name, cell in cells.items()}


def test_a_server():
    found = told(SERVER)
    assert extents(found["input", "", "ssh"]) == {"internet": NONE, "admin": ALL, "desks": NONE, "bad": NONE}
    assert extents(found["input", "", "https"]) == {"internet": ALL, "admin": ALL, "desks": ALL, "bad": NONE}
    part = found["input", "", "tcp/8088"]["desks"]
    assert part.extent == PART
    assert part.words == ("IPv6", "from {10.20.0.0/21, 10.20.8.0/24, 10.20.10.0-10.20.255.255}")
    # It ended before now.
    assert set(extents(found["input", "", "tcp/8089"]).values()) == {NONE}
    limited = found["input", "", "dns"]["internet"]
    assert (limited.extent, limited.limited) == (ALL, True)
    assert not found["input", "", "https"]["internet"].limited
    assert set(extents(found["input", "", REST]).values()) == {NONE}
    assert set(extents(found["input", "", "ntp"]).values()) == {NONE}
    assert extents(found["output", "", "https"]) == {
        "internet": NONE,
        "admin": NONE,
        "desks": ALL,
        "bad": NONE,
    }
    assert extents(found["output", "", "ntp"])["internet"] == ALL


def test_a_router_is_told_from_zone_to_zone():
    found = told(ROUTER)
    assert extents(found["input", "", "dns"]) == {"internet": PART, "wan": NONE, "lan": ALL, "dmz": NONE}
    assert extents(found["forward", "lan", REST])["wan"] == PART  # but for smtp
    assert extents(found["forward", "lan", "https"])["wan"] == ALL
    assert extents(found["forward", "lan", "https"])["lan"] == NONE
    published = found["forward", "wan", "https"]["dmz"]
    assert (published.extent, published.words) == (PART, ("to 192.0.2.10",))
    assert extents(found["forward", "dmz", "https"])["wan"] == NONE
    redirected = found["forward", "wan", "http redirected to 192.0.2.11 port 8080"]
    assert redirected["dmz"].extent == ALL
    assert found["forward", "lan", "https"]["internet"].extent == UNSAID


def test_a_policy_without_input_leaves_it_open():
    found = told("version: 1\nroles: {ntp: client-only}\n")
    assert extents(found["input", "", "ntp"]) == {"internet": NONE}
    rest = found["input", "", REST]["internet"]
    # All but what the role closes: NTS and chrony's control port.
    assert rest.extent == PART and "tcp/{0-4459,4461-65535}" in rest.words


@pytest.mark.parametrize(
    ("service", "place", "packets"),
    [
        ("ssh", "admin", ("tcp/22 from 192.0.2.5",)),
        ("https", "internet", ("tcp/443 from 198.51.101.7", "tcp/443 from 2600::7")),
        ("tcp/8088", "desks", ("tcp/8088 from 10.20.9.7", "tcp/8088 from 10.20.8.7")),
        ("https", "bad", ("tcp/443 from 203.0.113.9",)),
        (REST, "desks", ("tcp/9999 from 10.20.0.7", "udp/514 from 2001:db8:20::7", "ip/47 from 10.20.0.7")),
    ],
)
def test_cells_against_single_packets(service, place, packets):
    """Of a part some packet passes and another does not; of all and of nothing each does the same."""
    policy, _ = read(SERVER)
    program = of_policy(policy)
    ends = set()
    for text in packets:
        packet = fixed_new((program,), NOW) | to_fields(parse_packet(f"input {text}")) | {"time": NOW}
        ends.add(decide(program, "input", packet)[0].kind == "accept")
    expected = {ALL: {True}, NONE: {False}, PART: {True, False}}
    assert ends == expected[told(SERVER)["input", "", service][place].extent]


def test_a_name_that_means_one_thing_in_the_fleet_is_asked_of_everybody():
    policy, names = read(SERVER)
    _other, others = read(
        "version: 1\ngroups: {phones: [10.30.0.0/16]}\ninput: {default: drop, allow: [https]}\n"
    )
    known = places([names, others])
    found = {flow.service: flow for flow in flows(policy, names, known, NOW) if flow.hook == "input"}
    by_name = dict(zip((p.name for p in known), found["https"].cells, strict=True))
    assert by_name["phones"].extent == ALL
    _third, thirds = read(
        "version: 1\ngroups: {phones: [10.99.0.0/16]}\ninput: {default: drop, allow: [https]}\n"
    )
    known = places([names, others, thirds])
    found = {flow.service: flow for flow in flows(policy, names, known, NOW) if flow.hook == "input"}
    assert dict(zip((p.name for p in known), found["https"].cells, strict=True))["phones"].extent == UNSAID


def test_of_very_many_services_some_are_anything_else():
    lines = "".join(f"    - tcp/{20000 + 2 * number}\n" for number in range(2 * MOST_SERVICES))
    found = told(f"version: 1\ninput:\n  default: drop\n  allow:\n{lines}")
    asked = [service for hook, _, service in found if hook == "input"]
    assert len(asked) == MOST_SERVICES + 2
    rest = found["input", "", REST]["internet"]
    assert rest.extent == PART and f"{20000 + 2 * MOST_SERVICES}" in rest.words[0]


class _Tree:
    def read(self, name: str) -> bytes:
        return {"p.yaml": SERVER.encode(), "r.yaml": ROUTER.encode()}[name]


def risky(text: str):
    policy, names = read(text)
    return list(openings(policy, of_policy(policy), names, Reading(_Tree()), NOW))


def test_openings_say_how_risky_and_because_of_which_line():
    found = {each.at: each for each in risky(SERVER)}
    assert found["p.yaml:11"].level == 2 and found["p.yaml:11"].risks == ("from the Internet",)
    assert found["p.yaml:10"].level == 1 and found["p.yaml:10"].risks == ("administrative: ssh",)
    assert found["p.yaml:10"].by == "p.yaml:10: - {service: ssh, from: admin}"
    assert "p.yaml:13" not in found  # over
    opened = SERVER.replace("{service: ssh, from: admin}", "ssh")
    assert max(each.level for each in risky(opened)) == 3


def test_what_comes_from_the_inside_of_a_translating_router_is_not_from_the_internet():
    found = {each.at: each for each in risky(ROUTER)}
    assert found["p.yaml:7"].level == 1
    assert found["p.yaml:8"].level == 2
    without = ROUTER[: ROUTER.index("nat:")]
    assert {each.at: each.level for each in risky(without)}["p.yaml:7"] == 3


def test_a_policy_without_input_is_the_riskiest():
    (found,) = risky("version: 1\nroles: {ntp: client-only}\n")
    assert (found.level, found.at, found.by) == (3, "", "nobody: the policy leaves it to others")
