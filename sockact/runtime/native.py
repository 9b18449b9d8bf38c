"""The C executor of child plans (`_spawn.c`), where it was built: loaded with ctypes, and used by `spawn` if it is there."""

from __future__ import annotations

import ctypes
import errno
import os

from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockact.lifecycle.child import Setting
    from sockact.runtime.spawn import Image

LIBRARY = os.path.join(os.path.dirname(__file__), "_spawn.so")
PID_ROOM = b"0" * 20
"""Room for any pid, which the child writes there."""


OPERATIONS = (
    *("write", "limit", "nice", "scheduler", "affinity", "io", "prctl", "bound", "inherit", "ambient", "root", "terminal"),
)
"""`enum op` of _spawn.c."""


class _Setting(ctypes.Structure):
    """`struct setting` of _spawn.c."""

    _fields_ = (
        ("op", ctypes.c_int),
        ("numbers", ctypes.c_uint64 * 3),
        ("path", ctypes.c_char_p),
        ("data", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
    )


class _Image(ctypes.Structure):
    """`struct image` of _spawn.c."""

    _fields_ = (
        ("path", ctypes.c_char_p),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("envp", ctypes.POINTER(ctypes.c_char_p)),
        ("stamps", ctypes.POINTER(ctypes.c_void_p)),
        ("stamp_count", ctypes.c_int),
        ("group", ctypes.c_int),
        ("stdio", ctypes.c_int * 3),
        ("fds", ctypes.POINTER(ctypes.c_int)),
        ("fd_count", ctypes.c_int),
        ("change_ids", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("gid", ctypes.c_uint),
        ("groups", ctypes.POINTER(ctypes.c_uint)),
        ("group_count", ctypes.c_int),
        ("directory", ctypes.c_char_p),
        ("directory_optional", ctypes.c_int),
        ("umask", ctypes.c_uint),
        ("signals", ctypes.POINTER(ctypes.c_int)),
        ("signal_count", ctypes.c_int),
        ("ignored", ctypes.POINTER(ctypes.c_int)),
        ("ignored_count", ctypes.c_int),
        ("before", ctypes.POINTER(_Setting)),
        ("before_count", ctypes.c_int),
        ("after", ctypes.POINTER(_Setting)),
        ("after_count", ctypes.c_int),
        ("statuses", ctypes.POINTER(ctypes.c_int)),
    )


class _Failure(ctypes.Structure):
    """`struct failure` of _spawn.c."""

    _fields_ = (("step", ctypes.c_int), ("number", ctypes.c_int), ("ran", ctypes.c_int))


class Executor:
    """The loaded library. OSError when it was not built, AttributeError when it is something else. `statuses` are the exit
    statuses of the steps."""

    def __init__(self, statuses: Sequence[int]) -> None:
        self._spawn = ctypes.CDLL(LIBRARY).sockact_spawn
        self._statuses = (ctypes.c_int * len(statuses))(*statuses)

    def spawn(self, image: Image, signals: Sequence[int], statuses: Sequence[int] = ()) -> tuple[int, int, int]:
        """The pid, and the step and errno of a failure in the child (step -1 for none). OSError without a process. `statuses`
        are those of an image whose settings are steps, too."""
        variables = "\0".join([f"{name}={value}" for name, value in image.environment.items()])
        environment = _encode(variables).split(b"\0") if variables else []
        rooms = [ctypes.create_string_buffer(name.encode() + b"=" + PID_ROOM) for name in image.stamped]
        envp = _strings([*environment, *(b"" for _ in rooms)])
        for index, room in enumerate(rooms, len(environment)):
            envp[index] = ctypes.cast(room, ctypes.c_char_p)
        stamps = [ctypes.addressof(room) + len(name) + 1 for name, room in zip(image.stamped, rooms, strict=True)]
        account = image.account
        groups = account.groups if account else ()
        raw = _Image(
            _encode(image.path),
            _strings([_encode(word) for word in image.argv]),
            envp,
            (ctypes.c_void_p * len(stamps))(*stamps),
            len(stamps),
            image.group,
            (ctypes.c_int * 3)(*image.stdio),
            (ctypes.c_int * len(image.descriptors))(*image.descriptors),
            len(image.descriptors),
            account is not None,
            account.uid if account else 0,
            account.gid if account else 0,
            (ctypes.c_uint * len(groups))(*groups),
            len(groups),
            _encode(image.directory),
            image.directory_optional,
            image.umask,
            (ctypes.c_int * len(signals))(*signals),
            len(signals),
            (ctypes.c_int * len(image.ignored))(*image.ignored),
            len(image.ignored),
            _settings(image.before),
            len(image.before),
            _settings(image.after),
            len(image.after),
            (ctypes.c_int * len(statuses))(*statuses) if statuses else self._statuses,
        )
        failure = _Failure(-1, 0, 0)
        left = (ctypes.c_int * len(image.descriptors))()
        pid = self._spawn(ctypes.byref(raw), ctypes.c_size_t(ctypes.sizeof(raw)), ctypes.byref(failure), left)
        if pid < 0:
            raise OSError(failure.number, os.strerror(failure.number))
        return pid, failure.step, failure.number


def _settings(settings: Sequence[Setting]) -> ctypes.Array[_Setting] | None:
    """None for the many that have none."""
    if not settings:
        return None
    raw = [
        _Setting(OPERATIONS.index(one.op), (ctypes.c_uint64 * 3)(*one.numbers), _encode(one.path), one.data, len(one.data))
        for one in settings
    ]
    return (_Setting * len(raw))(*raw)


def _encode(text: str) -> bytes:
    """Text for the kernel; OSError for letters that the locale of this process has not."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError as error:
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ), text) from error


def _strings(words: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
