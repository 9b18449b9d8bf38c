"""The manual says what the code does: its lists come from the tables, and nothing in it is out of date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sockact.cli import commands
from sockact.cli.explain import topics
from sockact.unit.diagnostics import CODES
from tools.man import LISTS, MANUAL, SECTIONS, fresh

ROOT = MANUAL.parent
PAGES = sorted(MANUAL.iterdir())
SOURCES = "\n".join(path.read_text() for path in (ROOT / "sockact").rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_lists_of_a_page_are_those_of_the_tables(page: Path) -> None:
    assert page.read_text() == fresh(page.read_text()), "run: make man"


@pytest.mark.parametrize("name", LISTS)
def test_every_list_stands_in_one_place_and_is_not_empty(name: str) -> None:
    begin = f'.\\" BEGIN {name}\n'
    (page,) = [page for page in PAGES if begin in page.read_text()]
    text = page.read_text()
    assert text.count(begin) == text.count(f'.\\" END {name}\n') == 1
    assert LISTS[name]().count(".TP\n") or name == "codes"


def test_every_directive_that_is_applied_has_one_entry_for_each_of_its_meanings() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    entries = re.findall(r"^\.BR (\w+) = ", text, re.MULTILINE)
    applied = {(topic.key, topic.row) for topic in topics() if topic.applied}
    assert sorted(entries) == sorted(key for key, _ in applied)


def test_what_is_not_applied_is_named_once_for_each_reason() -> None:
    text = "\n".join(LISTS[name]() for name in LISTS if name.startswith("not applied"))
    named = re.findall(r"\b([A-Z]\w+)(?=[,.]\s|[,.]$)", text, re.MULTILINE)
    assert sorted(named) == sorted(key for key, _ in {pair for section in SECTIONS for pair in section.known.items()})


def test_types_of_values_of_one_name_have_one_grammar() -> None:
    """The manual explains each once, by its name."""
    kinds = {(row.kind.name, row.kind.grammar) for section in SECTIONS for _, row in section.rows() if row.kind.name != "choice"}
    assert len(kinds) == len({name for name, _ in kinds})


def test_every_command_has_a_part_of_the_manual_and_a_line_of_its_synopsis() -> None:
    text = (MANUAL / "sockact.1").read_text()
    for name in commands.cli.commands:
        assert f"\n.SS {name}\n" in text
        assert f"\n\\fBsockact {name}\\fP " in text


@pytest.mark.parametrize("code", CODES)
def test_every_diagnostic_code_is_said_somewhere(code: str) -> None:
    uses = re.findall(rf'"{code}"', SOURCES)
    assert len(uses) > 1, f"{code} is in the table and nobody says it"


def test_the_package_map_of_the_readme_names_every_package() -> None:
    readme = (ROOT / "README.md").read_text()
    packages = {path.parent.name for path in (ROOT / "sockact").glob("*/__init__.py")}
    assert packages
    assert [name for name in sorted(packages) if f"{name}/" not in readme] == []


def test_the_first_unit_of_the_readme_is_the_sample_unit() -> None:
    readme = (ROOT / "README.md").read_text()
    for line in (ROOT / "units" / "hello.socket").read_text().splitlines():
        assert line in readme
