"""Refused policies: exactly these messages, and no message without a case."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import fwpolicy.policy
from tests.policy.gallery import FOLDER, cases, refusal

PACKAGE = Path(fwpolicy.__file__).parent
SOURCES = [
    PACKAGE / "addresses.py",
    PACKAGE / "source.py",
    PACKAGE / "yamltree.py",
    PACKAGE / "yamlerrors.py",
    *sorted((PACKAGE / "policy").glob("*.py")),
]
# Calls of these make a message; `AddressError` and `ServiceError` become one in names.py.
MAKERS = {"error", "refuse", "problem", "Problem", "AddressError", "ServiceError", "_no_address"}
# What no file of the gallery can be; test_robust.py has them.
ELSEWHERE = {
    ("source.py", "the file is larger than 64 MiB"),
    ("yamltree.py", "words, lists and mappings in one file"),
    ("yamltree.py", "PyYAML is installed without libyaml"),
    ("yamlerrors.py", "not YAML"),
    ("groupfiles.py", "has more than"),
    ("load.py", "these are the first"),
}


@pytest.mark.parametrize("case", cases())
def test_is_refused_with_exactly_this_message(case):
    code, said = refusal(case)
    assert said == (FOLDER / f"{case}.err").read_text(encoding="utf-8")
    assert code == 1
    assert "warning:" not in said
    assert "Traceback" not in said


def test_the_gallery_is_large():
    assert len(cases()) >= 150


def test_every_message_file_has_a_case():
    assert sorted(path.stem for path in FOLDER.glob("*.err")) == cases()


def test_problems_come_in_file_order():
    lines = [
        tuple(map(int, line.split(":")[1:3]))
        for line in refusal("several-problems")[1].splitlines()
        if line.startswith("several-problems.yaml:")
    ]
    assert len(lines) >= 12
    assert lines == sorted(lines)


def _text(call: ast.Call) -> str:
    """The constant parts of a call's arguments: enough to know a message by."""
    constants = (node.value for node in ast.walk(call) if isinstance(node, ast.Constant))
    return "".join(value for value in constants if isinstance(value, str))


def message_sites() -> dict[tuple[str, int], str]:
    """(file name, line) of each call that makes a message, and its text."""
    sites = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", None))
                text = _text(node)
                if name in MAKERS and "warning" not in text:
                    sites[(path.name, node.lineno)] = text
    return sites


def lines_run(action) -> set[tuple[str, int]]:
    """(file name, line) of the lines of SOURCES that `action` runs."""
    names = {str(path): path.name for path in SOURCES}
    seen: set[tuple[str, int]] = set()

    def local(frame, event, _):
        if event == "line":
            seen.add((names[frame.f_code.co_filename], frame.f_lineno))
        return local

    def start(frame, event, _):
        return local if frame.f_code.co_filename in names else None

    before = sys.gettrace()
    sys.settrace(start)
    try:
        action()
    finally:
        sys.settrace(before)
    return seen


def test_every_message_has_a_case():
    seen = lines_run(lambda: [refusal(case) for case in cases()])
    missing = [
        f"{file}:{line}: {text}"
        for (file, line), text in sorted(message_sites().items())
        if (file, line) not in seen and not any(file == name and part in text for name, part in ELSEWHERE)
    ]
    assert not missing, "errors without a case in tests/invalid:\n" + "\n".join(missing)


def test_the_exemptions_exist():
    sites = message_sites()
    for name, part in ELSEWHERE:
        assert any(file == name and part in text for (file, _), text in sites.items()), (name, part)
