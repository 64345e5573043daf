"""Verdicts as targets (iptables-extensions(8), "TARGET EXTENSIONS"), each behind its comment."""

from __future__ import annotations

from fwpolicy.addresses import format_address
from fwpolicy.backends.iptables.refusal import CannotSayError
from fwpolicy.backends.iptables.steps import Goto
from fwpolicy.ir.maps import VerdictMap
from fwpolicy.ir.ruleset import (
    Accept,
    ClampMss,
    Continue,
    DestinationNat,
    Drop,
    Jump,
    Log,
    Masquerade,
    Reject,
    Return,
    SourceNat,
)
from fwpolicy.record import assert_never

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.backends.iptables.steps import Line
    from fwpolicy.ir.ruleset import Rule, Translation

_UNREACHABLE = {4: "icmp-port-unreachable", 6: "icmp6-port-unreachable"}
# struct xt_log_info and xt_nflog_info, each less the final zero.
_LOG_PREFIX, _NFLOG_PREFIX = 29, 63


def targets(line: Line, family: int, called: dict[str, str]) -> Iterator[str]:
    """The comment and the target of each rule that the line takes: a log is one of its own, and what only
    counts has no other. `called`: the names of chains in the kernel."""
    comment = f'-m comment --comment "{_comment(line.rule)}"'
    if line.rule.log is not None:
        yield f"{comment} {_log(line.rule.log)}"
    target = _target(line, family, called)
    if target is not None:
        yield f"{comment} {target}"


def _comment(rule: Rule) -> str:
    """The line's counter, by which its packets are counted together; else its step."""
    said = str(rule.counter or rule.step)
    return f"{said}: {rule.comment}" if rule.comment else said


def _log(log: Log) -> str:
    if log.group is not None:
        return f'-j NFLOG --nflog-group {log.group} --nflog-prefix "{_fitted(log.prefix, _NFLOG_PREFIX)}"'
    return f'-j LOG --log-prefix "{_fitted(log.prefix, _LOG_PREFIX)}"'


def _fitted(prefix: str, longest: int) -> str:
    """Its beginning, and the ": " that sets it apart from the kernel's words."""
    octets = prefix.encode()
    if len(octets) <= longest:
        return prefix
    return octets[: longest - 2].decode("utf-8", "ignore").rstrip() + ": "


def _target(line: Line, family: int, called: dict[str, str]) -> str | None:
    verdict = line.verdict
    match verdict:
        case Accept() | Return():
            return "-j RETURN"
        case Drop():
            return "-j DROP"
        case Reject(kind):
            return f"-j REJECT --reject-with {kind if kind == 'tcp-reset' else _UNREACHABLE[family]}"
        case Jump(chain):
            return f"-j {called[chain]}"
        case Goto(chain):
            return f"-g {called[chain]}"
        case Continue():
            return None
        case VerdictMap():
            raise CannotSayError("a map of verdicts is nft's; please report this policy")
        case _:
            return _translation(verdict)


def _translation(verdict: Translation | ClampMss) -> str:
    match verdict:
        case Masquerade():
            return "-j MASQUERADE"
        case SourceNat(family, address):
            return f"-j SNAT --to-source {format_address(family, address)}"
        case DestinationNat(family, address, port):
            return f"-j DNAT --to-destination {_destination(family, address, port)}"
        case ClampMss():
            return "-j TCPMSS --clamp-mss-to-pmtu"
        case _:
            assert_never(verdict)


def _destination(family: int, address: int, port: int | None) -> str:
    shown = format_address(family, address)
    if port is None:
        return shown
    return f"[{shown}]:{port}" if family == 6 else f"{shown}:{port}"
