"""Beside other tools on booted hosts: plan tells what they do, at boot, too, and they leave ours alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..lab import foreign, guest

if TYPE_CHECKING:
    from ..lab.hosts import Host, Lab

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

POLICY = "/root/site.yaml"
SITE = "version: 1\nname: site\ninput: {default: drop, allow: [ssh, http]}\noutput: {default: accept}\n"
# What plan says of the boot, and how the tool loads everything again.
TOOLS = {
    "ufw": (
        "ufw.service loads /etc/ufw/user.rules and /etc/ufw/user6.rules; it runs in no fixed order with "
        "ours, and leaves ours alone",
        (("ufw", "disable"), ("ufw", "--force", "enable")),
    ),
    "firewalld": (
        "firewalld.service loads rules of its own; it runs in no fixed order with ours, and leaves ours "
        "alone",
        (("firewall-cmd", "--complete-reload"), ("systemctl", "restart", "firewalld.service")),
    ),
}
NFTABLES = (
    "nftables.service loads /etc/nftables.conf; /etc/nftables.conf:3 flushes everything; it runs before "
    "ours, and whenever it runs ours are loaded again"
)


def loaded(host: Host) -> str:
    """Our table with its handles: another load would change them."""
    return host.run("nft", "--stateless", "--handle", "list", "table", "inet", "fwpolicy").stdout


@pytest.mark.parametrize("tool", TOOLS)
def test_what_plan_says_of_a_tool_is_true(place: Lab, tool: str) -> None:
    said, again = TOOLS[tool]
    root, do = foreign.TOOLS[tool]
    with place.host("beside", 31, root) as host:
        host.install_fwpolicy()
        host.write(POLICY, SITE)
        host.start()
        do(host)
        plan = guest.fwpolicy(host, "plan", POLICY, expect=2)
        assert f"also loaded at boot: {said}\n" in plan
        report = guest.report(host, "plan", POLICY, expect=2)
        assert {name for each in report["foreign"] for name in each["tools"]} == {tool}
        assert [each["harmful"] for each in report["boot_loaders"]] == [False]
        guest.fwpolicy(host, "apply", POLICY)
        before = loaded(host)
        for command in again:
            host.run(*command)
        assert loaded(host) == before
        host.reboot()
        assert guest.without_handles(loaded(host)) == guest.without_handles(before)
        assert {each["tools"][0] for each in guest.report(host, "plan", POLICY)["foreign"]} == {tool}
        host.run("systemctl", "enable", "nftables.service")
        assert f"also loaded at boot: {NFTABLES}\n" in guest.fwpolicy(host, "plan", POLICY)
        host.run("systemctl", "restart", "nftables.service")
        assert guest.without_handles(loaded(host)) == guest.without_handles(before)
