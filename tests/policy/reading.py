"""Policies out of texts, for tests."""

from __future__ import annotations

import pytest

from fwpolicy.errors import PolicyError
from fwpolicy.policy.load import load

HEAD = "version: 1\n"


def read(
    *contents: str,
    names: tuple[str, ...] = ("a.yaml", "b.yaml", "c.yaml"),
    files: dict[str, str] | None = None,
    now: int | None = None,
):
    def read_file(path: str) -> bytes:
        try:
            return (files or {})[path].encode()
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return load(
        tuple((name, text.encode()) for name, text in zip(names, contents, strict=False)), read_file, now
    )


def allowed(line: str, head: str = "", **more):
    """The one rule of an input that allows `line`."""
    policy = read(f"{HEAD}{head}input:\n  default: drop\n  allow:\n    - {line}\n", **more)
    (rule,) = policy.input.allow
    return rule


def warnings(policy) -> list[str]:
    assert all(problem.severity == "warning" for problem in policy.warnings)
    return [problem.message for problem in policy.warnings]


def warned(line: str, head: str = "") -> list[str]:
    return warnings(read(f"{HEAD}{head}input:\n  default: drop\n  allow:\n    - {line}\n"))


def problems(*contents: str, **more) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        read(*contents, **more)
    return [f"{problem.span}: {problem.message}" for problem in caught.value.problems]
