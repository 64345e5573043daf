"""fwpolicy(1), from the verbs' parsers, and fwpolicy-policy(5), from the table of keys."""

from __future__ import annotations

from fwpolicy import VERSION
from fwpolicy.policy.services import BUILT_IN
from fwpolicy.reference import keys, roff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.reference.keys import Key, Place
    from fwpolicy.reference.verbs import Argument, Verb

# Of the last change to what the pages say: they are the same bytes every time.
DATE = "2026-11-26"
_SOURCE = f"fwpolicy {VERSION}"

EXITS = (
    ("0", "Done; nothing differs; the check holds."),
    ("1", "Error: the policy is wrong, the host refused, or nothing can be concluded."),
    (
        "2",
        "plan, diff, status: there are differences, or nothing was ever applied; the latter counters, too. "
        "sync: what it brought was removed by hand. "
        "sync --status: the newest commit is not what counts here.",
    ),
    (
        "3",
        "A check failed: a policy test, a proof, an invariant, a probe that was answered. "
        "lint found something. diff --risk: something newly opens at least so much.",
    ),
    ("64", "Usage."),
    ("130", "Interrupted."),
)
FILES = (
    ("/var/lib/fwpolicy/", "What is remembered of applies; current is the generation in force."),
    ("/etc/systemd/system/fwpolicy.service", "Loads the rules at boot, without Python."),
    ("/etc/init.d/fwpolicy", "The same under SysV init and OpenRC."),
    ("/etc/fwpolicy/allowed_signers", "Who may sign bundles for this host; see ssh-keygen(1)."),
    ("/etc/fwpolicy/sync.yaml", "What sync pulls, and how."),
    ("~/.cache/fwpolicy/fleet/", "Results that --all builds on."),
)
EXAMPLES = (
    ("Is the policy right? Its own tests included:", "fwpolicy check web.yaml"),
    ("What would change here, then change it:", "fwpolicy plan ntp-client\nsudo fwpolicy apply ntp-client"),
    ("A first policy for this host:", "sudo fwpolicy init -o first.yaml"),
    (
        "Every host of an inventory, and what a change of it does:",
        "fwpolicy check --all\nfwpolicy diff --all git:origin/main",
    ),
    ("Completions for this shell:", "source <(fwpolicy completion bash)"),
)


def command_page(verbs: tuple[Verb, ...]) -> str:
    """fwpolicy(1)."""
    return roff.page(
        [
            roff.header("fwpolicy", 1, DATE, _SOURCE, "User Commands"),
            roff.heading("name"),
            [r"fwpolicy \- firewall policies compiled, applied, verified and undone as one"],
            roff.heading("synopsis"),
            [f"{roff.bold('fwpolicy')} {roff.italic('VERB')} [{roff.italic('OPTION')} ...] ..."],
            roff.heading("description"),
            roff.paragraph(
                "One YAML file says what a host may do on the network. fwpolicy compiles it to nftables, "
                "applies it in one transaction, reads it back, persists it across reboots, and changes the "
                "daemon that the policy is about together with the firewall."
            ),
            [".PP", f"The language is in {roff.bold('fwpolicy-policy')}(5)."],
            roff.paragraph(
                "POLICY is a file, - for standard input, or the name of a shipped policy; several merge."
            ),
            roff.heading("commands"),
            *(part for verb in verbs for part in _verb(verb)),
            roff.heading("exit status"),
            *(roff.entry(roff.bold(code), text) for code, text in EXITS),
            roff.paragraph("Where several apply: 1, then 3, then 2."),
            roff.heading("files"),
            *(roff.entry(roff.italic(path), text) for path, text in FILES),
            roff.heading("examples"),
            *(part for text, code in EXAMPLES for part in (roff.paragraph(text), roff.code(code))),
            roff.heading("see also"),
            [f"{roff.bold('fwpolicy-policy')}(5), {roff.bold('nft')}(8), {roff.bold('ip-netns')}(8)"],
        ]
    )


