"""Our chains beside other tools': bans stay bans, container chains decide, and nobody's accept opens what we
close. With real connections, both variants, in whatever order the tools came."""

from __future__ import annotations

import pytest

from fwpolicy.deploy import xtload, xtproof
from fwpolicy.host.xtables import XTables
from fwpolicy.record import replace
from tests.golden import cases
from tests.lab.street import INSIDE4, OUTSIDE4, PATIENCE, WAN4, WAN6, Street
from tests.property.strategies import loaded

pytestmark = pytest.mark.kernel

VARIANTS = ("legacy", "nft")
BANNED = "192.0.2.66"
SERVER = """version: 1
name: server
input:
  default: drop
  allow: [ssh, {service: http, from: 192.0.2.0/25}]
"""
CONTAINERS = """version: 1
name: containers
zones: {wan: wan0, lan: lan0}
input:
  default: drop
  allow: [{service: tcp/8080, published: true}]
forward:
  default: drop
  allow: [{in: lan, out: wan}]
"""
OVERLAY = "version: 1\nname: overlay\nroles: {ntp: client-only}\n"
# fail2ban's iptables-multiport, and a rule that somebody forgot.
FAIL2BAN = (
    "-N f2b-sshd",
    f"-A f2b-sshd -s {BANNED} -j REJECT --reject-with icmp-port-unreachable",
    "-A f2b-sshd -j RETURN",
    "-I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd",
)
FORGOTTEN = ("-A INPUT -p tcp --dport 8000:9000 -j ACCEPT",)
# Docker 24 and `docker run -p 8080:80 -p 5432:80`, its network being lan0.
DOCKER = (
    "-t nat -N DOCKER",
    "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    f"-t nat -A DOCKER ! -i lan0 -p tcp --dport 8080 -j DNAT --to-destination {INSIDE4}:80",
    f"-t nat -A DOCKER ! -i lan0 -p tcp --dport 5432 -j DNAT --to-destination {INSIDE4}:80",
    "-P FORWARD DROP",
    "-N DOCKER",
    "-N DOCKER-USER",
    f"-A DOCKER -d {INSIDE4} ! -i lan0 -o lan0 -p tcp --dport 80 -j ACCEPT",
    "-A FORWARD -o lan0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A FORWARD -o lan0 -j DOCKER",
    "-A FORWARD -i lan0 ! -o lan0 -j ACCEPT",
    "-I FORWARD -j DOCKER-USER",
    "-A DOCKER-USER -j RETURN",
)


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def street():
    with Street() as built:
        built.add("outside", BANNED)
        yield built


def others(street: Street, variant: str, *commands: str) -> None:
    for command in commands:
        street.run("box", f"iptables-{variant}", *command.split())


def load(street: Street, variant: str, policy: str):
    texts = xtproof.compiled(loaded(policy))
    return street.call("box", lambda: xtload.load(XTables(variant), texts))


@pytest.mark.parametrize("policy", [SERVER, OVERLAY], ids=["whole policy", "overlay"])
@pytest.mark.parametrize("first", ["fail2ban", "we"])
def test_who_is_banned_stays_out(street, variant, policy, first):
    street.serve("box", 22)
    if first == "fail2ban":
        others(street, variant, *FAIL2BAN)
    load(street, variant, policy)
    if first == "we":
        others(street, variant, *FAIL2BAN)
    load(street, variant, policy)
    assert not street.reaches("outside", WAN4, 22, BANNED)
    assert street.reaches("outside", WAN4, 22, OUTSIDE4)
    assert street.reaches("outside", WAN6, 22)


def test_an_accept_in_our_place_would_let_them_in(street, variant):
    """Why what we allow returns."""
    street.serve("box", 22)
    others(street, variant, *FAIL2BAN)
    texts = xtproof.compiled(loaded(SERVER))
    opening = replace(texts.rules[0], text=texts.rules[0].text.replace("-j RETURN", "-j ACCEPT"))
    wrong = replace(texts, rules=(opening, texts.rules[1]))
    street.call("box", lambda: xtload.load(XTables(variant), wrong))
    assert street.reaches("outside", WAN4, 22, BANNED)


@pytest.mark.parametrize("first", ["they", "we"])
def test_nobodys_accept_opens_what_we_close(street, variant, first):
    street.serve("box", 8080)
    if first == "they":
        others(street, variant, *FORGOTTEN)
        assert street.reaches("outside", WAN4, 8080)
    load(street, variant, SERVER)
    if first == "we":
        others(street, variant, *FORGOTTEN)
    assert not street.reaches("outside", WAN4, 8080)


def test_an_accept_that_is_put_before_us_opens_until_we_are_loaded_again(street, variant):
    """It is named, and gone when we are first again."""
    street.serve("box", 8080)
    load(street, variant, SERVER)
    others(street, variant, "-I INPUT -p tcp --dport 8080 -j ACCEPT")
    assert street.reaches("outside", WAN4, 8080)
    ahead = street.call("box", lambda: xtload.listing(XTables(variant)).ahead)
    assert len(ahead) == 1 and "--dport 8080 -j ACCEPT" in ahead[0]
    load(street, variant, SERVER)
    assert not street.reaches("outside", WAN4, 8080)


def test_a_closing_rule_of_others_behind_us_still_closes(street, variant):
    """An accept of ours opens nobody else's drop: docs/iptables.md."""
    street.serve("box", 22)
    others(street, variant, "-A INPUT -j REJECT --reject-with icmp-host-prohibited")
    load(street, variant, SERVER)
    assert not street.reaches("outside", WAN4, 22)


def test_container_chains_keep_working_and_what_is_published_by_accident_is_closed(street, variant):
    street.serve("inside", 80), street.serve("outside", 25)
    others(street, variant, *DOCKER)
    assert street.reaches("outside", WAN4, 8080) and street.reaches("outside", WAN4, 5432)
    before = load(street, variant, CONTAINERS)
    assert street.reaches("outside", WAN4, 8080), "published, and so allowed"
    assert not street.reaches("outside", WAN4, 5432), "published by accident"
    assert street.reaches("inside", OUTSIDE4, 25), "containers reach the world"
    others(street, variant, f"-I DOCKER-USER -s {BANNED} -j DROP")
    assert not street.reaches("outside", WAN4, 8080, BANNED), "the administrator's own chain still decides"
    assert street.reaches("outside", WAN4, 8080, OUTSIDE4)
    street.call("box", lambda: xtload.put_back(XTables(variant), before))
    assert street.reaches("outside", WAN4, 5432), "as it was"


def test_a_ban_holds_for_flows_that_are_established(street, variant):
    """What we return for established connections, a later ban ends."""
    server = street.serve("box", 22)
    load(street, variant, SERVER)
    opened = street.connect("outside", WAN4, 22, BANNED)
    assert opened and server.peers(1) == [BANNED]
    others(street, variant, *FAIL2BAN)
    opened.sendall(b"x")
    (there,) = server.connections(1)
    there.settimeout(PATIENCE)
    with pytest.raises(TimeoutError):
        there.recv(1)
    opened.close()


def test_shipped_overlays_only_close(street, variant):
    """Nobody is locked out of a host with nothing else."""
    street.serve("box", 22), street.serve("box", 443), street.serve("box", 4460)
    texts = cases.iptables("ntp-client")
    street.call("box", lambda: xtload.load(XTables(variant), texts))
    for address in (WAN4, WAN6):
        assert street.reaches("outside", address, 22) and street.reaches("outside", address, 443)
        assert not street.reaches("outside", address, 4460)
    assert "FWPOLICY" in street.run("box", f"iptables-{variant}-save")
