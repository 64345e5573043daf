"""Digests of what a result was made from."""

from __future__ import annotations

import json
from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# What stands for a file that cannot be read.
ABSENT = "-"


def of_bytes(data: bytes) -> str:
    return sha256(data).hexdigest()


def of_value(value: object) -> str:
    """Of texts, numbers, lists and mappings; the order of a mapping's keys is part of it."""
    return of_bytes(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    )


def of_files(files: Iterable[tuple[str, bytes]]) -> str:
    """Of names and contents."""
    return of_value([(name, of_bytes(data)) for name, data in files])
