"""plan against a real kernel: what it says closes does, and who overrides whom of other tools' real rules."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab import netns as spaces
from tests.lab.holder import run

pytestmark = pytest.mark.kernel

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "tests/deploy/foreign"
V4, V6 = "192.0.2.1", "2001:db8::1"
CALLERS = ("192.0.2.9", "198.51.100.9", "2001:db8::9")
SITE = """\
version: 1
name: site
input:
  default: drop
  allow: [{service: ssh, from: 192.0.2.0/24}, http, {service: tcp/81, family: ipv6}]
output: {default: accept}
forward: {default: drop, allow: [{service: http, from: any, to: any}]}
"""
FORGETFUL = "version: 1\nname: forgetful\ninput: {default: drop, allow: [http]}\n"
# As much of sshd as /proc shows: a process of its name with the connection, and children below it.
SSHD = """
import ctypes, socket, subprocess, sys
ctypes.CDLL(None).prctl(15, b"sshd", 0, 0, 0)
listener = socket.create_server(("192.0.2.1", 2222))
connection, _ = listener.accept()
done = subprocess.run(sys.argv[1:])
sys.exit(done.returncode)
"""


class Host:
    """A namespace with sockets and rules of its own, and a neighbour that calls it from several addresses."""

    def __init__(self, name: str, folder: Path, stack: contextlib.ExitStack) -> None:
        self.name, self.neighbour, self.folder, self.stack = name, f"{name}99999", folder, stack
        run("ip", "netns", "add", self.neighbour)
        stack.callback(run, "ip", "netns", "delete", self.neighbour)
        self.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.neighbour)
        for space, addresses in ((name, (V4, V6)), (self.neighbour, CALLERS)):
            for address in addresses:
                extra, length = (("nodad",), 64) if ":" in address else ((), 24)
                run("ip", "-n", space, "address", "add", f"{address}/{length}", "dev", "eth0", *extra)
            run("ip", "-n", space, "link", "set", "eth0", "up")
        self.ip("route", "add", "198.51.100.0/24", "dev", "eth0")
        run("ip", "-n", self.neighbour, "route", "add", f"{V4}/32", "dev", "eth0", check=False)

    def ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)

    def inside(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        return run("ip", "netns", "exec", self.name, *words, **options)

    def listen(self, address: str, port: int) -> None:
        def make() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            found = socket.socket(family, socket.SOCK_STREAM)
            if family == socket.AF_INET6:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind((address, port))
            found.listen()
            return found

        self.stack.enter_context(spaces.call(make, f"/run/netns/{self.name}"))

    def reached(self, port: int, caller: str) -> bool:
        """Whether a connection from the neighbour's address opens."""

        def connect() -> bool:
            try:
                there = V6 if ":" in caller else V4
                socket.create_connection((there, port), 0.4, (caller, 0)).close()
            except OSError:
                return False
            return True

        return spaces.call(connect, f"/run/netns/{self.neighbour}")

    def words(self, verb: str, *arguments: str) -> tuple[str, ...]:
        state = ("--netns", self.name, "--state-dir", f"{self.folder}/state")
        return (sys.executable, "-m", "fwpolicy", verb, *state, *arguments)

    def fwpolicy(self, verb: str, *arguments: str, expect: int = 0) -> str:
        done = run(*self.words(verb, *arguments), cwd=CHECKOUT, check=False, env=environment())
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout if "--json" in arguments else done.stdout + done.stderr

    def policy(self, text: str) -> str:
        path = self.folder / "policy.yaml"
        path.write_text(text)
        return str(path)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"}


@pytest.fixture
def host(netns, tmp_path):
    with contextlib.ExitStack() as stack:
        yield Host(netns, tmp_path, stack)


