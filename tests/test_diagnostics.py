"""Diagnostics: what they are, and how they are told to people and to programs."""

from __future__ import annotations

import json
import re

import pytest

from sockact.unit.diagnostics import (
    CODES,
    ERROR,
    HOST,
    NOTE,
    PORTABLE,
    SOURCE_WIDTH,
    UNIT,
    WARNING,
    Diagnostic,
    Span,
    errors,
    render,
)


def told(source: str, column: int, end_column: int, hint: str = "") -> list[str]:
    return render(Diagnostic("SA010", "wrong", Span("dir/web.socket", 7, column, end_column, source), hint)).splitlines()


def test_a_diagnostic_is_told_with_place_line_marker_and_hint() -> None:
    assert told("Backlog=many", 9, 13, "write a number") == [
        "dir/web.socket:7:9: warning[SA010]: wrong",
        "    Backlog=many",
        "            ^~~~",
        "    hint: write a number",
    ]


def test_a_single_character_is_marked_by_a_caret_alone() -> None:
    assert told("a=b c", 3, 4)[2] == "      ^"


def test_tabs_shift_the_line_and_the_marker_alike() -> None:
    assert told("\ta\t= b", 6, 7)[1:] == ["    \ta\t= b", "    \t \t  ^"]


def test_a_marker_never_goes_beyond_the_line() -> None:
    assert told("a=b", 3, 99)[2] == "      ^"
    assert told("a=", 3, 4)[2] == "      ^"


def test_what_cannot_be_printed_is_a_dot() -> None:
    assert told("a=\x1b[31m\x07é", 3, 4)[1] == "    a=·[31m·é"


def test_a_long_line_is_cut_and_a_mistake_far_out_is_not_quoted() -> None:
    near, far = told("x" * 5000, 10, 20), told("x" * 5000, 4000, 4001)
    assert len(near[1]) == SOURCE_WIDTH + 4
    assert near[2] == "    " + " " * 9 + "^" + "~" * 9
    assert far == ["dir/web.socket:7:4000: warning[SA010]: wrong"]


def test_a_mistake_without_a_line_has_its_file_or_nothing() -> None:
    assert render(Diagnostic("SA030", "no such file", file="x.socket")) == "x.socket: error[SA030]: no such file"
    assert render(Diagnostic("SA030", "no such file")) == "error[SA030]: no such file"


def test_programs_get_all_there_is_and_null_for_what_there_is_not() -> None:
    span = Span("f", 2, 3, 5, "a=bc")
    assert Diagnostic("SA050", "m", span, "h", "other").as_json() == {
        "code": "SA050",
        "severity": "error",
        "scope": "host",
        "message": "m",
        "file": "f",
        "line": 2,
        "column": 3,
        "end_column": 5,
        "hint": "h",
    }
    bare = Diagnostic("SA020", "m", file="f").as_json()
    assert [bare[name] for name in ("file", "line", "column", "end_column", "hint", "scope")] == [
        "f",
        None,
        None,
        None,
        None,
        "unit",
    ]
    assert json.loads(json.dumps(bare)) == bare


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_number_a_severity_a_scope_and_a_meaning(code: str) -> None:
    assert re.fullmatch(r"SA\d{3}", code)
    assert CODES[code].severity in (ERROR, WARNING, NOTE)
    assert CODES[code].scope in (UNIT, HOST, PORTABLE)
    assert CODES[code].about


def test_codes_stand_in_the_order_of_their_numbers() -> None:
    assert list(CODES) == sorted(CODES)


def test_only_errors_are_errors() -> None:
    found = [Diagnostic(code, "m") for code in ("SA008", "SA010", "SA020")]
    assert errors(found) == [found[2]]
