"""What sockact says about a unit file, and how it says it.

A user's mistake is never an exception: it is a `Diagnostic`, and all of them are collected. The code decides severity and
scope, so that a rule states what it found and nothing else. Codes are stable: they are listed in sockact(1).
"""

from __future__ import annotations

from sockact.record import Record

ERROR, WARNING, NOTE = "error", "warning", "note"
UNIT, HOST, PORTABLE = "unit", "host", "portable"


class Code(Record):
    """A kind of finding: how grave it is, whether it is true of the file, only of this machine, or only of the file under
    systemd, and what it is about."""

    severity: str
    about: str
    scope: str = UNIT


CODES = {
    "SA001": Code(ERROR, "the file is not text: a NUL byte or invalid UTF-8"),
    "SA002": Code(ERROR, "a line is longer than 1 MiB, the limit of systemd"),
    "SA003": Code(ERROR, "a section header is broken"),
    "SA004": Code(WARNING, "an assignment stands outside of any section and is ignored"),
    "SA005": Code(WARNING, "a line is neither section, comment nor KEY=VALUE, and is ignored"),
    "SA006": Code(WARNING, "the section is unknown and ignored"),
    "SA007": Code(WARNING, "the key is unknown and ignored"),
    "SA008": Code(NOTE, "systemd knows the key, sockact does not apply it"),
    "SA009": Code(NOTE, "[Unit] names units that sockact was not given; they are left out"),
    "SA010": Code(WARNING, "the value cannot be read and is ignored; the value before it stays"),
    "SA011": Code(ERROR, "the value cannot be read, and the unit makes no sense without it"),
    "SA012": Code(ERROR, "a Restart= or ExitType= that systemd refuses with this Type="),
    "SA020": Code(ERROR, "the socket unit has nothing to listen on"),
    "SA021": Code(ERROR, "the protocol does not exist for this type or family of socket"),
    "SA022": Code(ERROR, "Accept=yes with a socket that accepts no connections"),
    "SA023": Code(ERROR, "Accept=yes together with Service="),
    "SA024": Code(ERROR, "MaxConnections=0 admits nobody"),
    "SA025": Code(ERROR, "two sockets on one address, or on addresses that overlap"),
    "SA026": Code(WARNING, "two datagram sockets on one address: only one of them gets what comes"),
    "SA027": Code(ERROR, "Symlinks= in a unit that has no UNIX path or FIFO, or more than one"),
    "SA028": Code(ERROR, "Accept=yes together with DeferTrigger="),
    "SA029": Code(ERROR, "a link-local address without an interface"),
    "SA030": Code(ERROR, "the unit file cannot be found or read"),
    "SA031": Code(ERROR, "the unit's name or type is not one that sockact runs"),
    "SA032": Code(ERROR, "the socket has no service to start"),
    "SA033": Code(ERROR, "the service has no command, or more commands than its Type= allows"),
    "SA034": Code(ERROR, "StandardInput=socket needs exactly one socket"),
    "SA035": Code(WARNING, "the service asks for sockets that no unit provides"),
    "SA036": Code(WARNING, "StandardInput=socket in a service that no socket unit starts"),
    "SA037": Code(WARNING, "the service asks for a socket that starts another one"),
    "SA038": Code(NOTE, "a service gets descriptors of two socket units under one name"),
    "SA039": Code(WARNING, "a symbolic link where another unit has a socket or a link"),
    "SA040": Code(NOTE, "the setting has no effect: nothing the unit opens is what it is about"),
    "SA041": Code(WARNING, "the socket option has no effect: the protocol does not have it"),
    "SA042": Code(WARNING, "the setting has no effect with this Accept="),
    "SA043": Code(WARNING, "the setting is for commands of a socket unit that has none"),
    "SA044": Code(NOTE, "the setting has no effect without another one"),
    "SA045": Code(NOTE, "a limit that is never reached"),
    "SA046": Code(WARNING, "TriggerLimitAction=pause, and the service fails for good before"),
    "SA047": Code(WARNING, "services wait for each other in a circle, and one of them does not"),
    "SA050": Code(ERROR, "the program of a command does not exist or may not be executed", HOST),
    "SA051": Code(ERROR, "the user or group does not exist", HOST),
    "SA052": Code(ERROR, "the network interface does not exist", HOST),
    "SA053": Code(ERROR, "the working directory does not exist", HOST),
    "SA054": Code(WARNING, "a file of variables does not exist, and will be needed when the service starts", HOST),
    "SA055": Code(WARNING, "no interface has the address now", HOST),
    "SA056": Code(ERROR, "the sockets need a privilege that is missing", HOST),
    "SA057": Code(WARNING, "a socket option or a command needs a privilege that is missing", HOST),
    "SA058": Code(ERROR, "the kernel does not have the protocol", HOST),
    "SA059": Code(ERROR, "the network namespace or special file does not exist", HOST),
    "SA060": Code(WARNING, "systemd would refuse the value; told with --portable only", PORTABLE),
    "SA061": Code(NOTE, "a limit of the control group cannot be applied", HOST),
}


