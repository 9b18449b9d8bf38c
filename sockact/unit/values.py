"""Value types: how the text behind `KEY=` becomes a typed value, and how the value is shown again.

A `Kind` is to a directive what a `ParamType` is to a click option. Its reader returns the value, `RESET` when the text asks
for the default, or `Invalid` with the reason. Grammar and edge cases are systemd's (systemd.syntax(7), systemd.time(7)).
"""

from __future__ import annotations

from math import inf

from sockact.net import addresses, linux
from sockact.record import TYPE_CHECKING, Record
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
    extends: Callable[[str, Any], str] | None = None
    """For grammars that take more than systemd's: why systemd would refuse this text and value; nothing if it would not."""


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
COUNT = Kind("count", "1 to 9223372036854775807", _between(1, (1 << 63) - 1))
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


def _finite(text: str, context: Context) -> object:
    value = seconds(text)
    return Invalid("there is no random moment in an infinite time", hint="write a time such as 30s") if value == inf else value


def _interval(text: str, context: Context) -> object:
    value = seconds(text)
    return RESET if value == inf else value


def _burst(text: str, context: Context) -> object:
    value = UNSIGNED.read(text, context)
    return RESET if value == 0xFFFFFFFF else value


_SPAN = "time span such as 90, 1min 30s or 500ms"
SECONDS = Kind("time", f"{_SPAN}, or infinity", lambda text, context: seconds(text), _show_seconds)
FINITE = Kind("finite time", _SPAN, _finite, _show_seconds)
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


def is_fd_name(text: str) -> bool:
    """Whether a descriptor may be called so in LISTEN_FDNAMES (sd_listen_fds(3))."""
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
FD_NAME = Kind("name", "printable ASCII without a colon, at most 255 characters", _name(is_fd_name, "a name for a descriptor"))
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


def _run_path(text: str, context: Context) -> object:
    value = context.expand(text) if text else RESET
    if value is RESET or isinstance(value, Invalid):
        return value
    return addresses.absolute(str(value) if str(value).startswith("/") else f"/run/{value}")


RUN_PATH = Kind("run path", "absolute path, or one below /run", _run_path)
