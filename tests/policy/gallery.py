"""The gallery of refused policies: which files make a case, and what is said about each."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from fwpolicy.cli import main

FOLDER = Path(__file__).parent.parent / "invalid"
# `case.also.yaml` is a second operand; TWICE is given twice.
ALSO = ".also"
TWICE = "merge-same-file-twice"


def cases() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if not path.stem.endswith(ALSO))


def operands(case: str) -> list[str]:
    """Bare names: a case runs inside the folder."""
    if case == TWICE:
        return [f"{case}.yaml"] * 2
    also = f"{case}{ALSO}.yaml"
    return [f"{case}.yaml", also] if (FOLDER / also).exists() else [f"{case}.yaml"]


def refusal(case: str) -> tuple[int, str]:
    """Exit code and stderr of `fwpolicy check`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(FOLDER), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["check", *operands(case)])
    assert not out.getvalue()
    return code, err.getvalue()
