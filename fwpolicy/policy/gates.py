"""`apply: {confirm, gates}`: how long an operator may take, and what counts in his place."""

from __future__ import annotations

import re

from fwpolicy.addresses import AddressSet, common, of
from fwpolicy.errors import Span
from fwpolicy.policy.lines import all_known
from fwpolicy.policy.names import BUILT_IN_GROUPS
from fwpolicy.policy.reader import kind, nearest
from fwpolicy.policy.syntax import Word
from fwpolicy.policy.values import SECONDS
from fwpolicy.protocols import NUMBERS
from fwpolicy.record import record, replace
from fwpolicy.source import Mapping, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import NtpRole
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.reader import Reader
    from fwpolicy.policy.syntax import PolicyText
    from fwpolicy.source import Node

KEYS = ("reach", "to", "run")
SYNCHRONISED = "synchronised"
SHORTEST, LONGEST = 5, 3600
# Each is a connection, whenever the gate is asked.
MOST = 64
_TIME = re.compile(r"([1-9][0-9]{0,5})([smhd])\Z", re.ASCII)
_NOWHERE = Span("", 1, 1, 2)
# No TCP connection leads to these (RFC 6890), or only with an interface beside the address (fe80::).
_NO_HOST = of("0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8", "fe80::/10")


@record
class GateText:
    """A gate as written: `reach` and `to`, or `run`, or neither: synchronised."""

    span: Span
    reach: Word | None = None
    to: tuple[Word, ...] = ()
    run: tuple[Word, ...] = ()


@record
class Reach:
    """TCP connections to `port` of every address of `to` succeed. `what`: the service as written."""

    what: str
    port: int
    to: AddressSet
    origin: Span


@record
class Synchronised:
    """A time daemon of this host (of the role's `daemon`: a kind or "auto") has a synchronised clock."""

    daemon: str
    origin: Span


@record
class Program:
    """A program, by its absolute path, that ends with status 0 when run with the rest of `arguments`."""

    arguments: tuple[str, ...]
    origin: Span


Gate = Reach | Synchronised | Program


# Reading


def confirm(reader: Reader, node: Node) -> Word | None:
    """A time in seconds, as in "60s", or "false"; None, and a problem, for anything else."""
    if isinstance(node, Scalar) and node.plain and node.value == "false":
        return reader.as_word(node)
    if isinstance(node, Scalar) and node.plain and node.value == "true":
        hint = "write confirm: 60s, or leave it out"
        reader.error("'confirm' is a time, or false; not true", node, hint)
        return None
    word = reader.word(node, "'confirm'")
    if word is None:
        return None
    written = _TIME.match(word.text)
    if not written and word.text != "0":
        hint = f"write {word.text if word.text.isdigit() else 60}s, or false: nobody is asked"
        reader.error(f"'confirm' is '{word.text}', not a time", word.span, hint)
        return None
    seconds = int(written[1]) * SECONDS[written[2]] if written else 0
    if not SHORTEST <= seconds <= LONGEST:
        hint = "to ask nobody: confirm: false"
        reader.error(f"'confirm' is {word.text}; it can be 5s to 1h", word.span, hint)
        return None
    return replace(word, text=f"{seconds}s")


def seconds(word: Word | None) -> int | None:
    """What `confirm` says: 0 for false; None where it says nothing."""
    if word is None:
        return None
    return 0 if word.text == "false" else int(word.text[:-1])


def parse(reader: Reader, node: Node) -> tuple[GateText, ...]:
    """The items of `gates`; those with a mistake are left out."""
    if isinstance(node, Sequence) and not node.items:
        hint = "leave it out where nothing confirms in an operator's place"
        reader.error("'gates' is an empty list", node, hint)
    return reader.each(node, "'gates'", lambda item: _gate(reader, item))


def _gate(reader: Reader, node: Node) -> GateText | None:
    if isinstance(node, Scalar):
        return _bare(reader, node)
    alone = {SYNCHRONISED: f"it stands alone: gates: [{SYNCHRONISED}]"}
    found = reader.keys(node, "a gate", KEYS, elsewhere=alone)
    if not isinstance(node, Mapping) or not _is_whole(reader, node, found):
        return None
    span = reader.text.span(node)
    if "run" in found:
        return GateText(span, run=run) if (run := _command(reader, found["run"])) else None
    what = reader.word(found["reach"], "'reach'")
    to = reader.words(found["to"], "'to'")
    return GateText(span, what, to) if what and to else None


def _bare(reader: Reader, node: Scalar) -> GateText | None:
    word = reader.word(node, "a gate")
    if word is None or word.text == SYNCHRONISED:
        return GateText(word.span) if word else None
    hint = nearest(word.text, (SYNCHRONISED,)) or (
        f"write {{run: [{word.text}]}}"
        if word.text.startswith("/")
        else f"a gate is {SYNCHRONISED}, {{reach: tcp/443, to: ADDRESS}} or {{run: [/PROGRAM]}}"
    )
    reader.error(f"'{word.text}' is not a gate", word.span, hint)
    return None


