"""Every key of the policy language, in one table: editors' schema and fwpolicy-policy(5) come from it.

The grammar itself is policy/parse.py; a test holds the two together, key by key and word by word.
"""

from __future__ import annotations

from fwpolicy.record import record


@record
class Key:
    """A key of a mapping.

    `kind`: what its value is, a name of types.KINDS. `text`: one or two sentences. `example`: a value.
    `default`: what holds where the key is left out. `words`: of kind "word", what each choice means.
    `only`: the rules that have it, words of "input output forward allow block except"; () is all.
    """

    name: str
    kind: str
    text: str
    example: object = None
    default: str = ""
    words: tuple[tuple[str, str], ...] = ()
    only: tuple[str, ...] = ()


@record
class Place:
    """A mapping of the language. `required`: keys that it must have; `some`: it has one of these at
    least; `one`: exactly one of these; `needs`: a key, and those of which one must stand beside it."""

    name: str
    text: str
    keys: tuple[Key, ...]
    required: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    one: tuple[str, ...] = ()
    needs: tuple[tuple[str, tuple[str, ...]], ...] = ()


HOOKS = ("input", "output", "forward")
LISTS = ("allow", "block")

TOP = Place(
    "policy",
    "What one host may do on the network.",
    (
        Key("version", "version", "The version of the language. Every policy begins with it.", 1),
        Key("name", "policy-name", "The policy's name.", "web-01", "the file's stem"),
        Key("description", "text", "One line about the policy.", "the shop's web server"),
        Key("backends", "backends", "What check proves the policy for, and apply may use.", ["nft"], "both"),
        Key("include", "files", "Policies that this one is built on; their lists join.", ["base.yaml"]),
        Key("override", "overrides", "Keys and rule ids that differ from an included file's on purpose.",
            ["input.default", "web-admin"]),
        Key("groups", "groups", "Named addresses, IPv4 and IPv6 mixed; groups may name groups.",
            {"admin": ["192.0.2.0/24", "2001:db8:1::/48"]}),
        Key("zones", "zones", "Named interfaces, matched by name; a trailing '*' stands for any rest.",
            {"wan": "eth0", "lan": ["eth1", "wg*"]}),
        Key("services", "services", "Services of your own, beside the built-in ones.",
            {"metrics": "tcp/9100"}),
        Key("roles", "roles", "What this host is in a protocol: its packets and its daemon together.",
            {"ntp": "client-only"}),
        Key("input", "section", "What comes in to this host.", {"default": "drop", "allow": ["ssh"]}),
        Key("output", "section", "What this host sends.", {"default": "accept"}),
        Key("forward", "section", "What passes through this host.",
            {"default": "drop", "allow": [{"in": "lan", "out": "wan"}]}),
        Key("nat", "nat", "Address translation of forwarded traffic.", {"masquerade": [{"out": "wan"}]}),
        Key("log", "log", "Logging of what is denied.", {"denied": True, "rate": "5/minute"}),
        Key("tests", "tests", "Expectations, run by check and before every apply; a failure stops it.",
            [{"allow": "ssh", "from": "192.0.2.10"}]),
        Key("apply", "apply", "How the policy is put in force.", {"confirm": "60s"}),
    ),
    required=("version",),
)  # fmt: skip

GROUP = Place(
    "group",
    "A group in its long form.",
    (
        Key("addresses", "members", "Addresses, prefixes, ranges and other groups.", ["192.0.2.0/24"]),
        Key("file", "file", "A file of one address, prefix or range a line; '#' starts a comment.",
            "feeds/drop.txt"),
        Key("hosts", "hosts", "Host names, resolved ahead of time into a lock file beside the policy.",
            ["deb.example.org"]),
        Key("dynamic", "duration",
            "Filled at run time (fail2ban, scripts); members leave after this time, with 0 never.", "1h"),
        Key("optional", "boolean", "The group may be empty; then its rules match nothing.", True, "false"),
        Key("min", "count-or-0", "Fewer addresses of the hosts, and the last good ones stay.", 1, "1"),
        Key("max", "count", "More addresses of the hosts, and the last good ones stay.", 50),
    ),
    one=("addresses", "file", "hosts", "dynamic"),
    needs=(("min", ("hosts",)), ("max", ("hosts",)), ("optional", ("addresses", "file", "hosts"))),
)  # fmt: skip

