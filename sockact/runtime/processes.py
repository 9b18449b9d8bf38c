"""The processes of units: made of child plans, signalled, reaped. Those that are no commands of their unit are found by
`trees`."""

from __future__ import annotations

from functools import partial

from sockact.lifecycle.limits import Exit
from sockact.net import linux
from sockact.record import TYPE_CHECKING
from sockact.runtime import spawn
from sockact.runtime.log import ERROR, WARNING
from sockact.runtime.trees import SCARCE, SIGKILL, ByControlGroup, ByProcessGroup, signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.lifecycle.child import ChildPlan
    from sockact.runtime.kernel import Kernel
    from sockact.runtime.log import Log
    from sockact.runtime.loop import Loop
    from sockact.runtime.units import Unit


def told(how: Exit) -> str:
    """The end of a process, for the log."""
    return f"killed by {linux.signal_name(how.signal)}" if how.signal else f"exit status {how.code}"


class Processes:
    """All processes that commands are or have left behind. `ended` is told of the end of a command and what it was, `gone`
    when nothing is left of a unit that runs none, `oom_killed` when the kernel has killed one for want of memory, before that is
    told as an end; `settle` has one end answered before the next one is told."""

    def __init__(
        self,
        kernel: Kernel,
        loop: Loop,
        log: Log,
        *,
        ended: Callable[[Unit, str, Exit], None],
        gone: Callable[[Unit], None],
        oom_killed: Callable[[Unit], None],
        settle: Callable[[], None],
    ) -> None:
        self.kernel = kernel
        self.log = log
        self._execute: spawn.Execute | None = None
        self._ended = ended
        self._gone = gone
        self._settle = settle
        self._owners: dict[int, tuple[Unit, str]] = {}
        self._groups = ByControlGroup(kernel, loop, log, gone, oom_killed)
        self._sessions = ByProcessGroup(kernel, self._owners)
        self._has_groups = False

    def get_ready(self) -> spawn.Execute:
        """Choose how to make processes, and have what they leave behind; once, when the signals are handled, and not before the
        first command: it takes a while."""
        if self._execute is None:
            if not self.kernel.become_subreaper():
                text = "cannot adopt orphaned processes (prctl); the end of what a service leaves behind is not noticed"
                self.log(WARNING, "sockact", text)
            self._has_groups = self._groups.begin()
            self._execute = spawn.executor(self.kernel, self.kernel.not_default())
        return self._execute

    def end(self) -> None:
        """Leave nothing behind, but for what those need who still live."""
        if self._has_groups:
            self._groups.end()

    def _tree(self, unit: Unit) -> ByControlGroup | ByProcessGroup:
        return self._groups if self._groups.has(unit) else self._sessions

    def owner(self, pid: int) -> tuple[Unit | None, str]:
        """The unit whose process it is, and what it is there; nothing more than the unit for one that belongs to it otherwise."""
        return self._owners.get(pid) or (self._groups.owner(pid) or self._sessions.owner(pid), "")

    def start(self, unit: Unit, role: str, plan: ChildPlan) -> bool:
        """Start a process; whether the program runs. If not, the process ends with the status that stands for the reason."""
        execute = self.get_ready()
        try:
            group = self._groups.enter(unit, plan.extras.controls) if self._has_groups else -1
            try:
                note = partial(self.log, WARNING, unit.name)
                pid, failure = spawn.spawn(self.kernel, plan, execute, unit.name, note=note, group=group)
            finally:
                if group >= 0:
                    self.kernel.cgroups.close(group)
        except spawn.NotPreparedError as error:
            unit.starved = error.failure.number in SCARCE
            self._not_started(unit, plan, error.failure)
            self._ended(unit, role, Exit(error.failure.status))
            return False
        except OSError as error:
            self.starve(unit, role, error)
            return False
        self.adopt(unit, role, pid)
        if failure:
            self._not_started(unit, plan, failure)
        return failure is None

    def starve(self, unit: Unit, role: str, error: OSError) -> None:
        """No process could be made: the command has ended, and is tried again if somebody may give back what is wanting."""
        unit.starved = error.errno in SCARCE
        again = "; trying again in a second" if unit.starved else ""
        self.log(ERROR, unit.name, f"cannot make a process: {error.strerror}{again}")
        self._ended(unit, role, Exit(1))

    def adopt(self, unit: Unit, role: str, pid: int) -> None:
        """Take a process for the unit's, in the place of the one that had the role."""
        before = unit.pids.get(role, pid)
        self._owners[pid] = unit, role
        unit.pids[role] = pid
        if before != pid:
            del self._owners[before]
            self._tree(unit).left(unit, before)

    def _not_started(self, unit: Unit, plan: ChildPlan, failure: spawn.Failure) -> None:
        self.log(ERROR, unit.name, f"{failure.step} failed ({plan.command.program}): {failure.why}")

    def reap(self) -> None:
        """Collect every child that has ended, orphans included."""
        while ended := self.kernel.reap():
            pid, how = ended
            unit, role = self._owners.pop(pid, (None, ""))
            if unit is None:
                continue
            self._tree(unit).left(unit, pid)
            del unit.pids[role]
            self._ended(unit, role, how)
            self._settle()
        for unit in self._sessions.gone():
            if not unit.pids:
                self._gone(unit)

    def lost(self, unit: Unit, role: str, pid: int) -> None:
        """A process has ended that is no child of ours: nobody tells us how."""
        if unit.pids.get(role) == pid:
            self.let_go(unit, role)
            self._ended(unit, role, Exit())

    def strays(self, unit: Unit) -> list[int]:
        """Children of ours that belong to the unit and are none of its commands."""
        return self._tree(unit).strays(unit)

    def leftovers(self, unit: Unit) -> bool:
        """Whether commands of the unit that have ended left processes behind."""
        return self._tree(unit).leftovers(unit)

    def kill(self, unit: Unit, number: int, whole: bool) -> None:
        """Signal all processes of the unit, or only those that are its commands."""
        if whole:
            self._tree(unit).send(unit, number)
            return
        for signal in signals(number):
            for pid in unit.pids.values():
                self.kernel.kill(pid, signal)

    def let_go(self, unit: Unit, role: str) -> None:
        """Wait for a process no longer; it is one of those left over."""
        pid = unit.pids.pop(role, 0)
        if pid:
            del self._owners[pid]
            self._tree(unit).left(unit, pid)

    def give_up(self, unit: Unit, role: str) -> None:
        """End a process that nobody waits for any more."""
        pid = unit.pids.get(role, 0)
        self.let_go(unit, role)
        if pid and not self.kernel.kill_group(pid, SIGKILL):
            self.kernel.kill(pid, SIGKILL)

    def forget(self, unit: Unit) -> None:
        """Whatever is left of the unit is nobody's any more."""
        for pid in unit.pids.values():
            del self._owners[pid]
        unit.pids.clear()
        self._sessions.forget(unit)
        if self._groups.has(unit):
            self._groups.forget(unit)
