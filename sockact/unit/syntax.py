"""The unit-file language: bytes become sections and assignments that know where they stand.

Decides what is a line, a comment, a continuation, a section and an assignment, as systemd's parser does
(systemd.syntax(7)); what a key means is not its business. The value of an assignment may come from several lines; it keeps
a map back to them, so that any part of it can be pointed at.
"""

from __future__ import annotations

from sockact.record import Record
from sockact.unit.diagnostics import Diagnostic, Span

BLANKS = " \t"
COMMENTS = ("#", ";")
LONGEST_LINE = 1 << 20
"""Bytes of one logical line; systemd gives up at the same length (LONG_LINE_MAX)."""


class Piece(Record):
    """A stretch of a logical line that stands in one physical line."""

    start: int
    line: int
    column: int
    source: str


class Assignment(Record):
    """`KEY=VALUE`, the value stripped and joined, and where each part of it stands."""

    section: str
    key: str
    value: str
    file: str
    pieces: tuple[Piece, ...]
    value_start: int

    def span(self, start: int = 0, end: int | None = None) -> Span:
        """The place of `value[start:end]`, as far as it stands in the line where it starts."""
        stop = len(self.value) if end is None else end
        return _span(self.file, self.pieces, self.value_start + start, self.value_start + max(stop, start + 1))

    @property
    def key_span(self) -> Span:
        return _span(self.file, self.pieces, 0, len(self.key))


class Document(Record):
    """What a file says: its sections in order of first appearance, its assignments, and what was wrong with its text."""

    sections: dict[str, Span]
    assignments: tuple[Assignment, ...]
    diagnostics: tuple[Diagnostic, ...]


def parse(data: bytes, file: str) -> Document:
    """Read a unit file. Never raises; text that is not text, or a broken section header, ends the reading with an error."""
    broken = _not_text(data, file)
    if broken:
        return Document({}, (), (broken,))
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    reading = _Reading(file)
    for pieces in _logical_lines(text.split("\n")):
        if not reading.take(pieces):
            break
    return Document(reading.sections, tuple(reading.assignments), tuple(reading.diagnostics))


def _not_text(data: bytes, file: str) -> Diagnostic | None:
    """The first byte that cannot stand in a unit file, or the first line that is too long to be one."""
    nul = data.find(b"\0")
    if nul >= 0:
        return Diagnostic("SA001", "a NUL byte: this is no text file", _byte_span(data, nul, file))
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return Diagnostic("SA001", f"invalid UTF-8 (byte 0x{data[error.start]:02x})", _byte_span(data, error.start, file))
    return _too_long(data, file)


def _byte_span(data: bytes, offset: int, file: str) -> Span:
    before = _lines(data[:offset])
    column = len(before[-1].decode(errors="replace")) + 1
    line = _lines(data)[len(before) - 1].decode(errors="replace")[:400]
    return Span(file, len(before), column, column + 1, line)


def _lines(data: bytes) -> list[bytes]:
    """The lines of what may be no text, counted as `parse` counts those of text."""
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def _too_long(data: bytes, file: str) -> Diagnostic | None:
    if len(data) <= LONGEST_LINE:
        return None
    for number, line in enumerate(_lines(data), 1):
        if len(line) > LONGEST_LINE:
            span = Span(file, number, 1, 2, line[:1600].decode(errors="replace")[:400])
            return Diagnostic("SA002", f"a line of {len(line)} bytes; at most {LONGEST_LINE} are read", span)
    return None


def _logical_lines(lines: list[str]) -> list[list[tuple[Piece, str]]]:
    """Join continuation lines. A comment inside a continuation is skipped and does not end it (systemd.syntax(7))."""
    found: list[list[tuple[Piece, str]]] = []
    current: list[tuple[Piece, str]] = []
    length = 0
    for number, source in enumerate(lines, 1):
        text = source.lstrip(BLANKS)
        if text.startswith(COMMENTS):
            continue
        goes_on = (len(text) - len(text.rstrip("\\"))) % 2 == 1
        if goes_on:
            text = text[:-1] + " "
        current.append((Piece(length, number, len(source) - len(source.lstrip(BLANKS)) + 1, source), text))
        length += len(text)
        if not goes_on:
            found.append(current)
            current, length = [], 0
    return [*found, current] if current else found


class _Reading:
    """The state of reading one file: which section we are in, and what was collected."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.section: str | None = None
        self.sections: dict[str, Span] = {}
        self.assignments: list[Assignment] = []
        self.diagnostics: list[Diagnostic] = []

    def take(self, line: list[tuple[Piece, str]]) -> bool:
        """Read one logical line; False when the rest of the file cannot be trusted."""
        pieces = tuple(piece for piece, _ in line)
        text = "".join(part for _, part in line).rstrip(BLANKS)
        if not text:
            return True
        if len(text) > LONGEST_LINE:
            self._say("SA002", f"{len(text)} characters joined by continuation; at most {LONGEST_LINE} are read", pieces, 1)
            return False
        if text.startswith("["):
            return self._header(text, pieces)
        self._assignment(text, pieces)
        return True

    def _header(self, text: str, pieces: tuple[Piece, ...]) -> bool:
        name = text[1:-1]
        if not text.endswith("]") or not name or any(not c.isprintable() or c in "[]\"'\\" for c in name):
            hint = "" if text.endswith("]") else "a section header ends with ]"
            self._say("SA003", f"invalid section header {text[:60]!r}", pieces, len(text), hint)
            return False
        self.section = name
        self.sections.setdefault(name, _span(self.file, pieces, 0, len(text)))
        return True

    def _assignment(self, text: str, pieces: tuple[Piece, ...]) -> None:
        key, equals, rest = text.partition("=")
        if not equals:
            self._say("SA005", "this line has no '=' and is ignored", pieces, len(text), "write KEY=VALUE, or # for a comment")
        elif not key.strip():
            self._say("SA005", "no key before '=': the line is ignored", pieces, len(text))
        elif self.section is None:
            self._say(
                "SA004", "assignment outside of a section: ignored", pieces, len(text), "put [Socket] or [Service] above it"
            )
        else:
            value = rest.strip(BLANKS)
            start = len(key) + 1 + len(rest) - len(rest.lstrip(BLANKS)) if value else len(text)
            self.assignments.append(Assignment(self.section, key.strip(BLANKS), value, self.file, pieces, start))

    def _say(self, code: str, message: str, pieces: tuple[Piece, ...], end: int, hint: str = "") -> None:
        self.diagnostics.append(Diagnostic(code, message, _span(self.file, pieces, 0, end), hint))


def _span(file: str, pieces: tuple[Piece, ...], start: int, end: int) -> Span:
    piece = [p for p in pieces if p.start <= start][-1]
    last = len(piece.source) + 1
    column = min(piece.column + start - piece.start, last)
    return Span(file, piece.line, column, max(column + 1, min(piece.column + end - piece.start, last)), piece.source)