ROLES = Place(
    "roles",
    "The roles of this host.",
    (
        Key("ntp", "ntp", "What this host is to NTP: a mode, or a mapping with more to say.",
            {"mode": "server", "serve": ["private"]}),
    ),
)  # fmt: skip

NTP_MODES = (
    ("client-only", "May ask; answers nobody. The daemon answers nobody and still synchronises."),
    ("server", "As a client, and answers time requests of the groups in 'serve' only."),
    ("closed", "udp/123 closed in both directions; the daemon stopped, and not started at boot."),
)

NTP = Place(
    "roles.ntp",
    "The NTP role in its long form.",
    (
        Key("mode", "word", "Client, server, or neither.", "client-only", words=NTP_MODES),
        Key("servers", "servers", "Whom this host asks: a group, any, or from-daemon: the daemon's own.",
            "upstream", "any"),
        Key("serve", "addresses", "Whom a server answers. Mode server needs it.", ["private"]),
        Key("monitors", "addresses", "Loopback addresses from which an agent may ask the daemon.",
            ["127.0.0.1"]),
        Key("daemon", "word", "The time daemon to configure.", "chrony", "auto", (
            ("auto", "The one that runs, or is installed."), ("ntpd", "ntp.org's."), ("ntpsec", "NTPsec."),
            ("chrony", "chrony."), ("openntpd", "OpenNTPD."), ("timesyncd", "systemd-timesyncd."),
            ("none", "None: packets only."),
        )),
        Key("nts", "boolean", "NTS key establishment, tcp/4460 (chrony and ntpsec have it).", True, "false"),
    ),
    required=("mode",),
)  # fmt: skip

SECTION = Place(
    "section",
    "One direction: a default, a set of allow and a set of block. Order never matters.",
    (
        Key("default", "word",
            "What becomes of the rest. Every section needs one, here or in an included file.", "drop", words=(
            ("drop", "Silently discarded."),
            ("reject", "Refused: a TCP reset, otherwise port-unreachable."),
            ("accept", "Let through."),
        )),
        Key("allow", "rules", "What is let through.", ["ssh", {"service": "tcp/8443", "comment": "shop"}]),
        Key("block", "rules", "What is not, whatever allow says.",
            [{"service": "telnet", "action": "reject"}]),
    ),
)  # fmt: skip

RULE = Place(
    "rule",
    "A line of allow or block; a bare string is its 'service'. Keys are ANDed, lists ORed.",
    (
        Key("service", "service-list", "What is wanted: a service, proto/port, ip/N or icmp/TYPE, or a list.",
            ["ssh", "tcp/8443"]),
        Key("sport", "ports", "Source port, for replies that no connection tracks (printers, SSDP).", 1900),
        Key("from", "addresses", "Who sends: an address, prefix, range or group, or a list.",
            ["admin", "192.0.2.9"], only=("input", "forward")),
        Key("to", "addresses", "Who is meant: an address, prefix, range or group, or a list.",
            "2001:db8::7", only=("output", "forward")),
        Key("local", "addresses", "Which of this host's own addresses is meant.", "192.0.2.1",
            only=("input",)),
        Key("in", "zone-list", "The zone by which it comes in.", "lan", only=("input", "forward")),
        Key("out", "zone-list", "The zone by which it leaves.", "wan", only=("output", "forward")),
        Key("published", "boolean",
            "The service as a stranger addresses it, also where another table redirects it to a container.",
            True, "false", only=("input",)),
        Key("family", "word", "Only this address family.", "ipv4", "both",
            (("ipv4", "IPv4 only."), ("ipv6", "IPv6 only."))),
        Key("except", "holes", "A hole in this rule: what is in it goes on as if there were no such rule.",
            {"service": "ssh"}, only=LISTS),
        Key("limit", "rate", "New connections that the rule allows; the excess is not allowed by it.",
            "100/second", only=("allow",)),
        Key("burst", "count", "How many the limit lets through at once.", 200, only=("allow",)),
        Key("per", "word", "Count limit and max for each source on its own.", "source", only=("allow",),
            words=(("source", "Each address; each /64 of IPv6."),)),
        Key("max", "count", "Connections at a time.", 20, only=("allow",)),
        Key("action", "word", "How it is blocked.", "reject", "drop", only=("block",), words=(
            ("drop", "Silently discarded."), ("reject", "A TCP reset, otherwise port-unreachable."))),
        Key("log", "log-prefix", "Log the first packet of what matches: true, or a prefix.", True, "false",
            only=LISTS),
        Key("id", "id", "A stable name, which names the counter.", "web-admin", only=LISTS),
        Key("comment", "text", "Carried into the ruleset.", "operators", only=LISTS),
        Key("owner", "text", "Whose line it is.", "noc", only=LISTS),
        Key("ticket", "text", "Why it is there.", "OPS-12", only=LISTS),
        Key("expires", "date", "The last day on which the rule holds, UTC; the kernel enforces it.",
            "2027-01-31", only=LISTS),
    ),
    some=("service", "from", "to", "in", "out"),
    needs=(
        ("burst", ("limit",)), ("per", ("limit", "max")), ("sport", ("service",)),
        ("published", ("service",)),
    ),
)  # fmt: skip

