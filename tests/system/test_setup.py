"""Set-up: the package alone works wherever Python does, the distribution is complete, and a second `make` does nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from sockact import __version__
from tests.lab import PATIENCE, Supervisor, connect, free_port, write_units

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", "sockact", "man")
LIMIT = 120.0
"""Seconds for pip, which may have to fetch the build backend."""


def call(*command: str | Path, path: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command without the environment of this test run, and with another PATH if asked for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "SOCKACT", "CC"))}
    environment = {**kept, "PATH": path or kept["PATH"], "PIP_DISABLE_PIP_VERSION_CHECK": "1", "SOURCE_DATE_EPOCH": "1700000000"}
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=LIMIT)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a fresh clone has it: nothing built, nothing cached."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has nothing but pip; the folder of its programs."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def installed(sources: Path, fresh: Path) -> Path:
    """`pip install .` and nothing else, where there is no compiler to be found."""
    done = call(fresh / "python", "-m", "pip", "install", "--quiet", ".", path=str(fresh), cwd=sources)
    if done.returncode and "hatchling" in done.stderr and ("Connection" in done.stderr or "No matching" in done.stderr):
        pytest.skip("the build backend cannot be fetched here")
    assert done.returncode == 0, done.stderr
    return fresh


@pytest.fixture(scope="module")
def wheel(sources: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    done = call(installed / "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ".", cwd=sources)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


# --- pip install .


def test_the_package_alone_depends_on_click_only(installed: Path) -> None:
    listed = call(installed / "python", "-m", "pip", "list", "--format=freeze").stdout.split()
    names = {line.partition("==")[0].lower() for line in listed} - {"pip", "setuptools", "wheel"}
    assert names == {"sockact", "click"}


def test_the_program_says_its_version(installed: Path) -> None:
    done = call(installed / "sockact", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sockact {__version__}\n", "")


def test_it_runs_from_the_installation_and_not_from_the_sources(installed: Path, tmp_path: Path) -> None:
    done = call(installed / "python", "-c", "import sockact; print(sockact.__file__)", cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(installed.parent)


def test_it_verifies_units(installed: Path, tmp_path: Path) -> None:
    good = write_units(tmp_path, {"good.service": "[Service]\nExecStart=/bin/cat\n", "bad.service": "[Service]\n"})
    assert call(installed / "sockact", "verify", good[0]).returncode == 0
    assert call(installed / "sockact", "verify", good[1]).returncode == 1


SERVER = """\
import sockact

(listener,) = sockact.listen_fds()
while True:
    listener.socket().accept()[0].sendall(b"hello\\n")
"""


def test_it_starts_a_service_on_demand_and_python_can_use_its_consumer_interface(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "serve.py").write_text(SERVER)
    units = write_units(
        tmp_path,
        {
            "web.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\n",
            "web.service": f"[Service]\nExecStart={installed}/python {tmp_path}/serve.py\n",
        },
    )
    supervisor = Supervisor([str(installed / "sockact"), "start", str(units[0])], cwd=tmp_path)
    try:
        supervisor.wait_log("ready: ")
        with connect(("127.0.0.1", port)) as client:
            assert client.recv(100) == b"hello\n"
        assert supervisor.end() == 0
    finally:
        supervisor.destroy()


def test_without_a_compiler_there_is_no_c_executor_and_it_works_all_the_same(installed: Path) -> None:
    assert not list(installed.parent.rglob("sockact/**/*.so"))


# --- what is distributed


def test_the_wheel_has_every_module_and_says_that_it_is_typed(wheel: zipfile.ZipFile, sources: Path) -> None:
    names = set(wheel.namelist())
    modules = {str(path.relative_to(sources)) for path in (sources / "sockact").rglob("*.py")}
    assert modules <= names
    assert "sockact/py.typed" in names


def test_the_wheel_has_the_manual(wheel: zipfile.ZipFile, sources: Path) -> None:
    pages = {path.name for path in (sources / "man").iterdir()}
    installed = {Path(name).name for name in wheel.namelist() if "/share/man/man" in name}
    assert pages
    assert installed == pages
    assert all(f"/man{Path(name).suffix[1:]}/" in name for name in wheel.namelist() if "/share/man/" in name)


def test_the_wheel_has_the_license_and_nothing_that_is_not_the_package(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any(name.endswith("LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names}
    info = f"sockact-{__version__}"
    assert tops == {"sockact", f"{info}.data", f"{info}.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_manual_is_where_man_looks_for_it(installed: Path) -> None:
    share = installed.parent / "share" / "man"
    assert {str(path.relative_to(share)) for path in share.rglob("*.[1-9]")} == {"man1/sockact.1", "man5/sockact.socket.5"}


def test_the_wheel_built_with_a_compiler_has_the_c_executor_and_says_what_it_runs_on(wheel: zipfile.ZipFile) -> None:
    libraries = [name for name in wheel.namelist() if name.endswith(".so")]
    assert bool(libraries) == bool(shutil.which("cc"))
    assert wheel.filename is not None
    assert wheel.filename.endswith("py3-none-any.whl") == (not libraries)


# --- make


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    """The project's Makefile over a set-up that only writes down that it was called."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "pyproject.toml", *hints()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tools" / "setup").write_text('#!/bin/sh\nmkdir -p .venv\necho "$@" >>calls\n')
    (tmp_path / "tools" / "setup").chmod(0o755)
    return tmp_path


