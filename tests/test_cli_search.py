"""Where the commands look for units: by path, by name, beside the units given, in the current directory, in SOCKACT_UNIT_PATH.

What the search itself does with links, drop-ins and masks stands in test_search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import PATIENCE, write_units
from tests.test_cli import SERVICE, Sockact, caller, prepared

SOCKACT = [sys.executable, "-m", "sockact"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepared(tmp_path, monkeypatch)


@pytest.fixture
def sockact(capsys: pytest.CaptureFixture[str]) -> Sockact:
    return caller(capsys)


def places(folder: Path, *names: str) -> Iterator[Path]:
    """Folders that each have a web.socket of their own, told apart by their descriptions."""
    for name in names:
        (folder / name).mkdir(parents=True)
        write_units(folder / name, {"web.socket": f"[Unit]\nDescription={name}\n[Socket]\nListenStream=@{name}\n"})
        yield folder / name


def shown(sockact: Sockact, *arguments: str) -> str:
    said = sockact("show", "--json", *arguments)
    assert said.status == 0, said.err
    found: str = json.loads(said.out)["settings"]["Description"]
    return found


def test_a_name_is_found_in_the_current_directory_before_the_search_path(
    sockact: Sockact, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = places(folder, "here", "there")
    monkeypatch.setenv("SOCKACT_UNIT_PATH", str(there))
    monkeypatch.chdir(here)
    assert shown(sockact, "web.socket") == "here"
    (here / "web.socket").unlink()
    assert shown(sockact, "web.socket") == "there"


def test_the_folders_of_the_search_path_are_tried_in_their_order(
    sockact: Sockact, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = places(folder, "first", "second")
    (folder / "file").write_text("no folder")
    monkeypatch.setenv("SOCKACT_UNIT_PATH", f"/no/such/folder::{first}:{second}")
    assert shown(sockact, "web.socket") == "first"
    (first / "web.socket").unlink()
    assert shown(sockact, "web.socket") == "second"


def test_a_file_among_the_folders_of_the_search_path_is_passed_over(
    sockact: Sockact, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (real,) = places(folder, "real")
    monkeypatch.setenv("SOCKACT_UNIT_PATH", f"{folder / 'good.socket'}:{real}")
    assert shown(sockact, "web.socket") == "real"


def test_a_folder_named_in_the_search_path_may_be_relative(
    sockact: Sockact, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(places(folder, "relative"))
    monkeypatch.setenv("SOCKACT_UNIT_PATH", "relative")
    assert shown(sockact, "web.socket") == "relative"


def test_a_path_is_that_file_and_no_other(sockact: Sockact, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = places(folder, "here", "there")
    monkeypatch.setenv("SOCKACT_UNIT_PATH", str(there))
    monkeypatch.chdir(here)
    assert shown(sockact, f"{there}/web.socket") == "there"
    assert shown(sockact, "./web.socket") == "here"
    (here / "web.socket").unlink()
    assert sockact("show", "./web.socket").status == 1


def test_the_units_a_unit_needs_are_found_beside_it_before_anywhere_else(
    sockact: Sockact, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, beside, there = places(folder, "here", "beside", "there")
    for place in (here, beside, there):
        write_units(place, {"web.service": f"[Service]\nExecStart=/no/{place.name}\n"})
    monkeypatch.setenv("SOCKACT_UNIT_PATH", str(there))
    monkeypatch.chdir(here)

    def chosen() -> str:
        (found,) = json.loads(sockact("verify", "--format=json", f"{beside}/web.socket").out)["diagnostics"]
        return Path(found["file"]).resolve().parent.name

    assert chosen() == "beside"
    (beside / "web.service").unlink()
    assert chosen() == "here"
    (here / "web.service").unlink()
    assert chosen() == "there"


def test_a_name_is_found_beside_a_unit_given_by_path(sockact: Sockact, folder: Path) -> None:
    (beside,) = places(folder, "beside")
    write_units(beside, {"web.service": SERVICE, "other.service": SERVICE})
    said = sockact("verify", "--format=json", f"{beside}/web.socket", "other.service")
    assert json.loads(said.out) == {"diagnostics": [], "units": ["web.socket", "other.service", "web.service"]}


def test_a_name_that_is_nowhere_is_answered_with_the_places_that_were_searched(
    sockact: Sockact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOCKACT_UNIT_PATH", "/no/such/folder")
    said = sockact("verify", "missing.socket")
    assert "missing.socket" in said.err
    assert "/no/such/folder" in said.err


TEMPLATE = "[Unit]\nDescription=template %i\n[Service]\nExecStart=/bin/cat\n"


@pytest.mark.parametrize("request_", ["pool@one.service", "./pool@one.service"])
def test_an_instance_comes_from_its_template_by_name_and_by_path(sockact: Sockact, folder: Path, request_: str) -> None:
    write_units(folder, {"pool@.service": TEMPLATE})
    assert shown(sockact, request_) == "template one"


def test_an_instance_with_a_file_of_its_own_does_not_come_from_the_template(sockact: Sockact, folder: Path) -> None:
    write_units(folder, {"pool@.service": TEMPLATE, "pool@one.service": "[Unit]\nDescription=own\n" + SERVICE})
    assert shown(sockact, "pool@one.service") == "own"
    assert shown(sockact, "./pool@one.service") == "own"
    assert shown(sockact, "pool@two.service") == "template two"


def test_the_same_unit_given_twice_is_one_unit(sockact: Sockact, folder: Path) -> None:
    for again in ("good.socket", "./good.socket", str(folder / "good.socket")):
        said = sockact("verify", "--format=json", "good.socket", again)
        assert json.loads(said.out) == {"diagnostics": [], "units": ["good.socket", "good.service"]}, again


def test_it_works_in_a_current_directory_that_was_deleted(folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()
    script = f'cd {gone}; rmdir {gone}; exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *SOCKACT, "verify", str(folder / "good.socket")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_is_looked_for_where_the_service_will_look_for_it(
    sockact: Sockact, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PATH in the environment the service gets systemd's, and finds its program there."""
    write_units(folder, {"named.service": "[Service]\nExecStart=cat\n"})
    monkeypatch.delenv("PATH")
    assert sockact("verify", "named.service")[::2] == (0, "")