def _verb(verb: Verb) -> Iterator[list[str]]:
    yield roff.subheading(" ".join(("fwpolicy", verb.name, "[OPTION ...]", *map(_operand, verb.operands))))
    yield roff.paragraph(_sentence(verb.text))
    for operand in verb.operands:
        yield roff.entry(roff.italic(operand.metavar), _sentence(operand.text))
    for option in verb.options:
        if "--help" not in option.flags:
            yield roff.entry(_option(option), _sentence(option.text))
    if verb.epilog:
        yield roff.paragraph(_sentence(verb.epilog))


def _operand(operand: Argument) -> str:
    name = f"{operand.metavar} ..." if operand.many else operand.metavar
    return f"[{name}]" if operand.optional else name


def _option(option: Argument) -> str:
    value = f" {roff.italic(option.metavar)}" if option.metavar else ""
    return ", ".join(f"{roff.bold(flag)}{value}" for flag in option.flags)


def _sentence(text: str) -> str:
    ending = "" if text.endswith((".", "?", "}")) or "$" in text or "<(" in text else "."
    return f"{text[:1].upper()}{text[1:]}{ending}"


RULES = (
    "Direction is a top-level word: input, output, forward.",
    "Order never matters. A section is a default, a set of allow and a set of block. block beats allow; "
    "what neither names gets the default. Exceptions are written with except, not with position.",
    "Both address families, always, unless an address says otherwise.",
)
POLICY = """\
version: 1
name: web-01
groups:
  admin: [192.0.2.0/24, "2001:db8:1::/48"]
roles:
  ntp: client-only
input:
  default: drop
  allow:
    - {service: ssh, from: admin}
    - {service: [http, https]}
  block:
    - {from: 203.0.113.0/24, comment: abuse}
output: {default: accept}
tests:
  - {allow: ssh, from: 192.0.2.10}
  - {deny: ssh, from: 198.51.100.7}"""
STEPS = (
    ("loopback", "lo on input and output: accept."),
    ("role guards", "A role's drops: final in every connection tracking state."),
    ("essential", "ICMP errors, IPv6 neighbour discovery, DHCP client traffic; on forward ICMP errors only."),
    ("invalid", "Drop what connection tracking calls invalid."),
    ("established", "Accept established and related."),
    ("block", "Drop or reject."),
    ("roles", "A role's accepts."),
    ("allow", "Accept."),
    ("default", "Log if log.denied says so, then the section's default."),
)
# How the manual writes a value of each kind; kinds that are left out are mappings of their own.
FORMS = {
    "version": "1", "boolean": "true|false", "count": "N", "count-or-0": "N", "nflog-group": "N",
    "text": "TEXT", "policy-name": "NAME",
    "backends": "[nft|iptables, ...]", "file": "PATH", "files": "[PATH, ...]", "overrides": "[KEY|ID, ...]",
    "hosts": "[HOST, ...]", "members": "[ADDRESS|PREFIX|RANGE|GROUP, ...]", "address": "ADDRESS",
    "addresses": "ADDRESS|PREFIX|RANGE|GROUP|[...]", "servers": "GROUP|from-daemon|any",
    "service-list": "SERVICE|[...]", "packet": "SERVICE|PROTOCOL",
    "port": "PORT", "ports": "PORT|FIRST-LAST|[...]", "zone-list": "ZONE|[...]",
    "rate": "N/second|minute|hour|day", "duration": "N{s|m|h|d}|0", "confirm": "N{s|m|h|d}|false",
    "date": "YYYY-MM-DD", "id": "ID", "prefix": "TEXT",
    "dynamic-groups": "GROUP|none|[...]", "log-prefix": "true|PREFIX", "ntp-mode": "0-7",
    "gates": "[synchronised|MAPPING, ...]", "tcp-service": "SERVICE|tcp/PORT",
    "command": "PROGRAM|[PROGRAM, ARGUMENT, ...]",
    "rules": "[SERVICE|RULE, ...]", "holes": "RULE|[...]", "groups": "{NAME: GROUP, ...}",
    "zones": "{NAME: INTERFACE|[...], ...}", "services": "{NAME: SERVICE|[...], ...}",
    "section": "SECTION", "tests": "[TEST, ...]", "ntp": "MODE|MAPPING", "roles": "MAPPING", "nat": "MAPPING",
    "log": "MAPPING", "apply": "MAPPING", "nat.masquerade": "[MAPPING, ...]", "nat.forward": "[MAPPING, ...]",
    "nat.snat": "[MAPPING, ...]",
}  # fmt: skip