def hints() -> list[str]:
    """Other files that a stamp depends on, as far as they are there."""
    words = (ROOT / "Makefile").read_text().replace("\\\n", " ").split()
    return sorted(
        {word for word in words if (ROOT / word).is_file() and word not in ("tools/setup", "Makefile", "pyproject.toml")}
    )


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


STAMP = ".venv/.installed"


def test_a_second_make_sets_nothing_up(makefile: Path) -> None:
    assert call("make", STAMP, cwd=makefile).returncode == 0
    first = calls(makefile)
    assert first
    before = (makefile / STAMP).stat().st_mtime_ns
    assert call("make", STAMP, cwd=makefile).returncode == 0
    assert calls(makefile) == first
    assert (makefile / STAMP).stat().st_mtime_ns == before


@pytest.mark.parametrize("changed", ["pyproject.toml", "tools/setup"])
def test_make_sets_up_again_when_what_it_is_made_from_has_changed(makefile: Path, changed: str) -> None:
    call("make", STAMP, cwd=makefile)
    first = calls(makefile)
    later = (makefile / STAMP).stat().st_mtime + 1
    os.utime(makefile / changed, (later, later))
    assert call("make", STAMP, cwd=makefile).returncode == 0
    assert len(calls(makefile)) == 2 * len(first)


def test_make_goes_on_after_a_set_up_that_failed_and_does_not_take_it_for_done(makefile: Path) -> None:
    working = (makefile / "tools" / "setup").read_text()
    (makefile / "tools" / "setup").write_text("#!/bin/sh\nexit 1\n")
    assert call("make", STAMP, cwd=makefile).returncode != 0
    assert not (makefile / STAMP).exists()
    (makefile / "tools" / "setup").write_text(working)
    assert call("make", STAMP, cwd=makefile).returncode == 0
    assert (makefile / STAMP).exists()


@pytest.mark.parametrize("target", ["run", "test", "bench"])
def test_every_way_in_sets_up_first(makefile: Path, target: str) -> None:
    """On a fresh clone `make run` and `make test` are the first thing that anybody types."""
    planned = call("make", "--dry-run", target, cwd=makefile).stdout
    lines = [line for line in planned.splitlines() if ".venv/bin/" in line or "tools/setup" in line]
    assert "tools/setup venv" in lines[0]


def test_set_up_explains_itself_when_it_is_called_wrongly() -> None:
    done = call(ROOT / "tools" / "setup", "nonsense")
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_set_up_refuses_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        [ROOT / "tools" / "setup", "venv", tmp_path / "venv"],
        env={**os.environ, "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert "3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_demo_of_make_run_listens_on_loopback_only() -> None:
    """`make run` needs no privileges and shows nothing to the network."""
    done = call(sys.executable, "-m", "sockact", "show", "--json", ROOT / "units" / "hello.socket", cwd=ROOT)
    assert done.returncode == 0
    assert '"127.0.0.1:8080"' in done.stdout
