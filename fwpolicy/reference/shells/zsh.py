"""Completions for zsh: zshcompsys(1), `_arguments`. To be sourced, or put into $fpath as _fwpolicy."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.reference.verbs import Argument, Verb

_SCRIPT = """\
#compdef fwpolicy
# fwpolicy(1) for zsh, made by: fwpolicy completion zsh
_fwpolicy_policies() {{
  _alternative 'shipped:shipped policy:({shipped})' 'files:policy file:_files -g "*.y(a|)ml(-.)"'
}}
_fwpolicy() {{
  if (( CURRENT == 2 )); then
    local -a verbs=(
{verbs}
    )
    _describe command verbs
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
{cases}
  esac
}}
if [[ $funcstack[1] == _fwpolicy ]]; then _fwpolicy "$@"; else compdef _fwpolicy fwpolicy; fi
"""

_ACTIONS = {
    "policy": "_fwpolicy_policies",
    "directory": "_files -/",
    "file": "_files",
    "host": "_hosts",
    "netns": "_files -W /run/netns",
    "interface": "_net_interfaces",
}


def script(verbs: tuple[Verb, ...], shipped: tuple[str, ...]) -> str:
    """The script; `shipped`: names of the policies that come with the program."""
    return _SCRIPT.format(
        shipped=" ".join(shipped),
        verbs="\n".join(f"      {_quoted(f'{verb.name}:{verb.text}')}" for verb in verbs),
        cases="\n".join(_case(verb) for verb in verbs),
    )


def _case(verb: Verb) -> str:
    specs = [spec for option in verb.options for spec in _option(option)]
    specs += [_quoted(f"{'*' if operand.many else ''}:{_value(operand)}") for operand in verb.operands]
    return f"    {verb.name}) _arguments {' '.join(specs)} ;;"


def _option(option: Argument) -> list[str]:
    """One spec a flag; a long one takes its value after a space or '='."""
    text = f"[{_escaped(option.text)}]"
    alone = "" if option.many else f"({' '.join(option.flags)})"
    found = []
    for flag in option.flags:
        equals = "=" if option.metavar and flag.startswith("--") else ""
        value = f":{_value(option)}" if option.metavar else ""
        found.append(_quoted(f"{'*' if option.many else alone}{flag}{equals}{text}{value}"))
    return found


def _value(argument: Argument) -> str:
    action = f"({' '.join(argument.words)})" if argument.words else _ACTIONS.get(argument.kind, "")
    return f"{argument.metavar if not argument.words else 'one of'}:{action}"


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "[]:\\" else c for c in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
