"""The manual says what the code does: its lists come from the tables, and nothing in it is out of date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sockact.unit.diagnostics import CODES
from tools.man import MANUAL, fresh

ROOT = MANUAL.parent
PAGES = sorted(MANUAL.iterdir())
SOURCES = "\n".join(path.read_text() for path in (ROOT / "sockact").rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_lists_of_a_page_are_those_of_the_tables(page: Path) -> None:
    assert page.read_text() == fresh(page.read_text()), "run: make man"


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
