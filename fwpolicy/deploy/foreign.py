"""Other tools' chains on our packets' way: whose they are, and who overrides whom.

A packet passes every base chain of its hook, in the order of their priorities. A drop is final, an accept
ends only its own chain (nft(8), "CHAINS"): so whoever drops overrides whoever accepts, wherever he stands.
"""

from __future__ import annotations

import re

from fwpolicy.backends.nft.purged import TABLE as PURGED
from fwpolicy.errors import HostError
from fwpolicy.ir.ruleset import FAMILY, TABLE
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from fwpolicy.ir.ruleset import Ruleset
    from fwpolicy.model.program import Program

    Json = dict[str, Any]

# As iptables-save has it.
UNTRACKED = re.compile(r"-j (?:NOTRACK|CT .*--notrack)")
_OURS = (f"{FAMILY} {TABLE}", f"{FAMILY} {PURGED}")
# A packet of ours passes ingress and prerouting before our hooks, postrouting and egress after them.
_BEFORE, _AFTER = ("ingress",), ("postrouting", "egress")
HOOKS = (*_BEFORE, "prerouting", "input", "output", "forward", *_AFTER)
# arp and bridge chains see other packets than ours.
FAMILIES = ("ip", "ip6", "inet", "netdev")
TYPES = ("filter", "route")
# What tools call their tables and chains, by its beginning.
_TOOLS = {
    "docker": ("DOCKER",),
    "firewalld": ("firewalld", "INPUT_ZONES", "IN_public"),
    "ufw": ("ufw-", "ufw6-"),
    "fail2ban": ("f2b-",),
    "libvirt": ("LIBVIRT_", "libvirt_network"),
    "kubernetes": ("KUBE-", "kube-"),
    "podman": ("NETAVARK", "netavark", "CNI-"),
    "lxd": ("lxd", "incus"),
    "calico": ("cali-",),
    "tailscale": ("ts-",),
    "sshguard": ("sshguard",),
    "crowdsec": ("crowdsec",),
}
# Of iptables' targets, which a listing only names.
_XT_DROPS = ("REJECT", "DROP", "TARPIT", "STEAL")
# iptables saves NOTRACK as CT --notrack; CT may name a helper or a zone instead.
_XT_UNTRACKS = ("NOTRACK", "CT")


@record
class ForeignChain:
    """A base chain of somebody else's on one of our hooks.

    `policy` is the chain's; `drops`, `accepts`, `untracks`: it does so somewhere, as do the chains that it
    leads to;
    `tools`: whose rules they are, as far as their names say. `legacy`: iptables-legacy's, which nft cannot
    see.
    """

    table: str
    chain: str
    hook: str
    priority: int
    policy: str
    drops: bool
    accepts: bool
    tools: tuple[str, ...] = ()
    legacy: bool = False
    untracks: bool = False

    def __str__(self) -> str:
        where = f"{self.hook}, priority {self.priority}, policy {self.policy}"
        return f"table {self.table}, chain {self.chain} ({where})"

    @property
    def name(self) -> str:
        """As the packet model calls it."""
        return f"{self.table} {self.chain}"

    @property
    def idle(self) -> bool:
        """It lets everything pass, and has no rule that says so."""
        return not self.drops and not self.accepts and not self.untracks

    @property
    def drops_all(self) -> bool:
        """Whatever comes. At ingress and egress it is about one device only, which nft 1.0.6 does not name
        in its JSON."""
        return self.policy == "drop" and not self.accepts and self.hook not in ("ingress", "egress")


def of_listing(listing: Json) -> tuple[ForeignChain, ...]:
    """The chains of `nft -j list ruleset`, our own left out."""
    said: dict[str, set[str]] = {}
    leads: dict[str, set[str]] = {}
    for rule in (entry["rule"] for entry in listing["nftables"] if "rule" in entry):
        name = f"{rule['family']} {rule['table']} {rule['chain']}"
        for expression in rule["expr"]:
            said.setdefault(name, set()).update(_words(expression))
            targets = {f"{rule['family']} {rule['table']} {each}" for each in _targets(expression)}
            leads.setdefault(name, set()).update(targets)
    found = []
    for chain in (entry["chain"] for entry in listing["nftables"] if "chain" in entry):
        table = f"{chain['family']} {chain['table']}"
        if _is_one(chain) and table not in _OURS:
            base = (table, chain["name"], chain["hook"], chain["prio"], chain.get("policy", "accept"))
            found.append(_chain(base, said, leads))
    return tuple(found)


def of_legacy(tables: tuple[str, ...]) -> tuple[ForeignChain, ...]:
    """The chains of iptables-legacy; none where its text cannot be had, or not be read."""
    if not tables:
        return ()
    from fwpolicy.host.xtables import saved  # noqa: PLC0415
    from fwpolicy.model import iptables  # noqa: PLC0415
    from fwpolicy.model.program import NotModelledError  # noqa: PLC0415

    try:
        programs = iptables.of_both(saved(), "live-v")
    except (HostError, NotModelledError):
        return ()
    return tuple(chain for program in programs for chain in of_program(program))


