"""Finds unit files as systemd.unit(5) says: by path or by name, under their own names and aliases, with what adds to them.

Names are looked for in folders, the first that has a name wins. A link into one of these folders is an alias: only the name
it leads to counts, so that a unit is one unit under all its names. Any other link is a way to a file.
"""

from __future__ import annotations

import errno
import os
from functools import cached_property

from sockact.record import TYPE_CHECKING, Record
from sockact.runtime.kernel import Kernel
from sockact.unit.diagnostics import Diagnostic
from sockact.unit.gather import Source, sample_name
from sockact.unit.load import BODIES
from sockact.unit.specifiers import split_name
from sockact.unit.values import is_unit_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PATH_VARIABLE = "SOCKACT_UNIT_PATH"
OWN_FOLDERS = ("/etc/sockact", "/run/sockact")
SYSTEM_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""Where systemd looks in this order, without the folders that it fills itself (transient units, generators)."""

MOST_LINKS = 8
"""How many links lead from a name to a file at most (FOLLOW_MAX in systemd); more go in circles."""

SUFFIXES = (".d", *(f".{kind}" for kind in BODIES))


class Contents(Record):
    """What stands in the folders searched. Each is read once: only that shows by which links a unit has other names, and it
    spares asking every folder for every drop-in directory that a unit might have."""

    files: dict[str, str]
    """The unit files by name, each in the first folder that has it."""
    links: tuple[str, ...]
    """Those of them that are symbolic links."""
    drop_ins: frozenset[str]
    """The directories of drop-ins."""


class Finder(Record):
    """Looks for units by name in folders, in their order."""

    folders: tuple[str, ...]

    def find(self, request: str) -> Source | Diagnostic:
        """Read a unit by path or by name; an instance without a file of its own comes from its template."""
        folder, name = os.path.split(request)
        path = _path_in(folder, name) if folder else self._path(name)
        if not path:
            return Diagnostic("SA030", f"{name} is in none of the folders searched", hint=self._hint(), file=name)
        unit = self._resolve(name, path)
        return unit if isinstance(unit, Diagnostic) else self._source(*unit)

    def _hint(self) -> str:
        return f"looked in {', '.join(folder or '.' for folder in self.folders)}"

    def _source(self, name: str, path: str) -> Source | Diagnostic:
        """The unit with its drop-ins. What is empty or leads to /dev/null masks: a unit cannot be used, a drop-in does nothing
        but hide those of its name."""
        data = _read(path)
        if isinstance(data, Diagnostic):
            return data
        if not data:
            return Diagnostic("SA030", f"{name} is masked: its file is empty, or a link to /dev/null", file=path)
        try:
            drop_ins = [(file, _read(file)) for file in self._drop_ins(name, path)]
        except OSError as error:
            return Diagnostic("SA030", f"cannot be read: {error.strerror}", file=error.filename)
        wrong = [added for _, added in drop_ins if isinstance(added, Diagnostic)]
        read = tuple((file, added) for file, added in drop_ins if isinstance(added, bytes) and added)
        return wrong[0] if wrong else Source(name, path, data, read)

    # Names

    def _path(self, name: str) -> str | None:
        """The file of a unit: its own in whichever folder, before that of its template (systemd.unit(5))."""
        files = self._contents.files
        return next((files[file] for file in _file_names(name) if file in files), None)

    def _resolve(self, name: str, path: str) -> tuple[str, str] | Diagnostic:
        """The unit's own name and its file, when `path` may be an alias. Where an alias leads does not matter, only to which
        name: that is what lets a unit in an earlier folder replace one in a later folder under all its names."""
        link = path
        for _ in range(MOST_LINKS):
            target = self._aliased(path)
            if target is None:
                return (name if path == link else _with_instance(os.path.basename(path), name)), path
            if wrong := _no_alias(os.path.basename(path), target):
                message = f"this link cannot be an alias of {target}: {wrong}"
                return Diagnostic("SA031", message, hint="systemd refuses it, too", file=path)
            found = self._path(target)
            if not found:
                message = f"this is an alias of {target}, which is in none of the folders searched"
                return Diagnostic("SA030", message, hint=self._hint(), file=path)
            path = found
        return Diagnostic("SA030", f"cannot be read: {os.strerror(errno.ELOOP)}", file=link)

    def _aliased(self, path: str) -> str | None:
        """The name that the file is an alias of; None for a file, and for a link that is just the way to a file: it leads
        out of the folders searched, or to the same name (an enabled unit in sockets.target.wants, a mounted ConfigMap)."""
        for _ in range(MOST_LINKS):
            target = _target(path)
            if target is None:
                return None
            folder, name = os.path.split(target)
            if name != os.path.basename(path):
                return name if _identity(folder) in self._identities else None
            path = target
        return None  # reading it will tell of the circle

    def _names(self, name: str, path: str) -> Iterator[str]:
        """The unit's own name, then its aliases, however it was asked for. An instance that comes from its template has the
        aliases of the template, too, but for those instances that have files of their own."""
        yield name
        file = os.path.basename(path)
        yield from self._aliases.get((name, file), ())
        if file != name:
            others = (_with_instance(alias, name) for alias in self._aliases.get((file, file), ()))
            yield from (other for other in others if other not in self._contents.files)

    @cached_property
    def _aliases(self) -> dict[tuple[str, str], list[str]]:
        """All aliases in the folders, by the names of the unit and of its file: an instance with a file of its own does not
        have the aliases of one that comes from the template."""
        found: dict[tuple[str, str], list[str]] = {}
        for link in self._contents.links:
            unit = self._resolve(link, self._contents.files[link])
            if not isinstance(unit, Diagnostic) and unit[0] != link:
                found.setdefault((unit[0], os.path.basename(unit[1])), []).append(link)
        return found

    # Drop-ins

    def _drop_ins(self, name: str, path: str) -> list[str]:
        """The drop-ins of the unit under all its names. They apply in the order of their names, wherever they are; of several
        with one name the first found counts."""
        chosen: dict[str, str] = {}
        for place in self._places(name, path) if self._contents.drop_ins else ():
            for file in os.listdir(place) if place in self._contents.drop_ins else ():
                if file.endswith(".conf") and not file.startswith("."):
                    chosen.setdefault(file, os.path.join(place, file))
        return [chosen[file] for file in sorted(chosen)]

    def _places(self, name: str, path: str) -> Iterator[str]:
        """Where drop-ins may be, the most important first. As in systemd (unit_file_find_dropin_paths) an earlier folder comes
        before a more specific directory, any name of the unit before its aliases, and these before the unit's type."""
        for known in (*self._names(name, path), split_name(name)[2]):
            directories = [f"{wanted}.d" for wanted in _drop_in_names(known)]
            for folder in self.folders:
                yield from (os.path.join(folder, directory) for directory in directories)

    # The folders

    @cached_property
    def _contents(self) -> Contents:
        files: dict[str, str] = {}
        links, drop_ins = [], []
        for folder in self.folders:
            for entry in _entries(folder):
                if entry.name.endswith(".d"):
                    drop_ins += [os.path.join(folder, entry.name)] if entry.is_dir() else []
                elif entry.name not in files:
                    files[entry.name] = os.path.join(folder, entry.name)
                    links += [entry.name] if entry.is_symlink() else []
        return Contents(files, tuple(sorted(links)), frozenset(drop_ins))

    @cached_property
    def _identities(self) -> frozenset[tuple[int, int] | None]:
        return frozenset(_identity(folder) for folder in self.folders) - {None}


