"""What is said to a word that names nothing: what was meant perhaps, and how that is written."""

from __future__ import annotations

import re

from fwpolicy.addresses import A_NEGATION
from fwpolicy.policy import services
from fwpolicy.policy.groups import HOST
from fwpolicy.policy.names import BUILT_IN_GROUPS
from fwpolicy.policy.reader import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.names import Names

# What other tools call every address, and every service.
_EVERYWHERE = frozenset(("all", "all-ips", "anywhere", "everyone", "everywhere", "world", "*"))
_EVERYTHING = frozenset(("all", "any", "everything", "*"))
# What other tools call a service, where no spelling is near, or the nearest is another.
_SERVICES = {
    "bootpc": "dhcp-client",
    "bootps": "dhcp-server",
    "cifs": "samba",
    "dhcp": "dhcp-server, or dhcp-client; what a client needs passes anyway",
    "domain": "dns",
    "ike": "isakmp, or ipsec, which has udp/4500 and esp, too",
    "postgres": "postgresql",
    "rdp": "ms-rdp",
    "smb": "samba",
}
_SENTENCE = re.compile(r"(\S+) (from|to|in|out) (\S+)\Z")


def of_group(name: str, others: tuple[str, ...], names: Names) -> str:
    """For what is neither an address nor a group; `others` may stand there, too."""
    if name.lower() in _EVERYWHERE:
        return "every address is: any"
    if name in names.services or name in services.BUILT_IN:
        return f"'{name}' is a service: it belongs in 'service'"
    if name[0] == "!":
        return A_NEGATION
    if " " in name or "," in name:
        return "a list is written [A, B]"
    if name in names.zones:
        return f"'{name}' is a zone: it belongs in 'in' or 'out'"
    if name[0] == "+":
        return "'+' begins a group's list, to extend an included one: [+, ADDRESS]"
    known = (*names.groups, *BUILT_IN_GROUPS)
    if near := nearest(name, (*known, *others)):
        return near
    if HOST.match(name.lower()):
        return of_host(name)
    if name == "localhost":
        return "host names are not addresses; list the addresses"
    return f"groups: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"


def of_host(name: str) -> str:
    return f"a host's name stands in a group of its own, as in: mirrors: {{hosts: [{name.lower()}]}}"


def of_service(text: str, names: Names) -> str | None:
    """For what is no service; None where the message says enough."""
    if text[0] == "!":
        return f"an exception is a key of the rule, as in: except: {{service: {text[1:].strip() or 'ssh'}}}"
    if "/" in text:
        return None
    if text.lower() in _EVERYTHING:
        return "leave out 'service' to mean all of them: {from: ADDRESS}; for everybody that is the 'default'"
    if text in names.zones:
        return f"'{text}' is a zone: it belongs in 'in' or 'out'"
    if text in names.groups or text in BUILT_IN_GROUPS:
        return f"'{text}' is a group: it belongs in 'from' or 'to'"
    if sentence := _SENTENCE.match(text):
        service, key, value = sentence.groups()
        return f"a line of several keys is written {{service: {service}, {key}: {value}}}"
    if " " in text:
        return "several services are a list: [ssh, dns]"
    if text.lower() in _SERVICES:
        return f"it is called {_SERVICES[text.lower()]}"
    near = nearest(text, (*names.services, *services.BUILT_IN))
    return near or "a service is a known name or proto/port, as in tcp/8443"
