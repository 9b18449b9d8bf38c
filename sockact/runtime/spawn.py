"""Makes a process of a child plan, in two halves.

`prepare` does what takes thought, here in the parent: opening files, looking up accounts, reading environment files, expanding
variables. What is left, the `Image`, is a handful of system calls between fork and exec, the same for both executors: the C
one (`native`, vfork) where it was built, and the Python one (fork) everywhere. Either reports the step that failed and its
errno; each step has the exit status that systemd gives it (systemd.exec(5), "Process Exit Codes").
"""

from __future__ import annotations

import errno
import os
import struct
from functools import partial

from sockact.lifecycle import child
from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.lifecycle.child import ChildPlan, Setting, Source
    from sockact.runtime.kernel import Account, Kernel
    from sockact.runtime.provisions import Note, Provided
    from sockact.unit.directives.execution import ExecutionSection

    Execute = Callable[["Image"], tuple[int, int, int]]
    """Takes an image; returns the pid, the index of the step that failed (-1 for none), and its errno."""

REPORT = struct.Struct("=ii")
CORE_FILTER = "/proc/self/coredump_filter"
EXECUTOR_VARIABLE = "SOCKACT_EXECUTOR"
"""`fork` keeps to the Python executor even where the C one was built."""


STAMPS = {"LISTEN_PID": "LISTEN_FDS", "WATCHDOG_PID": "WATCHDOG_USEC"}
"""Variables that hold the pid of the process itself, and those beside which they stand."""


class Image(Record):
    """All that the child needs to become the program. `opened` are descriptors the parent made for it, and closes."""

    path: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    stamped: tuple[str, ...]
    """The variables into which the child puts its own pid."""
    stdio: tuple[int, int, int]
    descriptors: tuple[int, ...]
    account: Account | None
    directory: str
    directory_optional: bool
    umask: int
    ignored: tuple[int, ...]
    """Signals that are ignored; all others have their defaults."""
    before: tuple[Setting, ...]
    """What is set before the user changes, and what after it."""
    after: tuple[Setting, ...]
    opened: tuple[int, ...]
    group: int = -1
    """The control group in which it is made, if it gets one."""

    @property
    def changes_memory(self) -> bool:
        """Whether it sets something that belongs to the memory, which a child of vfork(2) shares with us."""
        return any(setting.path == CORE_FILTER for setting in self.before)


class Failure(Record):
    """The step that failed, the exit status that stands for it, and the errno (0 where there is none)."""

    step: str
    status: int
    number: int

    @property
    def why(self) -> str:
        return (
            f"{os.strerror(self.number)} ({errno.errorcode.get(self.number, self.number)})" if self.number else "no such account"
        )


class Preparation(Record):
    """A process that is being prepared: its plan, the unit it is for, whom to tell what is not as it was asked for, and the
    descriptors that were opened for it so far."""

    kernel: Kernel
    plan: ChildPlan
    unit: str
    note: Note
    opened: list[int]
    group: int


