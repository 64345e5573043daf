"""`roles.ntp`: resolved, and held against the lines that contradict it."""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE, LOOPBACK, AddressSet, subtract
from fwpolicy.policy.model import NtpRole, Rule, Section
from fwpolicy.policy.services import Service
from fwpolicy.protocols import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.syntax import NtpText

NTP = 123
CHRONY_COMMANDS = 323
NTS_KE = 4460
# RFC 8915 in neither ntpd(8), ntpd of OpenBSD, nor systemd.
WITHOUT_NTS = ("ntpd", "openntpd", "timesyncd")
_UDP, _TCP = NUMBERS["udp"], NUMBERS["tcp"]


def resolve_ntp(text: NtpText, names: Names) -> NtpRole | None:
    """The role with its groups resolved; None (and problems in `names`) where its mode is unknown."""
    if text.mode is None:
        return None
    mode = text.mode.text
    _keys_of_mode(text, mode, names)
    servers, group, from_daemon = _servers(text, names)
    return NtpRole(
        mode=mode,
        origin=text.mode.span,
        servers=servers,
        servers_group=group,
        from_daemon=from_daemon,
        serve=_serve(text, names),
        monitors=_monitors(text, names),
        daemon=text.daemon.text if text.daemon else "auto",
        nts=text.nts,
    )


def _keys_of_mode(text: NtpText, mode: str, names: Names) -> None:
    if mode == "server" and text.serve is None:
        hint = "name who may ask, as in: serve: [private]"
        names.error("a server needs 'serve': the groups it answers", text.key.span, hint)
    if mode != "server" and text.serve:
        names.error(f"'serve' belongs to mode server, not to {mode}", text.serve[0].span)
    if mode == "closed":
        for key, word in (("servers", text.servers), ("monitors", next(iter(text.monitors), None))):
            if word:
                names.error(f"'{key}' means nothing under mode closed", word.span)
        if text.nts:
            names.error("'nts' means nothing under mode closed", text.key.span)
    elif text.nts and text.daemon and text.daemon.text in WITHOUT_NTS:
        names.error(f"{text.daemon.text} has no NTS", text.daemon.span, "chrony and ntpsec have")
    if mode == "server" and text.daemon and text.daemon.text == "timesyncd":
        names.error(
            "systemd-timesyncd cannot serve time", text.daemon.span, "chrony, ntpd, ntpsec and openntpd can"
        )


def _servers(text: NtpText, names: Names) -> tuple[AddressSet | None, str | None, bool]:
    word = text.servers
    if word is None or word.text == "any":
        return None, None, False
    if word.text == "from-daemon":
        return None, None, True
    if _is_host_name(word.text, names):
        hint = "pools rotate: use servers: any, or from-daemon"
        names.error(f"'{word.text}' is a host name; servers must be a group of addresses", word.span, hint)
        return AddressSet(), None, False
    before = len(names.problems)
    servers = names.fixed((word,), ("from-daemon",))
    if any(names.groups[name].hosts for name in names.behind((word,))):
        message = f"'{word.text}' is a group of host names, and servers must be addresses that stay"
        names.error(message, word.span, "pools rotate: use servers: any, or from-daemon")
    if not servers and not names.has_errors(before):
        names.error("'servers' is an empty group: the role would ask nobody", word.span, "servers: any")
    return servers, names.group_name((word,)), False


def _serve(text: NtpText, names: Names) -> AddressSet:
    if not text.serve:
        return AddressSet()
    before = len(names.problems)
    serve = names.fixed(text.serve)
    if not serve and not names.has_errors(before):
        hint = "mode client-only answers nobody"
        names.error("'serve' is an empty group: the server would answer nobody", text.serve[0].span, hint)
    return serve


def _monitors(text: NtpText, names: Names) -> AddressSet:
    found = AddressSet()
    for word in text.monitors:
        monitor = names.fixed((word,))
        if not _within(monitor, LOOPBACK):
            names.error(
                "monitors may only be loopback addresses: control queries never pass the filter",
                word.span,
                "127.0.0.1 and ::1 stand for an agent on the host itself",
            )
        found |= monitor
    return found


def _is_host_name(text: str, names: Names) -> bool:
    """Whether a text that is neither group nor address has the form of a name to look up."""
    return text not in names.groups and "." in text and ":" not in text and not _is_digits(text)


def _is_digits(text: str) -> bool:
    return all(c in "0123456789./-" for c in text)


def _within(part: AddressSet, whole: AddressSet) -> bool:
    return not subtract(part.v4, whole.v4) and not subtract(part.v6, whole.v6)


def _disjoint(one: AddressSet, other: AddressSet) -> bool:
    return all(subtract(one.of(family), other.of(family)) == one.of(family) for family in (4, 6))


