"""The part of `kernel` by which the Python executor sets what a process is: limits, priorities, capabilities (`settings` in
_spawn.c is its twin). Loaded when a unit asks for any of it, before the fork."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import struct
import termios
from contextlib import suppress

from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sockact.lifecycle.child import Setting

PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
CAPABILITY_VERSION_3 = 0x20080522
HALF = 0xFFFFFFFF
IOPRIO_SET = {"x86_64": 251, "i686": 289, "armv7l": 314, "armv6l": 314, "ppc64le": 273, "s390x": 282}
"""The number of a system call for which the C library has no name; 30 elsewhere (asm-generic)."""
PRIVILEGE = (errno.EPERM, errno.EACCES)


def apply(setting: Setting) -> None:
    """Carry out a setting in this process. OSError when it cannot be."""
    OPERATIONS[setting.op](setting)


def ready() -> None:
    """Load what is loaded when it is first used, while there is no fork."""
    with suppress(OSError):
        _libc()


def _libc() -> Any:
    """The C library; OSError where Python has no way to call it."""
    try:
        import ctypes
    except ImportError as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    """A function of the C library, whose integers are all as wide as a register."""
    library = _libc()
    import ctypes

    function = getattr(library, name)
    wide = [ctypes.c_ulong(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = int(function(*wide))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _write(setting: Setting) -> None:
    try:
        with open(setting.path, "wb", buffering=0) as file:
            file.write(setting.data)
    except OSError as error:
        if not setting.numbers[0] or error.errno not in PRIVILEGE:
            raise


def _limit(setting: Setting) -> None:
    """As near as the hard limit lets us."""
    number, soft, hard = setting.numbers
    soft, hard = _infinite(soft), _infinite(hard)
    try:
        resource.setrlimit(number, (soft, hard))
    except (ValueError, OSError) as error:
        _, highest = resource.getrlimit(number)
        if highest == resource.RLIM_INFINITY:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM)) from error
        resource.setrlimit(number, (_capped(soft, highest), _capped(hard, highest)))


def _infinite(value: int) -> int:
    """Python has another number for it."""
    return value if value < 1 << 63 else resource.RLIM_INFINITY


def _capped(value: int, highest: int) -> int:
    return highest if value == resource.RLIM_INFINITY else min(value, highest)


def _nice(setting: Setting) -> None:
    """As near as RLIMIT_NICE lets us."""
    (wanted,) = setting.numbers
    try:
        os.setpriority(os.PRIO_PROCESS, 0, wanted)
    except PermissionError:
        now = os.getpriority(os.PRIO_PROCESS, 0)
        best = 20 - min(max(resource.getrlimit(resource.RLIMIT_NICE)[0], 1), 40)
        if wanted > now:
            raise
        if best < now:
            os.setpriority(os.PRIO_PROCESS, 0, best)


def _scheduler(setting: Setting) -> None:
    policy, priority = setting.numbers
    os.sched_setscheduler(0, policy, os.sched_param(priority))


def _affinity(setting: Setting) -> None:
    words = struct.unpack(f"={len(setting.data) // 8}Q", setting.data)
    os.sched_setaffinity(0, {64 * index + bit for index, word in enumerate(words) for bit in range(64) if word >> bit & 1})


def _io(setting: Setting) -> None:
    _call("syscall", IOPRIO_SET.get(os.uname().machine, 30), 1, 0, setting.numbers[0])


def _prctl(setting: Setting) -> None:
    _call("prctl", *setting.numbers, 0, 0, 0)


def _bound(setting: Setting) -> None:
    for number in range(64):
        if setting.numbers[0] >> number & 1:
            continue
        try:
            if not _call("prctl", PR_CAPBSET_READ, number, 0, 0, 0):
                continue
        except OSError:
            return  # there are no more of them
        _call("prctl", PR_CAPBSET_DROP, number, 0, 0, 0)


def _inherit(setting: Setting) -> None:
    _libc()
    import ctypes

    add, keep = setting.numbers
    head = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION_3, 0), 8)
    data = ctypes.create_string_buffer(24)
    _call("capget", head, data)
    effective, permitted, low, effective_high, permitted_high, high = struct.unpack("=6I", data.raw)
    wanted = (low | high << 32) & keep | add
    packed = struct.pack("=6I", effective, permitted, wanted & HALF, effective_high, permitted_high, wanted >> 32 & HALF)
    _call("capset", head, ctypes.create_string_buffer(packed, 24))


def _ambient(setting: Setting) -> None:
    _call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(64):
        if setting.numbers[0] >> number & 1:
            _call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)


def _root(setting: Setting) -> None:
    os.chroot(setting.path)


def _terminal(setting: Setting) -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, setting.numbers[0])


OPERATIONS: dict[str, Callable[[Setting], None]] = {
    "write": _write,
    "limit": _limit,
    "nice": _nice,
    "scheduler": _scheduler,
    "affinity": _affinity,
    "io": _io,
    "prctl": _prctl,
    "bound": _bound,
    "inherit": _inherit,
    "ambient": _ambient,
    "root": _root,
    "terminal": _terminal,
}
"""In the order of `enum op` in _spawn.c, as `native.OPERATIONS` is."""