class NotPreparedError(Exception):
    """The process was not even tried: something it needs is missing."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.step)
        self.failure = failure


# Preparing


def prepare(kernel: Kernel, plan: ChildPlan, unit: str = "", note: Note = lambda text: None, group: int = -1) -> Image:
    """Everything up to the fork. NotPreparedError says what was missing; nothing stays open then. `note` is told what is not
    as it was asked for."""
    opened: list[int] = []
    try:
        return _prepared(Preparation(kernel, plan, unit, note, opened, group))
    except BaseException:
        for fd in opened:
            kernel.close(fd)
        raise


def _prepared(preparation: Preparation) -> Image:
    kernel, plan, opened = preparation.kernel, preparation.plan, preparation.opened
    account = _account(kernel, plan)
    provided = None if plan.extras is child.PLAIN else _provided(preparation, account)
    account = provided.account if provided else account
    stdio = _streams(kernel, plan, opened)
    environment = attempt("reading the environment", 6, lambda: _environment(kernel, plan, account, provided))
    for fd in plan.descriptors[: plan.sockets]:
        # An inetd-style program knows nothing of O_NONBLOCK; others get what NonBlocking= says.
        kernel.set_blocking(fd, not plan.non_blocking)
    directory = plan.directory.path if plan.directory else "/"
    search, extras = plan.extras.search or environment.get("PATH", child.SEARCH_PATH), plan.extras
    return Image(
        kernel.find_program(plan.command.program, search, extras.root),
        tuple(child.expand(plan.command, environment)),
        environment,
        tuple(stamp for stamp, reason in STAMPS.items() if reason in environment),
        stdio,
        plan.descriptors[: plan.placed] + (provided.descriptors if provided else ()),
        account if account and (extras.supplementary or kernel.must_become(account)) else None,
        environment.get("HOME", "/") if directory == "~" else directory,
        plan.directory is not None and plan.directory.optional,
        plan.umask,
        plan.ignored,
        extras.before,
        extras.after,
        tuple(opened),
        preparation.group,
    )


def _provided(preparation: Preparation, account: Account | None) -> Provided:
    from sockact.runtime.provisions import provide

    return provide(preparation, account)


def release(kernel: Kernel, section: ExecutionSection, unit: str, restarts: bool, note: Note) -> None:
    """Take away what a unit had and that does not outlive it, or its restarts."""
    if child.ASKING.isdisjoint(section.given):
        return
    from sockact.runtime import provisions

    try:
        provisions.release(kernel, section, unit, restarts)
    except OSError as error:
        note(f"cannot remove {error.filename}: {error.strerror}")


def attempt(step: str, status: int, action: Callable[[], _T]) -> _T:
    """Do something without which there is no process: NotPreparedError with this step and status if it fails."""
    try:
        return action()
    except KeyError as error:
        raise NotPreparedError(Failure(step, status, 0)) from error
    except OSError as error:
        raise NotPreparedError(Failure(step, status, error.errno or 0)) from error


STREAM_STEPS = (("opening standard input", 208), ("opening standard output", 209), ("opening standard error", 222))


def _streams(kernel: Kernel, plan: ChildPlan, opened: list[int]) -> tuple[int, int, int]:
    """The descriptors that become 0, 1 and 2."""
    found: list[int] = []
    for source, (step, status) in zip(plan.streams, STREAM_STEPS, strict=True):
        if source.follows >= 0:
            found.append(found[source.follows])
        elif source == child.CONNECTION and not plan.descriptors:
            raise NotPreparedError(Failure(step, status, errno.EINVAL))
        elif source == child.CONNECTION:
            found.append(plan.descriptors[0])
        elif source == child.MISSING:
            raise NotPreparedError(Failure(step, status, errno.ENOENT))
        elif source.how:
            fd = attempt(step, status, partial(_opened, kernel, plan, source))
            opened += [fd] if fd >= 0 else []
            found.append(fd if fd >= 0 else source.fd)
        else:
            found.append(source.fd)
    return found[0], found[1], found[2]


def _opened(kernel: Kernel, plan: ChildPlan, source: Source) -> int:
    """A new descriptor for a stream; -1 for one that has to do with what there is instead."""
    match source.how:
        case "data":
            return kernel.places.data(plan.extras.data)
        case "journal":
            return kernel.places.journal(source.path)
        case "kmsg":
            return kernel.places.kernel_log()
    try:
        return kernel.open(source.path, source.how)
    except OSError as error:
        # That is what opening a socket comes to.
        fd = kernel.places.connect(source.path, "SOCK_STREAM") if error.errno == errno.ENXIO else -1
        if fd < 0:
            raise
        return fd


def _account(kernel: Kernel, plan: ChildPlan) -> Account | None:
    if plan.user is None and plan.group is None:
        return None
    gid = attempt("finding the group", 216, partial(kernel.group_id, plan.group)) if plan.group else None
    return attempt("finding the user", 217, partial(kernel.account, plan.user, gid))


def _environment(kernel: Kernel, plan: ChildPlan, account: Account | None, provided: Provided | None) -> dict[str, str]:
    login = provided.variables if provided else account.environment if account else {}
    environment = {**plan.base, **login, **dict(plan.own)}
    for file in plan.files:
        try:
            data = kernel.read_file(file.path)
        except FileNotFoundError:
            if not file.optional:
                raise
            continue
        if b"\0" in data:
            raise OSError(errno.EINVAL, f"a NUL byte in {file.path}")
        environment |= child.environment_file(data.decode(errors="surrogateescape"))
    environment |= plan.handed
    return child.finished(environment, plan, provided.fd_names) if provided else environment


# Executing


class _Child:
    """The forked child of the Python executor."""

    def __init__(self, kernel: Kernel, image: Image, signals: list[int], report: int) -> None:
        self.kernel = kernel
        self.image = image
        self.signals = signals
        self.report = report

    def start_session(self) -> None:
        self.kernel.reset_signals(self.signals, self.image.ignored)
        self.kernel.set_umask(self.image.umask)
        self.kernel.new_session()

    def join_group(self) -> None:
        if self.image.group >= 0:
            self.kernel.cgroups.join(self.image.group)

    def set_stream(self, target: int) -> None:
        self.kernel.duplicate(self.image.stdio[target], target)

    def place_descriptors(self) -> None:
        self.report = self.kernel.place(self.image.descriptors, self.report)

    def change_ids(self) -> None:
        if self.image.account:
            self.kernel.become(self.image.account)

    def change_directory(self) -> None:
        try:
            self.kernel.change_directory(self.image.directory)
        except OSError:
            if not self.image.directory_optional:
                raise
            self.kernel.change_directory("/")

    def execute(self) -> None:
        environment = self.image.environment
        environment = environment | dict.fromkeys(self.image.stamped, str(self.kernel.pid()))
        self.kernel.execute(self.image.path, list(self.image.argv), environment)


class Step(Record):
    """A step between fork and exec: its name, the exit status of its failure, and the doing."""

    name: str
    status: int
    run: Callable[[_Child], None]


FIRST_STEPS = (
    Step("setting up a session of its own", 207, _Child.start_session),
    Step("joining the control group", 219, _Child.join_group),
    Step("setting standard input", 208, lambda c: c.set_stream(0)),
    Step("setting standard output", 209, lambda c: c.set_stream(1)),
    Step("setting standard error", 222, lambda c: c.set_stream(2)),
    Step("placing the descriptors", 202, _Child.place_descriptors),
)
CHANGE = Step("changing to the user or group", 216, _Child.change_ids)
LAST_STEPS = (
    Step("changing to the working directory", 200, _Child.change_directory),
    Step("executing the program", 203, _Child.execute),
)
STEPS = (*FIRST_STEPS, CHANGE, *LAST_STEPS)
"""_spawn.c has the same steps in the same order, and is told the statuses."""


def steps(image: Image) -> tuple[Step, ...]:
    """The steps of this image: its settings are steps, too."""
    if not image.before and not image.after:
        return STEPS
    before, after = (tuple(map(_setting_step, settings)) for settings in (image.before, image.after))
    return (*FIRST_STEPS, *before, CHANGE, *after, *LAST_STEPS)


def _setting_step(setting: Setting) -> Step:
    return Step(setting.name, setting.status, lambda c: c.kernel.apply(setting))


def executor(kernel: Kernel, signals: list[int]) -> Execute:
    """The best executor there is. `signals` are those whose disposition is not the default in this process."""
    if os.environ.get(EXECUTOR_VARIABLE) != "fork":
        try:
            from sockact.runtime import native as c

            native = c.Executor([step.status for step in STEPS])
        except (ImportError, OSError, AttributeError):
            pass  # not built: the wheel came without it, or the machine has no ctypes
        else:
            return lambda image: _native(kernel, image, signals, native)
    return lambda image: _fork(kernel, image, signals)


def _native(kernel: Kernel, image: Image, signals: list[int], native: Executor) -> tuple[int, int, int]:
    """The C executor, where it can do it."""
    if not image.before and not image.after:
        return native.spawn(image, signals)
    if image.changes_memory:
        return _fork(kernel, image, signals)
    return native.spawn(image, signals, [step.status for step in steps(image)])


def spawn(
    kernel: Kernel, plan: ChildPlan, execute: Execute, unit: str = "", *, note: Note = lambda text: None, group: int = -1
) -> tuple[int, Failure | None]:
    """Start the process, in the control group behind that descriptor: its pid, and the step that failed if one did (the child
    then ends with its status).

    NotPreparedError if it was not even tried, OSError if no process could be made.
    """
    image = prepare(kernel, plan, unit, note, group)
    try:
        pid, step, number = execute(image)
    finally:
        for fd in image.opened:
            kernel.close(fd)
    if step < 0:
        return pid, None
    failed = steps(image)[step]
    return pid, Failure(failed.name, failed.status, number)


def _fork(kernel: Kernel, image: Image, signals: list[int]) -> tuple[int, int, int]:
    """The Python executor. It waits until the child has become the program, as vfork(2) does."""
    reader, writer = kernel.pipe()
    try:
        pid = _forked(kernel, image, signals, writer)
        data = kernel.read(reader, REPORT.size)
    finally:
        kernel.close(reader)
    return (pid, *(REPORT.unpack(data) if len(data) == REPORT.size else (-1, 0)))


def _forked(kernel: Kernel, image: Image, signals: list[int], writer: int) -> int:
    if image.before or image.after:
        kernel.get_ready_to_apply()
    # A signal in the child before its handlers are reset would be noted in the parent's wakeup pipe, as if it were ours.
    kernel.block_signals()
    try:
        pid = kernel.fork()
        if pid == 0:
            _run(_Child(kernel, image, signals, writer))
        return pid
    finally:
        kernel.unblock_signals()
        kernel.close(writer)


def _run(starting: _Child) -> None:
    """In the child: the steps, or the report of the one that failed. Never returns."""
    reached, all_ = -1, steps(starting.image)
    try:
        for step in all_:
            reached += 1
            step.run(starting)
    except OSError as error:
        starting.kernel.write(starting.report, REPORT.pack(reached, error.errno or 0))
    except UnicodeEncodeError:
        starting.kernel.write(starting.report, REPORT.pack(reached, errno.EILSEQ))
    finally:
        # Whatever happens, a child never runs on as a second supervisor.
        starting.kernel.exit_child(all_[reached].status)


if TYPE_CHECKING:
    from typing import TypeVar

    from sockact.runtime.native import Executor

    _T = TypeVar("_T")