def check_conflicts(role: NtpRole, sections: tuple[Section, ...], names: Names) -> None:
    """A role owns its ports: an `allow` that it always denies, or a `block` that stops its own
    exchange, is an error that names both lines."""
    for section in sections:
        if section.hook == "forward":
            continue
        for rule in section.allow:
            if _always_denied(role, section.hook, rule):
                message = f"the role ntp ({role.mode}) always denies what this line allows"
                _contradiction(role, rule, names, message, _role_that_allows(role, section.hook, rule))
        for rule in section.block:
            if _stops_exchange(role, section.hook, rule):
                message = f"this line blocks the exchange of the role ntp ({role.mode})"
                _contradiction(role, rule, names, message, _role_that_is_blocked(section.hook))


def _contradiction(role: NtpRole, rule: Rule, names: Names, message: str, other: str | None) -> None:
    hint = f"either this line goes, or {other}" if other else "this line goes: no role opens that"
    names.error(f"{message}; the role is at {role.origin}", rule.origin, hint)


def _role_that_allows(role: NtpRole, hook: str, rule: Rule) -> str | None:
    """What the role would have to be, as a hint; None where no role allows that."""
    if hook == "output":
        if role.mode == "closed":
            return "the role asks servers: roles: {ntp: client-only}"
        return "'servers' names its addresses"
    services = rule.match.services
    if not _is_only(services, frozenset({(_UDP, NTP), (_TCP, NTS_KE)})):
        return None
    nts = "" if _is_only(services, frozenset({(_UDP, NTP)})) else ", nts: true"
    if role.mode != "server":
        return f"the role serves: roles: {{ntp: {{mode: server, serve: [WHOM]{nts}}}}}"
    return "'serve' names its addresses" if role.nts or not nts else "the role has the key nts: true"


def _role_that_is_blocked(hook: str) -> str:
    if hook == "output":
        return "the role asks nobody: roles: {ntp: closed}"
    return "'serve' names others, too"


def _is_only(services: tuple[Service, ...] | None, owned: frozenset[tuple[int, int]]) -> bool:
    return bool(services) and all(
        bool(service.ports) and all((service.protocol, port) in owned for port in _few(service))
        for service in services or ()
    )


def _few(service: Service) -> tuple[int, ...]:
    """The ports one by one; a range counts by its ends and middle, never as a role's ports."""
    return tuple(port for first, last in service.ports for port in {first, (first + last) // 2, last})


def _always_denied(role: NtpRole, hook: str, rule: Rule) -> bool:
    if rule.match.published:
        return False
    services, peers = rule.match.services, _peers(rule, hook)
    if rule.match.source_dynamic or rule.match.destination_dynamic:
        peers = EVERYWHERE  # or part of it: nobody knows
    if hook == "input":
        owned = {(_UDP, NTP), (_UDP, CHRONY_COMMANDS), (_TCP, NTS_KE)}
        if role.mode != "server":
            return _is_only(services, frozenset(owned))
        outside = _disjoint(peers, role.serve)
        shut = owned if outside else owned - {(_UDP, NTP)} - ({(_TCP, NTS_KE)} if role.nts else set())
        return _is_only(services, frozenset(shut))
    ntp_only = _is_only(services, frozenset({(_UDP, NTP)}))
    if role.mode == "closed":
        return ntp_only
    reachable = _servers_of(role) | role.serve
    return ntp_only and not role.from_daemon and _disjoint(peers, reachable)


def _stops_exchange(role: NtpRole, hook: str, rule: Rule) -> bool:
    if role.mode == "closed" or _is_partial(rule, hook) or not _covers_ntp(rule.match.services):
        return False
    if hook == "output":
        return not role.from_daemon and _within(_servers_of(role), _peers(rule, hook))
    return role.mode == "server" and _within(role.serve, _peers(rule, hook))


def _is_partial(rule: Rule, hook: str) -> bool:
    """Some of the traffic between the rule's peers and this host is not the rule's."""
    match = rule.match
    other_side = match.destination if hook == "input" else match.source
    narrower = (rule.expires, match.incoming, match.outgoing, match.sports, other_side)
    return bool(rule.holes) or match.published or any(part is not None for part in narrower)


def _servers_of(role: NtpRole) -> AddressSet:
    return EVERYWHERE if role.servers is None else role.servers


def _covers_ntp(services: tuple[Service, ...] | None) -> bool:
    return services is None or any(
        service.protocol == _UDP and (not service.ports or any(a <= NTP <= b for a, b in service.ports))
        for service in services
    )


def _peers(rule: Rule, hook: str) -> AddressSet:
    peers = rule.match.source if hook == "input" else rule.match.destination
    peers = EVERYWHERE if peers is None else peers
    return AddressSet(*(peers.of(family) if family in rule.families else () for family in (4, 6)))
