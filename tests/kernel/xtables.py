"""Random iptables-save texts, made of the rules of test_iptables_reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .test_iptables_reading import BOTH, ONLY

if TYPE_CHECKING:
    from random import Random

# What a packet alone does not decide.
DICE = ("limit", "statistic", "recent", "connlimit", "ctstatus", "-m time")
CHAINS = "abc"
HOOKS = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
}
LEAVING = ("OUTPUT", "POSTROUTING")


def tables(family: int, random: Random) -> str:
    """A filter table, and sometimes another one."""
    others = random.choice(((), (), ("mangle",), ("raw",)))
    return "".join(_table(family, name, random) for name in ("filter", *others))


def _table(family: int, name: str, random: Random) -> str:
    pool = [rule for rule in (*BOTH, *ONLY[family]) if not any(word in rule for word in DICE)]
    if name != "filter":
        # The hop count is one less in forward than in prerouting.
        pool = [rule for rule in pool if not any(word in rule for word in ("REJECT", "hl-", "ttl-"))]
    if name == "raw":
        pool = [rule for rule in pool if "-f" not in rule.split()]
    lines = []
    for hook in random.sample(HOOKS[name], random.randint(1, len(HOOKS[name]))):
        fitting = [rule for rule in pool if hook not in LEAVING or _anywhere(rule)]
        lines += [f"-A {hook} {rule}" for rule in random.sample(fitting, random.randint(2, 8))]
    for index, chain in enumerate(CHAINS):
        back = {f"-{how} {other}" for how in "jg" for other in CHAINS[: index + 1]}
        fitting = [rule for rule in pool if _anywhere(rule) and not rule.endswith(tuple(back))]
        lines += [f"-A {chain} {rule}" for rule in random.sample(fitting, 3)]
        lines.append(f"-A {chain} -p udp -j {random.choice(('ACCEPT', 'DROP', 'RETURN'))}")
    random.shuffle(lines)
    policies = [f":{hook} {random.choice(('ACCEPT', 'ACCEPT', 'DROP'))} [0:0]" for hook in HOOKS[name]]
    own = [f":{chain} - [0:0]" for chain in CHAINS]
    return "\n".join([f"*{name}", *policies, *own, *lines, "COMMIT", ""])


def _anywhere(rule: str) -> bool:
    """Whether it can be asked where a packet has no interface that it came by."""
    return "-i" not in rule.split() and "limit-iface-in" not in rule
