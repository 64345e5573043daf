"""Completions for bash: "Programmable Completion" in bash(1). Nothing of bash-completion is needed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.reference.verbs import Argument, Verb

_SCRIPT = """\
# fwpolicy(1) for bash, made by: fwpolicy completion bash
_fwpolicy_lines() {{ mapfile -t COMPREPLY < <("$@"); }}
_fwpolicy_words() {{ _fwpolicy_lines compgen -W "$1" -- "$2"; }}
# Not -W, which would expand a name as the shell does its own text.
_fwpolicy_names() {{ _fwpolicy_lines compgen -f -- "$1/$2"; COMPREPLY=("${{COMPREPLY[@]##*/}}"); }}
_fwpolicy_path() {{ compopt -o filenames 2>/dev/null; _fwpolicy_lines compgen "$1" -- "$2"; }}
_fwpolicy_policies() {{
    compgen -W "{shipped}" -- "$1"
    compgen -f -X '!*.yaml' -- "$1"
    compgen -f -X '!*.yml' -- "$1"
    compgen -d -- "$1"
}}
_fwpolicy() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} verb=${{COMP_WORDS[1]}}
    # readline splits --option=VALUE into three words (COMP_WORDBREAKS).
    if [[ $cur == = ]]; then cur=
    elif [[ $prev == = ]]; then prev=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _fwpolicy_words "{verbs} --help --version" "$cur"
        return
    fi
    case "$verb $prev" in
{values}
    esac
    case "$verb $cur" in
{options}
{operands}
    esac
}}
complete -F _fwpolicy fwpolicy
"""

_ACTIONS = {
    "policy": 'compopt -o filenames 2>/dev/null; _fwpolicy_lines _fwpolicy_policies "$cur"',
    "directory": '_fwpolicy_path -d "$cur"',
    "file": '_fwpolicy_path -f "$cur"',
    "host": '_fwpolicy_lines compgen -A hostname -- "$cur"',
    "netns": '_fwpolicy_names /run/netns "$cur"',
    "interface": '_fwpolicy_names /sys/class/net "$cur"',
}


def script(verbs: tuple[Verb, ...], shipped: tuple[str, ...]) -> str:
    """The script; `shipped`: names of the policies that come with the program."""
    return _SCRIPT.format(
        shipped=" ".join(shipped),
        verbs=" ".join(verb.name for verb in verbs),
        values="\n".join(_case(verb, option) for verb in verbs for option in verb.options if option.metavar),
        options="\n".join(_options(verb) for verb in verbs),
        operands="\n".join(
            f'        "{verb.name} "*) {_action(operand)} ;;'
            for verb in verbs
            for operand in verb.operands[:1]
        ),
    )


def _case(verb: Verb, option: Argument) -> str:
    pattern = "|".join(f'"{verb.name} {flag}"' for flag in option.flags)
    return f"        {pattern}) {_action(option)}; return ;;"


def _options(verb: Verb) -> str:
    flags = " ".join(flag for option in verb.options for flag in option.flags)
    return f'        "{verb.name} -"*) _fwpolicy_words "{flags}" "$cur" ;;'


def _action(argument: Argument) -> str:
    if argument.kind == "words":
        return f'_fwpolicy_words "{" ".join(argument.words)}" "$cur"'
    return _ACTIONS.get(argument.kind, ":")
