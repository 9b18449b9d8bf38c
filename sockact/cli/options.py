"""The options of `sockact start`, and their plain reader."""

from __future__ import annotations

from sockact.record import Record


class Flag(Record):
    """An option without a value."""

    field: str
    spellings: tuple[str, ...]
    help: str


START_FLAGS = (
    Flag("now", ("--now",), "Start the services at once, without waiting for traffic."),
    Flag("clean", ("--clean-environment",), "Give services a clean environment, as systemd does, instead of this one."),
    Flag("verbose", ("-v", "--verbose"), "Tell more: every connection, every step."),
    Flag("quiet", ("-q", "--quiet"), "Tell only what goes wrong."),
)


class Start(Record):
    """What `sockact start` was asked for."""

    units: tuple[str, ...]
    now: bool = False
    clean: bool = False
    verbose: bool = False
    quiet: bool = False


FIELDS = {spelling: flag.field for flag in START_FLAGS for spelling in flag.spellings}


def read_plain(arguments: list[str]) -> Start | None:
    """Read `start` with units and options spelled out; None for anything else (help, mistakes, clustered options), for click."""
    if arguments[:1] != ["start"]:
        return None
    flags = [argument for argument in arguments[1:] if argument.startswith("-")]
    units = tuple(argument for argument in arguments[1:] if not argument.startswith("-"))
    if not units or "" in units or not all(flag in FIELDS for flag in flags):
        return None
    return Start(units, **{FIELDS[flag]: True for flag in flags})