def finder(requests: Iterable[str], system_units: bool = False) -> Finder:
    """Search beside the given files first, then in the current directory, in SOCKACT_UNIT_PATH and in sockact's own folders;
    if asked for, in systemd's."""
    beside = [folder for request in requests if "/" in request for folder in _beside(request)]
    listed = [folder for folder in os.environ.get(PATH_VARIABLE, "").split(":") if folder]
    folders = (*beside, "", *listed, *OWN_FOLDERS, *(SYSTEM_FOLDERS if system_units else ()))
    distinct: dict[object, str] = {}
    for folder in folders:
        distinct.setdefault(_identity(folder) or folder, folder)
    return Finder(tuple(distinct.values()))


def _beside(request: str) -> Iterator[str]:
    """The folder of a file that was given; where a link leads to the same name, as `systemctl enable` makes them, the unit's
    companions are beside the target."""
    yield os.path.dirname(request)
    if os.path.islink(request):
        folder, name = os.path.split(os.path.realpath(request))
        if name == os.path.basename(request):
            yield folder


def _identity(folder: str) -> tuple[int, int] | None:
    """What a folder is, by whatever path: /lib is a link to /usr/lib on most systems."""
    try:
        found = os.stat(folder or ".")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What may be units and drop-ins. A folder that does not exist, is none or may not be read has nothing for us."""
    try:
        with os.scandir(folder or ".") as entries:
            return [entry for entry in entries if entry.name.endswith(SUFFIXES)]
    except OSError:
        return []


def _file_names(name: str) -> Iterator[str]:
    """The file of a unit, and for an instance the file of its template."""
    yield name
    prefix, instance, kind = split_name(name)
    if instance:
        yield f"{prefix}@.{kind}"


def _drop_in_names(name: str) -> Iterator[str]:
    """The names whose directories of drop-ins a unit has: its own, its template's, and those of its prefixes up to a dash,
    each again with the template's; in systemd's order (unit_file_find_dirs)."""
    yield name
    prefix, instance, kind = split_name(name)
    if instance:
        yield from _drop_in_names(f"{prefix}@.{kind}")
    dash = prefix.removesuffix("-").rfind("-")
    if dash > 0:
        yield from _drop_in_names(f"{prefix[: dash + 1]}{f'@{instance}' if instance else ''}.{kind}")


def _with_instance(name: str, instance_of: str) -> str:
    """A template's name as the instance that another name has; any other name is itself."""
    prefix, own, kind = split_name(name)
    return f"{prefix}@{split_name(instance_of)[1] or ''}.{kind}" if own == "" else name