MASQUERADE = Place(
    "nat.masquerade",
    "Traffic that leaves gets the address of the interface by which it leaves.",
    (
        Key("out", "zone-list", "The zone by which it leaves.", "wan"),
        Key("from", "addresses", "Only what these send.", "192.168.2.0/24", "all"),
        Key("family", "word", "Only this address family.", "ipv4", "both",
            (("ipv4", "IPv4 only."), ("ipv6", "IPv6 only."))),
    ),
    required=("out",),
)  # fmt: skip

PORT_FORWARD = Place(
    "nat.forward",
    "A service of this host's address that another host answers; its forward allow is implied.",
    (
        Key("in", "zone-list", "The zone by which it comes in.", "wan"),
        Key("service", "service-list", "The service as it is addressed.", "https"),
        Key("to", "address", "The host that answers.", "192.168.1.10"),
        Key("port", "port", "The port there.", 8443, "the same"),
        Key("hairpin", "boolean", "Hosts behind this one may use the outside address, too.", True, "false"),
        Key("from", "addresses", "Only what these send.", "198.51.100.0/24", "all"),
    ),
    required=("in", "service", "to"),
)  # fmt: skip

SNAT = Place(
    "nat.snat",
    "Traffic that leaves gets a fixed address.",
    (
        Key("out", "zone-list", "The zone by which it leaves.", "wan"),
        Key("from", "addresses", "Only what these send.", "192.168.2.0/24", "all"),
        Key("to", "address", "The address it gets.", "198.51.100.9"),
    ),
    required=("out", "to"),
)  # fmt: skip

NAT = Place(
    "nat",
    "Address translation.",
    (
        Key("masquerade", "nat.masquerade", MASQUERADE.text, [{"out": "wan"}]),
        Key("forward", "nat.forward", PORT_FORWARD.text,
            [{"in": "wan", "service": "https", "to": "192.168.1.10"}]),
        Key("snat", "nat.snat", SNAT.text, [{"out": "wan", "to": "198.51.100.9"}]),
        Key("clamp-mss", "boolean", "TCP's segment size of forwarded connections follows the path's MTU.",
            True, "false"),
    ),
)  # fmt: skip

LOG = Place(
    "log",
    "Logging of denied packets: blocks, the roles' denials and the default's, broadcast noise left out.",
    (
        Key("denied", "boolean", "Log them.", True, "false"),
        Key("rate", "rate", "At most so many lines.", "10/minute", "5/minute"),
        Key("prefix", "prefix", "What each line begins with.", "web", "fwp"),
        Key("group", "nflog-group", "Hand them to this group of nflog instead of the kernel's log.", 5),
    ),
)  # fmt: skip

