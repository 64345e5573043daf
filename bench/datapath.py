"""What a packet costs the receiver: nanoseconds in the kernel, side by side in one run.

Two namespaces and a cable; a flood of UDP from one of them (flood.py), the least of interleaved rounds,
the cost of sending taken off. Only the ratios travel. Needs root.

The least, not the median: whatever else a machine does only adds, and medians of the same flood were seen to
differ by half. With fewer than 20 rounds the least differs by a tenth.

    python bench/datapath.py [ROUNDS [PACKETS]]
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from namespace import inside, interleaved, namespace, run

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = str(Path(sys.executable).with_name("fwpolicy"))
HERE, MACS = "192.0.2.1", ("02:00:00:00:00:02", "02:00:00:00:00:01")
# The how-to's rule, which is there for a host that asks for the time itself.
HOWTO = ["-A", "INPUT", "-m", "state", "--state", "NEW", "-p", "udp", "--dport", "123", "-j", "DROP"]
LINES = (10, 1000)


def lines(count: int) -> str:
    """A policy of as many lines, all different; the flood matches the last."""
    blocks = "".join(
        f"    - {{from: 10.{number // 250}.{number % 250}.7, service: udp/{2000 + number}}}\n"
        for number in range(count)
    )
    return f"version: 1\nname: lines\ninput:\n  default: accept\n  block:\n{blocks}"


def last(count: int) -> tuple[int, str]:
    number = count - 1
    return 2000 + number, f"10.{number // 250}.{number % 250}.7"


def linear(count: int) -> str:
    """The same as nft rules one after the other."""
    rules = "".join(
        f"    ct state new ip saddr 10.{number // 250}.{number % 250}.7 udp dport {2000 + number} drop\n"
        for number in range(count)
    )
    return f"table inet t {{\n  chain c {{\n    type filter hook input priority 0;\n{rules}  }}\n}}\n"


class Street:
    """A sender's namespace and one for each arrangement of rules, each with a cable of its own."""

    def __init__(self, sender: str, packets: int) -> None:
        self.sender, self.packets, self.interfaces = sender, packets, 0
        # An ifb(4) drops what nothing redirected to it; not every kernel has dummy devices.
        run("ip", "-n", sender, "link", "add", "dead", "type", "ifb")
        run("ip", "-n", sender, "link", "set", "dead", "up")

    @contextmanager
    def receiver(self) -> Iterator[tuple[str, str]]:
        self.interfaces += 1
        cable = f"c{self.interfaces}"
        with namespace(cable) as name:
            run("ip", "-n", self.sender, "link", "add", cable, "address", MACS[0], "type", "veth",
                "peer", "name", "eth0", "netns", name, "address", MACS[1])  # fmt: skip
            run("ip", "-n", self.sender, "link", "set", cable, "up")
            for command in ("link set lo up", f"addr add {HERE}/24 dev eth0", "link set eth0 up",
                            "route add default dev eth0"):  # fmt: skip
                run("ip", "-n", name, *command.split())
            run(
                *inside(
                    name, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0"
                )
            )
            yield name, cable

    def cost(self, cable: str, port: int, sources: str = "") -> float:
        flood = (sys.executable, str(Path(__file__).with_name("flood.py")))
        command = (*flood, cable, *MACS, HERE, str(port), sources, str(self.packets))
        return float(run(*inside(self.sender, *command)))


def tracked(name: str) -> int:
    return int(run(*inside(name, "cat", "/proc/sys/net/netfilter/nf_conntrack_count")))


def compiled(name: str, folder: Path, policy: str) -> None:
    text = run(PROGRAM, "compile", policy)
    (folder / "rules.nft").write_text(text)
    run(*inside(name, "nft", "-f", str(folder / "rules.nft")))


def ours_and_linear(street: Street, folder: Path, rounds: int) -> None:
    with street.receiver() as few, street.receiver() as many, street.receiver() as one_by_one:
        for (name, _), count in zip((few, many), LINES, strict=True):
            (folder / "lines.yaml").write_text(lines(count))
            compiled(name, folder, str(folder / "lines.yaml"))
        run(*inside(one_by_one[0], "nft", "-f", "-"), input=linear(LINES[1]))
        found = interleaved(
            rounds,
            {
                "sending": lambda: street.cost("dead", 123),
                f"behind {LINES[0]} lines": lambda: street.cost(few[1], *last(LINES[0])),
                f"behind {LINES[1]} lines": lambda: street.cost(many[1], *last(LINES[1])),
                f"{LINES[1]} nft rules one by one": lambda: street.cost(one_by_one[1], *last(LINES[1])),
            },
            min,
        )
    report(f"a match behind {LINES[0]} lines", found, f"behind {LINES[0]} lines")
    print(f"aim: behind {LINES[1]} at most 1.3\n")


def ntp_flood(street: Street, folder: Path, rounds: int) -> None:
    with street.receiver() as legacy, street.receiver() as nft, street.receiver() as ours:
        run(*inside(legacy[0], "iptables-legacy", *HOWTO))
        run(*inside(nft[0], "iptables-nft", *HOWTO))
        compiled(ours[0], folder, "ntp-client")
        found = interleaved(
            rounds,
            {
                "sending": lambda: street.cost("dead", 123),
                "the how-to's rule, iptables-legacy": lambda: street.cost(legacy[1], 123),
                "the how-to's rule, iptables-nft": lambda: street.cost(nft[1], 123),
                "policies/ntp-client.yaml": lambda: street.cost(ours[1], 123),
            },
            min,
        )
        counts = [tracked(name) for name, _ in (legacy, nft, ours)]
    report("a flood of NTP questions", found, "the how-to's rule, iptables-legacy")
    print("conntrack entries: legacy {}, nft {}, ours {}".format(*counts))
    print("aims: at most 0.6 of the how-to's rule, no entries")


def report(title: str, found: dict[str, float], base: str) -> None:
    sending = found.pop("sending")
    print(f"{title:40} {'ns':>6} {'ratio':>6}   (sending, {sending:.0f} ns, taken off)")
    for name, cost in found.items():
        print(f"{name:40} {cost - sending:6.0f} {(cost - sending) / (found[base] - sending):6.2f}")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    packets = int(sys.argv[2]) if len(sys.argv) > 2 else 30_000
    with namespace("sender") as sender, tempfile.TemporaryDirectory(prefix="fwbench") as folder:
        street = Street(sender, packets)
        ours_and_linear(street, Path(folder), rounds)
        ntp_flood(street, Path(folder), rounds)


if __name__ == "__main__":
    main()
