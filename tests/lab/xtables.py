"""iptables of both variants inside a host: which one it calls so, and what that lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hosts import Host

COMMANDS = ("iptables", "ip6tables")


def choose(host: Host, variant: str) -> None:
    """Call this variant ("legacy" or "nft") iptables."""
    for name in COMMANDS:
        host.run("update-alternatives", "--set", name, f"/usr/sbin/{name}-{variant}")


def saved(host: Host) -> list[str]:
    """Rules of both families without counters, times, empty tables and the order of tables."""
    lines = [line for name in COMMANDS for line in host.run(f"{name}-save").stdout.splitlines()]
    kept = [line.partition(" [")[0] for line in lines if line[:1] not in "#*" and line != "COMMIT"]
    return sorted(line for line in kept if not line.endswith(" ACCEPT") or line[0] != ":")
