"""Completions for fish: complete(1) of fish."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.reference.verbs import Argument, Verb

_HEAD = """\
# fwpolicy(1) for fish, made by: fwpolicy completion fish
function __fwpolicy_policies
    printf '%s\\tshipped policy\\n' {shipped}
    __fish_complete_suffix .yaml
    __fish_complete_suffix .yml
end
complete -c fwpolicy -f
complete -c fwpolicy -n __fish_use_subcommand -l help -d 'every command'
complete -c fwpolicy -n __fish_use_subcommand -l version -d 'the version'
"""

_ACTIONS = {
    "policy": "(__fwpolicy_policies)",
    "directory": "(__fish_complete_directories)",
    "file": "(__fish_complete_path)",
    "host": "(__fish_print_hostnames)",
    "netns": "(command ls /run/netns 2>/dev/null)",
    "interface": "(command ls /sys/class/net 2>/dev/null)",
}


def script(verbs: tuple[Verb, ...], shipped: tuple[str, ...]) -> str:
    """The script; `shipped`: names of the policies that come with the program."""
    lines = [line for verb in verbs for line in _lines(verb)]
    return _HEAD.format(shipped=" ".join(shipped)) + "".join(
        f"complete -c fwpolicy {line}\n" for line in lines
    )


def _lines(verb: Verb) -> Iterator[str]:
    yield f"-n __fish_use_subcommand -a {verb.name} -d {_quoted(verb.text)}"
    inside = f"-n '__fish_seen_subcommand_from {verb.name}'"
    for option in verb.options:
        flags = " ".join(
            f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
        )
        value = f" -x {_values(option)}".rstrip() if option.metavar else ""
        yield f"{inside} {flags}{value} -d {_quoted(option.text)}"
    for operand in verb.operands[:1]:
        if _values(operand):
            yield f"{inside} {_values(operand)}"


def _values(argument: Argument) -> str:
    offered = " ".join(argument.words) or _ACTIONS.get(argument.kind, "")
    return f"-a {_quoted(offered)}" if offered else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
