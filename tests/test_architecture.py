"""The house plan, enforced: who may import what, who may print, how long things may be, what a start may load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

import sockact

ROOT = Path(sockact.__file__).resolve().parent
FILES = {str(path.relative_to(ROOT)): ast.parse(path.read_text(), str(path)) for path in sorted(ROOT.rglob("*.py"))}
PURE = ("unit", "net", "lifecycle")
EDGE = ("sockact.runtime", "sockact.cli", "sockact.consumer")
IMPURE = {
    *("os", "signal", "select", "subprocess", "time", "logging", "click", "fcntl", "resource", "pwd", "grp", "pathlib", "io"),
    *(
        "asyncio",
        "threading",
        "multiprocessing",
        "selectors",
        "tempfile",
        "shutil",
        "random",
        "datetime",
        "ctypes",
        "stat",
        "sys",
    ),
}
CONSTANTS_OF_SOCKET = "net/linux.py"
FUNCTIONS = [
    pytest.param(name, node, id=f"{name}:{node.name}")
    for name, tree in FILES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]


def is_pure(file: str) -> bool:
    return file.partition("/")[0] in PURE or file == "record.py"


PURE_FILES = [file for file in FILES if is_pure(file)]


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every module that is imported, at the top or where it is used, also for type checkers alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            yield str(node.module), node.lineno
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_the_walk_sees_the_package() -> None:
    assert {"unit/syntax.py", "net/plan.py", "lifecycle/machine.py", "runtime/kernel.py", "cli/start.py"} <= set(FILES)
    assert len(PURE_FILES) >= 20
    assert len(FUNCTIONS) > 200


# Directions


@pytest.mark.parametrize("file", PURE_FILES)
def test_a_pure_module_never_imports_the_edge(file: str) -> None:
    wrong = [(name, line) for name, line in imports(FILES[file]) if name.startswith(EDGE)]
    assert wrong == []


@pytest.mark.parametrize("file", PURE_FILES)
def test_a_pure_module_imports_nothing_that_touches_the_machine(file: str) -> None:
    allowed = {"socket"} if file == CONSTANTS_OF_SOCKET else set()
    forbidden = {*IMPURE, "socket"} - allowed
    wrong = [(name, line) for name, line in imports(FILES[file]) if name.split(".")[0] in forbidden]
    assert wrong == []


@pytest.mark.parametrize("file", PURE_FILES)
def test_a_pure_module_opens_nothing_asks_nobody_and_prints_nothing(file: str) -> None:
    called = {node.func.id for node in ast.walk(FILES[file]) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called & {"open", "print", "input", "exec", "eval", "__import__"} == set()


def test_of_socket_the_pure_packages_use_constants_only() -> None:
    tree = FILES[CONSTANTS_OF_SOCKET]
    used = [
        node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "socket" and isinstance(node.ctx, ast.Load)
    ]
    looked_up = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "getattr"
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id == "socket"
    ]
    constants = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "socket"
        and node.attr.isupper()
    ]
    assert len(used) == len(looked_up) + len(constants)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("runtime/")])
def test_the_runtime_never_imports_the_command_line(file: str) -> None:
    assert [name for name, _ in imports(FILES[file]) if name.startswith("sockact.cli") or name.split(".")[0] == "click"] == []


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("cli/")])
def test_only_the_command_line_prints(file: str) -> None:
    printing = [
        node.lineno
        for node in ast.walk(FILES[file])
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
        or (
            isinstance(node, ast.Attribute)
            and node.attr in ("stdout", "stderr", "__stdout__", "__stderr__")
            and isinstance(node.value, ast.Name)
            and node.value.id == "sys"
        )
    ]
    assert printing == []


@pytest.mark.parametrize("file", [file for file in FILES if file != "runtime/supervisor.py"])
def test_only_the_supervisor_sees_both_the_machines_and_the_kernel(file: str) -> None:
    seen = {name for name, _ in imports(FILES[file])}
    machines = {"sockact.lifecycle.socket", "sockact.lifecycle.service"}
    assert not (seen & machines and "sockact.runtime.kernel" in seen)


SYSTEM_CALLS = {
    *("fork", "execve", "execv", "kill", "killpg", "waitpid", "dup2", "pipe", "pipe2", "setsid", "setuid", "setgid", "setresuid"),
    *("setresgid", "setgroups", "umask", "unlink", "mkfifo", "mkdir", "rmdir", "chown", "chdir", "closerange", "pthread_sigmask"),
    *("set_wakeup_fd", "epoll", "clock_gettime", "symlink", "fchown", "ioctl"),
}
PARTS_OF_THE_KERNEL = [file for file, tree in FILES.items() if "part of `kernel`" in (ast.get_docstring(tree) or "")]
SEAM = ("runtime/kernel.py", "runtime/native.py", "runtime/early.py", *PARTS_OF_THE_KERNEL)


def test_the_kernel_seam_has_parts() -> None:
    assert {"runtime/namespaces.py", "runtime/queues.py"} <= set(PARTS_OF_THE_KERNEL)


@pytest.mark.parametrize("file", [file for file in FILES if file not in ("runtime/kernel.py", *PARTS_OF_THE_KERNEL)])
def test_the_parts_of_the_kernel_seam_are_used_by_the_seam_alone(file: str) -> None:
    parts = {f"sockact.{part.removesuffix('.py').replace('/', '.')}" for part in PARTS_OF_THE_KERNEL}
    for_types = [node for node in ast.walk(FILES[file]) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    harmless = {line for block in for_types for line in range(block.lineno, (block.end_lineno or 0) + 1)}
    assert [name for name, line in imports(FILES[file]) if name in parts and line not in harmless] == []


@pytest.mark.parametrize("file", [file for file in FILES if file not in SEAM])
def test_the_c_library_is_called_by_the_kernel_seam_alone(file: str) -> None:
    assert [line for name, line in imports(FILES[file]) if name == "ctypes"] == []


@pytest.mark.parametrize("file", [file for file in FILES if file not in SEAM])
def test_system_calls_are_made_by_the_kernel_seam_alone(file: str) -> None:
    modules = {"os", "signal", "socket", "select", "fcntl", "time"}
    made = [
        (f"{node.value.id}.{node.attr}", node.lineno)
        for node in ast.walk(FILES[file])
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
        and node.attr in SYSTEM_CALLS
    ]
    assert made == []


# Measures


def test_functions_are_short() -> None:
    lengths = sorted(lines(param.values[1]) for param in FUNCTIONS)  # type: ignore[arg-type]
    assert median(lengths) <= 8
    assert lengths[len(lengths) * 9 // 10] <= 30


@pytest.mark.parametrize(("file", "node"), FUNCTIONS)
def test_no_function_is_longer_than_a_page(file: str, node: ast.FunctionDef) -> None:
    assert lines(node) <= 60


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("unit/directives/")])
def test_no_module_but_a_table_is_longer_than_five_hundred_lines(file: str) -> None:
    assert len((ROOT / file).read_text().splitlines()) <= 500


@pytest.mark.parametrize("file", [file for file in FILES if file != "__main__.py"])
def test_every_module_opens_with_what_it_decides_and_why(file: str) -> None:
    assert ast.get_docstring(FILES[file])


@pytest.mark.parametrize("file", list(FILES))
def test_annotations_cost_nothing_at_start(file: str) -> None:
    source = (ROOT / file).read_text()
    assert "from __future__ import annotations" in source or "def " not in source


# What a start loads

HEAVY = {
    *("click", "dataclasses", "typing", "re", "json", "inspect", "asyncio", "logging", "subprocess", "ipaddress", "difflib"),
    *("argparse", "pathlib", "threading", "ctypes", "importlib.metadata", "traceback", "tempfile"),
}


def loaded_by(statement: str) -> set[str]:
    """The modules in memory after a statement, in an interpreter that loads nothing by itself."""
    code = f"import sys; sys.path.insert(0, {str(ROOT.parent)!r}); {statement}; import json; print(json.dumps(loaded))"
    statement_and_note = code.replace("; import json", "; loaded = sorted(sys.modules); import json", 1)
    done = subprocess.run([sys.executable, "-S", "-I", "-c", statement_and_note], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_start_loads_nothing_heavy() -> None:
    loaded = loaded_by("import sockact.cli.start")
    assert "sockact.runtime.supervisor" in loaded
    assert sorted(loaded & HEAVY) == []


def test_the_entry_point_loads_nothing_before_it_knows_what_is_wanted() -> None:
    loaded = loaded_by("import sockact.cli")
    assert sorted(loaded & HEAVY) == []
    assert "sockact.runtime.supervisor" not in loaded


def test_the_check_would_notice_a_heavy_module() -> None:
    assert {"re", "dataclasses"} <= loaded_by("import sockact.cli.start, dataclasses")


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_loads_nothing_of_the_edge(package: str) -> None:
    modules = [f"sockact.{file.removesuffix('.py').replace('/', '.')}" for file in FILES if file.startswith(f"{package}/")]
    names = ", ".join(name.removesuffix(".__init__") for name in modules)
    assert [name for name in loaded_by(f"import {names}") if name.startswith(EDGE)] == []


def test_the_consumers_interface_is_there_and_loaded_when_it_is_used() -> None:
    assert "sockact.consumer" not in loaded_by("import sockact")
    assert "sockact.consumer" in loaded_by("import sockact; sockact.listen_fds")
    assert set(sockact.__all__) == {"ListenFD", "listen_fds"}
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = sockact.nothing_of_that_name
