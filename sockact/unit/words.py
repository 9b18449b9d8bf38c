"""Words: quoting and C escapes in command lines and lists (systemd.syntax(7), systemd.service(5) "Command lines").

A word may be quoted in whole or in part, with ' or "; escapes are read inside and outside of quotes. What looks like an
escape and is none stays as it is written, as in systemd.
"""

from __future__ import annotations

from sockact.record import Record
from sockact.unit.diagnostics import Invalid

BLANKS = " \t\n\r"
QUOTES = "'\""
ESCAPES = {
    **{"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "},
    **{"\\": "\\", '"': '"', "'": "'"},
}
NUMERIC = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}
"""Escapes that spell a number: digits and base. An octal one has no letter, just three digits."""


class Word(Record):
    """A word, where it started in the text, and how it was written."""

    text: str
    start: int
    raw: str


def split(text: str) -> tuple[Word, ...] | Invalid:
    """Split into words; `Invalid` for a quote that is never closed or an escape that names no character."""
    words: list[Word] = []
    position = 0
    while True:
        while position < len(text) and text[position] in BLANKS:
            position += 1
        if position == len(text):
            return tuple(words)
        word = _word(text, position)
        if isinstance(word, Invalid):
            return word
        words.append(word)
        position += len(word.raw)


def _word(text: str, start: int) -> Word | Invalid:
    """Read one word from `start` up to the first blank outside of quotes."""
    out = bytearray()
    quote, opened, position = "", start, start
    while position < len(text):
        char = text[position]
        if char == "\\":
            data, width = _escape(text, position)
            if b"\0" in data or not data:
                return Invalid("escape sequence for a character that cannot be", position, position + width)
            out += data
            position += width
            continue
        if quote:
            quote = "" if char == quote else quote
            out += b"" if not quote else char.encode()
        elif char in QUOTES:
            quote, opened = char, position
        elif char in BLANKS:
            break
        else:
            out += char.encode()
        position += 1
    if quote:
        return Invalid(
            f"unterminated quote {quote}", opened, opened + 1, f"close it with {quote}, or write \\{quote} for the character"
        )
    return Word(out.decode(errors="surrogateescape"), start, text[start:position])


def unescape(text: str) -> bytes | Invalid:
    """Text with its C escapes read, blanks and quotes as they are; what comes out may be no text."""
    out, position = bytearray(), 0
    while position < len(text):
        data, width = _escape(text, position) if text[position] == "\\" else (text[position].encode(), 1)
        if not data:
            return Invalid("escape sequence for a character that cannot be", position, position + width)
        out += data
        position += width
    return bytes(out)


def _escape(text: str, at: int) -> tuple[bytes, int]:
    """The bytes that the escape at `at` stands for, and its width; empty bytes for a number beyond Unicode."""
    letter = text[at + 1 : at + 2]
    if letter in ESCAPES:
        return ESCAPES[letter].encode(), 2
    digits, base, skip = (*NUMERIC[letter], 2) if letter in NUMERIC else (3, 8, 1)
    number = _number(text[at + skip : at + skip + digits], digits, base)
    if number is None:
        return text[at : at + 2].encode() if letter else b"\\", 2 if letter else 1
    if letter == "x" or base == 8:
        return (bytes([number]) if number < 256 else b""), skip + digits
    return (chr(number).encode() if number < 0x110000 and not 0xD800 <= number < 0xE000 else b""), skip + digits


def _number(text: str, digits: int, base: int) -> int | None:
    allowed = "0123456789abcdefABCDEF" if base == 16 else "01234567"
    return int(text, base) if len(text) == digits and all(c in allowed for c in text) else None
