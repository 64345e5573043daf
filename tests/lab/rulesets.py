"""Random nft rulesets, from small pools so that their parts meet often: every form of a match and of a
verdict that the front end reads and packets can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

ADDRESSES = {
    "ip": (
        *("10.0.0.0/8", "10.1.2.0/24", "10.1.2.3", "192.0.2.0-192.0.2.99", "192.0.2.1", "198.51.100.7"),
        *("203.0.113.0/25", "224.0.0.1"),
    ),
    "ip6": (
        *("2001:db8::/32", "2001:db8::1", "2001:db8::10-2001:db8::20", "2001:db8:bad::/48", "fd00::/8"),
        *("fd00::7", "ff02::1", "2001:db8:bad::9"),
    ),
}
PORTS = ("22", "53", "80-90", "100-200", "123", "443", "1024-65535", "0", "40000")
STATES = ("new", "established", "related", "invalid", "untracked")
NAMES = ('"eth0"', '"eth1"', '"wg0"', '"lo"', '"eth*"', '"wg*"', '"e"')
FLAGS = (
    *(
        "syn",
        "& (fin | syn | rst | ack) == syn",
        "& (syn | ack) == syn | ack",
        "!= syn",
        "{ syn, syn | ack }",
    ),
    *("& (syn | rst) != 0x0", "== ack", "! fin,rst", "syn / syn,ack", "& rst == 0x0", "{ ack, rst }"),
)
REJECTS = {
    "inet": (
        *(
            "",
            "with tcp reset",
            "with icmpx admin-prohibited",
            "with icmpx no-route",
            "with icmp net-prohibited",
        ),
        *("with icmpx host-unreachable", "with icmpv6 policy-fail", "with icmp host-unreachable"),
    ),
    "ip": ("", "with tcp reset", "with icmp prot-unreachable", "with icmp admin-prohibited"),
    "ip6": ("", "with tcp reset", "with icmpv6 no-route", "with icmpv6 addr-unreachable"),
}
BASES = (
    *(("prerouting", -300), ("prerouting", -150), ("input", -10), ("input", 0), ("input", 20)),
    *(("forward", -10), ("forward", 5), ("output", -300), ("output", 0), ("output", 10), ("postrouting", 50)),
)
TYPES4, TYPES6 = ("0", "3", "8", "11-12", "13"), ("1", "128", "129", "133-136", "3")


class Writer:
    """One ruleset's text. Chains only jump to those after them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.pick = random.choice

    def text(self) -> str:
        families = self.random.sample(("inet", "inet", "ip", "ip6"), self.random.randint(1, 3))
        bases = self.random.sample(BASES, self.random.randint(3, 7))
        # It is one less in forward than it was in prerouting.
        self.hops = all(hook != "prerouting" for hook, _ in bases)
        return "".join(
            self._table(family, f"t{number}", bases[number :: len(families)])
            for number, family in enumerate(families)
        )

    def _table(self, family: str, name: str, bases: list[tuple[str, int]]) -> str:
        words = ("ip", "ip6") if family == "inet" else (family,)
        lines = [f"table {family} {name} {{"]
        for word in words:
            members = ", ".join(self._apart(ADDRESSES[word], 3))
            lines.append(f"set s_{word} {{ type {'ipv4' if word == 'ip' else 'ipv6'}_addr; flags interval;")
            lines.append(f"elements = {{ {members} }} }}")
        lines += [f"set ports {{ type inet_service; flags interval; elements = {{ {self._ports()} }} }}"]
        own = [f"c{number}" for number in range(self.random.randint(1, 4))]
        # Declared first: a chain is jumped to before its rules are there.
        lines += [f"chain {each} {{\n}}" for each in own]
        for number, each in enumerate(own):
            lines += [f"chain {each} {{", *self._rules(family, own[number + 1 :], ""), "}"]
        for hook, priority in bases:
            policy = self.pick(("accept", "accept", "drop"))
            lines.append(f"chain {hook}_{priority + 1000} {{")
            lines.append(f"type filter hook {hook} priority {priority}; policy {policy};")
            lines += [*self._rules(family, own if hook != "postrouting" else [], hook), "}"]
        return "\n".join([*lines, "}", ""])

    def _rules(self, family: str, below: list[str], hook: str) -> list[str]:
        return [self._rule(family, below, hook) for _ in range(self.random.randint(1, 6))]

    def _rule(self, family: str, below: list[str], hook: str) -> str:
        word = self.pick(("ip", "ip6")) if family == "inet" else family
        parts = [self._match(family, word) for _ in range(self.pick((0, 1, 1, 1, 2, 2, 3)))]
        if self.random.random() < 1 / 4:
            parts.append("counter")
        if self.random.random() < 1 / 4:
            return " ".join([*parts, self._map(word, below)])
        return " ".join([*parts, self._verdict(family, below, hook)])

    def _verdict(self, family: str, below: list[str], hook: str) -> str:
        kinds = ["accept", "accept", "drop", "drop", "return", "continue"]
        if hook != "postrouting":
            kinds += ["reject", "reject"]
        kind = self.pick([*kinds, *(f"{how} {chain}" for chain in below for how in ("jump", "goto"))])
        return f"reject {self.pick(REJECTS[family])}" if kind == "reject" else kind

    def _in_map(self, below: list[str]) -> str:
        jumps = [f"{how} {chain}" for chain in below for how in ("jump", "goto")]
        return self.pick(["accept", "drop", "continue", "return", *jumps])

    def _map(self, word: str, below: list[str]) -> str:
        kind = self.random.randrange(6)
        if kind == 0:
            keys, left = self._apart(PORTS, 3), f"{self.pick(('tcp', 'udp'))} {self._side()}port"
        elif kind == 1:
            keys, left = self._apart(ADDRESSES[word], 3), f"{word} {self._side()}addr"
        elif kind == 2:
            keys, left = self.random.sample(STATES, 3), "ct state"
        elif kind == 3:
            keys, left = self.random.sample(NAMES[:4], 2), "iifname"
        elif kind == 4:
            keys = [
                f"{proto} . {self.pick(PORTS)}" for proto in self.random.sample(("tcp", "udp", "sctp"), 2)
            ]
            left = "meta l4proto . th dport"
        else:
            addresses = self._apart(ADDRESSES[word], 2)
            keys = [f"{address} . {self.pick(PORTS)}" for address in addresses]
            left = f"{word} saddr . tcp dport"
        return f"{left} vmap {{ {', '.join(f'{key} : {self._in_map(below)}' for key in keys)} }}"

    def _side(self) -> str:
        return self.pick("sd")

    def _apart(self, pool: tuple[str, ...], most: int) -> list[str]:
        """Some that do not overlap: of those that could, only the first."""
        found: list[str] = []
        for each in self.random.sample(pool, most):
            stem = each.split(".")[0].split(":")[0] if len(each) > 6 else each
            if not any(stem == (o.split(".")[0].split(":")[0] if len(o) > 6 else o) for o in found):
                found.append(each)
        return found

    def _ports(self) -> str:
        return ", ".join(self._apart(PORTS, self.random.randint(1, 4)))

    def _values(self, pool: tuple[str, ...], most: int = 3) -> str:
        """One, a negated one, or a set of them."""
        kind = self.random.random()
        if kind < 1 / 3:
            return self.pick(pool)
        negated = self.pick(("", "!= "))
        if kind < 2 / 3:
            return f"{negated}{self.pick(pool)}"
        return f"{negated}{{ {', '.join(self._apart(pool, self.random.randint(1, most)))} }}"

    def _match(self, family: str, word: str) -> str:
        side = self._side()
        proto = self.pick(("tcp", "udp", "tcp", "udp", "sctp"))
        icmp = "icmp" if word == "ip" else "icmpv6"
        types = TYPES4 if word == "ip" else TYPES6
        forms = (
            f"{word} {side}addr {self._values(ADDRESSES[word])}",
            f"{word} {side}addr {self.pick(('', '!= '))}@s_{word}",
            f"{proto} {side}port {self._values(PORTS)}",
            f"{proto} {side}port {self.pick(('', '!= '))}@ports",
            f"{proto} dport {self.pick(('<', '>', '<=', '>='))} {self.pick(('22', '443', '1024'))}",
            f"meta l4proto {{ tcp, udp }} th {side}port {self._values(PORTS)}",
            f"meta l4proto {self._values(('tcp', 'udp', '1', '58', '132', '47'))}",
            *(["meta nfproto ipv4", "meta nfproto != ipv4"] if family == "inet" else []),
            f"{icmp} type {self._values(types)}",
            f"{icmp} code {self._values(('0', '1', '2-4'))}",
            f"ct state {self._states()}",
            f"tcp flags {self.pick(FLAGS)}",
            f"{self.pick(('iifname', 'oifname'))} {self._values(NAMES)}",
            f"{word} dscp {self._values(('0', '10', '46'))}",
            *(["ip ttl < 65" if word == "ip" else "ip6 hoplimit != 254"] if self.hops else []),
            f"meta length {self._values(('0-47', '48-80', '60', '88'))}",
            f"udp dport 123 @th,64,8 & 0x7 {self.pick(('==', '!='))} {self.pick('0347')}",
            f"meta pkttype {self._values(('host', 'broadcast', 'multicast'))}",
            "ip frag-off & 0x1fff != 0" if word == "ip" else "meta protocol ip6",
            self._concatenation(word),
        )
        return self.pick(forms)

    def _states(self) -> str:
        some = self.random.sample(STATES, self.random.randint(1, 3))
        forms = (
            some[0],
            f"!= {some[0]}",
            ",".join(some),
            f"{{ {', '.join(some)} }}",
            f"!= {{ {', '.join(some)} }}",
        )
        return self.pick(forms)

    def _concatenation(self, word: str) -> str:
        left = self.pick(
            (f"{word} saddr . tcp dport", f"{word} daddr . udp sport", "meta l4proto . th dport")
        )
        negated = self.pick(("", "", "!= "))
        if left.startswith("meta"):
            keys = [
                f"{proto} . {self.pick(PORTS)}" for proto in self.random.sample(("tcp", "udp", "sctp"), 2)
            ]
        else:
            keys = [f"{address} . {self.pick(PORTS)}" for address in self._apart(ADDRESSES[word], 2)]
        return f"{left} {negated}{{ {', '.join(keys)} }}"
