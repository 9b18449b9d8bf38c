"""Value types: how the text behind `KEY=` becomes a typed value, and how the value is shown again.

A `Kind` is to a directive what a `ParamType` is to a click option. Its reader returns the value, `RESET` when the text asks
for the default, or `Invalid` with the reason. Grammar and edge cases are systemd's (systemd.syntax(7), systemd.time(7)).
"""

from __future__ import annotations

from math import inf

from sockact.net import addresses, linux, protocols
from sockact.record import TYPE_CHECKING, Record
from sockact.unit import words
from sockact.unit.diagnostics import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sockact.unit.specifiers import Context

RESET = object()
"""What a reader returns when the directive goes back to its default."""


def _plain(value: Any) -> Any:
    return value


class Kind(Record):
    """A value type: its name and grammar for people, its reader, its JSON form; `appends` when assignments add up."""

    name: str
    grammar: str
    read: Callable[[str, Context], Any]
    show: Callable[[Any], Any] = _plain
    appends: bool = False


# Booleans, numbers, times, sizes, modes

TRUTH = {
    **dict.fromkeys(("1", "yes", "y", "true", "t", "on"), True),
    **dict.fromkeys(("0", "no", "n", "false", "f", "off"), False),
}


def _boolean(text: str, context: Context) -> object:
    value = TRUTH.get(text.lower())
    return Invalid(f"not a boolean: '{text}'", hint="write yes or no") if value is None else value


BOOLEAN = Kind("boolean", "yes, no, true, false, on, off, 1 or 0", _boolean)


def _between(low: int, high: int) -> Callable[[str, Context], object]:
    def read(text: str, context: Context) -> object:
        value = addresses.integer(text)
        if isinstance(value, Invalid) or low <= value <= high:
            return value
        return Invalid(f"{value} is not between {low} and {high}")

    return read


UNSIGNED = Kind("number", "0 to 4294967295; 0x, 0o, 0b and a leading 0 choose the radix", _between(0, 0xFFFFFFFF))
INTEGER = Kind("integer", "-2147483648 to 2147483647", _between(-(1 << 31), (1 << 31) - 1))


def _or_unset(read: Callable[[str, Context], Any]) -> Callable[[str, Context], object]:
    """A number of which the negative ones mean "leave it to the kernel"."""

    def choose(text: str, context: Context) -> object:
        value = read(text, context)
        return RESET if isinstance(value, int) and value < 0 else value

    return choose


UNSET_OR_INTEGER = Kind("setting", "1 to 2147483647; 0 and negative numbers leave it to the kernel", _or_unset(INTEGER.read))

TYPES_OF_SERVICE = {"low-delay": 16, "throughput": 8, "reliability": 4, "low-cost": 2}


def _type_of_service(text: str, context: Context) -> object:
    if not text:
        return RESET
    return TYPES_OF_SERVICE.get(text) or _between(0, 255)(text, context)


TYPE_OF_SERVICE = Kind("service class", f"0 to 255, or {', '.join(TYPES_OF_SERVICE)}", _type_of_service)

UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds", ""), 1.0),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("us", "usec", "µs", "μs"), 1e-6),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
    **dict.fromkeys(("M", "month", "months"), 2629800.0),
    **dict.fromkeys(("y", "year", "years"), 31557600.0),
}
LONGEST_SPAN = (1 << 64) / 1e6
"""Seconds that fit into systemd's 64-bit microseconds."""


def seconds(text: str) -> float | Invalid:
    """A time span such as `1min 30s`, `1.5h`, `infinity`; a bare number counts seconds (systemd.time(7))."""
    if text.strip() == "infinity":
        return inf
    total, rest = 0.0, text.strip()
    if not rest:
        return Invalid("a time span is missing")
    while rest:
        digits = _leading(rest, "0123456789.")
        unit = _leading(rest[len(digits) :].lstrip(), "", str.isalpha)
        if not _is_decimal(digits) or unit not in UNITS:
            at = len(text) - len(rest)
            return Invalid(f"not a time span: '{text}'", at, hint="write for example 90, 90s, 1min 30s, 500ms or infinity")
        total += float(digits) * UNITS[unit]
        rest = rest[len(digits) :].lstrip()[len(unit) :].lstrip()
    return total if total < LONGEST_SPAN else Invalid(f"'{text}' is too long a time")


def _leading(text: str, allowed: str, test: Callable[[str], bool] | None = None) -> str:
    end = 0
    while end < len(text) and (test(text[end]) if test else text[end] in allowed):
        end += 1
    return text[:end]


