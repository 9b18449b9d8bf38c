"""Value types of what a unit finds in the file system: its own directories, credentials, opened files; and data for its standard
input (systemd.exec(5), "Sandboxing", "Credentials"; systemd.service(5), OpenFile=)."""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record
from sockact.unit import words
from sockact.unit.commands import is_variable
from sockact.unit.diagnostics import Invalid
from sockact.unit.values import ACCOUNT, RESET, Kind, is_fd_name

if TYPE_CHECKING:
    from sockact.unit.specifiers import Context


# Directories


class Directory(Record):
    """A directory for a unit below one of the usual ones, and the symbolic link to it, if one is asked for."""

    base: str
    name: str
    link: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.link}" if self.link else self.name

    @property
    def path(self) -> str:
        return f"{self.base}/{self.name}"


def directories(letter: str, links: bool = True) -> Kind:
    """Directories below what this specifier stands for."""

    def read(text: str, context: Context) -> object:
        split, base = words.split(text), context.expand(f"%{letter}")
        if isinstance(split, Invalid):
            return split
        if isinstance(base, Invalid):
            return base
        found: list[Directory] = []
        for word in split:
            name = context.expand(word.text)
            directory = name if isinstance(name, Invalid) else _directory(base, name, links)
            if isinstance(directory, Invalid):
                return directory.replace(start=word.start, end=word.start + len(word.raw))
            found.append(directory)
        return tuple(found) or RESET

    grammar = "relative paths; NAME:LINK makes a symbolic link, too" if links else "relative paths"
    return Kind(
        "directories" if links else "own directories", grammar, read, lambda all_: [str(one) for one in all_], appends=True
    )


def _directory(base: str, text: str, links: bool) -> Directory | Invalid:
    name, _, link = text.partition(":")
    for part in (name, *([link] if link else [])):
        if not part or part.startswith("/") or {"..", "."} & set(part.split("/")) or part.split("/")[0] == "private":
            return Invalid(f"not a relative path: '{part}'", hint="the folder above is given by the kind of directory")
    if link and not links:
        return Invalid(f"no symbolic link can be made here: '{text}'")
    return Directory(base, *("/".join(filter(None, part.split("/"))) for part in (name, link)))


# Credentials


class Credential(Record):
    """A credential, and where it is from: a path, the name of a credential or (`given`) data. A name may end in `*`."""

    name: str
    source: str = ""
    given: bytes | None = None
    pattern: bool = False

    def __str__(self) -> str:
        if self.given is not None:
            return f"{self.name}:{self.given.decode(errors='replace')}"
        return self.name if self.pattern or self.source == self.name else f"{self.name}:{self.source}"


def _is_credential(name: str) -> bool:
    return is_fd_name(name) and "/" not in name and name not in ("", ".", "..")


def _load(text: str, context: Context) -> object:
    expanded = context.expand(text) if text else RESET
    if expanded is RESET or isinstance(expanded, Invalid):
        return expanded
    name, _, source = str(expanded).partition(":")
    if not _is_credential(name):
        return Invalid(f"not the name of a credential: '{name}'")
    source = source or name
    if not _is_credential(source) and (not source.startswith("/") or ".." in source.split("/")):
        return Invalid(f"neither an absolute path nor the name of a credential: '{source}'", len(name) + 1)
    return (Credential(name, source),)


def _set(text: str, context: Context) -> object:
    if not text:
        return RESET
    name, colon, rest = text.partition(":")
    expanded = context.expand(rest)
    if not colon or not _is_credential(name):
        return Invalid(f"not ID:VALUE: '{text}'")
    data = expanded if isinstance(expanded, Invalid) else words.unescape(expanded)
    if isinstance(data, Invalid):
        return data.replace(start=data.start + len(name) + 1, end=None)
    return (Credential(name, given=data),)


def _import(text: str, context: Context) -> object:
    pattern = context.expand(text) if text else RESET
    if pattern is RESET or isinstance(pattern, Invalid):
        return pattern
    name = str(pattern)
    good = _is_credential(name) and not set(name.removesuffix("*")) & set("*?[")
    return (Credential(name, pattern=True),) if good else Invalid(f"not a name, or the beginning of one and a *: '{name}'")


def _strings(found: tuple[Credential | OpenFile, ...]) -> list[str]:
    return [str(one) for one in found]


LOAD_CREDENTIAL = Kind("source", "ID, ID:PATH or ID:OTHER-ID", _load, _strings, appends=True)
SET_CREDENTIAL = Kind("credential", "ID:VALUE, with C escapes", _set, _strings, appends=True)
IMPORT_CREDENTIAL = Kind("credentials", "an ID, or the beginning of IDs and a *", _import, _strings, appends=True)


# Opened files


