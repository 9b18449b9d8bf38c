"""Finds unit files: by path, or by name in folders; and what adds to them."""

from __future__ import annotations

import errno
import os

from sockact.record import TYPE_CHECKING, Record
from sockact.runtime.kernel import Kernel
from sockact.unit.diagnostics import Diagnostic
from sockact.unit.gather import Source
from sockact.unit.specifiers import split_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PATH_VARIABLE = "SOCKACT_UNIT_PATH"


class Finder(Record):
    """Looks for units by name in folders, in their order."""

    folders: tuple[str, ...]

    def find(self, request: str) -> Source | Diagnostic:
        """Read a unit by path or by name; an instance without a file of its own comes from its template."""
        folder, name = os.path.split(request)
        for place in (folder,) if folder else self.folders:
            for file in _file_names(name):
                found = _read(os.path.join(place, file), name)
                if found:
                    return self._with_drop_ins(found) if isinstance(found, Source) else found
        if folder:
            return Diagnostic("SA030", "no such file", file=request)
        hint = f"looked in {', '.join(folder or '.' for folder in self.folders)}"
        return Diagnostic("SA030", f"{request} is in none of the folders searched", hint=hint, file=request)

    def _with_drop_ins(self, source: Source) -> Source | Diagnostic:
        """Add NAME.d/*.conf (for an instance also those of its template), from beside the unit and from all folders. They
        apply in the order of their names; of several with one name the first found counts, and a link to /dev/null none."""
        chosen: dict[str, str] = {}
        for folder in dict.fromkeys((os.path.dirname(source.file), *self.folders)):
            for name in _file_names(source.name):
                place = os.path.join(folder, f"{name}.d")
                for file in os.listdir(place) if os.path.isdir(place) else ():
                    if file.endswith(".conf"):
                        chosen.setdefault(file, os.path.join(place, file))
        found = [_read(chosen[file], file) for file in sorted(chosen) if os.path.realpath(chosen[file]) != os.devnull]
        wrong = [problem for problem in found if isinstance(problem, Diagnostic)]
        if wrong:
            return wrong[0]
        return source.replace(drop_ins=tuple((part.file, part.data) for part in found if isinstance(part, Source)))


def finder(requests: Iterable[str]) -> Finder:
    """Search beside the given files first, then in the current directory, then in SOCKACT_UNIT_PATH."""
    beside = [os.path.dirname(request) for request in requests if "/" in request]
    listed = [folder for folder in os.environ.get(PATH_VARIABLE, "").split(":") if folder]
    return Finder(tuple(dict.fromkeys((*beside, "", *listed))))


def _file_names(name: str) -> Iterator[str]:
    """The file of a unit, and for an instance the file of its template."""
    yield name
    prefix, instance, kind = split_name(name)
    if instance:
        yield f"{prefix}@.{kind}"


def _read(path: str, name: str) -> Source | Diagnostic | None:
    """The file's contents; None when there is no such file, a diagnostic when there is one that cannot be read."""
    try:
        return Source(name, path, Kernel().read_file(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return None
        if os.path.realpath(path) == os.devnull:
            return Diagnostic("SA030", "this unit is masked: it leads to /dev/null", file=path)
        what = "this is a directory, not a unit file" if os.path.isdir(path) else f"cannot be read: {error.strerror}"
        return Diagnostic("SA030", what, file=path)
