"""What takes an apply back without Python: a shell script made before the apply's first step.

It runs at boot, when a confirm window is over, and when an apply has died; as often as it takes: each step
can be done twice, and it keeps its folder until all are done.
"""

from __future__ import annotations

from fwpolicy.backends.nft.purged import TABLE as PURGED
from fwpolicy.deploy.rulesscript import NAME as RULES_SCRIPT
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.host.files import Snapshot
    from fwpolicy.host.services import Commands


@record
class Before:
    """The host before an apply, as far as the apply touches it.

    `files`: each as it was, in the order in which it is put back. `folders`: those that are missing, the
    outermost first. `pointers`: what `running`, `current` and `previous` name. `rules`: files of the state
    directory that load our rules as they were. `forget`: commands to begin with, which may fail. `live`,
    `boot`: commands that bring the services back here and now, or at a boot.
    """

    generation: int
    files: tuple[Snapshot, ...]
    folders: tuple[str, ...]
    pointers: tuple[tuple[str, int | None], ...]
    rules: tuple[str, ...]
    forget: Commands
    forget_at_boot: Commands
    live: Commands
    boot: Commands


_HEAD = """\
#!/bin/sh
# Written by fwpolicy before it applied generation {generation}: takes that back.
# undo.sh live|boot [ID]: here and now, or before the network is up; with an ID only if it is ours.
PATH="$PATH:/usr/sbin:/sbin:/usr/bin:/bin"
root="${{FWPOLICY_ROOT-}}"
state="$root"{state}
mode="$1"
if [ -n "${{2-}}" ] && [ "$2" != {identity} ]; then exit 0; fi
if [ -z "${{FWPOLICY_LOCKED-}}" ] && command -v flock >/dev/null 2>&1; then
    exec 9<"$state"
    # Whoever was stopped in the middle and holds it for ever must not keep a host shut: one rename decides.
    # At a boot nobody holds it; else whoever takes this back already does, and has the boot run again.
    if [ "$mode" = boot ]; then flock -n 9 || exit 0; else flock -w 30 9; fi
fi
# Whoever waited for the lock may find another apply's. One rename decides between this and a confirmation;
# what is found begun is gone on with.
mine() {{
    [ "$(cat "$1/id" 2>/dev/null)" = {identity} ]
}}
if mine "$state/journal"; then mv "$state/journal" "$state/undoing" || exit 1; fi
here="$state/undoing"
mine "$here" || exit 0
failed=0

try() {{
    "$@" && return
    failed=1
    echo "fwpolicy: could not do: $*" >&2
}}

# COPY PATH: what somebody has written into the file since is kept aside, every version of it.
keep_edited() {{
    [ -f "$2" ] || return 0
    for known in "$here/before/$1" "$here/after/$1"; do
        if [ -f "$known" ] && cmp -s "$known" "$2"; then return 0; fi
    done
    kept="$state/edited-{generation}-$1"
    count=1
    while [ -e "$kept" ] && ! cmp -s "$kept" "$2"; do
        count=$((count + 1))
        kept="$state/edited-{generation}-$1.$count"
    done
    cp -p "$2" "$kept" && echo "fwpolicy: $2 was edited since: kept as $kept" >&2
}}

# COPY OWNER MODE PATH: the file as it was. The present one lends its labels and extended attributes. By a
# name that nobody knows before, for a daemon's user may write into the folder.
put_back() {{
    keep_edited "$1" "$4"
    new=$(mktemp "${{4%/*}}/.fwpolicy.XXXXXX") || return 1
    cp -a "$4" "$new" 2>/dev/null
    cat "$here/before/$1" > "$new" && chown "$2" "$new" && chmod "$3" "$new" &&
        touch -r "$here/before/$1" "$new" && mv -f "$new" "$4"
}}

# COPY PATH: there was none.
take_away() {{
    if [ -f "$here/after/$1" ]; then keep_edited "$1" "$2"; fi
    rm -f "$2"
}}

# A service that does not start keeps nothing from being back.
attempt() {{
    "$@" || echo "fwpolicy: could not do: $*" >&2
}}

# A script that does not wait for the end of its daemon starts none beside it (initscripts.py).
revive() {{
    sleep 1
    "$@" status >/dev/null 2>&1 || "$@" start >/dev/null 2>&1 || :
}}

# NAME GENERATION
point() {{
    rm -f "$state/$1" && ln -s "generations/$2" "$state/$1"
}}

"""

