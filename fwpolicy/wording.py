"""Words that messages share."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`1 host`, `1,000 hosts`; `many` where it is not `one` and an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
