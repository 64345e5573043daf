"""Applies in a row under a flood: no packet is decided by anything but the old or the new policy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.policy.load import load
from tests.kernel.place import applied, place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

APPLIES = (40, pytest.param(200, marks=pytest.mark.slow))
HOST, CLIENT = "192.0.2.1", "192.0.2.2"
NEVER, ALWAYS, TURNS = 9, 8082, (8080, 8081)
POLICY = """\
version: 1
name: flood
input: {{default: drop, allow: [udp/{turn}, udp/8082, tcp/8082]}}
output: {{default: accept}}
"""
# Before anything of ours, and after: what came, and what was let in.
WITNESS = "".join(
    f"""
table inet witness {{
    chain {chain} {{
        type filter hook {hook} priority {priority};
        udp dport vmap {{ {", ".join(f"{port} : jump {chain}{port}" for port in (NEVER, ALWAYS, *TURNS))} }}
    }}
"""
    + "".join(f"    chain {chain}{port} {{ counter; }}\n" for port in (NEVER, ALWAYS, *TURNS))
    + "}\n"
    for chain, hook, priority in (("came", "prerouting", -400), ("got", "input", 100))
)
# New connections, each from another port, to all four ports in turn.
FLOOD = f"""
import socket, time
while True:
    time.sleep(0.05)  # each is an entry of connection tracking, which each apply looks through
    for _ in range(5):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            for port in {(NEVER, ALWAYS, *TURNS)}:
                one.sendto(b"x", ("{HOST}", port))
"""
# A session that says something and waits for the echo, all the time.
ECHO = f"""
import socket
with socket.create_server(("{HOST}", {ALWAYS})) as server:
    one, _ = server.accept()
    while data := one.recv(100):
        one.sendall(data)
"""
SESSION = f"""
import socket, time
one = socket.create_connection(("{HOST}", {ALWAYS}), timeout=5)
print("begun", flush=True)
said = 0
while True:
    one.sendall(b"still there?")
    assert one.recv(100)
    said += 1
    print(said, flush=True)
    time.sleep(0.005)
"""


@pytest.fixture
def client(place) -> Iterator[str]:
    """Another namespace, one cable away."""
    name = f"{place.name}-c"
    commands = (
        f"netns add {name}",
        f"-n {place.name} link add up0 type veth peer name eth0 netns {name}",
        *(f"-n {one} link set {link} up" for one, link in ((place.name, "up0"), (name, "eth0"))),
        f"-n {place.name} address add {HOST}/24 dev up0",
        f"-n {name} address add {CLIENT}/24 dev eth0",
    )
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def python(netns: str, text: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", netns, sys.executable, "-c", text]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def counted(place) -> dict[str, int]:
    command = ["ip", "netns", "exec", place.name, "nft", "-j", "list", "table", "inet", "witness"]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rules = (entry["rule"] for entry in listing["nftables"] if "rule" in entry)
    return {rule["chain"]: e["counter"]["packets"] for rule in rules for e in rule["expr"] if "counter" in e}


def plan(place, turn: int):
    text = POLICY.format(turn=turn)
    policy = load((("flood.yaml", text.encode()),), lambda path: b"")
    return make_plan(policy, place.machine, Options(persist=False, daemon=False, prove=False))


@pytest.mark.parametrize("applies", APPLIES)
def test_every_packet_meets_the_old_or_the_new_policy(place, client, applies):
    applied(place, plan(place, TURNS[0]))
    place.nft(WITNESS)
    echo = python(place.name, ECHO)
    time.sleep(0.2)
    session = python(client, SESSION)
    assert session.stdout and session.stdout.readline() == "begun\n"
    flood = python(client, FLOOD)
    try:
        began = counted(place)
        for number in range(1, applies + 1):
            applied(place, plan(place, TURNS[number % 2]))
        assert flood.poll() is None and session.poll() is None, "the session of an allowed service died"
    finally:
        flood.kill()
        flood.wait()
    time.sleep(0.1)
    after = counted(place)
    session.kill()
    echo.kill()
    found = {name: after[name] - began[name] for name in after}
    assert found[f"came{NEVER}"] > applies * 5, f"no flood: {found}"
    assert found[f"got{NEVER}"] == 0
    assert found[f"got{ALWAYS}"] == found[f"came{ALWAYS}"]
    for port in TURNS:
        assert 0 < found[f"got{port}"] < found[f"came{port}"]
    said = session.stdout.read().split()
    assert said and int(said[-1]) > applies
