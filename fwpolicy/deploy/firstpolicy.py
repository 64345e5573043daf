"""A first policy, for a newcomer to read: what can be reached now stays reachable, the rest closes."""

from __future__ import annotations

import re

from fwpolicy.addresses import of
from fwpolicy.deploy.firstlook import NTP, Open, is_loopback
from fwpolicy.policy.parse import POLICY_NAME
from fwpolicy.policy.services import BUILT_IN
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.firstlook import Scene

# `init ROLE` names the role as the shipped policies do.
ROLES = {"ntp-client": "client-only", "ntp-server": "server", "ntp-closed": "closed"}
_ROLE_PORTS = {("udp", NTP), ("udp", 323), ("tcp", 4460)}
# Passed by the step `essential`, whatever a policy says.
_ESSENTIAL = {("udp", 68), ("udp", 546)}
_COLUMN = 37

_HEAD = """\
# A first policy for {host}, from what listens here now. Read it, and strike out what nobody needs.
#
#   fwpolicy check FILE       is it right? its own tests included
#   fwpolicy plan FILE        what would change here, and who would lose what
#   sudo fwpolicy apply FILE  and back again: sudo fwpolicy remove
#
# Order never matters: 'block' beats 'allow', and what neither names gets the default.
version: 1
name: {name}
description: first policy, from what listened here
"""


@record
class _Line:
    """A line of `allow` and what is said beside it."""

    service: str
    remark: str


def policy_text(scene: Scene, role: str = "") -> str:
    """The policy; `role` is a word of ROLES, or "" for what fits the host."""
    mode = ROLES[role] if role else _fitting(scene)
    return "\n".join(
        (
            _HEAD.format(host=_harmless(scene.host), name=_name(scene.host)),
            *_groups(scene),
            *_role(scene, mode),
            *_input(scene, mode),
            *_tests(scene, mode),
        )
    )


def _fitting(scene: Scene) -> str:
    """The role's mode that changes nothing for anybody; "" where none is sure not to."""
    if not scene.daemon or scene.askers is None:
        return ""
    return "server" if scene.askers else "client-only"


def _name(host: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "-", host.partition(".")[0])[:64]
    if not POLICY_NAME.match(name):
        return "host"
    # Among these are YAML 1.1's words for true, false and null.
    return f'"{name}"' if name.isalpha() and len(name) <= 5 else name


def _harmless(text: str) -> str:
    """Names of hosts and programs are anybody's words; here they stay inside a comment."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _beside(text: str, remark: str) -> str:
    """A line of the policy, and a comment that begins in the same column as the others where it can."""
    return f"{text:<{_COLUMN}} # {remark}"


def _groups(scene: Scene) -> list[str]:
    who = scene.operator
    if who is None:
        return ["# Nobody is connected over SSH as far as one can see; who will be, and from where?", ""]
    if is_loopback(who.address):
        return []
    address = f'"{who.address}"' if ":" in who.address else who.address
    return [
        "groups:",
        _beside(f"  operators: [{address}]", "where you are connected from; add the others"),
        "",
    ]


def _role(scene: Scene, mode: str) -> list[str]:
    daemon = _harmless(scene.daemon) or "no time daemon"
    if not mode and not scene.daemon:
        return []
    if not mode:
        return [
            f"# {daemon} takes questions from outside, and whether any come could not be seen: the line",
            "# 'ntp' below lets them in. If nobody needs them, put this in its place:",
            "# roles: {ntp: client-only}",
            "",
        ]
    reason = {
        "client-only": f"{daemon} runs here; it asks, and answers nobody",
        "server": f"{daemon} runs here, and is asked: {_few(scene.askers or ())}",
        "closed": "no NTP in either direction",
    }[mode]
    if mode != "server":
        return ["roles:", _beside(f"  ntp: {mode}", reason), ""]
    return [
        "roles:",
        f"  # {reason}",
        _beside(f"  ntp: {{mode: server, serve: [{_serve(scene)}]}}", "name who may ask"),
        "",
    ]


def _few(askers: tuple[str, ...]) -> str:
    return ", ".join(askers[:3]) + (f" and {len(askers) - 3} more" if askers[3:] else "") or "nobody yet"


def _serve(scene: Scene) -> str:
    """`private` where that is everybody who asks."""
    inside = of("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918, RFC 4193
    found = of(*scene.askers) if scene.askers else inside
    return "private" if (found | inside) == inside else "any"


def _input(scene: Scene, mode: str) -> list[str]:
    lines, left_out = _lines(scene, mode)
    return [
        "# What comes in. What this host asks for itself comes back in any case, as do the ICMP messages",
        "# and the DHCP that every host needs.",
        "input:",
        "  default: drop",
        "  allow:",
        *(_beside(f"    - {line.service}", line.remark) for line in lines),
        *(f"    # {line.service}: {line.remark}" for line in left_out),
        "",
        "# What this host sends.",
        "output: {default: accept}",
        "",
    ]


def _lines(scene: Scene, mode: str) -> tuple[list[_Line], list[_Line]]:
    """(lines of allow, ports that need none and why)."""
    kept: list[Open] = []
    left_out: list[_Line] = []
    for each in scene.open:
        why = _needs_none(each, mode)
        if why:
            left_out.append(_Line(f"{each.protocol}/{each.port}", f"{_programs(each)}{why}"))
        else:
            kept.append(each)
    lines = [_Line("ping", "answers to ping: who looks for a fault needs them"), *_named(kept)]
    return [*_ssh_first(scene, lines), *_missing_ssh(scene, kept)], left_out


def _needs_none(each: Open, mode: str) -> str:
    port = (each.protocol, each.port)
    if each.loopback:
        return "only on loopback, which is never closed"
    if mode and port in _ROLE_PORTS:
        return "the role above decides about it"
    if port in _ESSENTIAL:
        return "DHCP, which passes in any case"
    return "a port for its own questions, most likely" if each.passing else ""


def _programs(each: Open) -> str:
    return f"{_harmless(', '.join(each.programs))}, " if each.programs else ""


def _named(kept: list[Open]) -> list[_Line]:
    """By the services' names where they say what it is, else by port."""
    left = {(each.protocol, each.port): each for each in kept}
    lines = []
    for name, ports in _by_size():
        found = [left[port] for port in ports if port in left]
        if len(found) == len(ports) and _fits(name, found):
            lines.append(_Line(name, _remark(found)))
            for port in ports:
                del left[port]
    lines += [
        _Line(f"{each.protocol}/{each.port}", _who(each.programs, each.addresses)) for each in left.values()
    ]
    return lines