def language_page() -> str:
    """fwpolicy-policy(5)."""
    services = "\n".join(f"{name:<18}{text.replace(' ', ', ')}" for name, text in BUILT_IN.items())
    return roff.page(
        [
            roff.header("fwpolicy-policy", 5, DATE, _SOURCE, "File Formats"),
            roff.heading("name"),
            [r"fwpolicy\-policy \- what a host may do on the network, version 1"],
            roff.heading("description"),
            roff.paragraph("A policy is one YAML document. Three rules carry the whole language:"),
            *(roff.entry(f"{number}.", rule) for number, rule in enumerate(RULES, 1)),
            roff.code(POLICY),
            roff.paragraph(
                "Unknown keys, duplicates and what YAML 1.1 reads otherwise than it looks are errors."
            ),
            roff.heading("keys"),
            *(part for place in keys.PLACES for part in _place(place)),
            roff.heading("evaluation"),
            roff.paragraph("For each packet, in this order; in a section that is absent only 1 and 2 run."),
            *(
                roff.entry(f"{number}. {roff.bold(name)}", text)
                for number, (name, text) in enumerate(STEPS, 1)
            ),
            roff.heading("groups"),
            roff.paragraph("Built-in groups: any, internet (globally reachable unicast) and private."),
            roff.heading("services"),
            roff.code(services),
            roff.heading("see also"),
            [f"{roff.bold('fwpolicy')}(1), {roff.bold('nft')}(8)"],
        ]
    )


def _place(place: Place) -> Iterator[list[str]]:
    yield roff.subheading(place.name)
    yield roff.paragraph(place.text)
    for name, sentence in (
        ("required", "Required:"),
        ("some", "At least one of:"),
        ("one", "Exactly one of:"),
    ):
        found: tuple[str, ...] = getattr(place, name)
        if found:
            yield roff.paragraph(f"{sentence} {', '.join(found)}.")
    for key in place.keys:
        yield from _key(key, dict(place.needs).get(key.name, ()))


def _key(key: Key, beside: tuple[str, ...]) -> Iterator[list[str]]:
    form = "|".join(word for word, _ in key.words) or FORMS[key.kind]
    only = f" Only in {_only(key)}." if _only(key) else ""
    needs = f" It needs {' or '.join(beside)} beside it." if beside else ""
    default = f" Default: {key.default}." if key.default else ""
    yield roff.entry(f"{roff.bold(key.name)}: {roff.italic(form)}", f"{key.text}{only}{needs}{default}")
    if key.words:
        yield [".RS"]
        yield from (roff.entry(roff.bold(word), meaning) for word, meaning in key.words)
        yield [".RE"]
    else:
        yield [".br", f"Example: {roff.literal(f'{key.name}: {flow(key.example)}')}"]


def _only(key: Key) -> str:
    """Where the key belongs, in words; a rule's exceptions are no place that needs saying."""
    hooks = [word for word in key.only if word in keys.HOOKS]
    lists = [word for word in key.only if word in keys.LISTS]
    return " and ".join((*hooks, *(lists if len(lists) < len(keys.LISTS) else ())))


def flow(value: object) -> str:
    """A value as YAML in flow style."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    text = str(value)
    return f'"{text}"' if ":" in text or "*" in text else text
