"""The script's text: pieces of shell and the policy's texts, each a heredoc that no shell interprets."""

from __future__ import annotations

from hashlib import sha256

from fwpolicy.artifact import Artifact
from fwpolicy.compiler.compile import compile_timeservice
from fwpolicy.deploy.persist import fallback, fallback_mode, fallback_texts
from fwpolicy.deploy.script.clockblocks import blocks, looks
from fwpolicy.deploy.script.pieces import piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwpolicy.backends.iptables.render import Texts
    from fwpolicy.policy.model import Policy

NAME = "fwpolicy.sh"
# In the order in which the shell reads them: the last one begins.
_TOOL = (
    *("base", "turns", "iptables", "nft", "files", "services", "boot", "clocks"),
    *("journal", "apply", "plan", "verbs"),
)
_BESIDE = (
    *(f"{name}.awk" for name in ("reload", "marked", "block", "option")),
    *("unit.service", "drop-in.conf", "init.lsb", "init.chkconfig", "init.openrc"),
)
_SECONDS = 60

# Older than `conntrack --ctstate`, and the same.
_STATE = "-m state --state"


def script_nft(policy: Policy, ruleset: Artifact) -> Artifact:
    """The script for a host with nft."""
    parts = {"backend": "nft\n", "rules.nft": ruleset.text}
    parts["dynamic"] = "".join(f"{group.name}_v{family}\n" for group in policy.dynamic for family in (4, 6))
    mode = fallback_mode(policy)
    if mode != "open":
        parts["fallback.nft"] = fallback(mode)
    return _script(policy, parts)


def script_iptables(policy: Policy, texts: Texts, plain: Texts | None) -> Artifact:
    """The script for a host with iptables; `plain`: the same without u32, where that differs."""
    parts = {"backend": "iptables\n", "rules.v4": texts.rules[0].text, "rules.v6": texts.rules[1].text}
    if plain and plain.rules != texts.rules:
        parts |= {"plain.v4": plain.rules[0].text, "plain.v6": plain.rules[1].text}
    if texts.sets:
        parts["rules.ipset"] = texts.sets.text
    parts |= fallback_texts(policy, _STATE)
    return _script(policy, parts)


def notes(policy: Policy) -> Iterator[str]:
    """What the policy asks for and a script does not do, each a sentence."""
    if policy.apply.gates:
        yield "the script asks no gates: it waits for its confirm"
    if policy.apply.drift != "ignore":
        yield f"the script has no timer for `drift: {policy.apply.drift}`: ask its status"
    if policy.ntp and policy.ntp.from_daemon:
        yield "`servers: from-daemon` is not found out by the script: any server may be asked"


def _script(policy: Policy, parts: Mapping[str, str]) -> Artifact:
    name = " ".join(policy.name.split())
    inside = {"tool.sh": "".join(piece(f"{each}.sh") for each in _TOOL)}
    inside |= {each: piece(each) for each in _BESIDE}
    given = {"name": f"{name}\n", **_settings(policy), **parts}
    given["digest"] = sha256(repr(sorted(given.items())).encode()).hexdigest() + "\n"
    pieces = "".join(_put(each, text) for each, text in (inside | given).items())
    text = piece("carrier.sh").replace("@NAME@", name).replace("@PIECES@\n", pieces)
    return Artifact(NAME, text, 0o700)


def _settings(policy: Policy) -> dict[str, str]:
    service = compile_timeservice(policy)
    seconds = _SECONDS if policy.apply.confirm is None else policy.apply.confirm
    return {
        "confirm": f"{seconds}\n",
        "conntrack": f"{policy.apply.conntrack}\n",
        "config": f"{policy.apply.daemon_config}\n",
        "role": f"{policy.ntp.mode}\n" if policy.ntp else "",
        "nts": f"{int(service.nts)}\n" if service else "",
        "clocks": looks(service) if service else "",
        "blocks": blocks(service) if service else "",
    }


def _put(name: str, text: str) -> str:
    """Commands that write the text into a file; their delimiter does not occur in it (sh(1p))."""
    delimiter = "FWPOLICY"
    while delimiter in text:
        delimiter += "_"
    return f"    put {name} <<'{delimiter}'\n{text}{delimiter}\n"
