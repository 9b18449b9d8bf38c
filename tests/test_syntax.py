"""The unit-file language: what is a line, a comment, a continuation, a section, an assignment, and where each stands."""

from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.unit.diagnostics import Span, render
from sockact.unit.load import load
from sockact.unit.syntax import LONGEST_LINE, Document, parse
from tests.fakes import context


def read(text: str | bytes) -> Document:
    return parse(text if isinstance(text, bytes) else text.encode(), "f")


def pairs(text: str | bytes) -> list[tuple[str, str, str]]:
    return [(a.section, a.key, a.value) for a in read(text).assignments]


def found(text: str | bytes) -> list[tuple[str, int, int, int]]:
    """Code, line, column and end_column of each diagnostic."""
    return [(d.code, d.span.line, d.span.column, d.span.end_column) for d in read(text).diagnostics if d.span]


# Lines


def test_an_assignment_belongs_to_the_section_above_it() -> None:
    assert pairs("[A]\nx=1\n[B]\nx=2\n[A]\ny=3\n") == [("A", "x", "1"), ("B", "x", "2"), ("A", "y", "3")]


def test_blanks_around_key_and_value_are_no_part_of_them() -> None:
    assert pairs("[A]\n \t x \t=\t 1 2 \t \n") == [("A", "x", "1 2")]


def test_only_the_first_equals_sign_divides() -> None:
    assert pairs("[A]\nx=a=b=\n") == [("A", "x", "a=b=")]


def test_an_empty_value_is_a_value() -> None:
    assert pairs("[A]\nx=\ny= \t\n") == [("A", "x", ""), ("A", "y", "")]