def test_what_it_says_closes_does_and_what_stays_open_stays_open(host):
    for address, port in (
        *(("0.0.0.0", 22), ("::", 22), ("0.0.0.0", 80), ("::", 80), ("0.0.0.0", 81), ("::", 81)),
        *((V4, 8080), (V6, 8081), ("127.0.0.1", 5432), ("0.0.0.0", 2223)),
    ):
        host.listen(address, port)
    # Closed before by somebody else's rule: nothing that this policy takes away.
    host.inside(
        "nft", "table inet other { chain in { type filter hook input priority 5; tcp dport 2223 drop; }; }"
    )
    ports = (22, 80, 81, 8080, 8081, 2223)
    before = {(port, caller): host.reached(port, caller) for port in ports for caller in CALLERS}
    policy = host.policy(SITE)
    report = json.loads(host.fwpolicy("plan", policy, "--json", expect=2))["ports"]
    text = host.fwpolicy("plan", policy, expect=2)
    host.fwpolicy("apply", policy)
    after = {(port, caller): host.reached(port, caller) for port in ports for caller in CALLERS}
    assert [each["port"] for each in report] == sorted(ports)
    for each in report:
        could = [before[each["port"], caller] for caller in CALLERS]
        can = [after[each["port"], caller] for caller in CALLERS]
        assert each["closes"] == (could != can), each
        assert each["nobody"] == (not any(can)) or each["port"] == 2223, each
    python = Path("/proc/self/comm").read_text().strip()
    for line in (
        f"  tcp/22 {python}: only from 192.0.2.0/24\n",
        f"  tcp/81 {python}: only IPv6\n",
        f"  tcp/8080, tcp/8081 {python}\n",
    ):
        assert line in text
    assert after[22, "192.0.2.9"] and not after[22, "198.51.100.9"] and after[81, "2001:db8::9"]
    assert json.loads(host.fwpolicy("plan", policy, "--json"))["ports"] == []


