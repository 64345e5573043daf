"""Three-way merge of texts by lines: what two sides changed of one base, where they do not meet."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    # (start in base, start in one, start in other, length): lines that all three have.
    Region = tuple[int, int, int, int]


def merge(base: str, one: str, other: str) -> str | None:
    """The base with the changes of both; None where both changed the same place, and not alike."""
    texts = [text.splitlines(keepends=True) for text in (base, one, other)]
    merged: list[str] = []
    at = (0, 0, 0)
    for *starts, length in _common(*texts):
        chunk = _chosen(*(lines[a:b] for lines, a, b in zip(texts, at, starts, strict=True)))
        if chunk is None:
            return None
        merged += chunk + texts[0][starts[0] : starts[0] + length]
        at = (starts[0] + length, starts[1] + length, starts[2] + length)
    return "".join(merged)


def _chosen(base: list[str], one: list[str], other: list[str]) -> list[str] | None:
    if one in (other, base):
        return other
    return one if other == base else None


def _common(base: list[str], one: list[str], other: list[str]) -> Iterator[Region]:
    """The regions that are in all three, in order; the last one is empty, at the ends."""
    ones, others = _matches(base, one), _matches(base, other)
    while ones and others:
        (a, in_one, length), (b, in_other, width) = ones[0], others[0]
        start, end = max(a, b), min(a + length, b + width)
        if start < end:
            yield start, in_one + start - a, in_other + start - b, end - start
        (ones if a + length < b + width else others).pop(0)
    yield len(base), len(one), len(other), 0


def _matches(base: list[str], text: list[str]) -> list[tuple[int, int, int]]:
    import difflib  # noqa: PLC0415

    blocks = difflib.SequenceMatcher(None, base, text, autojunk=False).get_matching_blocks()
    return [(block.a, block.b, block.size) for block in blocks if block.size]