def _by_size() -> list[tuple[str, list[tuple[str, int]]]]:
    """The services of single ports, those of most ports first."""
    found = []
    for name, text in BUILT_IN.items():
        parts = [part.partition("/") for part in text.split()]
        if all(protocol in ("tcp", "udp") and port.isdigit() for protocol, _, port in parts):
            found.append((name, [(protocol, int(port)) for protocol, _, port in parts]))
    return sorted(found, key=lambda each: -len(each[1]))


def _fits(name: str, found: list[Open]) -> bool:
    """A port above 1023 is anybody's: then a program must have the service's name, or nearly."""
    stem = name.partition("-")[0][:5]
    programs = " ".join(program for each in found for program in each.programs).lower()
    kernels = name == "wireguard" and not programs
    return all(each.port < 1024 for each in found) or stem in programs or kernels


def _remark(found: list[Open]) -> str:
    programs = tuple(dict.fromkeys(program for each in found for program in each.programs))
    addresses = tuple(dict.fromkeys(address for each in found for address in each.addresses))
    ports = ", ".join(f"{each.protocol}/{each.port}" for each in found)
    return f"{ports}: {_who(programs, addresses)}"


def _who(programs: tuple[str, ...], addresses: tuple[str, ...]) -> str:
    everywhere = {"0.0.0.0", "::"} & set(addresses)  # noqa: S104
    where = "" if everywhere else f", on {_harmless(', '.join(addresses))} only"
    return f"{_harmless(', '.join(programs)) or 'of no program that we may see'}{where}"


def _ssh_first(scene: Scene, lines: list[_Line]) -> list[_Line]:
    own = _ssh(scene)
    first = [_Line(line.service, f"{line.remark}; keeps you in") for line in lines if line.service == own]
    return [*first, *(line for line in lines if line.service != own)]


def _missing_ssh(scene: Scene, kept: list[Open]) -> list[_Line]:
    """The operator came to a port on which nobody seems to listen."""
    who = scene.operator
    if who is None or is_loopback(who.address) or ("tcp", who.port) in {(e.protocol, e.port) for e in kept}:
        return []
    return [_Line(_ssh(scene), "the port that you are connected to; keeps you in")]


def _ssh(scene: Scene) -> str:
    port = scene.operator.port if scene.operator else 22
    return "ssh" if port == 22 else f"tcp/{port}"


def _tests(scene: Scene, mode: str) -> list[str]:
    tests = []
    if scene.operator and not is_loopback(scene.operator.address):
        tests.append(
            (f"{{allow: {_ssh(scene)}, from: operators}}", "an apply that shut you out would not begin")
        )
    if not any((each.protocol, each.port) == ("tcp", 23) for each in scene.open):
        tests.append(("{deny: telnet, from: any}", "what nobody offers is closed"))
    if mode in ("client-only", "server"):
        tests.append(("{allow: ntp, to: 192.0.2.123}", "the time comes in"))
    if mode == "client-only":
        tests.append(("{deny: ntp, from: any}", "and does not go out"))
    if not tests:
        return []
    return [
        "# Run by check and before every apply: if one fails, nothing is applied.",
        "tests:",
        *(_beside(f"  - {test}", remark) for test, remark in tests),
        "",
    ]