def _no_alias(alias: str, target: str) -> str:
    """Why systemd takes the one name for no alias of the other (unit_validate_alias_symlink); nothing if it does."""
    (_, instance, kind), (_, wanted, other) = split_name(alias), split_name(target)
    if other != kind or not is_unit_name(sample_name(target), kind):
        return f"that is not the name of a {kind} unit"
    if wanted == instance or (instance and wanted == ""):
        return ""
    return "an instance has aliases with the same instance, a template has templates, and any other unit neither"


def _path_in(folder: str, name: str) -> str:
    """The file of the unit in that folder; without any, the one that should have been there."""
    paths = [os.path.join(folder, file) for file in _file_names(name)]
    return next(filter(os.path.lexists, paths), paths[0])


def _target(path: str) -> str | None:
    """Where a symbolic link leads; None if it is none."""
    try:
        return os.path.join(os.path.dirname(path), os.readlink(path))
    except OSError:
        return None


def _read(path: str) -> bytes | Diagnostic:
    """The file's contents: nothing, if it leads to /dev/null."""
    try:
        return Kernel().read_file(path)
    except OSError as error:
        if error.errno == errno.EINVAL and os.path.realpath(path) == os.devnull:
            return b""
        return Diagnostic("SA030", _why(path, error), file=path)


def _why(path: str, error: OSError) -> str:
    """Why a file cannot be read, for people."""
    if error.errno == errno.ENOENT and (target := _target(path)):
        return f"this link leads to {target}, which does not exist"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return "no such file"
    return "this is a directory, not a unit file" if os.path.isdir(path) else f"cannot be read: {error.strerror}"