_TAIL = """\
if [ -d "$state/generations/{generation}" ]; then
    why="the apply was interrupted"
    if [ -f "$here/waits" ]; then
        why="not confirmed in time"
        if [ "$mode" = boot ]; then why="not confirmed before a reboot"; fi
    fi
    echo "${{FWPOLICY_WHY-$why}}" > "$state/generations/{generation}/undone"
fi
rm -f "$root"{marker}
sync
if [ "$failed" = 0 ]; then
    mv "$here" "$state/undone" && sync && rm -rf "$state/undone" "$state/undo.sh"
    rmdir "$state/generations" "$state" 2>/dev/null
fi
exit "$failed"
"""


def script(before: Before, identity: str, state: str, marker: str) -> str:
    """The whole script; `state` is the state directory, `marker` the file that says it is the same boot."""
    words = {
        "generation": before.generation,
        "state": quoted(state),
        "identity": quoted(identity),
        "marker": quoted(marker),
    }
    body = [
        'if [ "$mode" = live ]; then',
        *_indented(_tolerant(before.forget)),
        "else",
        *_indented(_tolerant(before.forget_at_boot)),
        "fi",
        *_files(before.files),
        *(f'rmdir "$root"{quoted(folder)} 2>/dev/null || :' for folder in reversed(before.folders)),
        *_pointers(before.pointers),
        'if [ "$mode" = live ]; then',
        *_indented([*_rules(before.rules), *_commands(before.live)]),
        "else",
        *_indented(_commands(before.boot)),
        "fi",
    ]
    return _HEAD.format(**words) + "\n".join(body) + "\n" + _TAIL.format(**words)


def quoted(text: str) -> str:
    """One word of a shell, whatever it holds (sh(1p), Single-Quotes)."""
    return "'" + text.replace("'", "'\\''") + "'"


def _files(files: tuple[Snapshot, ...]) -> list[str]:
    lines = []
    for number, file in enumerate(files):
        path = f'"$root"{quoted(file.path)}'
        owner = f"{file.uid}:{file.gid} {file.mode:04o}"
        lines.append(
            f"try put_back {number} {owner} {path}" if file.existed else f"try take_away {number} {path}"
        )
    return lines


def _pointers(pointers: Iterable[tuple[str, int | None]]) -> list[str]:
    return [
        f'try rm -f "$state"/{name}' if number is None else f"try point {name} {number}"
        for name, number in pointers
    ]


def _rules(rules: tuple[str, ...]) -> list[str]:
    """What was denied since, and is remembered as dead (backends/nft/purged.py), lives again."""
    if not rules:
        return [":"]
    relent = f"printf 'table inet {PURGED}\\ndelete table inet {PURGED}\\n' | nft -f - 2>/dev/null || :"
    return [*map(_loading, rules), relent]


def _loading(rules: str) -> str:
    if rules.endswith(".v4"):
        return f'try sh "$here/{RULES_SCRIPT}" put-back "$here"'
    return f'try nft -f "$state"/{quoted(rules)}'


def _commands(commands: Commands) -> list[str]:
    lines: list[str] = []
    for command in commands:
        lines.append(f"attempt {_spoken(command)}")
        if command[-1] == "restart":  # systemctl's verb comes first
            lines.append(f"revive {_spoken(command[:-1])}")
    return lines or [":"]


def _tolerant(commands: Commands) -> list[str]:
    return [f"{_spoken(command)} 2>/dev/null || :" for command in commands] or [":"]


def _spoken(command: tuple[str, ...]) -> str:
    return " ".join(map(quoted, command))


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
