"""Records are what frozen dataclasses are, as far as anybody here relies on it."""

from __future__ import annotations

import pytest

from fwpolicy.record import record, replace


@record
class Point:
    x: int
    y: int = 2
    draft: str | None = None

    @property
    def sum(self) -> int:
        return self.x + self.y


@record
class Pair:
    x: int
    y: int = 2
    draft: str | None = "other defaults"


@record
class Nothing:
    pass


def test_fields_come_by_place_by_name_and_by_default():
    assert (Point(1).x, Point(1).y, Point(1).draft, Point(1).sum) == (1, 2, None, 3)
    assert Point(x=1, y=3) == Point(1, 3)
    assert Pair(1).draft == "other defaults"
    assert repr(Point(1, draft="a")) == "Point(x=1, y=2, draft='a')"
    match Point(1, 4):
        case Point(x, y):
            assert (x, y) == (1, 4)


@pytest.mark.parametrize("wrong", [Point, lambda: Point(1, 2, None, 4), lambda: Point(1, z=3)])
def test_a_wrong_field_is_refused(wrong):
    with pytest.raises(TypeError, match=r"__new__\(\)"):
        wrong()


def test_nothing_changes():
    point = Point(1)
    with pytest.raises(AttributeError, match="Point is frozen"):
        point.x = 2
    with pytest.raises(AttributeError, match="Point is frozen"):
        del point.x
    with pytest.raises(AttributeError):
        point.z = 2
    assert replace(point, y=5) == Point(1, 5)
    assert point == Point(1)


def test_alike_is_of_one_class_and_equal():
    assert Point(1) == Point(1)
    assert Point(1) != Pair(1, draft=None)
    assert Point(1) != Point(2)
    assert len({Point(1), Point(1), Point(2), Pair(1), Nothing(), Nothing()}) == 4
    assert Nothing() == Nothing()
    assert repr(Nothing()) == "Nothing()"