def _is_decimal(text: str) -> bool:
    whole, _dot, fraction = text.partition(".")
    return (whole + fraction).isdigit() and text.isascii() and "." not in fraction


def _show_seconds(value: float) -> object:
    return "infinity" if value == inf else int(value) if value == int(value) else value


def _timeout(text: str, context: Context) -> object:
    value = seconds(text)
    return inf if value == 0 else value


def _interval(text: str, context: Context) -> object:
    value = seconds(text)
    return RESET if value == inf else value


def _burst(text: str, context: Context) -> object:
    value = UNSIGNED.read(text, context)
    return RESET if value == 0xFFFFFFFF else value


_SPAN = "time span such as 90, 1min 30s or 500ms"
SECONDS = Kind("time", f"{_SPAN}, or infinity", lambda text, context: seconds(text), _show_seconds)
TIMEOUT = Kind("timeout", f"{_SPAN}; 0 and infinity mean no limit", _timeout, _show_seconds)
INTERVAL = Kind("interval", f"{_SPAN}; 0 switches the limit off, infinity means the default", _interval, _show_seconds)
BURST = Kind("burst", "0 to 4294967294; 0 switches the limit off", _burst)

SIZES = {suffix: 1024**power for power, suffix in enumerate(("", "K", "M", "G", "T", "P", "E"))}


def _size(text: str, context: Context) -> object:
    digits, suffix = (text[:-1], text[-1]) if text[-1:] in SIZES and text[-1:] else (text, "")
    digits = digits.rstrip()
    if not _is_decimal(digits) or len(digits) > 30 or (not suffix and "." in digits):
        return Invalid(f"not a size: '{text}'", hint="write bytes, or a number with one of K M G T P E (powers of 1024)")
    value = int(float(digits) * SIZES[suffix]) if "." in digits else int(digits) * SIZES[suffix]
    return value if value < 1 << 63 else Invalid(f"'{text}' is too large")


SIZE = Kind("size", "bytes, or with K, M, G, T, P, E in powers of 1024", _size)


def _mode(text: str, context: Context) -> object:
    if text and all(c in "01234567" for c in text) and int(text, 8) <= 0o7777:
        return int(text, 8)
    return Invalid(f"not a file mode: '{text}'", hint="write octal digits such as 0660")


MODE = Kind("mode", "octal access mode, 0000 to 7777", _mode, lambda value: f"{value:04o}")


# Words and names


def choice(grammar: dict[str, Any], refused: dict[str, str] | None = None) -> Kind:
    """One of a few words; `refused` words are known to systemd and answered with the reason they are not applied."""
    refused = refused or {}

    def read(text: str, context: Context) -> object:
        if text in grammar:
            return grammar[text]
        if text in refused:
            return Invalid(f"'{text}' is not applied: {refused[text]}", known=True)
        return Invalid(f"not one of {', '.join(grammar)}: '{text}'")

    return Kind("choice", ", ".join(grammar), read)


def words_as_choice(*names: str, refused: dict[str, str] | None = None) -> Kind:
    return choice({name: name for name in names}, refused)


def _text(text: str, context: Context) -> object:
    return context.expand(text) if text else RESET


TEXT = Kind("text", "any text; specifiers are expanded", _text)


def _name(test: Callable[[str], bool], what: str, hint: str = "", resets: bool = True) -> Callable[[str, Context], object]:
    def read(text: str, context: Context) -> object:
        value = context.expand(text)
        if not text and resets:
            return RESET
        if isinstance(value, Invalid):
            return value
        if test(value):
            return value
        return Invalid(f"not {what}: '{value}'", hint=hint)

    return read


def _is_fd_name(text: str) -> bool:
    return len(text) < 256 and ":" not in text and all(" " <= c <= "~" for c in text)


def is_id(text: str) -> bool:
    """Whether an account is named by its number."""
    return text.isascii() and text.isdigit()


def _is_account(text: str) -> bool:
    """A user or group name as systemd takes it outside of its strict mode, or a numeric id (systemd.exec(5), User=)."""
    if is_id(text):
        return len(text) < 11 and int(text) < 1 << 32 and int(text) not in (0xFFFF, 0xFFFFFFFF)
    bad = any(c in ":/" or not c.isprintable() for c in text)
    return bool(text) and not bad and text == text.strip() and text not in (".", "..") and text[0] not in "-+" and len(text) < 256


def is_unit_name(text: str, *types: str) -> bool:
    """Whether the text names a unit of one of these types; a bare template (`a@.service`) does not."""
    stem, dot, kind = text.rpartition(".")
    good = all(c.isascii() and (c.isalnum() or c in ":-_.\\@") for c in stem)
    return (
        bool(stem and dot) and kind in types and good and not stem.startswith("@") and not stem.endswith("@") and len(text) < 256
    )


