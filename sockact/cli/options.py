"""The options that several commands share, and the plain reader of `sockact start`."""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from typing import Any


class Flag(Record):
    """An option; with a value if that has a name, and several times if it may be."""

    field: str
    spellings: tuple[str, ...]
    help: str
    value: str = ""
    several: bool = False


SEARCH_FLAGS = (Flag("system_units", ("--system-units",), "Look for units in the folders of systemd, too."),)
"""Options of every command that takes units."""

START_FLAGS = (
    Flag("now", ("--now",), "Start the services at once, without waiting for traffic."),
    Flag("clean", ("--clean-environment",), "Give services a clean environment, as systemd does, instead of this one."),
    Flag("verbose", ("-v", "--verbose"), "Tell more: every connection, every step."),
    Flag("quiet", ("-q", "--quiet"), "Tell only what goes wrong."),
    Flag("strict", ("--strict",), "Do not start with settings that are not applied, nor with any warning."),
    Flag("exit", ("--exit",), "When to end: when all units have ended (all), the first service, or this one.", "all|first|UNIT"),
    Flag(
        "forward",
        ("--forward",),
        "Pass a signal on to the services or to one, as itself or as another; all: every signal that sockact has no use for.",
        "[UNIT:]SIGNAL[=SIGNAL]",
        several=True,
    ),
    *SEARCH_FLAGS,
)


class Start(Record):
    """What `sockact start` was asked for."""

    units: tuple[str, ...]
    now: bool = False
    clean: bool = False
    verbose: bool = False
    quiet: bool = False
    strict: bool = False
    exit: str | None = None
    forward: tuple[str, ...] = ()
    system_units: bool = False


FIELDS = {spelling: flag.field for flag in START_FLAGS if not flag.value for spelling in flag.spellings}
VALUES = {spelling: flag for flag in START_FLAGS if flag.value for spelling in flag.spellings}


def read_plain(arguments: list[str]) -> Start | None:
    """Read `start` with units and options spelled out, values behind an equals sign; None for anything else (help, mistakes,
    clustered options), for click."""
    if arguments[:1] != ["start"]:
        return None
    units = tuple(argument for argument in arguments[1:] if not argument.startswith("-"))
    found: dict[str, Any] = {}
    for argument in arguments[1:]:
        if argument.startswith("-") and not _take(argument, found):
            return None
    return Start(units, **found) if units and "" not in units else None


def _take(argument: str, found: dict[str, Any]) -> bool:
    """Note what an option says; False if it is none."""
    spelling, equals, value = argument.partition("=")
    if argument in FIELDS:
        found[FIELDS[argument]] = True
    elif equals and spelling in VALUES:
        flag = VALUES[spelling]
        before = found.get(flag.field, ())
        found[flag.field] = (*before, value) if flag.several and isinstance(before, tuple) else value
    else:
        return False
    return True