def _is_whole(reader: Reader, node: Mapping, found: dict[str, Node]) -> bool:
    """Whether it is one gate, and all of it is there."""
    if not all_known(node, found):
        return False
    message, hint = "", None
    if "run" in found and len(found) > 1:
        message, hint = "a gate says either 'reach' or 'run'", "two gates are two items of the list"
    elif "reach" in found and "to" not in found:
        message, hint = "'reach' needs 'to': the address or group that is reached", None
    elif "to" in found and "reach" not in found:
        message, hint = "'to' belongs to 'reach', which is missing", "write {reach: tcp/443, to: ADDRESS}"
    elif not found:
        message, hint = "this gate is empty; it needs 'reach' or 'run'", None
    if message:
        reader.error(message, node, hint)
    return not message


def _command(reader: Reader, node: Node) -> tuple[Word, ...]:
    """A program and its arguments, () with a problem; the same argument may stand there twice."""
    if isinstance(node, Mapping):
        hint = "write [/usr/local/sbin/smoke-test, --fast]"
        reader.error(f"'run' is a program and its arguments, not {kind(node)}", node, hint)
        return ()
    items = node.items if isinstance(node, Sequence) else [node]
    if not items:
        reader.error("'run' is an empty list", node, "a program and its arguments: [/bin/true]")
    words = [word for item in items if (word := reader.word(item, "a word of 'run'"))]
    if len(words) < len(items) or not words:
        return ()
    return tuple(words) if _is_program(reader, words[0], alone=isinstance(node, Scalar)) else ()


def _is_program(reader: Reader, word: Word, alone: bool) -> bool:
    program, _, rest = word.text.partition(" ")
    if not program.startswith("/"):
        hint = "no shell looks for it; write its whole path, as in /usr/local/sbin/smoke-test"
        reader.error(f"'{word.text}' is not an absolute path", word.span, hint)
    elif rest and alone:
        hint = f"no shell divides it: [{', '.join(word.text.split())}]"
        reader.error("a program and its arguments are a list", word.span, hint)
    else:
        return True
    return False


# Meaning


def resolve(files: tuple[PolicyText, ...], role: NtpRole | None, names: Names) -> tuple[Gate, ...]:
    """The gates of all files, each once; `role` is the policy's."""
    homes = [file.text.file for file in files if file.gates]
    texts = [
        text
        for file in files
        if not any(names.overrides(other, "apply.gates", file.text.file) for other in homes)
        for text in file.gates
    ]
    unknown = role is None and any(file.ntp for file in files)  # for it has a mistake of its own
    gates = [gate for text in texts if (gate := _resolved(text, role, unknown, names))]
    once: dict[Gate, Gate] = {}
    for gate in gates:
        once.setdefault(replace(gate, origin=_NOWHERE), gate)
    return tuple(once.values())


def _resolved(text: GateText, role: NtpRole | None, unknown: bool, names: Names) -> Gate | None:
    if text.run:
        return Program(tuple([word.text for word in text.run]), text.span)
    if text.reach is None:
        return None if unknown else _synchronised(text.span, role, names)
    port, to = _port(text.reach, names), _targets(text, names)
    return Reach(text.reach.text, port, to, text.span) if port and to else None


def _synchronised(span: Span, role: NtpRole | None, names: Names) -> Synchronised | None:
    hint = f"'{SYNCHRONISED}' is about the time daemon of a role, as in: roles: {{ntp: client-only}}"
    if role is None:
        message = "the policy has no role ntp"
    elif role.daemon == "none":
        message, hint = "the role ntp has 'daemon: none'", "name the daemon there, or leave it out"
    elif role.mode == "closed":
        message, hint = "the role ntp is closed: no time daemon runs", "leave this gate out"
    else:
        return Synchronised(role.daemon, span)
    names.error(f"{message}, so nothing would ever be {SYNCHRONISED}", span, hint)
    return None


def _port(what: Word, names: Names) -> int | None:
    """The one TCP port of a service, whatever else it has."""
    services = names.service((what,))
    ports = [ports for each in services if each.protocol == NUMBERS["tcp"] for ports in each.ports]
    if len(ports) == 1 and ports[0][0] == ports[0][1]:
        return ports[0][0]
    if ports:
        hint = f"name the one that is reached, as in tcp/{ports[0][0]}"
        names.error(f"'{what.text}' is more than one TCP port", what.span, hint)
    elif services:
        message = f"'{what.text}' has no TCP port, and only TCP tells whether somebody is there"
        names.error(message, what.span, "a gate reaches one, as in tcp/443")
    return None


def _targets(text: GateText, names: Names) -> AddressSet | None:
    """Where the gate leads, None with a problem where that is nowhere, or too far."""
    before = len(names.problems)
    found = AddressSet()
    for word in text.to:
        found |= _hosts(word, names)
    if names.has_errors(before):
        return None
    number = sum(last - first + 1 for family in (4, 6) for first, last in found.of(family))
    span = text.to[0].span
    if not found:
        names.error("'to' is an empty group: this gate would reach nobody", span)
    elif number > MOST:
        many = f"{number:,}" if number < 1 << 32 else "billions of"
        hint = "name the hosts that must answer"
        names.error(f"'to' is {many} addresses; each is reached, and {MOST} are the most", span, hint)
    return found


def _hosts(word: Word, names: Names) -> AddressSet:
    found = names.fixed((word,))
    strange = AddressSet(*(common(found.of(family), _NO_HOST.of(family)) for family in (4, 6)))
    if strange and word.text not in BUILT_IN_GROUPS:
        message = f"no TCP connection leads to {strange.prefixes()[0]}"
        names.error(message, word.span, "a gate reaches hosts by addresses of their own")
    return found