def test_quotes_and_backslashes_inside_a_line_stay_as_they_are() -> None:
    assert pairs("[A]\nx=\"a\\x41\" 'b\\n'\n") == [("A", "x", "\"a\\x41\" 'b\\n'")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_every_kind_of_line_end_is_one(end: str) -> None:
    assert pairs(f"[A]{end}x=1{end}{end}y=2{end}") == [("A", "x", "1"), ("A", "y", "2")]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_continuation_works_with_every_kind_of_line_end(end: str) -> None:
    assert pairs(f"[A]{end}x=1\\{end}2{end}") == [("A", "x", "1 2")]


def test_the_last_line_needs_no_end() -> None:
    assert pairs("[A]\nx=1") == [("A", "x", "1")]


def test_a_byte_order_mark_at_the_start_is_no_part_of_the_text() -> None:
    assert pairs(b"\xef\xbb\xbf[A]\nx=1\n") == [("A", "x", "1")]
    assert found(b"\xef\xbb\xbfjunk\n") == [("SA005", 1, 1, 5)]


def test_other_characters_that_look_like_line_ends_are_none() -> None:
    assert pairs("[A]\nx=a\x0bb\x0cc\x85d\u2028e\n") == [("A", "x", "a\x0bb\x0cc\x85d\u2028e")]


@pytest.mark.parametrize("text", ["", "\n\n", "# c\n; d\n", "  \t \n"])
def test_a_file_without_content_says_nothing_and_is_no_mistake(text: str) -> None:
    assert read(text) == Document({}, (), ())


# Comments and continuation


def test_comments_start_with_a_hash_or_a_semicolon_at_the_start_of_a_line_only() -> None:
    assert pairs("[A]\n#x=1\n ;x=2\nx=3 # no comment\ny=4;no comment\n") == [
        ("A", "x", "3 # no comment"),
        ("A", "y", "4;no comment"),
    ]


def test_a_backslash_at_the_end_joins_the_next_line_with_a_blank() -> None:
    assert pairs("[A]\nx=1\\\n2 \\\n   3\ny=4\n") == [("A", "x", "1 2  3"), ("A", "y", "4")]


def test_a_comment_between_continued_lines_is_left_out_and_ends_nothing() -> None:
    assert pairs("[A]\nx=1\\\n# why\n; and \\\n2\ny=3\n") == [("A", "x", "1 2"), ("A", "y", "3")]


def test_a_backslash_at_the_end_of_a_comment_continues_nothing() -> None:
    assert pairs("[A]\n# c \\\nx=1\n") == [("A", "x", "1")]


def test_an_escaped_backslash_at_the_end_continues_nothing() -> None:
    assert pairs("[A]\nx=1\\\\\ny=2\n") == [("A", "x", "1\\\\"), ("A", "y", "2")]
    assert pairs("[A]\nx=1\\\\\\\ny=2\n") == [("A", "x", "1\\\\ y=2")]


def test_a_backslash_before_a_blank_at_the_end_continues_nothing() -> None:
    assert pairs("[A]\nx=1\\ \ny=2\n") == [("A", "x", "1\\"), ("A", "y", "2")]


def test_an_empty_line_ends_a_continuation() -> None:
    assert pairs("[A]\nx=1\\\n\ny=2\n") == [("A", "x", "1"), ("A", "y", "2")]


def test_a_continuation_at_the_end_of_the_file_ends_there() -> None:
    assert pairs("[A]\nx=1\\") == [("A", "x", "1")]


def test_a_key_may_be_continued_too() -> None:
    assert pairs("[A]\nx\\\n=1\n") == [("A", "x", "1")]


def test_what_looks_like_a_section_inside_a_continuation_belongs_to_the_value() -> None:
    assert pairs("[A]\nx=1\\\n[B]\ny=2\n") == [("A", "x", "1 [B]"), ("A", "y", "2")]


# Places


def test_a_span_points_at_the_value_and_at_the_key() -> None:
    (assignment,) = read("[A]\n  key =  some value \n").assignments
    assert assignment.span() == Span("f", 2, 10, 20, "  key =  some value ")
    assert assignment.span(5, 8) == Span("f", 2, 15, 18, "  key =  some value ")
    assert (assignment.key_span.column, assignment.key_span.end_column) == (3, 6)


def test_a_span_of_an_empty_value_points_behind_the_equals_sign() -> None:
    (assignment,) = read("[A]\nkey=\n").assignments
    assert (assignment.span().line, assignment.span().column, assignment.span().end_column) == (2, 5, 6)


def test_a_span_in_a_continued_line_points_at_the_line_where_the_part_stands() -> None:
    (assignment,) = read("[A]\nx=one \\\n# comment\n\ttwo three\n").assignments
    start = assignment.value.index("three")
    span = assignment.span(start, start + 5)
    assert (span.line, span.column, span.end_column, span.source) == (4, 6, 11, "\ttwo three")


def test_a_span_that_begins_in_one_line_ends_with_it_at_the_latest() -> None:
    (assignment,) = read("[A]\nx=one\\\ntwo\n").assignments
    span = assignment.span()
    assert (span.line, span.column) == (2, 3)
    assert span.end_column <= len(span.source) + 1


def test_columns_count_characters_not_bytes() -> None:
    (assignment,) = read("[A]\nx=ünï ö\n").assignments
    assert (assignment.span(4).column, assignment.span(4).end_column) == (7, 8)


def test_the_source_of_a_span_is_underlined_where_it_says() -> None:
    (diagnostic,) = read("[A]\n  junk\n").diagnostics
    assert render(diagnostic).splitlines()[1:3] == ["      junk", "      ^~~~"]


# Sections


def test_sections_are_listed_once_with_the_place_of_their_first_header() -> None:
    sections = read("[A]\n [B] \n[A]\n").sections
    assert list(sections) == ["A", "B"]
    assert (sections["A"].line, sections["A"].column, sections["A"].end_column) == (1, 1, 4)
    assert (sections["B"].line, sections["B"].column, sections["B"].end_column) == (2, 2, 5)


@pytest.mark.parametrize(("header", "end"), [("[A", 3), ("[]", 3), ("[A]x", 5), ("[A\tB]", 6), ("[", 2)])
def test_a_broken_section_header_is_an_error_and_ends_the_reading(header: str, end: int) -> None:
    document = read(f"[S]\nx=1\n{header}\ny=2\n")
    assert [(a.section, a.key) for a in document.assignments] == [("S", "x")]
    assert found(f"[S]\nx=1\n{header}\ny=2\n") == [("SA003", 3, 1, end)]


def test_an_assignment_outside_of_any_section_is_a_warning_and_left_out() -> None:
    assert found("x=1\n[A]\ny=2\n") == [("SA004", 1, 1, 4)]
    assert pairs("x=1\n[A]\ny=2\n") == [("A", "y", "2")]


def test_a_line_without_an_equals_sign_is_a_warning_and_left_out() -> None:
    assert found("[A]\n  no assignment  \ny=2\n") == [("SA005", 2, 3, 16)]
    assert pairs("[A]\n  no assignment  \ny=2\n") == [("A", "y", "2")]


def test_a_line_without_a_key_is_a_warning_and_left_out() -> None:
    assert found("[A]\n=1\n = 2\n") == [("SA005", 2, 1, 3), ("SA005", 3, 2, 5)]


def test_all_warnings_of_a_file_are_collected() -> None:
    assert [code for code, *_ in found("a=1\njunk\n[A]\njunk\n=\n")] == ["SA004", "SA005", "SA005", "SA005"]


# Text that is no text


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"\0", ("SA001", 1, 1, 2)),
        (b"[A]\nx=ab\0cd\n", ("SA001", 2, 5, 6)),
        (b"[A]\nx=ab\xffcd\n", ("SA001", 2, 5, 6)),
        ("[A]\nx=äö".encode() + b"\xe4\n", ("SA001", 2, 5, 6)),
        (b"[A]\n# \xc3\n", ("SA001", 2, 3, 4)),
        (b"\x7fELF\x02\x01\x01\0\0\0\0", ("SA001", 1, 8, 9)),
        (b"[A]\nx=\xed\xa0\x80\n", ("SA001", 2, 3, 4)),
        (b"[A]\nx=\xc3", ("SA001", 2, 3, 4)),
    ],
    ids=["NUL alone", "NUL", "0xff", "after two-byte characters", "in a comment", "binary", "surrogate", "cut off"],
)
def test_what_is_no_text_is_one_error_that_points_at_the_byte(data: bytes, place: tuple[str, int, int, int]) -> None:
    assert found(data) == [place]
    assert read(data).assignments == ()


