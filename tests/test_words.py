"""Words: quoting and C escapes, as systemd.syntax(7) and systemd.service(5) have them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.unit.diagnostics import Invalid
from sockact.unit.words import split


def texts(text: str) -> list[str]:
    words = split(text)
    assert not isinstance(words, Invalid), words
    return [word.text for word in words]


def wrong(text: str) -> Invalid:
    words = split(text)
    assert isinstance(words, Invalid), words
    return words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t ", []),
        ("a", ["a"]),
        ("  a \t b\nc  ", ["a", "b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ("'a b' c", ["a b", "c"]),
        ("a'b c'd", ["ab cd"]),
        ("a\"b\"'c'", ["abc"]),
        ('""', [""]),
        ("'' x ''", ["", "x", ""]),
        ('"it\'s"', ["it's"]),
        ("'say \"hi\"'", ['say "hi"']),
        ("é ü", ["é", "ü"]),
        ("a#b ;", ["a#b", ";"]),
    ],
)
def test_words_are_divided_by_blanks_outside_of_quotes(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\a\b\f\n\r\t\v", "\a\b\f\n\r\t\v"),
        (r"\s", " "),
        (r"\\", "\\"),
        (r"\"\'", "\"'"),
        (r"\x41\x7e", "A~"),
        (r"\101\176", "A~"),
        (r"\u00e9\U0001F600", "é😀"),
        (r"\xc3\xa9", "é"),
        (r"\303\251", "é"),
    ],
)
def test_escapes_stand_for_characters_inside_and_outside_of_quotes(text: str, expected: str) -> None:
    assert texts(text) == [expected]
    assert texts(f'"{text}"') == [expected]
    assert texts(f"'{text}'") == [expected]


def test_an_escaped_blank_divides_nothing_and_an_escaped_quote_opens_nothing() -> None:
    assert texts(r"a\sb c") == ["a b", "c"]
    assert texts(r"a\"b c") == ['a"b', "c"]
    assert texts(r'"a\" b" c') == ['a" b', "c"]


@pytest.mark.parametrize("text", [r"\d", r"\xZZ", r"\x4", r"\u00e", r"\19a", r"\w+"])
def test_what_looks_like_an_escape_and_is_none_stays_as_written(text: str) -> None:
    assert texts(text) == [text]


def test_a_byte_that_is_no_text_survives_as_python_spells_it() -> None:
    assert [word.encode(errors="surrogateescape") for word in texts(r"\xff")] == [b"\xff"]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [("'open", 0, 1), ('a b "c d', 4, 5), ("a'b'c'd", 5, 6), ("\"a'", 0, 1), (r"'a\'", 0, 1)],
)
def test_a_quote_that_is_never_closed_is_pointed_at(text: str, start: int, end: int) -> None:
    invalid = wrong(text)
    assert (invalid.start, invalid.end) == (start, end)
    assert "unterminated quote" in invalid.message
    assert invalid.hint


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [(r"a \x00", 2, 6), (r"\000", 0, 4), (r"a\777", 1, 5), (r"\U00110000", 0, 10), (r"\ud800", 0, 6), (r"x \u0000", 2, 8)],
)
def test_an_escape_that_names_no_character_is_pointed_at(text: str, start: int, end: int) -> None:
    invalid = wrong(text)
    assert (invalid.start, invalid.end) == (start, end)


def test_a_word_knows_where_it_stood_and_how_it_was_written() -> None:
    words = split(r"""  a 'b c'\x41  d""")
    assert not isinstance(words, Invalid)
    assert [(word.text, word.start, word.raw) for word in words] == [("a", 2, "a"), ("b cA", 4, r"'b c'\x41"), ("d", 15, "d")]


def test_a_backslash_at_the_very_end_is_a_backslash() -> None:
    assert texts("a\\") == ["a\\"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), max_size=5))
def test_whatever_is_quoted_comes_back(words: list[str]) -> None:
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    assert texts(quoted) == words


@settings(max_examples=300, deadline=None)
@given(st.text("ab\\'\" x0u7\t", max_size=20))
def test_words_cover_the_text_up_to_blanks(text: str) -> None:
    words = split(text)
    if isinstance(words, Invalid):
        assert 0 <= words.start < (words.end or len(text)) <= len(text) + 8
        return
    rest = list(text)
    for word in words:
        assert text[word.start : word.start + len(word.raw)] == word.raw
        rest[word.start : word.start + len(word.raw)] = " " * len(word.raw)
    assert not "".join(rest).strip()