@pytest.mark.parametrize("name", ["pool@.service", "./pool@.service"])
def test_a_template_is_looked_at_under_the_name_of_an_instance(sockact: Sockact, folder: Path, name: str) -> None:
    write_units(folder, {"pool@.service": "[Service]\nExecStart=/bin/echo %i\n"})
    assert sockact("verify", name).status == 0
    said = sockact("show", "--json", name)
    assert json.loads(said.out)["settings"]["ExecStart"] == ["/bin/echo %i"]
    assert json.loads(said.out)["unit"] == "pool@internal.service"


def test_a_folder_may_be_named_like_a_template(sockact: Sockact, folder: Path) -> None:
    (folder / "pool@.d").mkdir()
    write_units(folder / "pool@.d", {"a.service": SERVICE})
    assert sockact("verify", "pool@.d/a.service").status == 0


def test_drop_ins_add_to_a_unit_in_the_order_of_their_names(
    sockact: Sockact, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = folder / "other"
    (folder / "pool@.service.d").mkdir()
    (folder / "pool@one.service.d").mkdir()
    (other / "pool@.service.d").mkdir(parents=True)
    monkeypatch.setenv("SOCKACT_UNIT_PATH", str(other))
    write_units(folder, {"pool@.service": "[Service]\nExecStart=/bin/true\nEnvironment=A=unit\nRestart=always\n"})
    write_units(folder / "pool@.service.d", {"20.conf": "[Service]\nEnvironment=A=20\n", "30.conf": "nonsense", "no": "nonsense"})
    write_units(folder / "pool@one.service.d", {"10.conf": "[Service]\nEnvironment=\nEnvironment=A=10\nRestart=no\n"})
    write_units(
        other / "pool@.service.d", {"20.conf": "[Service]\nEnvironment=A=hidden\n", "40.conf": "[Service]\nEnvironment=A=40\n"}
    )
    (folder / "pool@one.service.d" / "30.conf").symlink_to("/dev/null")
    settings = json.loads(sockact("show", "--json", "pool@one.service").out)["settings"]
    assert (settings["Environment"], settings["Restart"]) == (["A=10", "A=20", "A=40"], "no")


def test_a_finding_in_a_drop_in_stands_in_the_drop_in(sockact: Sockact, folder: Path) -> None:
    (folder / "a.service.d").mkdir()
    write_units(folder, {"a.service": SERVICE})
    write_units(folder / "a.service.d", {"x.conf": "[Service]\nUser=a:b\n"})
    said = sockact("verify", "a.service")
    assert said.status == 1
    assert said.err.startswith("a.service.d/x.conf:2:6: error[SA011]")


@pytest.mark.parametrize("command", ["start", "verify", "show"])
def test_the_folders_of_systemd_are_searched_only_if_asked_for(sockact: Sockact, command: str) -> None:
    without, asked = sockact(command, "no-such.socket"), sockact(command, "--system-units", "no-such.socket")
    assert without.status == asked.status == 1
    assert "/etc/sockact, /run/sockact\n" in without.err
    assert "/etc/sockact, /run/sockact, /etc/systemd/system, /run/systemd/system, /usr/local/lib/systemd/system" in asked.err


def test_a_unit_has_one_name_by_whatever_name_it_was_asked_for(sockact: Sockact, folder: Path) -> None:
    (folder / "alias.socket").symlink_to("good.socket")
    for requests in (["alias.socket"], ["./alias.socket"], ["alias.socket", "good.socket"]):
        said = sockact("verify", "--format=json", *requests)
        assert json.loads(said.out) == {"diagnostics": [], "units": ["good.socket", "good.service"]}
    assert json.loads(sockact("show", "--json", "alias.socket").out)["service"] == "good.service"


def test_a_masked_unit_is_told_where_it_is(sockact: Sockact, folder: Path) -> None:
    (folder / "off.service").symlink_to("/dev/null")
    assert sockact("verify", "off.service").err.startswith("off.service: error[SA030]: off.service is masked")
