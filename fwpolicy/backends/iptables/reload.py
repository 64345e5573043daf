"""From what iptables-save prints to what iptables-restore --noflush is given: ours anew, others' as it is.

One text a family, a transaction a table: old jumps go and new ones come in the moment in which chains change,
and there is never a moment without, nor one with two of them.
"""

from __future__ import annotations

import re

from fwpolicy.backends.iptables.names import CHAINS
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# In this order: what is dropped early or translated is so before the filter relies on it.
_TABLES = ("raw", "mangle", "nat", "filter")
_COUNTERS = re.compile(r"^\[\d+:\d+\] ")
_RULE = re.compile(r"-(?:A|I) (\S+)(?: (\d+))?(?= |$)")
_PLACE = re.compile(r"^(-I \S+) \d+(?= )", re.MULTILINE)
_TARGET = re.compile(r" -[jg] (\S+)")
# Whatever follows these is no target: a comment may say anything.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@record
class _Table:
    """`chains`: ours; `rules`: in them; `jumps`: the rules of others' chains that lead to ours, each with how
    many of that chain's rules, ours aside, come before it; `others`: the rules of built-in chains besides."""

    chains: tuple[str, ...]
    rules: tuple[str, ...]
    jumps: tuple[tuple[int, str], ...]
    others: tuple[str, ...]


def restore(text: str, saved: str) -> str:
    """What makes of a host that saved `saved` one with the chains of `text` (render.py), and none of ours
    besides; "" where there is nothing to do. With "" as text nothing of ours is left."""
    wanted, there = _read(text), _read(saved)
    lines: list[str] = []
    for name in _TABLES:
        new, old = wanted.get(name), there.get(name)
        if new or (old and (old.chains or old.jumps)):
            lines += [f"*{name}", *_changed(new or _NOTHING, old or _NOTHING), "COMMIT"]
    return "".join(f"{line}\n" for line in lines)


def ours(saved: str) -> str:
    """The part of what was saved that is ours, as a text that `restore` takes: the way back."""
    lines: list[str] = []
    there = _read(saved)
    for name in _TABLES:
        table = there.get(name, _NOTHING)
        if table.chains:
            lines += [f"*{name}", *(f":{chain} - [0:0]" for chain in table.chains), *table.rules]
            lines += [_inserted(before, rule) for before, rule in table.jumps]
            lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def first(text: str) -> str:
    """What `ours` gave, with each jump of ours in first place, wherever it was."""
    return _PLACE.sub(r"\1 1", text)


def others(saved: str) -> str:
    """What was saved, without all that is ours."""
    kept = []
    for line in saved.splitlines():
        rule = _COUNTERS.sub("", line.strip())
        mine = rule.startswith(f":{CHAINS}") or _chain(rule).startswith(CHAINS)
        if not mine and not (_chain(rule) and _leads_to_us(rule)):
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def ahead(saved: str) -> tuple[str, ...]:
    """Others' rules that stand before a jump of ours in its chain, each as saved: what they accept we never
    see, and loading again puts our jump first again."""
    return tuple(f"{name}: {rule}" for name, rule, _ in _ahead(saved))


def opening(saved: str) -> tuple[str, ...]:
    """Those of `ahead` that lead to an ACCEPT."""
    return tuple(f"{name}: {rule}" for name, rule, table in _ahead(saved) if _accepts(rule, table))


def _ahead(saved: str) -> Iterator[tuple[str, str, _Table]]:
    for name, table in _read(saved).items():
        for before, jump in table.jumps:
            own = [rule for rule in table.others if _chain(rule) == _chain(jump)]
            yield from ((name, rule, table) for rule in own[:before])


def _accepts(rule: str, table: _Table) -> bool:
    """Whether the rule, or one of the chains that it leads to, accepts or hands over to a program."""
    reached = [_target(rule)]
    for name in reached:
        reached += [
            to for each in table.others if _chain(each) == name and (to := _target(each)) not in reached
        ]
    return bool({"ACCEPT", "QUEUE", "NFQUEUE"} & set(reached))


_NOTHING = _Table((), (), (), ())


def _changed(new: _Table, old: _Table) -> Iterator[str]:
    """A chain that is declared again is emptied; one that is not wanted must be empty before it goes."""
    for _, jump in old.jumps:
        yield f"-D{jump[2:]}"
    for chain in new.chains:
        yield f":{chain} - [0:0]"
    gone = [chain for chain in old.chains if chain not in new.chains]
    for flag in ("F", "X"):
        yield from (f"-{flag} {chain}" for chain in gone)
    yield from new.rules
    for before, jump in new.jumps:
        there = sum(_chain(rule) == _chain(jump) for rule in old.others)
        yield _inserted(min(before, there), jump)


def _inserted(before: int, jump: str) -> str:
    chain = _chain(jump)
    return f"-I {chain} {before + 1}{_RULE.sub('', jump, count=1)}"


def _chain(rule: str) -> str:
    found = _RULE.match(rule)
    return found[1] if found else ""


def _read(text: str) -> dict[str, _Table]:
    """The tables of a text, of iptables-save or of ours."""
    found: dict[str, list[str]] = {}
    name = ""
    for raw in text.splitlines():
        line = _COUNTERS.sub("", raw.strip())
        if line.startswith("*"):
            name = line[1:]
            found[name] = []
        elif line and name and line[0] in ":-":
            found[name].append(line)
    return {name: _table(lines) for name, lines in found.items()}


def _table(lines: Iterable[str]) -> _Table:
    chains: list[str] = []
    rules: list[str] = []
    jumps: list[tuple[int, str]] = []
    others: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(f":{CHAINS}"):
            chains.append(line[1:].split()[0])
        elif (chain := _chain(line)).startswith(CHAINS):
            rules.append(line)
        elif chain and _leads_to_us(line):
            jumps.append((_before(line, others.get(chain, ())), line))
        elif chain:
            others.setdefault(chain, []).append(line)
    return _Table(tuple(chains), tuple(rules), tuple(jumps), tuple(r for own in others.values() for r in own))


def _before(jump: str, others: Sequence[str]) -> int:
    """How many of `others` come before the jump: those that did in a listing, or as it says itself."""
    found = _RULE.match(jump)
    if jump.startswith("-A") or not found:
        return len(others)
    return int(found[2] or 1) - 1


def _leads_to_us(rule: str) -> bool:
    return _target(rule).startswith(CHAINS)


def _target(rule: str) -> str:
    """ "" for a rule that has none."""
    found = _TARGET.search(_QUOTED.sub('""', rule))
    return found[1] if found else ""