class OpenFile(Record):
    """A file, or a UNIX socket to be connected to, that is handed over; `how` is read-only, append, truncate or nothing."""

    path: str
    name: str
    how: str = ""
    graceful: bool = False

    def __str__(self) -> str:
        options = ",".join(filter(None, (self.how, "graceful" if self.graceful else "")))
        return f"{self.path}:{self.name}:{options}" if options else f"{self.path}:{self.name}"


WAYS = ("read-only", "append", "truncate")


def _open_file(text: str, context: Context) -> object:
    expanded = context.expand(text) if text else RESET
    if expanded is RESET or isinstance(expanded, Invalid):
        return expanded
    path, name, options = _divided(str(expanded))
    chosen = [option for option in options.split(",") if option]
    ways = [option for option in chosen if option in WAYS]
    if not path.startswith("/") or ".." in path.split("/"):
        return Invalid(f"not an absolute path: '{path}'")
    name = name or path.rpartition("/")[2]
    if not is_fd_name(name):
        return Invalid(f"not a name for a descriptor: '{name}'")
    if len(ways) > 1 or set(chosen) - {*WAYS, "graceful"}:
        return Invalid(f"not options of an opened file: '{options}'", hint=f"one of {', '.join(WAYS)}; and graceful")
    return (OpenFile(path, name, ways[0] if ways else "", "graceful" in chosen),)


def _divided(text: str) -> tuple[str, str, str]:
    """Path, name and options; a colon or backslash in the path is written with a backslash in front."""
    parts, position = [""], 0
    while position < len(text):
        if text[position] == "\\" and text[position + 1 : position + 2]:
            position += 1
            parts[-1] += text[position]
        elif text[position] == ":" and len(parts) < 3:
            parts.append("")
        else:
            parts[-1] += text[position]
        position += 1
    path, name, options = (*parts, "", "")[:3]
    return path, name, options


OPEN_FILE = Kind("opened file", "PATH, PATH:NAME or PATH:NAME:OPTIONS", _open_file, _strings, appends=True)


# Data and names


def _text(text: str, context: Context) -> object:
    if not text:
        return RESET
    expanded = context.expand(text)
    data = expanded if isinstance(expanded, Invalid) else words.unescape(expanded)
    if isinstance(data, Invalid):
        return data
    return Invalid("a NUL byte", hint="StandardInputData= takes any data") if b"\0" in data else (data + b"\n",)


def _base64(text: str, context: Context) -> object:
    import binascii

    try:
        return (binascii.a2b_base64("".join(text.split()), strict_mode=True),) if text else RESET
    except (binascii.Error, ValueError) as error:
        return Invalid(f"not Base64: {error}")


def _shown(chunks: tuple[bytes, ...]) -> str:
    return b"".join(chunks).decode(errors="replace")


TEXT_DATA = Kind("line", "text with C escapes; a line end is added", _text, _shown, appends=True)
BASE64_DATA = Kind("data", "Base64", _base64, _shown, appends=True)


def _variables(text: str, context: Context) -> object:
    split = words.split(text)
    if isinstance(split, Invalid):
        return split
    for word in split:
        expanded = context.expand(word.text)
        if isinstance(expanded, Invalid) or not is_variable(expanded):
            return Invalid(f"not the name of a variable: '{word.text}'", word.start, word.start + len(word.raw))
    return tuple(str(context.expand(word.text)) for word in split) or RESET


VARIABLES = Kind("names", "names of variables", _variables, list, appends=True)


def _unset(text: str, context: Context) -> object:
    split = words.split(text)
    if isinstance(split, Invalid):
        return split
    for word in split:
        expanded = context.expand(word.text)
        if isinstance(expanded, Invalid) or not is_variable(expanded.partition("=")[0]):
            return Invalid(f"neither NAME nor NAME=VALUE: '{word.text}'", word.start, word.start + len(word.raw))
    return tuple(str(context.expand(word.text)) for word in split) or RESET


UNSET_VARIABLES = Kind("names and values", "names of variables, or NAME=VALUE", _unset, list, appends=True)


def _search_path(text: str, context: Context) -> object:
    expanded = context.expand(text) if text else RESET
    if expanded is RESET or isinstance(expanded, Invalid):
        return expanded
    folders = str(expanded).split(":")
    wrong = [folder for folder in folders if not folder.startswith("/") or ".." in folder.split("/")]
    return Invalid(f"not an absolute path: '{wrong[0]}'") if wrong else tuple(folders)


SEARCH_FOLDERS = Kind("folders", "absolute paths, with colons between", _search_path, list, appends=True)


def _accounts(text: str, context: Context) -> object:
    split = words.split(text)
    if isinstance(split, Invalid):
        return split
    found: list[str] = []
    for word in split:
        name = ACCOUNT.read(word.text, context)
        if isinstance(name, Invalid):
            return name.replace(start=word.start, end=word.start + len(word.raw))
        found.append(str(name))
    return tuple(found) or RESET


ACCOUNTS = Kind("accounts", "names or numeric ids", _accounts, list, appends=True)
