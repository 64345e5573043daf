"""The readings against the kernel: real packets under one rule, and what its program says of them."""

from __future__ import annotations

from itertools import product

import pytest

from fwpolicy.addresses import parse
from fwpolicy.model import fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.nft import of_text
from tests.lab.frames import Packet
from tests.lab.oracle import verdicts

pytestmark = pytest.mark.kernel

HOSTS = (("198.51.100.7", "192.0.2.1"), ("10.0.5.9", "192.0.2.2"), ("2001:db8::7", "2001:db8:1::1"))
# The oracle tracks connections where the rules do.
TRACKING = "ct mark 99 counter"
RULES = """\
ip saddr != 10.0.0.0/8
ip6 saddr != 2001:db8::/32
ip saddr & 255.0.255.0 == 10.0.5.0
ip saddr & 255.255.255.0 != 198.51.100.0
ip daddr 192.0.2.2-192.0.2.9
tcp dport != 22
udp dport { 53, 100-200 }
tcp sport >= 1024
meta l4proto { tcp, udp } th dport 123
meta l4proto . th dport { tcp . 22, udp . 123 }
ip saddr . tcp dport { 10.0.0.0/8 . 20-25 }
ip saddr . tcp dport != { 10.0.0.0/8 . 20-25 }
ip6 nexthdr udp
ip protocol != tcp
tcp flags syn
tcp flags == syn
tcp flags != syn
tcp flags syn,ack
tcp flags { syn, ack }
tcp flags & (fin|syn|rst|ack) == syn
tcp flags != syn / fin,syn,rst,ack
tcp flags ! syn
icmp type != 3
icmp type { 3, 8 }
icmpv6 type 128
icmp code 1
ct state established
ct state != new
ct state != new,established
ct state { new, invalid }
ct state ! new
ct state & (new|established) == new
ct status ! dnat
ct status dnat
ct direction original
ct direction reply
ct mark 0
ct mark != 0
ct original ip daddr 192.0.2.1
ct original ip saddr != 10.0.5.9
meta l4proto udp ct original proto-dst 123
udp dport 123 @th,64,8 & 0x7 != 4
udp dport 123 @th,64,8 & 0x7 { 3, 4 }
iifname "eth*"
iifname != "eth0"
oifname != "eth0"
fib daddr type local
fib daddr type != { local, broadcast }
meta nfproto ipv6
meta protocol != ip
meta pkttype host
ip frag-off & 0x1fff == 0
ip ttl < 65
ip dscp cs0
ip length < 50
tcp dport vmap { 22 : accept, 80 : continue } counter
"""


def frames():
    for saddr, daddr in HOSTS:
        for proto, port, state in product(("tcp", "udp"), (22, 123), ("new", "established", "invalid")):
            mode = 4 if state == "established" else 3
            yield Packet(
                saddr=saddr,
                daddr=daddr,
                proto=proto,
                dport=port,
                state=state,
                mode=mode if port == 123 else None,
            )
        yield Packet(saddr=saddr, daddr=daddr, proto="udp", dport=123, mode=4)
        yield Packet(saddr=saddr, daddr=daddr, proto="tcp", dport=80, tcp_flags=0x10)
        yield Packet(saddr=saddr, daddr=daddr, proto="tcp", dport=80, tcp_flags=0xC2)
        yield Packet(saddr=saddr, daddr=daddr, proto="tcp", dport=80, tcp_flags=0x04, state="untracked")
        yield Packet(saddr=saddr, daddr=daddr, proto=47, state="untracked")
        yield Packet(saddr=saddr, daddr=daddr, proto="icmpv6" if ":" in saddr else "icmp")
    yield Packet(proto="icmp", icmp_type=3, icmp_code=1, state="untracked")


def as_fields(packet):
    digit = 6 if packet.ipv6 else 4
    there = {"udp": 28, "tcp": 40, "icmp": 28, "icmpv6": 28}.get(packet.proto, 28)
    payload = 48 if packet.proto in ("udp", "icmp", "icmpv6") or packet.proto == 47 else 0
    source, destination = parse(packet.saddr)[1], parse(packet.daddr)[1]
    ported = packet.proto in ("tcp", "udp")
    return {
        "nfproto": digit,
        "l4proto": packet.number,
        "th": 1,
        f"saddr{digit}": source,
        f"daddr{digit}": destination,
        f"origsaddr{digit}": destination if _reply(packet) else source,
        f"origdaddr{digit}": source if _reply(packet) else destination,
        "sport": packet.sport if ported else 0,
        "dport": packet.dport if ported else 0,
        "origport": packet.sport if _reply(packet) else packet.dport,
        "tcpflags": packet.flags if packet.proto == "tcp" else 0,
        "icmptype": packet.type if packet.proto in ("icmp", "icmpv6") else 0,
        "icmpcode": packet.icmp_code,
        "ctstate": fields.STATES.index(packet.state),
        "ctdir": int(_reply(packet)),
        "ntpmode": (packet.mode or 0) if packet.proto == "udp" else fields.NO_MODE,
        "iif": fields.interface(packet.interface)[0][0],
        "daddrtype": fields.ADDRESS_TYPES.index("local"),
        "ttl": 255 if packet.ipv6 else 64,
        "length": there + payload,
        "opaque:ip6 nexthdr 17": int(packet.ipv6 and packet.proto == "udp"),
    }


def _reply(packet):
    """Established ones answer what went out before."""
    return packet.state == "established"


@pytest.mark.parametrize("rule", RULES.splitlines())
def test_the_kernel_and_the_program_agree(rule):
    hook = "type filter hook input priority filter; policy accept;"
    text = f"table inet t {{\n\tchain c {{\n\t\t{hook}\n\t\t{TRACKING}\n\t\t{rule} drop\n\t}}\n}}\n"
    program = of_text(text, "t.nft")
    packets = list(frames())
    said = [decide(program, "input", as_fields(packet))[0].kind for packet in packets]
    done = verdicts(text, packets)
    wrong = [
        f"{packet}: {kernel}, not {model}"
        for packet, kernel, model in zip(packets, done, said, strict=True)
        if kernel != model
    ]
    assert not wrong, "\n".join(wrong)