def _interface(text: str, context: Context) -> object:
    value = context.expand(text)
    if not text or value == "*":
        return RESET
    if isinstance(value, Invalid) or (addresses.is_interface(value) and len(value) < 16 and not value.isdigit()):
        return value
    return Invalid(f"not an interface name: '{value}'", hint="at most 15 characters; * or nothing for any interface")


INTERFACE = Kind("interface", "name of a network interface; * means any", _interface)
FD_NAME = Kind("name", "printable ASCII without a colon, at most 255 characters", _name(_is_fd_name, "a name for a descriptor"))
ACCOUNT = Kind("account", "name or numeric id", _name(_is_account, "a name or id"))
SERVICE = Kind(
    "unit",
    "NAME.service",
    _name(
        lambda text: is_unit_name(text, "service"),
        "the name of a service",
        "write NAME.service; a template needs its instance",
        resets=False,
    ),
)


def _socket_units(text: str, context: Context) -> object:
    names = [context.expand(word) for word in text.split()]
    wrong = [n for n in names if isinstance(n, Invalid) or not is_unit_name(n, "socket")]
    return Invalid(f"not the name of a socket unit: '{wrong[0]}'") if wrong else tuple(names) or RESET


SOCKET_UNITS = Kind("units", "names of socket units", _socket_units, list, appends=True)


def _signal(text: str, context: Context) -> object:
    number = linux.signal_number(text)
    return number or Invalid(f"not a signal: '{text}'", hint="write for example SIGTERM or SIGRTMIN+3")


SIGNAL = Kind("signal", "name or number of a signal", _signal, linux.signal_name)


# Addresses and protocols


def listen(kind: str) -> Kind:
    """Addresses for sockets of one kind."""

    def read(text: str, context: Context) -> object:
        if not text:
            return RESET
        value = context.expand(text)
        if isinstance(value, Invalid):
            return value
        address = addresses.parse_path(value) if kind == addresses.FIFO else addresses.parse(value, context.ipv6)
        return address if isinstance(address, Invalid) else (addresses.Listen(kind, address),)

    grammar = "absolute path" if kind == addresses.FIFO else "PORT, IPv4:PORT, [IPv6]:PORT, /PATH, @NAME or vsock:CID:PORT"
    return Kind("path" if kind == addresses.FIFO else "address", grammar, read, appends=True)


def _protocol(text: str, context: Context) -> object:
    if not text:
        return RESET
    number = addresses.integer(text)
    found = protocols.by_name(text) if isinstance(number, Invalid) else protocols.by_number(number)
    return found or Invalid(f"unknown protocol '{text}'", hint=f"one of {', '.join(protocols.NAMES)}")


PROTOCOL = Kind("protocol", f"{', '.join(protocols.NAMES)}, or the number", _protocol, lambda protocol: protocol.name)


# Commands, environments, files


class Command(Record):
    """One command line: the program, `argv[0]`, the arguments, and what its prefixes asked for."""

    program: str
    argv0: str
    arguments: tuple[str, ...]
    prefixes: str = ""
    source: str = ""
    start: int = 0


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


class Stream(Record):
    """Where a standard stream leads: `null`, `socket`, `inherit`, `journal`, or a file opened in one of three ways."""

    kind: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" if self.path else self.kind


LEGACY_STREAMS = dict.fromkeys(("syslog", "kmsg", "journal+console", "kmsg+console", "syslog+console"), "journal")
OTHER_STREAMS = ("tty", "tty-force", "tty-fail", "data", "fd")
"""Streams that systemd has and sockact does not apply."""


def stream(name: str, *plain: str, files: tuple[str, ...]) -> Kind:
    """A standard stream that takes these words, or a file behind one of these prefixes."""

    def read(text: str, context: Context) -> object:
        word = LEGACY_STREAMS.get(text, text)
        if word in plain:
            return Stream(word)
        kind, colon, rest = text.partition(":")
        path = context.expand(rest)
        if kind in OTHER_STREAMS:
            return Invalid(f"'{text}' is not applied", known=True)
        if not colon or kind not in files:
            return Invalid(f"not a standard stream: '{text}'", hint=f"one of {grammar}")
        if isinstance(path, Invalid):
            return path
        return Stream(kind, path) if path.startswith("/") else Invalid(f"not an absolute path: '{path}'", len(kind) + 1)

    grammar = ", ".join((*plain, *(f"{name}:PATH" for name in files)))
    return Kind(name, grammar, read, str)
