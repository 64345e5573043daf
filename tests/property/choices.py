"""What a generator may ask for, of hypothesis or of a Random, which takes a tenth of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

T = TypeVar("T")


class Choices(Protocol):
    def number(self, first: int, last: int) -> int:
        """One of first, ..., last."""

    def flip(self) -> bool: ...

    def one(self, pool: Sequence[T]) -> T: ...

    def some(self, pool: Sequence[T], least: int, most: int | None = None) -> list[T]:
        """So many of the pool, none of them twice."""


class Drawn:
    """What hypothesis draws, and makes smaller where a test fails."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def number(self, first: int, last: int) -> int:
        return self._draw(st.integers(first, last))

    def flip(self) -> bool:
        return self._draw(st.booleans())

    def one(self, pool: Sequence[T]) -> T:
        return self._draw(st.sampled_from(pool))

    def some(self, pool: Sequence[T], least: int, most: int | None = None) -> list[T]:
        return self._draw(st.lists(st.sampled_from(pool), min_size=least, max_size=most, unique=True))


class Dice:
    """For tests that ask the kernel about hundreds: the same again by the seed."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def number(self, first: int, last: int) -> int:
        return self._random.randint(first, last)

    def flip(self) -> bool:
        return self._random.random() < 1 / 2

    def one(self, pool: Sequence[T]) -> T:
        return self._random.choice(pool)

    def some(self, pool: Sequence[T], least: int, most: int | None = None) -> list[T]:
        return self._random.sample(pool, self._random.randint(least, min(most or len(pool), len(pool))))
