"""Checks that run in a guest, or wherever the kernel has what they need: named by a sentence, and told line by line in JSON."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Check = Callable[[Path], None]


class Checks(dict[str, Check]):
    """Checks by their names; each is given a folder of its own."""

    def add(self, function: Check) -> Check:
        self[function.__name__.replace("_", " ")] = function
        return function

    def run(self, afterwards: Callable[[], None] = lambda: None) -> None:
        """All of them; `afterwards` follows each."""
        for name, function in self.items():
            print(json.dumps({"check": name, "failure": failure(function)}), flush=True)
            afterwards()


def failure(function: Check) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            function(Path(folder))
        except (AssertionError, LookupError, OSError, ValueError, subprocess.SubprocessError):
            return traceback.format_exc()
    return None


def command(python: str, module: str) -> list[str]:
    """What runs the checks of a module with that Python."""
    click = importlib.util.find_spec("click")
    assert click is not None
    assert click.origin is not None
    return ["env", f"PYTHONPATH={ROOT}:{Path(click.origin).parents[1]}", python, "-m", module]


def outcomes(lines: str) -> dict[str, str | None]:
    """What failed, by the name of the check."""
    return {line["check"]: line["failure"] for line in map(json.loads, lines.splitlines())}
