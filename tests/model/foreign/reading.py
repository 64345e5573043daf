"""The rulesets here, read; and what in them the model does not look into."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.model.iptables import of_text
from fwpolicy.model.program import Program, used_fields

FOLDER = Path(__file__).parent
FILES = sorted(path.name for path in FOLDER.glob("*.v[46]"))


def text(name: str) -> str:
    return (FOLDER / name).read_text()


def read(name: str) -> Program:
    return of_text(text(name), name, int(name[-1]))


def conditions(program: Program) -> list[tuple[int, str]]:
    """(line, field) of every condition that is free to be true or not: opaque, a limiter, a member."""
    return [
        (rule.where.line, field)
        for chain in program.chains.values()
        for rule in chain.rules
        for field in used_fields(rule.guard)
        if field.startswith(("opaque:", "limit:", "member:"))
    ]
