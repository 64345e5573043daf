"""PACKET texts: what they name, and that a packet's own text names it again."""

from __future__ import annotations

import pytest

from fwpolicy.model.packet import Packet, PacketError, parse_packet


@pytest.mark.parametrize(
    ("text", "hook"),
    [
        ("ssh from 10.0.0.1", "input"),
        ("ssh to 10.0.0.1", "output"),
        ("ssh from 10.0.0.1 to 10.0.0.2", "forward"),
        ("ssh", "input"),
        ("ssh in eth0", "input"),
        ("ssh out eth0", "output"),
        ("ssh to 10.0.0.1 in eth0", "forward"),
        ("ssh from 10.0.0.1 out eth0", "forward"),
        ("input ssh from 10.0.0.1 to 10.0.0.2", "input"),
        ("forward ssh to 10.0.0.2", "forward"),
    ],
)
def test_the_hook_follows_from_the_addresses(text, hook):
    assert parse_packet(text).hook == hook


def test_what_is_left_out():
    packet = parse_packet("udp/123 from 203.0.113.9")
    assert (packet.state, packet.sport, packet.mode, packet.loopback) == ("new", 40000, 3, False)
    assert (packet.incoming, packet.outgoing, packet.published, packet.time) == (None,) * 4
    assert (packet.source_in, packet.destination_in, packet.spent) == ((), (), False)


def test_every_clause():
    packet = parse_packet(
        "forward tcp/8443 from 203.0.113.9:1024 to 192.168.1.10 in eth0 out eth1 state new published 443 "
        "at 2027-01-31 source-in banned,slow destination-in web limits spent"
    )
    assert packet == Packet(
        *("forward", 4, 6, 0xCB007109, 0xC0A8010A, 1024, 8443, None, "new", 3, False, "eth0", "eth1", 443),
        *(1801353600, ("banned", "slow"), ("web",), True),
    )


@pytest.mark.parametrize(
    "text",
    [
        "input tcp/22 from 192.0.2.1:40000 to 192.0.2.9 state new in eth0",
        "output udp/123 from 192.0.2.1:123 to 192.0.2.9 out lo state new mode none",
        "output udp/53 from [2001:db8::1]:40000 to 2001:db8::2 state untracked out wg0",
        "forward icmp/8 from 192.0.2.1 to 192.0.2.9 state new in eth0 out eth1 at 2027-02-01 source-in a,b",
        "forward tcp/80 from 192.0.2.1:40000 to 192.0.2.9 state new published 8080 limits spent",
    ],
)
def test_a_packets_text_names_it_again(text):
    assert parse_packet(str(parse_packet(text))) == parse_packet(text)
    assert str(parse_packet(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no packet"),
        ("input ssh from 10.0.0.1 out eth0", "a packet of input has no 'out' interface"),
        ("output ssh to 10.0.0.1 in eth0", "a packet of output has no 'in' interface"),
        ("forward ssh in lo", "nothing is forwarded over lo"),
        ("ssh from 10.0.0.1 published 0", "out of range"),
        ("ssh from 10.0.0.1 published x", "not a number"),
        ("ssh from 10.0.0.1 at today", "not a date"),
        ("ssh from 10.0.0.1 at 2027-02-30", "not a date"),
        ("ssh from 10.0.0.1 limits full", "limits 'full' is none of"),
        ("ssh from 10.0.0.1 via eth0", "'via' is not expected here"),
        ("ssh from 10.0.0.1 in eth0 in eth1", "'in' is not expected here"),
    ],
)
def test_what_names_no_packet(text, said):
    with pytest.raises(PacketError, match=said):
        parse_packet(text)
