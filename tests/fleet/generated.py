"""A repository of policies as a company might have it, of any size; the same one for the same numbers."""

from __future__ import annotations

import random
import sys
from pathlib import Path

BASE = """\
version: 1
name: base
include: [../groups.yaml]
roles: {ntp: client-only}
input:
  default: drop
  allow:
    - {service: ssh, from: admin, id: admin-ssh}
    - {service: metrics, from: monitoring}
    - {service: ping, limit: 10/second, burst: 20, per: source}
  block:
    - {from: [blocklist, blocked], comment: abuse feed}
output: {default: accept}
tests:
  - {allow: ssh, from: 192.0.2.10}
  - {deny: ssh, from: 203.0.113.9}
  - {deny: ntp, from: any, mode: "7"}
"""
GROUPS = """\
groups:
  admin: [192.0.2.0/24, "2001:db8:1::/48"]
  monitoring: [198.51.100.16/28, "2001:db8:2::/64"]
  offices: [198.51.100.128/25, 10.20.0.0/16, "2001:db8:3::/48"]
  blocked: ["2001:db8:bad::/48"]
  blocklist: {file: feeds/drop.txt}
services: {metrics: tcp/9100}
"""
INVARIANTS = """\
version: 1
include: [groups.yaml]
never:
  - {allow: ntp, from: internet}
  - {allow: any, from: internet, except: {allow: [http, https, ping, tcp/1024-65535, udp/1024-65535]}}
always:
  - {allow: ssh, from: admin}
"""


def write(folder: Path, hosts: int, policies: int, *, seed: int = 3, invariants: bool = False) -> None:
    """`hosts` hosts that share `policies` policies: the base, and for a fifth of them additions that some
    hosts of each role have."""
    draw = random.Random(seed)
    additions = max(policies // 5, 1)
    roles = policies - 1 - additions
    (folder / "policies").mkdir(parents=True)
    (folder / "feeds").mkdir()
    feed = sorted({f"203.0.{draw.randrange(114, 256)}.{draw.randrange(256)}" for _ in range(300)})
    (folder / "feeds" / "drop.txt").write_text("\n".join(feed) + "\n")
    (folder / "groups.yaml").write_text(GROUPS)
    (folder / "policies" / "base.yaml").write_text(BASE)
    for number in range(roles):
        (folder / "policies" / f"role-{number:02}.yaml").write_text(part(draw, draw.randrange(4, 20)))
    for number in range(additions):
        (folder / "policies" / f"add-{number:02}.yaml").write_text(part(draw, draw.randrange(1, 5)))
    if invariants:
        (folder / "invariants.yaml").write_text(INVARIANTS)
    (folder / "inventory.yaml").write_text(inventory(hosts, roles, additions, invariants))


def part(draw: random.Random, lines: int) -> str:
    """What a role adds to the base."""
    text = ["version: 1", "input:", "  allow:"]
    for _ in range(lines):
        ports = ", ".join(f"tcp/{draw.randrange(1024, 60000)}" for _ in range(draw.choice((1, 1, 2, 4))))
        peers = draw.choice(
            (
                "offices",
                "monitoring",
                "any",
                f'[10.{draw.randrange(256)}.0.0/16, "2001:db8:{draw.randrange(16, 4096):x}::/48"]',
            )
        )
        text.append(f"    - {{service: [{ports}], from: {peers}}}")
    port = draw.randrange(1024, 60000)
    return (
        "\n".join([*text, f"    - tcp/{port}", "tests:", f"  - {{allow: tcp/{port}, from: 10.20.0.7}}"])
        + "\n"
    )


def inventory(hosts: int, roles: int, additions: int, invariants: bool) -> str:
    """Group by group; one host in four has an addition, one in a hundred groups of its own."""
    text = ["all:"]
    if invariants:
        text += ["  vars:", "    fwpolicy_invariants: [invariants.yaml]"]
    text.append("  children:")
    for role in range(roles):
        text += [f"    role_{role:02}:", "      vars:"]
        text.append(f"        fwpolicy_policies: [policies/base.yaml, policies/role-{role:02}.yaml]")
        text.append("      hosts:")
        for number in range(role, hosts, roles):
            text.append(f"        host-{number:04}:")
            if number % 4 == 3:
                own = ["base", f"role-{role:02}", f"add-{number // 4 % additions:02}"]
                files = ", ".join(f"policies/{name}.yaml" for name in own)
                text.append(f"          fwpolicy_policies: [{files}]")
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