TEST = Place(
    "test",
    "A packet, or many, and what becomes of it. Lists and prefixes mean every member.",
    (
        Key("allow", "packet", "This is accepted.", "ssh"),
        Key("deny", "packet", "This is dropped or rejected.", "ntp"),
        Key("from", "addresses", "Who sends; alone, the packet comes in.", "192.0.2.10"),
        Key("to", "addresses", "Who is meant; alone, the packet goes out.", "192.0.2.123"),
        Key("in", "zone-list", "The zone by which it comes in.", "lan"),
        Key("out", "zone-list", "The zone by which it leaves.", "wan"),
        Key("local", "addresses", "Which of this host's own addresses is meant.", "192.0.2.1"),
        Key("sport", "ports", "Its source port.", 1900, "any"),
        Key("published", "port", "The port that the connection first asked for.", 443),
        Key("state", "word", "What connection tracking says of it.", "established", "new", (
            ("new", "It begins a connection."), ("established", "It belongs to one."),
            ("related", "It belongs to one's errors or helpers."), ("invalid", "It fits none."),
            ("untracked", "Nothing tracks it."))),
        Key("mode", "ntp-mode", "Of NTP packets: 3 asks, 4 answers, 6 controls, 7 is monlist's.", 7, "3"),
        Key("at", "date", "The day on which it comes, for rules that expire.", "2027-01-31"),
        Key("source-in", "dynamic-groups", "The dynamic groups that hold its source, or none.", "banned"),
        Key("destination-in", "dynamic-groups", "The dynamic groups that hold its destination, or none.",
            "none"),
    ),
    some=("from", "to"),
    one=("allow", "deny"),
    needs=(
        ("in", ("from",)), ("out", ("to",)), ("local", ("from",)), ("published", ("from",)),
        ("source-in", ("from",)),
    ),
)  # fmt: skip

APPLY = Place(
    "apply",
    "How apply goes about it.",
    (
        Key("confirm", "confirm",
            "Take it back after this time, 5s to 1h, unless the operator confirms it; false asks nobody.",
            "60s", "60s from a terminal"),
        Key("gates", "gates", "What must hold after the apply for it to count without an operator.",
            [{"reach": "tcp/443", "to": "192.0.2.10"}, "synchronised"]),
        Key("conntrack", "word", "Connections that the new policy denies.", "keep", "purge-denied", (
            ("purge-denied", "They end."), ("keep", "They go on until they end."))),
        Key("foreign", "word", "Another table drops what this policy allows.", "keep", "refuse", (
            ("refuse", "Nothing is applied."), ("keep", "It is said, and applied."))),
        Key("daemon-config", "word", "The time daemon's configuration.", "verify", "manage", (
            ("manage", "It is written."),
            ("verify", "It is only checked, where configuration management owns it."),
            ("leave", "It is left alone."))),
        Key("on-boot-failure", "word", "No ruleset loads at boot.", "closed",
            "ssh-only, for an overlay open", (
            ("ssh-only", "SSH stays open, the rest is closed."), ("open", "Everything is open."),
            ("closed", "Everything is closed."))),
        Key("drift", "word", "A timer that looks whether the host is what was applied.", "report", "ignore", (
            ("ignore", "Nobody looks."), ("report", "It tells the journal."),
            ("heal", "It tells, and puts the rules back."))),
    ),
)  # fmt: skip

GATE = Place(
    "apply.gates",
    "What must hold after an apply. The bare word synchronised: the role's time daemon has a "
    "synchronised clock, by an answer newer than the apply.",
    (
        Key("reach", "tcp-service", "A TCP connection to this port succeeds.", "tcp/443"),
        Key("to", "addresses", "Whom it reaches: an address, a group or a list, every one of them.",
            "192.0.2.10"),
        Key("run", "command", "A program and its arguments, run without a shell, that ends with status 0.",
            ["/usr/local/sbin/smoke-test", "--fast"]),
    ),
    one=("reach", "run"),
    needs=(("reach", ("to",)), ("to", ("reach",))),
)  # fmt: skip

# In the order of the manual page.
PLACES = (
    TOP, GROUP, ROLES, NTP, SECTION, RULE, NAT, MASQUERADE, PORT_FORWARD, SNAT, LOG, TEST, APPLY, GATE,
)  # fmt: skip


def rule_keys(hook: str, which: str) -> tuple[Key, ...]:
    """The keys of a rule of `hook` in `which` (allow, block), or of its exceptions ("except")."""
    return tuple(key for key in RULE.keys if _belongs(key, hook, which))


def _belongs(key: Key, hook: str, which: str) -> bool:
    hooks = tuple(word for word in key.only if word in HOOKS)
    lists = tuple(word for word in key.only if word not in HOOKS)
    return (not hooks or hook in hooks) and (not lists or which in lists)