class Span(Record):
    """A place in a unit file: lines and columns count from 1, `end_column` is exclusive, `source` is the whole line."""

    file: str
    line: int
    column: int
    end_column: int
    source: str


class Invalid(Record):
    """Why a value cannot be read: the reason, the part of the text it is about, what to write instead, and what of it stands."""

    message: str
    start: int = 0
    end: int | None = None
    hint: str = ""
    kept: object = None
    known: bool = False
    """Whether systemd would have taken the value."""


class Diagnostic(Record):
    """One finding. `file` stands in where there is no place to point at."""

    code: str
    message: str
    span: Span | None = None
    hint: str = ""
    file: str = ""

    @property
    def severity(self) -> str:
        return CODES[self.code].severity

    @property
    def scope(self) -> str:
        return CODES[self.code].scope

    @property
    def where(self) -> str:
        """`FILE:LINE:COLUMN`, as far as known."""
        return f"{self.span.file}:{self.span.line}:{self.span.column}" if self.span else self.file

    def as_json(self) -> dict[str, object]:
        span = self.span
        return {
            "code": self.code,
            "severity": self.severity,
            "scope": self.scope,
            "message": self.message,
            "file": span.file if span else self.file,
            "line": span.line if span else None,
            "column": span.column if span else None,
            "end_column": span.end_column if span else None,
            "hint": self.hint or None,
        }


SOURCE_WIDTH = 160
"""Longest piece of a source line that is quoted; what is longer tells the reader nothing more."""


def render(diagnostic: Diagnostic) -> str:
    """The diagnostic as text for people: place, severity, code, message; the line with the spot underlined (a note, of which
    there may be dozens, does without it); the hint."""
    place = f"{printable(diagnostic.where)}: " if diagnostic.where else ""
    lines = [f"{place}{diagnostic.severity}[{diagnostic.code}]: {printable(diagnostic.message)}"]
    if diagnostic.span and diagnostic.severity != NOTE:
        lines += _quote(diagnostic.span)
    if diagnostic.hint:
        lines.append(f"    hint: {printable(diagnostic.hint)}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """Text without what a terminal would take as an order."""
    return "".join(c if c == "\t" or c.isprintable() else "·" for c in text)


def _quote(span: Span) -> list[str]:
    """The source line and a marker below; tabs stay tabs so that both lines shift alike."""
    source = printable(span.source[:SOURCE_WIDTH])
    if not source.strip() or span.column > SOURCE_WIDTH:
        return []
    pad = "".join(c if c == "\t" else " " for c in source[: span.column - 1])
    width = max(1, min(span.end_column, len(source) + 1) - span.column)
    return [f"    {source}", f"    {pad}^{'~' * (width - 1)}"]


def errors(diagnostics: tuple[Diagnostic, ...] | list[Diagnostic]) -> list[Diagnostic]:
    return [found for found in diagnostics if found.severity == ERROR]
