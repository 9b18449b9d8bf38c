"""Records: frozen, compared by value, complete or refused."""

from __future__ import annotations

import pytest

from sockact.record import Record, assert_never


class Point(Record):
    x: int
    y: int = 7


class Named(Point):
    name: str = ""


class Other(Record):
    x: int
    y: int = 7


def double(value: int) -> int:
    return 2 * value


def test_fields_are_the_annotations_inherited_ones_first() -> None:
    assert Point.fields == ("x", "y")
    assert Named.fields == ("x", "y", "name")


def test_values_are_taken_by_position_and_by_name_and_the_rest_from_the_class() -> None:
    assert Point(1).values() == (1, 7)
    assert Point(1, 2).values() == (1, 2)
    assert Point(y=2, x=1).values() == (1, 2)
    assert Named(1, name="a").values() == (1, 7, "a")


def test_a_class_variable_is_no_field() -> None:
    from typing import ClassVar

    class Marked(Record):
        mark: ClassVar[str] = "m"
        x: int = 1

    assert Marked.fields == ("x",)
    assert Marked().mark == "m"


def test_a_missing_a_surplus_an_unknown_and_a_repeated_value_are_refused() -> None:
    with pytest.raises(TypeError, match="needs x="):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="2 fields, not 3"):
        Point(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="z"):
        Point(1, z=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="x twice"):
        Point(1, x=1)  # type: ignore[misc]


def test_an_unknown_value_is_refused_when_it_stands_in_for_a_missing_one() -> None:
    with pytest.raises(TypeError):
        Other(1, 2, q=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Other(z=1)  # type: ignore[call-arg]


def test_a_record_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        point.z = 2
    assert point == Point(1)


def test_equality_is_by_class_and_value_and_hashing_agrees() -> None:
    assert Point(1) == Point(1, 7)
    assert hash(Point(1)) == hash(Point(1, 7))
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)
    assert Point(1) != (1, 7)
    assert len({Point(1), Point(1, 7), Point(2), Other(1)}) == 3


def test_replace_changes_some_fields_and_leaves_the_original() -> None:
    point = Named(1, 2, "a")
    assert point.replace(y=3) == Named(1, 3, "a")
    assert point == Named(1, 2, "a")
    with pytest.raises(TypeError):
        point.replace(z=1)


def test_a_function_as_default_stays_a_function() -> None:
    class Acting(Record):
        act: object = double

    assert Acting().act is double


def test_a_record_shows_its_fields() -> None:
    assert repr(Named(1, name="a")) == "Named(x=1, y=7, name='a')"


def test_a_field_may_not_take_the_name_of_the_list_of_fields() -> None:
    with pytest.raises(TypeError, match="taken"):

        class Wrong(Record):
            fields: int  # type: ignore[assignment, misc]


def test_assert_never_says_what_was_not_handled() -> None:
    with pytest.raises(AssertionError, match="'forgotten'"):
        assert_never("forgotten")  # type: ignore[arg-type]
