"""Builds the C executor of child plans when there is a C compiler, and a package without it when there is none.

The library needs no Python headers and no Python version: it is loaded with ctypes.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

SOURCE = "sockact/runtime/_spawn.c"
LIBRARY = "sockact/runtime/_spawn.so"


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling before it builds a wheel, an editable one included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compiler = shlex.split(os.environ.get("CC", "cc"))
        root = Path(self.root)
        command = [*compiler, "-O2", "-shared", "-fPIC", "-o", str(root / LIBRARY), str(root / SOURCE)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            if version == "editable":  # nothing stale may stay where it would be loaded from
                (root / LIBRARY).unlink(missing_ok=True)
            self.app.display_warning(f"no C executor, the Python one does the same more slowly: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{next(iter(platform_tags()))}"
        build_data["artifacts"].append(f"/{LIBRARY}")