def test_the_line_with_the_broken_byte_is_quoted() -> None:
    (diagnostic,) = read(b"[A]\nx=ab\xffcd\ny=1\n").diagnostics
    assert diagnostic.span is not None
    assert diagnostic.span.source == "x=ab\ufffdcd"
    assert "0xff" in diagnostic.message


def test_a_line_of_a_megabyte_is_read_and_a_longer_one_is_an_error() -> None:
    assert len(pairs("[A]\nx=" + "y" * (LONGEST_LINE - 2) + "\n")) == 1
    assert found("[A]\nx=" + "y" * (LONGEST_LINE - 1) + "\n") == [("SA002", 2, 1, 2)]


def test_a_line_of_ten_megabytes_is_one_short_error_at_once() -> None:
    began = perf_counter()
    (diagnostic,) = read(b"[A]\n#\nx=" + b"y" * 10_000_000 + b"\nz=1\n").diagnostics
    assert (diagnostic.code, diagnostic.span and diagnostic.span.line) == ("SA002", 3)
    assert len(render(diagnostic)) < 1000
    assert perf_counter() - began < 2


def test_a_line_that_grows_too_long_by_continuation_is_an_error() -> None:
    assert [code for code, *_ in found("[A]\nx=" + ("y" * 1000 + "\\\n") * 1100 + "z\n")] == ["SA002"]


def test_many_short_lines_are_no_mistake_and_take_no_time() -> None:
    began = perf_counter()
    assert len(pairs("[A]\n" + "x=1\n" * 100_000)) == 100_000
    assert perf_counter() - began < 5


# Whatever comes

TEXT = st.text("[]=\\\n\r#; \tAaSocket%$'\"1:/@é\ufeff", max_size=80)
UNIT_LINES = st.lists(
    st.sampled_from(
        ["[Socket]", "[Service]", "[Unit]", "ListenStream", "ExecStart", "Environment", "=", "=%", "\\", "\n", '"', "'"]
    )
    | st.text(max_size=6),
    max_size=12,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | (TEXT | UNIT_LINES).map(str.encode), st.sampled_from(["a.socket", "a.service"]))
def test_whatever_bytes_a_file_holds_reading_and_loading_answer_with_diagnostics(data: bytes, name: str) -> None:
    document = parse(data, name)
    _, diagnostics = load(document, name, name, context(name))
    for diagnostic in diagnostics:
        assert diagnostic.span is not None
        assert diagnostic.span.line >= 1
        assert 1 <= diagnostic.span.column < diagnostic.span.end_column
        assert render(diagnostic)


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_every_span_lies_in_the_line_it_quotes(text: str) -> None:
    document = read(text)
    spans = [a.span() for a in document.assignments] + [a.key_span for a in document.assignments]
    for span in [*spans, *(d.span for d in document.diagnostics if d.span)]:
        lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert span.source == lines[span.line - 1]
        assert span.column <= len(span.source) + 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text("aZ", min_size=1, max_size=5), st.text("aé1=#;[]'\"%$", max_size=8)), max_size=6))
def test_what_is_written_is_what_is_read(written: list[tuple[str, str]]) -> None:
    text = "[S]\n" + "".join(f"{key}={value}\n" for key, value in written)
    assert pairs(text) == [("S", key, value) for key, value in written]