def restored(host: Host, name: str) -> None:
    """The recorded rules of a tool, in the kernel again by the same tools."""
    saved = False
    for version, program in (("v4", "iptables"), ("v6", "ip6tables")):
        path = FOLDER / f"{name}.{version}"
        if path.exists():
            kind = "legacy" if name.endswith("-legacy") else "nft"
            host.inside(f"{program}-{kind}-restore", input=path.read_text())
            saved = True
    if not saved:
        host.inside("nft", "-j", "-f", "-", input=(FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", sorted({path.stem for path in FOLDER.iterdir() if path.suffix != ".md"}))
def test_what_it_says_of_other_tools(host, name):
    """The README beside the recordings has it; a change of the wording is made there."""
    restored(host, name)
    said = host.fwpolicy("plan", host.policy(SITE), expect=2)
    lines = said.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("foreign: "))
    end = next(number for number, line in enumerate(lines) if line.startswith("newly "))
    assert lines[begin:end] == expected(name), "\n".join(lines[begin:end])
    report = json.loads(host.fwpolicy("plan", host.policy(SITE), "--json", expect=2))
    assert {tool for each in report["foreign"] for tool in each["tools"]} == {name.partition("-")[0]}


def expected(name: str) -> list[str]:
    """The block below the tool's heading."""
    section = (FOLDER / "README.md").read_text().split(f"\n## {name}\n")[1].split("\n## ")[0]
    return section.split("```text\n")[1].split("\n```")[0].splitlines()


def test_ufw_overrides_us_and_we_override_ufw(host):
    for port in (22, 80, 5432):
        host.listen("0.0.0.0", port)
    restored(host, "ufw")
    assert not host.reached(80, "192.0.2.9") and host.reached(5432, "192.0.2.9")
    said = host.fwpolicy("plan", host.policy(SITE), expect=2)
    assert "drops what this policy lets through: input tcp/80 (http) IPv4\n" in said
    assert "stays dropped: input icmp/8 (ping) IPv4; input tcp/5432 (postgresql) from 192.0.2.0/24;" in said
    host.fwpolicy("apply", host.policy(SITE))
    assert not host.reached(80, "192.0.2.9") and not host.reached(5432, "192.0.2.9")
    assert host.reached(22, "192.0.2.9") and not host.reached(22, "198.51.100.9")


def chain(family: str, hook: str, rest: str = "") -> str:
    return f"table {family} evil {{ chain c {{ type filter hook {hook} priority 0; {rest} }}; }}"


MAY_DROP = "may drop what this policy lets through; an accept of ours never overrides it"
UNTRACKS = "may take packets out of connection tracking: replies among them do not pass as established"
TAKEN = "drops what this policy lets through: forward tcp/80 (http); output anything"


@pytest.mark.parametrize(
    ("rules", "order", "said"),
    [
        (chain("netdev", "ingress device eth0", "policy drop;"), "before ours", MAY_DROP),
        (chain("inet", "ingress device eth0", "tcp dport 80 drop;"), "before ours", MAY_DROP),
        (chain("netdev", "egress device eth0", "drop;"), "after ours", MAY_DROP),
        (chain("inet", "postrouting", "policy drop; oifname lo accept;"), "after ours", TAKEN),
        (chain("ip", "prerouting", "notrack;"), "where we have none", UNTRACKS),
    ],
)
def test_chains_beside_our_hooks_are_told(host, rules, order, said):
    host.inside("nft", rules)
    policy = host.policy(SITE)
    text = host.fwpolicy("plan", policy, expect=2)
    (line,) = (line for line in text.splitlines() if line.startswith("foreign: "))
    assert line.endswith(f", {order}, {said}")
    (told,) = json.loads(host.fwpolicy("plan", policy, "--json", expect=2))["foreign"]
    assert told["says"] == [said]
    assert line.partition(", priority")[0] in host.fwpolicy("apply", policy, "--no-prove")


@pytest.mark.parametrize("hook", ["prerouting", "postrouting"])
def test_what_drops_all_that_comes_or_goes_is_refused(host, hook):
    host.inside("nft", chain("inet", hook, "policy drop;"))
    said = host.fwpolicy("plan", host.policy(SITE), expect=1)
    assert f"refused: table inet evil, chain c ({hook}, priority 0, policy drop) drops everything" in said
    kept = f"{SITE}apply: {{foreign: keep}}\n"
    assert "refused" not in host.fwpolicy("plan", host.policy(kept), expect=2)


def test_iptables_untracks_too(host):
    host.inside("iptables-nft", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "-j", "CT", "--notrack")
    assert UNTRACKS in host.fwpolicy("plan", host.policy(SITE), expect=2)


def test_the_operator_is_refused_and_force_goes_on(host):
    policy = host.policy(FORGETFUL)

    def over_ssh(*arguments: str) -> tuple[int, str]:
        words = ("ip", "netns", "exec", host.name, sys.executable, "-c", SSHD, *host.words(*arguments))
        with (
            subprocess.Popen(
                words,
                cwd=CHECKOUT,
                env=environment(),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as sshd,
            spaces.call(connected, f"/run/netns/{host.neighbour}"),
        ):
            said, _ = sshd.communicate(timeout=60)
        return sshd.returncode, said

    refused = (
        "your SSH connection from 192.0.2.9 (eth0) to port 2222 could not be opened again: "
        f"{policy}:3: input: {{default: drop, allow: [http]}} (no line names it: default drop)"
    )
    code, said = over_ssh("plan", policy)
    assert code == 1 and f"refused: {refused}; --force goes on all the same\n" in said
    assert "note: nobody could open an SSH connection to this host: sshd listens on tcp/2222" in said
    code, said = over_ssh("apply", policy)
    assert code == 1 and refused in said
    assert "fwpolicy" not in host.inside("nft", "list", "ruleset").stdout
    code, said = over_ssh("plan", policy, "--force", "--json")
    assert code == 2 and json.loads(said)["refusals"] == []
    code, said = over_ssh("apply", policy, "--force")
    assert code == 0 and f"note: {refused} (--force)\n" in said and "applied forgetful" in said
    assert "fwpolicy" in host.inside("nft", "list", "ruleset").stdout


def connected() -> socket.socket:
    """A connection to the sshd above, as soon as it listens."""
    for _ in range(300):
        try:
            return socket.create_connection((V4, 2222), 1, ("192.0.2.9", 0))
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError("nobody listens")
