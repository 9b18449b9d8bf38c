"""Specifiers: `%x` stands for a fact about the unit or the host (systemd.unit(5))."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.runtime.host import here
from sockact.unit.diagnostics import Invalid
from sockact.unit.specifiers import expand, split_name, substitute, unescape_name, unit_facts
from tests.fakes import context

FACTS = unit_facts("foo-bar@a-b\\x2dc.service", "/etc/units/foo-bar@.service")


@pytest.mark.parametrize(
    ("letter", "expected"),
    [
        ("n", "foo-bar@a-b\\x2dc.service"),
        ("N", "foo-bar@a-b\\x2dc"),
        ("p", "foo-bar"),
        ("P", "foo/bar"),
        ("i", "a-b\\x2dc"),
        ("I", "a/b-c"),
        ("j", "bar"),
        ("J", "bar"),
        ("f", "/a/b-c"),
        ("y", "/etc/units/foo-bar@.service"),
        ("Y", "/etc/units"),
    ],
)
def test_facts_of_an_instance_come_from_its_name_and_file(letter: str, expected: str) -> None:
    assert expand(f"<%{letter}>", FACTS) == f"<{expected}>"


@pytest.mark.parametrize(
    ("letter", "expected"), [("n", "a-b.socket"), ("N", "a-b"), ("p", "a-b"), ("i", ""), ("I", ""), ("j", "b"), ("f", "/a/b")]
)
def test_a_unit_without_instance_has_an_empty_one(letter: str, expected: str) -> None:
    assert expand(f"%{letter}", unit_facts("a-b.socket", "/x/a-b.socket")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no specifier", "no specifier"),
        ("%%", "%"),
        ("%%n", "%n"),
        ("100%", "100%"),
        ("% n %- %/ %.", "% n %- %/ %."),
        ("%é", "%é"),
        ("%p%p", "foo-barfoo-bar"),
        ("%%%p%%", "%foo-bar%"),
        ("%%%%", "%%"),
    ],
)
def test_a_percent_sign_is_doubled_or_stays_before_anything_but_a_letter_or_digit(text: str, expected: str) -> None:
    assert expand(text, FACTS) == expected


@pytest.mark.parametrize(("text", "at"), [("%e", 0), ("ab%1c", 2), ("%p %Z", 3), ("%%%x", 2)])
def test_an_unknown_letter_or_digit_is_pointed_at(text: str, at: int) -> None:
    invalid = expand(text, FACTS)
    assert isinstance(invalid, Invalid)
    assert (invalid.start, invalid.end) == (at, at + 2)
    assert "%%" in invalid.hint


def test_what_a_specifier_stands_for_is_not_expanded_again() -> None:
    assert expand("%h", {"h": lambda: "%n"}) == "%n"


def test_a_fact_of_the_host_is_asked_for_only_when_it_is_used() -> None:
    def never() -> str:
        raise AssertionError

    assert expand("%p %%b", {"b": never, "p": lambda: "x"}) == "x %b"


def test_facts_of_unit_and_host_are_both_known_where_values_are_read() -> None:
    assert context("web@1.service").expand("%t/%p/%i") == "/run/web/1"
    assert context("web.socket").expand("%y") == "/units/web.socket"


@pytest.mark.parametrize("letter", "tSCLETVhsUGugHlqvabmowWBAM")
def test_every_specifier_of_the_host_that_systemd_knows_is_known_here(letter: str) -> None:
    known = here().context("web.socket", "web.socket").expand(f"%{letter}")
    assert isinstance(known, str)
    assert "%" not in known


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("web.socket", ("web", None, "socket")),
        ("web@1.service", ("web", "1", "service")),
        ("web@.service", ("web", "", "service")),
        ("web@a@b.c.service", ("web", "a@b.c", "service")),
        ("a.b.socket", ("a.b", None, "socket")),
    ],
)
def test_a_name_has_a_prefix_an_instance_and_a_type(name: str, parts: tuple[str, str | None, str]) -> None:
    assert split_name(name) == parts


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [("a-b", "a/b"), (r"a\x2db", "a-b"), (r"\x41\xc3\xa9", "Aé"), (r"a\xzz", r"a\xzz"), ("", ""), ("é-", "é/")],
)
def test_names_are_unescaped_as_systemd_escape_does(escaped: str, plain: str) -> None:
    assert unescape_name(escaped) == plain


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_what_is_doubled_comes_back(text: str) -> None:
    assert expand(text.replace("%", "%%"), FACTS) == text


@settings(max_examples=300, deadline=None)
@given(st.text("%napXé1 -", max_size=20))
def test_any_text_is_expanded_or_its_wrong_specifier_pointed_at(text: str) -> None:
    expanded = expand(text, FACTS)
    if isinstance(expanded, Invalid):
        assert text[expanded.start] == "%"
        assert text[expanded.start + 1] not in "np%"


# Variables of the supervisor

VARIABLES = {"A": "1", "B_2": "two words", "EMPTY": "", "NESTED": "${A}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain $A $ {A} }", "plain $A $ {A} }"),
        ("${A}", "1"),
        ("<${A}${B_2}>", "<1two words>"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${A:-x}", "1"),
        ("${NO:-}", ""),
        ("${NO:-a:-b}", "a:-b"),
        ("${NO:-[::1]:80}", "[::1]:80"),
        ("$${A}", "$1"),
        ("${NESTED}", "${A}"),
        ("${A}}", "1}"),
    ],
)
def test_variables_are_put_in_as_a_shell_would(text: str, expected: str) -> None:
    assert substitute(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("${NO}", "${NO}"),
        ("x${A}${NO}y", "${NO}"),
        ("${", "${"),
        ("x${A", "${A"),
        ("${}", "${}"),
        ("${:-x}", "${:-x}"),
        ("${A B}", "${A B}"),
        ("${é}", "${é}"),
        ("${A-x}", "${A-x}"),
        ("${A:x}", "${A:x}"),
        ("ä${NO}", "${NO}"),
    ],
)
def test_a_variable_that_is_not_set_or_none_is_pointed_at_with_what_to_write(text: str, part: str) -> None:
    invalid = substitute(text, VARIABLES)
    assert isinstance(invalid, Invalid)
    assert text[invalid.start : invalid.end] == part
    assert ":-DEFAULT}" in invalid.hint


def test_variables_come_after_specifiers_and_only_where_the_unit_wants_them() -> None:
    with_variables = context("web.socket").replace(variables={"web": "x", "P": "%p"})
    assert with_variables.substitute("${%p}-${P}") == "x-%p"
    assert with_variables.replace(variables=None).substitute("${%p}") == "${web}"
    assert isinstance(with_variables.substitute("%Z${P}"), Invalid)


@settings(max_examples=300, deadline=None)
@given(st.text("${}:-AB_ x", max_size=16))
def test_any_text_with_variables_is_text_or_its_wrong_variable_pointed_at(text: str) -> None:
    found = substitute(text, VARIABLES)
    if isinstance(found, Invalid):
        assert text[found.start :].startswith("${")
    elif "${" not in text:
        assert found == text
