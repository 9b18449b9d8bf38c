"""Carries out a child plan: fork, the steps in the child, exec.

The steps are a table. Each has the exit status that systemd gives to its failure (systemd.exec(5), "Process Exit Codes"),
and reports itself and its errno over a pipe that exec closes: end of file is the news that the program runs.
"""

from __future__ import annotations

import errno
import os
import struct

from sockact.lifecycle import child
from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.lifecycle.child import ChildPlan, Source
    from sockact.runtime.kernel import Account, Kernel

REPORT = struct.Struct("=ii")


class Spawned(Record):
    """A process that was started: its pid, and the pipe on which it reports a step that failed."""

    pid: int
    report: int


class Failure(Record):
    """The step between fork and exec that failed, and why."""

    step: str
    number: int

    @property
    def why(self) -> str:
        """The errno in words. A failure without one is an account that nobody knows."""
        return (
            f"{os.strerror(self.number)} ({errno.errorcode.get(self.number, self.number)})" if self.number else "no such account"
        )


class _Child:
    """The child, as far as it is set up."""

    def __init__(self, kernel: Kernel, plan: ChildPlan, report: int, signals: list[int]) -> None:
        self.kernel = kernel
        self.plan = plan
        self.report = report
        self.signals = signals
        self.account: Account | None = None
        self.environment: dict[str, str] = {}

    def reset(self) -> None:
        self.kernel.reset_signals(self.signals)
        self.kernel.new_session()

    def stream(self, target: int) -> None:
        source = self.plan.streams[target]
        self.kernel.duplicate(self._open(source), target)

    def _open(self, source: Source) -> int:
        if source is child.CONNECTION or source == child.CONNECTION:
            # An inetd-style program knows nothing of O_NONBLOCK.
            self.kernel.set_blocking(self.plan.descriptors[0], True)
            return self.plan.descriptors[0]
        return self.kernel.open(source.path, source.how) if source.path else source.fd

    def descriptors(self) -> None:
        handed = self.plan.descriptors[: self.plan.placed]
        self.report = self.kernel.place(handed, self.report)
        for fd in range(3, 3 + len(handed)):
            self.kernel.set_blocking(fd, not self.plan.non_blocking)

    def look_up(self) -> None:
        if self.plan.user or self.plan.group:
            self.account = self.kernel.account(self.plan.user, self.plan.group)

    def assemble_environment(self) -> None:
        plan = self.plan
        login = self.account.environment if self.account else {}
        self.environment = {**plan.base, **login, **dict(plan.own)}
        for file in plan.files:
            self.environment |= self._read(file.path, file.optional)
        self.environment |= plan.handed
        if "LISTEN_FDS" in plan.handed:
            self.environment["LISTEN_PID"] = str(self.kernel.pid())

    def _read(self, path: str, optional: bool) -> dict[str, str]:
        try:
            return child.environment_file(self.kernel.read_file(path).decode(errors="surrogateescape"))
        except FileNotFoundError:
            if not optional:
                raise
            return {}

    def become(self) -> None:
        if self.account:
            self.kernel.become(self.account)

    def change_directory(self) -> None:
        directory = self.plan.directory
        if directory is None:
            self.kernel.change_directory("/")
            return
        path = self.environment.get("HOME", "/") if directory.path == "~" else directory.path
        try:
            self.kernel.change_directory(path)
        except OSError:
            if not directory.optional:
                raise

    def execute(self) -> None:
        argv = child.expand(self.plan.command, self.environment)
        path = self.kernel.find_program(self.plan.command.program, self.environment["PATH"])
        self.kernel.execute(path, argv, self.environment)


class Step(Record):
    """A step of the child: what it does in words, the exit status of its failure, and the doing."""

    name: str
    status: int
    run: Callable[[_Child], None]


STEPS = (
    Step("setting up a session of its own", 207, _Child.reset),
    Step("opening standard input", 208, lambda c: c.stream(0)),
    Step("opening standard output", 209, lambda c: c.stream(1)),
    Step("opening standard error", 222, lambda c: c.stream(2)),
    Step("placing the descriptors", 202, _Child.descriptors),
    Step("finding the user or group", 217, _Child.look_up),
    Step("reading the environment", 6, _Child.assemble_environment),
    Step("changing to the user or group", 216, _Child.become),
    Step("changing to the working directory", 200, _Child.change_directory),
    Step("executing the program", 203, _Child.execute),
)


def spawn(kernel: Kernel, plan: ChildPlan, signals: list[int]) -> Spawned:
    """Start the process. `signals` are those whose disposition is not the default here. OSError when there can be none."""
    reader, writer = kernel.pipe()
    # A signal in the child before its handlers are reset would be noted in the parent's wakeup pipe, as if it were ours.
    kernel.block_signals()
    try:
        pid = kernel.fork()
    except OSError:
        kernel.close(reader)
        raise
    else:
        if pid == 0:
            _run(_Child(kernel, plan, writer, signals))
    finally:
        kernel.unblock_signals()
        kernel.close(writer)
    return Spawned(pid, reader)


def _run(starting: _Child) -> None:
    """In the child: the steps, or the report of the one that failed. Never returns."""
    status = 255
    try:
        for index, step in enumerate(STEPS):
            status = step.status
            try:
                step.run(starting)
            except KeyError:
                starting.kernel.write(starting.report, REPORT.pack(index, 0))
                break
            except OSError as error:
                starting.kernel.write(starting.report, REPORT.pack(index, error.errno or 0))
                break
    finally:
        # Whatever happens, a child never runs on as a second supervisor.
        starting.kernel.exit_child(status)


def outcome(kernel: Kernel, report: int) -> Failure | None:
    """Read what a child reported: None says that the program runs."""
    data = kernel.read(report, REPORT.size)
    if len(data) < REPORT.size:
        return None
    index, number = REPORT.unpack(data)
    return Failure(STEPS[index].name, number)
