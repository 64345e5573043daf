"""The pieces of shell and awk that scripts are made of, files beside this one."""

from __future__ import annotations

from pathlib import Path


def piece(name: str) -> str:
    """The text of one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
