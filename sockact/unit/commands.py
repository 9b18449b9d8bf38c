"""Value types of what is run: command lines, variables, files and standard streams (systemd.service(5), systemd.exec(5))."""

from __future__ import annotations

from sockact.net.addresses import absolute
from sockact.record import TYPE_CHECKING, Record
from sockact.unit import words
from sockact.unit.diagnostics import Invalid
from sockact.unit.values import RESET, Kind, is_fd_name

if TYPE_CHECKING:
    from sockact.unit.specifiers import Context


class Command(Record):
    """One command line: the program, `argv[0]`, the arguments, and what its prefixes asked for."""

    program: str
    argv0: str
    arguments: tuple[str, ...]
    prefixes: str = ""
    source: str = ""
    start: int = 0

    @property
    def is_privileged(self) -> bool:
        """Whether it stays what the supervisor is. `!!` would say so on kernels before Linux 4.3 only."""
        return "+" in self.prefixes or self.prefixes.count("!") == 1


PREFIXES = "@-:+!"


def _commands(text: str, context: Context) -> object:
    split = words.split(text)
    if isinstance(split, Invalid):
        return split
    found: list[Command] = []
    current: list[words.Word] = []
    for word in (*split, words.Word("", len(text), ";")):
        if word.raw != ";":
            current.append(word.replace(text=";") if word.raw == "\\;" else word)
        elif current:
            command = _command(current, context)
            if isinstance(command, Invalid):
                return command
            found.append(command)
            current = []
    return tuple(found) if text else RESET


def _command(line: list[words.Word], context: Context) -> Command | Invalid:
    first = line[0]
    bare = first.text.lstrip(PREFIXES)
    prefixes = first.text[: len(first.text) - len(bare)]
    expanded = [context.expand(text) for text in (bare, *(word.text for word in line[1:]))]
    for word, value in zip(line, expanded, strict=True):
        if isinstance(value, Invalid):
            return value.replace(start=word.start, end=word.start + len(word.raw))
    program, *rest = [str(value) for value in expanded]
    if program.startswith("|"):
        return Invalid("the prefix | (run by a shell) is not applied", first.start, first.start + 1, "write /bin/sh -c '...'")
    end = first.start + len(first.raw)
    if not program or ("/" in program and not program.startswith("/")) or program.endswith("/"):
        return Invalid(f"not a program: '{program}'", first.start, end, "write an absolute path, or a name without slashes")
    if "@" in prefixes and not rest:
        return Invalid("'@' needs a word that becomes argv[0]", first.start, end)
    argv0 = rest.pop(0) if "@" in prefixes else program
    return Command(program, argv0, tuple(rest), prefixes, " ".join(word.raw for word in line), first.start)


COMMANDS = Kind("command", "command line; see systemd.service(5)", _commands, lambda all_: [c.source for c in all_], appends=True)


def is_variable(name: str) -> bool:
    return bool(name) and name.isascii() and not name[0].isdigit() and all(c.isalnum() or c == "_" for c in name)


def _environment(text: str, context: Context) -> object:
    split = words.split(text)
    if isinstance(split, Invalid):
        return split
    pairs: list[tuple[str, str]] = []
    wrong: Invalid | None = None
    for word in split:
        value = context.expand(word.text)
        name, equals, rest = ("", "", "") if isinstance(value, Invalid) else value.partition("=")
        if equals and is_variable(name):
            pairs.append((name, rest))
        else:
            wrong = Invalid(
                f"not NAME=VALUE: '{word.text}'", word.start, word.start + len(word.raw), "quote the whole assignment"
            )
    return wrong.replace(kept=tuple(pairs)) if wrong else tuple(pairs) or RESET


ENVIRONMENT = Kind(
    "variables", "NAME=VALUE words, quoted as needed", _environment, lambda all_: [f"{n}={v}" for n, v in all_], appends=True
)


class MaybePath(Record):
    """A path that must exist, or (written with a leading `-`) may be missing."""

    path: str
    optional: bool = False

    def __str__(self) -> str:
        return ("-" if self.optional else "") + self.path


def _maybe_path(text: str, context: Context, special: tuple[str, ...] = ()) -> object:
    value = context.expand(text) if text else RESET
    if value is RESET or isinstance(value, Invalid):
        return value
    path = str(value).removeprefix("-")
    if (path.startswith("/") and ".." not in path.split("/")) or path in special:
        return MaybePath(path, str(value).startswith("-"))
    return Invalid(f"not an absolute path: '{path}'")


DIRECTORY = Kind(
    "directory",
    "absolute path or ~; - in front allows it to be missing",
    lambda text, context: _maybe_path(text, context, ("~",)),
    str,
)


def _environment_file(text: str, context: Context) -> object:
    found = _maybe_path(text, context)
    return (found,) if isinstance(found, MaybePath) else found


ENVIRONMENT_FILE = Kind(
    "file",
    "absolute path; - in front allows it to be missing",
    _environment_file,
    lambda all_: [str(f) for f in all_],
    appends=True,
)


def _plain_path(text: str, context: Context) -> object:
    value = context.expand(text) if text else RESET
    return value if value is RESET or isinstance(value, Invalid) else absolute(str(value))


PATH = Kind("path", "absolute path", _plain_path)


def _paths(text: str, context: Context) -> object:
    split = words.split(text)
    if isinstance(split, Invalid):
        return split
    found: list[str] = []
    for word in split:
        expanded = context.expand(word.text)
        path = expanded if isinstance(expanded, Invalid) else absolute(expanded)
        if isinstance(path, Invalid):
            return path.replace(start=word.start, end=word.start + len(word.raw))
        found.append(path)
    return tuple(found) or RESET


PATHS = Kind("paths", "absolute paths, quoted as needed", _paths, list, appends=True)


class Stream(Record):
    """Where a standard stream leads: a word of systemd's such as `null` or `journal`, a file opened in one of three ways, or
    (`fd`) the descriptor of that name among those handed over."""

    kind: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" if self.path else self.kind


TERMINALS = ("tty", "tty-force", "tty-fail")
LEGACY_STREAMS = {
    **dict.fromkeys(("syslog", "journal+console", "syslog+console"), "journal"),
    "kmsg+console": "kmsg",
}
"""Old words, and those which would copy to the console what is logged."""


def stream(name: str, *plain: str, files: tuple[str, ...]) -> Kind:
    """A standard stream that takes these words, a file behind one of these prefixes, or a descriptor by its name."""

    def read(text: str, context: Context) -> object:
        word = LEGACY_STREAMS.get(text, text)
        if word in plain or word == "fd":
            return Stream(word)
        kind, colon, rest = text.partition(":")
        path = context.expand(rest)
        if not colon or kind not in (*files, "fd"):
            return Invalid(f"not a standard stream: '{text}'", hint=f"one of {grammar}")
        if isinstance(path, Invalid):
            return path
        wrong = not is_fd_name(path) if kind == "fd" else not path.startswith("/")
        what = "the name of a descriptor" if kind == "fd" else "an absolute path"
        return Invalid(f"not {what}: '{path}'", len(kind) + 1) if wrong or not path else Stream(kind, path)

    grammar = ", ".join((*plain, *(f"{name}:PATH" for name in files), "fd:NAME"))
    return Kind(name, grammar, read, str)
