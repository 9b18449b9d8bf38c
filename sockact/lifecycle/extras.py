"""What only some commands ask for, as data: what is set between fork and exec, and what has to be there before.

Loaded when a unit asks for any of it. The order of the settings, and the exit statuses of their failures, are systemd's
(systemd.exec(5), "Process Exit Codes").
"""

from __future__ import annotations

import struct

from sockact.lifecycle.child import OWN_VARIABLES, Extras, Place, Setting, Terminal
from sockact.lifecycle.control import controls
from sockact.record import TYPE_CHECKING
from sockact.unit.resources import (
    ALL_CAPABILITIES,
    IO_CLASSES,
    POLICIES,
    capabilities,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sockact.unit.commands import Command
    from sockact.unit.directives.execution import ExecutionSection
    from sockact.unit.places import Directory, OpenFile
    from sockact.unit.resources import Limit

    Get = Callable[[ExecutionSection], Limit | None]

LIMITS: tuple[tuple[str, int, Get], ...] = (
    ("CPU", 0, lambda section: section.limit_cpu),
    ("FSIZE", 1, lambda section: section.limit_fsize),
    ("DATA", 2, lambda section: section.limit_data),
    ("STACK", 3, lambda section: section.limit_stack),
    ("CORE", 4, lambda section: section.limit_core),
    ("RSS", 5, lambda section: section.limit_rss),
    ("NPROC", 6, lambda section: section.limit_nproc),
    ("NOFILE", 7, lambda section: section.limit_nofile),
    ("MEMLOCK", 8, lambda section: section.limit_memlock),
    ("AS", 9, lambda section: section.limit_as),
    ("LOCKS", 10, lambda section: section.limit_locks),
    ("SIGPENDING", 11, lambda section: section.limit_sigpending),
    ("MSGQUEUE", 12, lambda section: section.limit_msgqueue),
    ("NICE", 13, lambda section: section.limit_nice),
    ("RTPRIO", 14, lambda section: section.limit_rtprio),
    ("RTTIME", 15, lambda section: section.limit_rttime),
)
"""Limits and their numbers (include/uapi/asm-generic/resource.h; those of x86, ARM, RISC-V, POWER and s390)."""

PR_SET_SECUREBITS, PR_SET_TIMERSLACK, PR_SET_NO_NEW_PRIVS = 28, 29, 38
SECBIT_KEEP_CAPS = 16
SCHED_RESET_ON_FORK = 0x40000000
REALTIME = ("fifo", "rr")


def extras(section: ExecutionSection, command: Command, changes_user: bool) -> Extras:
    """All of it for one command. `changes_user` is whether the command becomes somebody else than the supervisor."""
    sandboxed = "+" not in command.prefixes
    before, after = [*_terminal_settings(section), *_process(section)], list[Setting]()
    if sandboxed:
        before += [*_limits(section), *_privileges(section, changes_user)]
        after += _late(section, changes_user)
    if section.root_directory:
        before.append(Setting("root", (), section.root_directory, b"", "changing to the root directory", 210))
    return Extras(
        login=section.login_environment,
        owner=(section.user, section.group),
        supplementary=() if command.is_privileged else section.supplementary_groups,
        dynamic=section.dynamic_user,
        passed=tuple(name for name in section.pass_environment if name not in OWN_VARIABLES),
        unset=section.unset_environment,
        search=":".join(section.search_path),
        root=section.root_directory or "",
        before=tuple(before),
        after=tuple(after),
        places=places(section),
        credentials=(section.load_credential, section.import_credential, section.set_credential),
        open_files=_open_files(section),
        terminal=_terminal(section),
        data=b"".join(section.standard_input_data),
        controls=tuple(controls(section)),
    )


def _open_files(section: ExecutionSection) -> tuple[OpenFile, ...]:
    """Services alone have them."""
    found: tuple[OpenFile, ...] = getattr(section, "open_file", ())
    return found


# Settings


def _process(section: ExecutionSection) -> Iterator[Setting]:
    """What a process is without privileges coming into it."""
    if section.oom_score_adjust is not None:
        data = str(section.oom_score_adjust).encode()
        yield Setting("write", (1,), "/proc/self/oom_score_adj", data, "setting the OOM score", 206)
    if section.coredump_filter:
        data = hex(together(section.coredump_filter)).encode()
        yield Setting("write", (1,), "/proc/self/coredump_filter", data, "setting the core dump filter", 205)
    if section.nice is not None:
        yield Setting("nice", (section.nice,), "", b"", "setting the nice value", 201)
    if section.cpu_policy or section.cpu_priority is not None or section.cpu_reset_on_fork:
        yield _scheduler(section)
    if section.cpu_affinity:
        yield Setting("affinity", (), "", _processors(section.cpu_affinity), "setting the processors", 215)
    if section.io_class or section.io_priority is not None:
        kind = IO_CLASSES[section.io_class or "best-effort"] or IO_CLASSES["best-effort"]
        level = 4 if section.io_priority is None else section.io_priority
        yield Setting("io", (kind << 13 | level,), "", b"", "setting the priority of input and output", 211)
    if section.timer_slack is not None:
        yield Setting("prctl", (PR_SET_TIMERSLACK, section.timer_slack), "", b"", "setting the timer slack", 212)


def _processors(numbers: tuple[int, ...]) -> bytes:
    """A mask in words of the machine, as sched_setaffinity(2) takes it."""
    mask = together(tuple(1 << number for number in numbers))
    words = [mask >> first & ((1 << 64) - 1) for first in range(0, mask.bit_length(), 64)]
    return struct.pack(f"={len(words)}Q", *words)


def _scheduler(section: ExecutionSection) -> Setting:
    policy, given = section.cpu_policy or "other", section.cpu_priority or 0
    # Without a policy the priority is what the kernel will refuse, as it does under systemd.
    priority = max(given, 1) if policy in REALTIME else 0 if section.cpu_policy else given
    number = POLICIES[policy] | (SCHED_RESET_ON_FORK if section.cpu_reset_on_fork else 0)
    return Setting("scheduler", (number, priority), "", b"", "setting the scheduling policy", 214)


def _limits(section: ExecutionSection) -> Iterator[Setting]:
    for name, number, get in LIMITS:
        limit = get(section)
        if limit is not None:
            yield Setting("limit", (number, limit.soft, limit.hard), "", b"", f"setting the limit {name}", 205)


def _privileges(section: ExecutionSection, changes_user: bool) -> Iterator[Setting]:
    """Capabilities must be inheritable before they can be ambient, and kept while the user changes (capabilities(7))."""
    ambient = capabilities(section.ambient_set, 0)
    keep = capabilities(section.bounding_set, ALL_CAPABILITIES) if section.bounding_set else ALL_CAPABILITIES
    if keep != ALL_CAPABILITIES:
        yield Setting("bound", (keep,), "", b"", "dropping capabilities", 218)
    if ambient or keep != ALL_CAPABILITIES:
        yield Setting("inherit", (ambient, keep), "", b"", "setting the inheritable capabilities", 218)
    if section.ambient_set and not changes_user:
        yield Setting("ambient", (ambient,), "", b"", "setting the ambient capabilities", 218)
    bits = together(section.secure_bits)
    if bits or (ambient and changes_user):
        wanted = bits | (SECBIT_KEEP_CAPS if changes_user else 0)
        yield Setting("prctl", (PR_SET_SECUREBITS, wanted), "", b"", "setting the secure bits", 213)


def _late(section: ExecutionSection, changes_user: bool) -> Iterator[Setting]:
    """What would be lost, or be in the way, before the user has changed."""
    if section.ambient_set and changes_user:
        ambient = capabilities(section.ambient_set, 0)
        yield Setting("ambient", (ambient,), "", b"", "setting the ambient capabilities", 218)
    if section.no_new_privileges or section.dynamic_user:
        yield Setting("prctl", (PR_SET_NO_NEW_PRIVS, 1), "", b"", "giving up new privileges", 227)


# Terminals


def _terminal_settings(section: ExecutionSection) -> Iterator[Setting]:
    kind = section.standard_input.kind
    if kind.startswith("tty"):
        yield Setting("terminal", (kind == "tty-force",), "", b"", "taking the terminal", 208)


def _terminal(section: ExecutionSection) -> Terminal | None:
    streams = (section.standard_input, section.standard_output, section.standard_error)
    used = any(stream.kind.startswith("tty") for stream in streams)
    if not used and not section.tty_reset and not section.tty_vhangup:
        return None
    size = (section.tty_rows, section.tty_columns)
    return Terminal(section.tty_path, used, section.tty_reset, section.tty_vhangup, size)


# Directories


def places(section: ExecutionSection) -> tuple[Place, ...]:
    """All directories of a unit, in the order in which systemd makes them."""
    kinds: tuple[tuple[str, tuple[Directory, ...], int, int], ...] = (
        ("RUNTIME", section.runtime_directory, section.runtime_mode, 233),
        ("STATE", section.state_directory, section.state_mode, 238),
        ("CACHE", section.cache_directory, section.cache_mode, 239),
        ("LOGS", section.logs_directory, section.logs_mode, 240),
        ("CONFIGURATION", section.configuration_directory, section.configuration_mode, 241),
    )
    return tuple(Place(name, found, mode, status) for name, found, mode, status in kinds if found)
