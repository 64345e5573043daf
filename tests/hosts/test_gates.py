"""Gates on a booted host, behind the rules that an apply has just loaded: each closed and open for real."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ..lab import guest
from ..lab.daemons import DAEMONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = pytest.mark.hosts

TEST = "/usr/local/sbin/smoke-test"
POLICY = """\
version: 1
name: gated
groups: {{shop: [{0}, "{1}"]}}
roles: {{ntp: client-only}}
output: {{default: drop, allow: [{{service: https, to: shop}}]}}
apply:
  confirm: 30s
  gates:
    - {{reach: https, to: shop}}
    - synchronised
    - {{run: [/usr/local/sbin/smoke-test, --fast]}}
"""


@pytest.fixture(scope="module")
def shop(place: Lab) -> Iterator[Namespace]:
    with place.namespace("shop", 80) as shop:
        yield shop


@pytest.fixture(scope="module")
def policy(shop: Namespace) -> str:
    return POLICY.format(shop.ipv4, shop.ipv6)


@pytest.fixture(scope="module")
def host(place: Lab, clock: TimeServer, policy: str) -> Iterator[Host]:
    with place.host("gated", 20, "chrony") as host:
        DAEMONS["chrony"].install(host, clock.servers)
        host.install_fwpolicy()
        host.write(TEST, '#!/bin/sh\ntest "$1" = --fast && test -e /run/healthy\n', 0o755)
        host.write("/etc/gated.yaml", policy)
        place.boot(host)
        yield host


def test_closed_one_by_one_and_open_in_the_end(host: Host, shop: Namespace, policy: str) -> None:
    since = time.time()
    guest.fwpolicy(host, "apply", "--no-confirm", "/etc/gated.yaml")
    refused = f"https of {shop.ipv4} is not reached: Connection refused (and 1 more of 2)"
    unhealthy = f"{TEST} ended with status 1"
    found = guest.unmet(host, policy, since)
    assert (found[0], found[-1]) == (refused, unhealthy)
    with ExitStack() as stack:
        _listen(shop, stack)
        host.run("touch", "/run/healthy")
        assert guest.unmet(host, policy, since, seconds=DAEMONS["chrony"].seconds) == ()
        # A table of somebody else's that drops.
        host.run("nft", "-f", "-", input=_dropping(shop.ipv6))
        silent = f"https of {shop.ipv6} is not reached: no answer within 3 s"
        assert guest.unmet(host, policy, since) == (silent,)
        host.run("nft", "delete", "table", "inet", "theirs")
        host.run("chmod", "o+w", TEST)
        writable = f"{TEST} is not run: others than root can change {TEST}"
        assert guest.unmet(host, policy, since) == (writable,)
        host.run("chmod", "o-w", TEST)
        # An hour later chrony has said nothing yet, however long one waits.
        began = time.monotonic()
        (sentence,) = guest.unmet(host, policy, time.time() + 3600, seconds=4)
        assert sentence.startswith("chrony has had no answer since the apply")
        assert time.monotonic() - began < 15
        assert guest.unmet(host, policy, since) == ()


def _listen(shop: Namespace, stack: ExitStack) -> None:
    for family, address in ((socket.AF_INET, shop.ipv4), (socket.AF_INET6, shop.ipv6)):
        server = stack.enter_context(shop.socket(family, socket.SOCK_STREAM))
        server.bind((address, 443))
        server.listen()


def _dropping(address: str) -> str:
    rule = f"ip6 daddr {address} tcp dport 443 drop"
    return f"table inet theirs {{ chain c {{ type filter hook output priority 5; {rule}; }}; }}"


def test_a_tool_that_is_not_installed(host: Host, policy: str) -> None:
    host.run("touch", "/run/healthy")
    host.run("mv", "/usr/bin/chronyc", "/usr/bin/chronyc.away")
    try:
        found = guest.unmet(host, policy, time.time())
    finally:
        host.run("mv", "/usr/bin/chronyc.away", "/usr/bin/chronyc")
    assert found[1:] == ("chrony cannot be asked whether it is synchronised: chronyc is not installed",)
