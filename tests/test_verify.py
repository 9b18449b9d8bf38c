"""The verifier: one folder a case, through the real search, loader and rules; and the rules that ask the machine."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import pytest

from sockact.runtime import host, search
from sockact.unit.diagnostics import CODES, Diagnostic, errors, render
from sockact.unit.gather import Host, gather
from sockact.unit.verify import verify
from tests.fakes import FACTS, SERVICE, Machine, codes, findings

CASES = Path(__file__).parent / "cases"
LISTEN = "[Socket]\nListenStream=80\n"
NODE = "[Socket]\nListenStream=/run/web\n"


def verified(units: list[str]) -> list[Diagnostic]:
    """What `sockact verify --offline` finds in the current directory."""
    return verify(gather(units, search.finder(units).find, Host(FACTS)), None)


def as_expected(found: Diagnostic) -> dict[str, Any]:
    said = found.as_json()
    return {name: said[name] for name in ("code", "severity", "file", "line", "column", "end_column")}


@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
def test_the_case_gives_exactly_the_diagnostics_expected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    expected = json.loads(Path("expected.json").read_text())
    found = verified(expected["units"])

    def place(said: dict[str, Any]) -> tuple[Any, ...]:
        return said["file"], said["line"] or 0, said["column"] or 0, said["code"]

    assert sorted(map(as_expected, found), key=place) == sorted(expected["diagnostics"], key=place)
    assert (1 if errors(found) else 0) == expected["status"]


@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
def test_every_diagnostic_of_the_case_is_readable_and_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = verified(json.loads(Path("expected.json").read_text())["units"])
    places = [(d.span.file if d.span else d.file, d.span.line if d.span else inf) for d in found]
    assert places == sorted(places)
    for diagnostic in found:
        text = render(diagnostic)
        head = text.splitlines()[0]
        assert head.startswith(f"{diagnostic.where}: {diagnostic.severity}[{diagnostic.code}]: ")
        assert diagnostic.message
        assert len(text.splitlines()) <= 4
        if diagnostic.span and diagnostic.code not in ("SA001", "SA002"):
            written = Path(diagnostic.span.file).read_text("utf-8-sig").splitlines()
            assert diagnostic.span.source == written[diagnostic.span.line - 1]


def test_every_code_that_is_true_of_a_file_has_a_case() -> None:
    seen = {d["code"] for path in CASES.glob("*/expected.json") for d in json.loads(path.read_text())["diagnostics"]}
    of_the_file = {code for code, about in CODES.items() if about.scope == "unit"}
    assert of_the_file - seen == {"SA002"}, "a line of more than a megabyte stands in test_syntax"
    assert seen <= of_the_file, "cases are true on every machine"


def test_a_finding_is_said_once_though_two_sockets_share_the_template() -> None:
    files = {
        "web.socket": LISTEN + "Accept=yes\n",
        "web@1.socket": "[Socket]\nListenStream=81\nAccept=yes\n",
        "web@.service": "[Service]\nExecStart=/missing\n",
    }
    found = findings(files, "web.socket", "web@1.socket", survey=Machine())
    assert codes(found) == ["SA050"]


# Facts about this machine


def on_machine(files: dict[str, str], *have: str) -> list[Diagnostic]:
    return findings(files, survey=Machine(*have))


def test_a_missing_program_is_an_error_of_the_host_at_its_word() -> None:
    files = {"web.service": "[Service]\nType=oneshot\nExecStart=/bin/a ; @/bin/b b x\nExecStart=-/bin/c\nExecStart=/bin/d y\n"}
    found = on_machine(files, "/bin/a")
    assert [(d.code, d.severity, d.scope) for d in found] == [("SA050", "error", "host")] * 2
    places = [(d.span.line, d.span.column, d.span.end_column) for d in found if d.span]
    assert places == [(3, 20, 27), (5, 11, 17)]
    assert "/bin/b" in found[0].message
    assert on_machine(files, "/bin/a", "/bin/b", "/bin/d") == []
    assert findings(files) == []


def test_a_program_in_a_continued_line_is_pointed_at_where_it_stands() -> None:
    files = {"web.service": "[Service]\nType=oneshot\nExecStart=/bin/a ; \\\n   /bin/b\n"}
    (found,) = on_machine(files, "/bin/a")
    assert found.span is not None
    assert (found.span.line, found.span.column, found.span.end_column) == (4, 4, 10)


@pytest.mark.parametrize(
    ("name", "text", "line", "column", "end"),
    [
        ("web.service", SERVICE + "User=who\n", 3, 6, 9),
        ("web.service", SERVICE + "Group=who\n", 3, 7, 10),
        ("web.socket", NODE + "SocketUser=who\n", 3, 12, 15),
        ("web.socket", NODE + "SocketGroup=who\n", 3, 13, 16),
    ],
)
def test_an_unknown_account_is_an_error_of_the_host(name: str, text: str, line: int, column: int, end: int) -> None:
    files = {"web.service": SERVICE, name: text}
    (found,) = on_machine(files, "/bin/true")
    assert (found.code, found.scope) == ("SA051", "host")
    assert found.span is not None
    assert (found.span.file, found.span.line, found.span.column, found.span.end_column) == (name, line, column, end)
    assert on_machine(files, "/bin/true", "who") == []


@pytest.mark.parametrize(("directory", "told"), [("/nowhere", True), ("-/nowhere", False), ("~", False), ("/srv", False)])
def test_a_missing_working_directory_is_an_error_unless_it_may_be_missing(directory: str, told: bool) -> None:
    files = {"web.service": f"{SERVICE}WorkingDirectory={directory}\n"}
    assert codes(on_machine(files, "/bin/true", "/srv")) == (["SA053"] if told else [])


def test_the_template_of_an_accepting_socket_is_asked_about_too() -> None:
    files = {"web.socket": LISTEN + "Accept=yes\n", "web@.service": "[Service]\nExecStart=/bin/%p-%i\n"}
    (found,) = findings(files, "web.socket", survey=Machine())
    assert "/bin/web-internal" in found.message


# The real machine


def test_the_survey_knows_programs_by_path_and_by_name(tmp_path: Path) -> None:
    survey = host.Survey()
    plain = tmp_path / "plain"
    plain.write_text("no program")
    assert survey.program("/bin/sh", "") == ""
    assert survey.program("sh", "") == ""
    assert "does not exist" in survey.program(str(tmp_path / "missing"), "")
    assert "PATH" in survey.program("no-such-program-anywhere", "")
    assert "x permission" in survey.program(str(plain), "")
    assert "directory" in survey.program(str(tmp_path), "")


def test_the_survey_knows_accounts_interfaces_and_directories(tmp_path: Path) -> None:
    survey = host.Survey()
    assert survey.user("root") == survey.user("0") == survey.group("root") == survey.group("4000") == ""
    assert "nobodyofthisname" in survey.user("nobodyofthisname")
    assert "nobodyofthisname" in survey.group("nobodyofthisname")
    assert survey.interface("lo") == survey.interface("1") == ""
    assert "nosuchif0" in survey.interface("nosuchif0")
    assert survey.directory(str(tmp_path)) == ""
    assert "does not exist" in survey.directory(str(tmp_path / "missing"))


# The search


def test_units_are_searched_beside_the_given_ones_then_here_then_in_the_path_of_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("beside", "here", "listed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.service").write_text(SERVICE)
        (tmp_path / folder / "all.service").write_text(f"# {folder}")
    (tmp_path / "beside" / "web.socket").write_text(LISTEN)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SOCKACT_UNIT_PATH", f":{tmp_path / 'listed'}:")
    finder = search.finder([str(tmp_path / "beside" / "web.socket"), "other.socket"])
    for name, folder in (("beside", "beside"), ("here", "here"), ("listed", "listed"), ("all", "beside")):
        source = finder.find(f"{name}.service")
        assert not isinstance(source, Diagnostic)
        assert (tmp_path / "here" / source.file).resolve().parent.name == folder
    missing = finder.find("none.service")
    assert isinstance(missing, Diagnostic)
    assert str(tmp_path / "listed") in missing.hint


def test_a_path_is_read_where_it_says_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "web.service").write_text(SERVICE)
    finder = search.Finder((str(tmp_path),))
    source = finder.find(str(tmp_path / "web.service"))
    assert not isinstance(source, Diagnostic)
    assert (source.name, source.data) == ("web.service", SERVICE.encode())
    elsewhere = finder.find(str(tmp_path / "sub" / "web.service"))
    assert isinstance(elsewhere, Diagnostic)
    assert (elsewhere.code, elsewhere.file) == ("SA030", str(tmp_path / "sub" / "web.service"))


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "web.service"
    path.symlink_to(path)
    found = search.Finder(()).find(str(path))
    assert isinstance(found, Diagnostic)
    assert (found.code, found.file) == ("SA030", str(path))
    assert "symbolic links" in found.message
