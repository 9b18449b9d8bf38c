"""What the option table claims of a socket, beside what the kernel says to it. Also run in the guest, so it imports little."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from sockact.net import linux
from sockact.net.addresses import KINDS, Listen
from sockact.net.plan import applies
from sockact.net.protocols import Protocol, choose
from sockact.runtime.kernel import Kernel
from sockact.unit import syntax
from sockact.unit.directives import Option, Row, Section
from sockact.unit.gather import Host
from sockact.unit.load import SocketUnit, load

if TYPE_CHECKING:
    from sockact.net.plan import Value

LIBRARY = ctypes.CDLL(None, use_errno=True)
TAKEN, CHANGED = "taken", "changed"


class Pair(NamedTuple):
    """An option of a row with one of its values, on a port."""

    port: str
    lines: str
    """The port as lines of a unit."""
    section: str
    row: Row
    option: Option
    value: Value
    example: str
    listen: Listen
    protocol: Protocol

    @property
    def claimed(self) -> bool:
        """Whether the table says that the option exists there."""
        return applies(self.option, self.listen, self.protocol)

    @property
    def unit(self) -> str:
        return f"[{self.section}]\n{self.row.key}={self.example}\n[Socket]\n{self.lines}\n"


def unit_of(text: str) -> SocketUnit:
    unit, _ = load(syntax.parse(text.encode(), "t.socket"), "t.socket", "t.socket", Host({}).context("t.socket", "/t.socket"))
    assert isinstance(unit, SocketUnit)
    return unit


def pairs(ports: Mapping[str, str]) -> Iterator[Pair]:
    """Each option of the table, with the value of its first example that sets it, on each port (lines of [Socket], by name)."""
    for port, lines in ports.items():
        plain = unit_of(f"[Socket]\n{lines}\n")
        (listen,) = plain.socket.listen
        protocol = choose(listen, plain.socket.protocol)
        assert isinstance(protocol, Protocol)
        for section in plain.sections:
            for field, row in section.rows():
                for option in row.options:
                    example, value = _value(section, field.name, row, option)
                    yield Pair(port, lines, section.title, row, option, value, example, listen, protocol)


def _value(section: Section, field: str, row: Row, option: Option) -> tuple[str, Value]:
    for example in row.examples:
        unit = unit_of(f"[{section.title}]\n{row.key}={example}\n")
        (found,) = (part for part in unit.sections if part.title == section.title)
        value = option.encode(getattr(found, field))
        if value is not None:
            return example, value
    raise AssertionError(f"no example of {row.key}= sets {option.name}")


def opened(pair: Pair, kernel: Kernel) -> int:
    """A fresh socket like that of the port."""
    number = pair.protocol.number or pair.listen.address.protocol
    return kernel.socket(pair.listen.address.constant, KINDS[pair.listen.kind].constant, number)


def verdict(pair: Pair, kernel: Kernel) -> str:
    """What the kernel says to the option on a fresh socket: TAKEN, CHANGED and to what, or the name of the errno."""
    fd = opened(pair, kernel)
    try:
        raw = encoded(pair.value)
        if LIBRARY.setsockopt(fd, linux.number(pair.option.level), linux.number(pair.option.name), raw, len(raw)):
            return errno.errorcode[ctypes.get_errno()]
        got = reported(fd, pair)
        return TAKEN if not isinstance(got, str) or got == pair.value else got
    finally:
        kernel.close(fd)


def encoded(value: Value) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return struct.pack("=ii", *value) if isinstance(value, tuple) else struct.pack("=i", value)


def reported(fd: int, pair: Pair) -> Value:
    """What the kernel reports of the option: TAKEN's value, or CHANGED with what it made of it, or the name of the errno."""
    room = ctypes.create_string_buffer(64)
    length = ctypes.c_uint(len(encoded(pair.value)) if not isinstance(pair.value, str) else 64)
    option = pair.option
    if LIBRARY.getsockopt(fd, linux.number(option.level), linux.number(option.name), room, ctypes.byref(length)):
        return errno.errorcode[ctypes.get_errno()]
    data = room.raw[: length.value]
    if isinstance(pair.value, str):
        got: Value = data.rstrip(b"\0").decode()
    elif isinstance(pair.value, tuple):
        got = struct.unpack("=ii", data)
    else:
        got = struct.unpack("=i", data.ljust(4, b"\0")[:4])[0]
    return got if option.holds(pair.value, got) else f"{CHANGED}: {got}"


def at_least(major: int, minor: int) -> bool:
    """Whether this kernel is of that version or a later one."""
    found = os.uname().release.replace("-", ".").split(".")
    return (int(found[0]), int(found[1])) >= (major, minor)
