"""POSIX message queues (mq_overview(7)), which Python lacks: a part of `kernel`. The library is loaded by the first queue."""

from __future__ import annotations

import errno
import os
from functools import cache

from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

MAGIC = 0x19800202
"""statfs(2) of a message queue."""


@cache
def _library() -> Any:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "mq_open"):  # the C library before glibc 2.34
        library = ctypes.CDLL("librt.so.1", use_errno=True)
    return library


def _attributes(messages: int = 0, size: int = 0) -> Any:
    """`struct mq_attr`: flags, messages, size, current messages, and room."""
    import ctypes

    return (ctypes.c_long * 8)(0, messages, size)


def _checked(result: int) -> int:
    import ctypes

    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def open_or_create(name: str, mode: int, messages: int, size: int) -> tuple[int, bool]:
    import ctypes

    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    attributes = ctypes.byref(_attributes(messages, size)) if messages else None
    create = _library().mq_open
    create.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    try:
        return _checked(create(os.fsencode(name), how | os.O_CREAT | os.O_EXCL, mode, attributes)), True
    except FileExistsError:
        return _checked(create(os.fsencode(name), how, 0, None)), False


def sizes(fd: int) -> tuple[int, int]:
    attributes = _attributes()
    _checked(_library().mq_getattr(fd, attributes))
    return attributes[1], attributes[2]


def remove(name: str) -> None:
    """Remove a queue; gone is gone."""
    try:
        _checked(_library().mq_unlink(os.fsencode(name)))
    except FileNotFoundError:
        pass  # somebody else was faster


def receive(fd: int) -> int:
    """Take a message out of the queue; its length. OSError (EAGAIN) when there is none."""
    import ctypes

    take = _library().mq_receive
    take.argtypes, take.restype = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p), ctypes.c_ssize_t
    room = sizes(fd)[1]
    return _checked(take(fd, ctypes.create_string_buffer(room), room, None)) + 1


def is_queue(fd: int) -> bool:
    try:
        sizes(fd)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return False
    return True
