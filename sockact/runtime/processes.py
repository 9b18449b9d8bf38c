"""The processes of units: made of child plans, signalled, reaped.

A command leads a session and group of its own. What is left of a group when its leader has ended still belongs to the unit;
as subreaper (or process 1) we are told of the end of each of them, too.
"""

from __future__ import annotations

import errno

from sockact.lifecycle.limits import Exit
from sockact.net import linux
from sockact.record import TYPE_CHECKING
from sockact.runtime import spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.lifecycle.child import ChildPlan
    from sockact.runtime.kernel import Kernel
    from sockact.runtime.units import Unit

    Log = Callable[[str, str, str], None]
    """level, who, what"""

SIGKILL = linux.SIGNALS["KILL"]
SIGCONT = linux.SIGNALS["CONT"]
"""A stopped process takes no SIGTERM; systemd sends SIGCONT along, too."""


WANTS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""Processes, memory, descriptors: what may be there again in a second."""

MAIN, CONTROL = "main", "control"
"""What a process is for its unit: the one that does the work, or the one that runs its other commands."""


def told(how: Exit) -> str:
    """The end of a process, for the log."""
    return f"killed by {linux.signal_name(how.signal)}" if how.signal else f"exit status {how.code}"


class Processes:
    """All processes that commands are or have left behind. `ended` is told of the end of a command and what it was, `gone`
    when a group of a unit that runs none has gone; `settle` has one end answered before the next one is told."""

    def __init__(
        self,
        kernel: Kernel,
        log: Log,
        ended: Callable[[Unit, str, Exit], None],
        gone: Callable[[Unit], None],
        settle: Callable[[], None],
    ) -> None:
        self.kernel = kernel
        self.log = log
        self._execute: spawn.Execute | None = None
        self._ended = ended
        self._gone = gone
        self._settle = settle
        self._owners: dict[int, tuple[Unit, str]] = {}
        self._left: dict[int, Unit] = {}
        """Groups that have outlived their leader."""

    def get_ready(self) -> spawn.Execute:
        """Choose how to make processes, and have what they leave behind; once, when the signals are handled, and not before the
        first command: it takes a while."""
        if self._execute is None:
            if not self.kernel.become_subreaper():
                text = "cannot adopt orphaned processes (prctl); the end of what a service leaves behind is not noticed"
                self.log("warning", "sockact", text)
            self._execute = spawn.executor(self.kernel, self.kernel.not_default())
        return self._execute

    def owner(self, pid: int) -> tuple[Unit | None, str]:
        """The unit whose process it is, and what it is there; nothing more than the unit for one that belongs to it otherwise."""
        if pid in self._owners:
            return self._owners[pid]
        group = self.kernel.group_of(pid)
        unit = self._left.get(group) or self._owners.get(group, (None, ""))[0]
        return unit or self._of_invocation(self.kernel.invocation_of(pid)), ""

    def _of_invocation(self, invocation: str) -> Unit | None:
        """The unit of this start, which the process may say it belongs to wherever it has gone."""
        return next((unit for unit, _ in self._owners.values() if invocation and unit.invocation == invocation), None)

    def start(self, unit: Unit, role: str, plan: ChildPlan) -> bool:
        """Start a process; whether the program runs. If not, the process ends with the status that stands for the reason."""
        try:
            pid, failure = spawn.spawn(
                self.kernel, plan, self.get_ready(), unit.name, lambda text: self.log("warning", unit.name, text)
            )
        except spawn.NotPreparedError as error:
            unit.starved = error.failure.number in WANTS
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
        unit.starved = error.errno in WANTS
        again = "; trying again in a second" if unit.starved else ""
        self.log("error", unit.name, f"cannot make a process: {error.strerror}{again}")
        self._ended(unit, role, Exit(1))

    def adopt(self, unit: Unit, role: str, pid: int) -> None:
        """Take a process for the unit's, in the place of the one that had the role."""
        before = unit.pids.get(role)
        if before and before != pid:
            self._owners[before] = unit, ""
            self._left[before] = unit
        self._owners[pid] = unit, role
        unit.pids[role] = pid

    def _not_started(self, unit: Unit, plan: ChildPlan, failure: spawn.Failure) -> None:
        self.log("error", unit.name, f"{failure.step} failed ({plan.command.program}): {failure.why}")

    def reap(self) -> None:
        """Collect every child that has ended, orphans included."""
        while ended := self.kernel.reap():
            pid, how = ended
            unit, role = self._owners.pop(pid, (None, ""))
            if unit is None:
                continue
            self._note_what_is_left(unit, pid)
            if unit.pids.get(role) == pid:
                del unit.pids[role]
                self._ended(unit, role, how)
                self._settle()
        for group in [group for group in self._left if not self.kernel.kill_group(group, 0)]:
            unit = self._left.pop(group)
            self._note_strays(unit)
            if not unit.pids:
                self._gone(unit)

    def lost(self, unit: Unit, role: str, pid: int) -> None:
        """A process has ended that is no child of ours: nobody tells us how."""
        self._owners.pop(pid, None)
        if unit.pids.get(role) == pid:
            del unit.pids[role]
            self._ended(unit, role, Exit())

    def _note_what_is_left(self, unit: Unit, pid: int) -> None:
        """The rest of the group of a process that has ended, and those who left it."""
        if self.kernel.kill_group(pid, 0):
            self._left[pid] = unit
        self._note_strays(unit)

    def _note_strays(self, unit: Unit) -> None:
        """Processes that have left their group and became our children; we know them by the invocation they belong to."""
        for stray in self.strays(unit):
            group = self.kernel.group_of(stray)
            if group and group not in self._owners:
                self._left[group] = unit

    def _note_far(self, unit: Unit) -> None:
        """Descendants that have left their group while those between still live: nothing else would tell us of them."""
        for pid in unit.pids.values():
            for far in self.kernel.descendants(pid):
                group = self.kernel.group_of(far)
                if group and group not in self._owners and group != self.kernel.group_of(0):
                    self._left[group] = unit

    def strays(self, unit: Unit) -> list[int]:
        """Children of ours that belong to the unit and are none of its commands."""
        unknown = [child for child in self.kernel.children() if child not in self._owners]
        return [child for child in unknown if self.kernel.invocation_of(child) == unit.invocation]

    def leftovers(self, unit: Unit) -> bool:
        """Whether commands of the unit that have ended left processes behind."""
        return unit in self._left.values()

    def kill(self, unit: Unit, number: int, whole: bool) -> None:
        """Signal all processes of the unit, or only those that are its commands."""
        if whole:
            self._note_strays(unit)
            self._note_far(unit)
        for signal in (number, SIGCONT) if number != SIGKILL else (number,):
            for pid in unit.pids.values():
                if not (whole and self.kernel.kill_group(pid, signal)):
                    self.kernel.kill(pid, signal)
            for group in self._groups_left(unit) if whole else ():
                self.kernel.kill_group(group, signal)

    def let_go(self, unit: Unit, role: str) -> None:
        """Wait for a process no longer; it is one of those left over."""
        pid = unit.pids.pop(role, 0)
        if pid:
            self._owners[pid] = unit, ""
            self._left[pid] = unit

    def give_up(self, unit: Unit, role: str) -> None:
        """End a process that nobody waits for any more."""
        pid = unit.pids.get(role, 0)
        self.let_go(unit, role)
        if pid and not self.kernel.kill_group(pid, SIGKILL):
            self.kernel.kill(pid, SIGKILL)

    def _groups_left(self, unit: Unit) -> list[int]:
        return [group for group, owner in self._left.items() if owner is unit]

    def forget(self, unit: Unit) -> None:
        """Whatever is left of the unit is nobody's any more."""
        for pid in unit.pids.values():
            self._owners.pop(pid, None)
        unit.pids.clear()
        for group in self._groups_left(unit):
            del self._left[group]
            self._owners.pop(group, None)