def of_program(program: Program) -> tuple[ForeignChain, ...]:
    """The chains of what iptables-legacy-save printed, as the packet model has read it."""
    from fwpolicy.model.program import Jump, Verdict  # noqa: PLC0415

    said: dict[str, set[str]] = {}
    leads: dict[str, set[str]] = {}
    for chain in program.chains.values():
        actions = [rule.action for rule in chain.rules]
        said[chain.name] = {each.kind.partition(":")[0] for each in actions if isinstance(each, Verdict)}
        leads[chain.name] = {each.chain for each in actions if isinstance(each, Jump)}
    for where in program.unmodelled:
        if UNTRACKED.search(where.text):
            said.setdefault(where.chain, set()).add("notrack")
    bases = [chain for chain in program.chains.values() if chain.base]
    found = []
    for chain in bases:
        base = chain.base
        if base and base.hook in HOOKS and base.type in TYPES:
            table, _, name = chain.name.rpartition(" ")
            of = (table, name, base.hook, base.priority, base.policy.kind)
            found.append(_chain(of, said, leads, legacy=True))
    return tuple(found)


def _is_one(chain: Json) -> bool:
    return chain.get("hook") in HOOKS and chain["type"] in TYPES and chain["family"] in FAMILIES


def _chain(
    base: tuple[str, str, str, int, str],
    said: Mapping[str, set[str]],
    leads: Mapping[str, set[str]],
    *,
    legacy: bool = False,
) -> ForeignChain:
    table, name, _, _, policy = base
    reached = _reached(f"{table} {name}", leads)
    words = set[str]().union(*(said.get(each, ()) for each in reached))
    drops = policy == "drop" or bool(words & {"drop", "reject"})
    accepts = bool(words & {"accept", "queue"})
    return ForeignChain(*base, drops, accepts, _tools(reached), legacy, "notrack" in words)


def _words(expression: Json) -> Iterable[str]:
    """What a statement does: its verdicts, those of a map of verdicts among them."""
    kind, body = next(iter(expression.items()))
    if kind == "xt":
        name = body.get("name") if isinstance(body, dict) else None
        return _words_of_target(name)
    if kind == "vmap":
        return _verdicts(body)
    return (kind,)


def _words_of_target(name: str | None) -> Iterable[str]:
    """Of iptables' targets; None: not even its name is known."""
    if name is None:
        return {"accept", "drop"}
    return {"reject"} if name in _XT_DROPS else {"notrack"} if name in _XT_UNTRACKS else ()


def _verdicts(tree: Any) -> set[str]:
    """Of a named map no more is known than that it holds verdicts."""
    if isinstance(tree, str):
        return {"accept", "drop"} if tree.startswith("@") else set()
    if isinstance(tree, list):
        return set[str]().union(*map(_verdicts, tree))
    if not isinstance(tree, dict):
        return set()
    own = {key for key in tree if key in ("accept", "drop")}
    return own.union(*map(_verdicts, tree.values()))


def _targets(tree: Any) -> Iterable[str]:
    """The chains that a statement leads to."""
    if isinstance(tree, list):
        return [name for part in tree for name in _targets(part)]
    if not isinstance(tree, dict):
        return []
    own = [tree[key]["target"] for key in ("jump", "goto") if isinstance(tree.get(key), dict)]
    return [*own, *(name for part in tree.values() for name in _targets(part))]


def _reached(first: str, leads: Mapping[str, set[str]]) -> list[str]:
    found = [first]
    for name in found:
        found += [each for each in sorted(leads.get(name, ())) if each not in found]
    return found


def _tools(chains: Iterable[str]) -> tuple[str, ...]:
    """By the names of chains and of the tables that they are in."""
    names = {word for chain in chains for word in chain.split()[1:]}
    return tuple(tool for tool, starts in _TOOLS.items() if any(name.startswith(starts) for name in names))


def order(chain: ForeignChain, ruleset: Ruleset) -> str:
    """When a packet meets it: "before" or "after" our own chains of its hook, "beside" them where the
    priorities are equal or ours lie around it, "apart" where we have none there."""
    if chain.hook in (*_BEFORE, *_AFTER):
        return "before" if chain.hook in _BEFORE else "after"
    ours = [
        each.base.priority
        for table in ruleset.tables
        for each in table.chains
        if each.base and each.base.hook == chain.hook and each.base.type in TYPES
    ]
    if not ours:
        return "apart"
    if chain.priority < min(ours):
        return "before"
    return "after" if chain.priority > max(ours) else "beside"


UNTRACKS = "may take packets out of connection tracking: replies among them do not pass as established"
_ORDERS = {
    "before": "before ours",
    "after": "after ours",
    "beside": "beside ours",
    "apart": "where we have none",
}


def title(chain: ForeignChain, order: str) -> str:
    """The chain, whose it is and when it comes."""
    whose = f" of {' and '.join(chain.tools)}" if chain.tools else ""
    kind = " of iptables-legacy" if chain.legacy else ""
    return f"{chain}{kind}{whose}, {_ORDERS[order]},"


def interference(chain: ForeignChain, order: str) -> tuple[str, ...]:
    """What its rules can mean for ours, where nobody looked closer."""
    if not chain.untracks:
        return (verdicts(chain, order),)
    return (UNTRACKS, verdicts(chain, order)) if chain.drops or chain.accepts else (UNTRACKS,)


def verdicts(chain: ForeignChain, order: str) -> str:
    """The same of what it drops and accepts."""
    if order == "apart" and chain.hook != "prerouting" and not chain.idle:
        return "decides there without us: this policy says nothing of it"
    if chain.drops:
        return "may drop what this policy lets through; an accept of ours never overrides it"
    if chain.accepts:
        return "only accepts; that never overrides a drop of ours"
    return "does nothing"
