"""Whom a unit has besides its commands: the processes that these have made, and leave behind. Where control groups may be made
each unit has one (`ByControlGroup`); elsewhere process groups and descent have to do (`ByProcessGroup`)."""

from __future__ import annotations

import errno
import select
from functools import partial

from sockact.net import linux
from sockact.record import TYPE_CHECKING
from sockact.runtime.log import INFO, WARNING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sockact.lifecycle.child import Control
    from sockact.runtime.kernel import Kernel
    from sockact.runtime.log import Log
    from sockact.runtime.loop import Loop
    from sockact.runtime.oom import OomKills
    from sockact.runtime.units import Unit

    Owners = Mapping[int, tuple[Unit, str]]
    """The processes that are commands of units, and what they are there."""

UNWATCHED, EMPTY = -1, -2
"""In place of the descriptor by which a control group is watched: the latter is known to be empty."""

SIGKILL = linux.SIGNALS["KILL"]
SIGCONT = linux.SIGNALS["CONT"]
"""A stopped process takes no SIGTERM; systemd sends SIGCONT along, too."""
SCARCE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""Processes, memory, descriptors: what may be there again in a second."""


def signals(number: int) -> tuple[int, ...]:
    """What is sent for a signal."""
    return (number,) if number == SIGKILL else (number, SIGCONT)


class ByControlGroup:
    """A control group for each unit. `gone` is told when the last process has left that of a unit which runs none, `oom_killed`
    when the kernel has killed one for want of memory."""

    def __init__(
        self, kernel: Kernel, loop: Loop, log: Log, gone: Callable[[Unit], None], oom_killed: Callable[[Unit], None]
    ) -> None:
        self.kernel = kernel
        self.loop = loop
        self.log = log
        self._gone = gone
        self._oom_killed = oom_killed
        self._oom: OomKills | None = None
        self._watches: dict[Unit, int] = {}
        """The units that have a group, and by which descriptor theirs is watched."""
        self._outlived: dict[Unit, int] = {}
        """The same for groups that have outlived their unit, or its last life."""
        self._told: set[tuple[str, str]] = set()
        """What is not applied, and why."""

    def begin(self) -> bool:
        """Whether there will be control groups."""
        try:
            self.kernel.cgroups.begin()
        except OSError as error:
            how = "units are held together by process groups"
            self.log(INFO, "sockact", f"no control groups: {error.strerror}; {how}")
            return False
        return True

    def end(self) -> None:
        """Remove all groups but those that somebody still is in."""
        for fd in (*self._watches.values(), *self._outlived.values()):
            self._close(fd)
        if self._oom:
            self._oom.end()
        self.kernel.cgroups.end()

    def has(self, unit: Unit) -> bool:
        return unit in self._watches

    def enter(self, unit: Unit, controls: Iterable[Control]) -> int:
        """A descriptor by which a process is made in the unit's group; -1 if it cannot have one. OSError if that may be so
        for a moment only."""
        groups = self.kernel.cgroups
        try:
            if groups.make(unit.name):
                self._limit(unit, controls)
            fd = groups.open(unit.name)
        except OSError as error:
            if error.errno in SCARCE:
                raise
            self._tell(unit, "has no control group", error)
            return -1
        watch = self._watches.get(unit, self._outlived.pop(unit, UNWATCHED))
        self._watches[unit] = UNWATCHED if watch == EMPTY else watch
        if any(control.controller == "memory" for control in controls):
            self._watch_memory(unit)
        return fd

    def _watch_memory(self, unit: Unit) -> None:
        if self._oom is None:
            from sockact.runtime.oom import OomKills

            self._oom = OomKills(self.kernel, self.loop, self.log, self._oom_killed)
        self._oom.begin(unit)

    def _limit(self, unit: Unit, controls: Iterable[Control]) -> None:
        for control in controls:
            try:
                self.kernel.cgroups.apply(unit.name, control)
            except OSError as error:
                self._tell(unit, f"{control.key}= is not applied", error)

    def _tell(self, unit: Unit, what: str, error: OSError) -> None:
        """Once, and not for each unit and connection."""
        told = what, error.strerror or ""
        if told not in self._told:
            self._told.add(told)
            self.log(WARNING, unit.name, ": ".join(told))

    def left(self, unit: Unit, pid: int = 0) -> None:
        """A process is a command no longer: if it was the last one, the end of the others will be told."""
        if self._oom:
            self._oom.look(unit)
        if unit not in self._watches or any(other != pid for other in unit.pids.values()):
            return
        if not self._watch(unit) and not unit.pids:
            self._gone(unit)

    def _watch(self, unit: Unit) -> bool:
        """Have the end of the last process be told, if there is one; whether there is."""
        groups, watch = self.kernel.cgroups, self._watches[unit]
        if watch == EMPTY:
            return False
        try:
            if not groups.is_populated(unit.name):
                self._watches[unit] = EMPTY if watch < 0 else watch
                return False
            if watch >= 0:
                return True
            fd = groups.watch(unit.name, "cgroup.events")
            self._watches[unit] = self.loop.take(fd, lambda _: self._look(unit, fd), select.EPOLLPRI)
        except OSError as error:
            self.log(WARNING, unit.name, f"cannot watch its control group: {error.strerror}; trying again in a second")
            self.loop.after(1.0, partial(self.left, unit))
        return True

    def _look(self, unit: Unit, fd: int) -> None:
        if not self.kernel.cgroups.is_emptied(fd):
            return
        self._close(fd)
        if self._outlived.pop(unit, -1) >= 0:
            self.kernel.cgroups.remove(unit.name)
            return
        self._watches[unit] = UNWATCHED
        if self._oom:
            self._oom.look(unit)
        if not unit.pids:
            self._gone(unit)

    def _close(self, fd: int) -> None:
        if fd >= 0:
            self.loop.close(fd)

    def leftovers(self, unit: Unit) -> bool:
        """Whether there are others than its commands; if there are no commands, their end will be told."""
        if unit.pids:
            return bool(self._others(unit))
        return self._watch(unit)

    def strays(self, unit: Unit) -> list[int]:
        """Children of ours that belong to the unit and are none of its commands."""
        others = self._others(unit)
        return [child for child in self.kernel.children() if child in others]

    def _others(self, unit: Unit) -> set[int]:
        try:
            return {*self.kernel.cgroups.pids(unit.name)} - {*unit.pids.values()}
        except OSError as error:
            self.log(WARNING, unit.name, f"cannot tell who is in its control group: {error.strerror}")
            return set()

    def send(self, unit: Unit, number: int) -> None:
        """Signal all processes of the unit."""
        for signal in signals(number):
            for pid in unit.pids.values():
                self.kernel.kill(pid, signal)
            for pid in self._others(unit) if number != SIGKILL else ():
                self.kernel.kill(pid, signal)
        if number == SIGKILL:
            self._kill(unit)

    def _kill(self, unit: Unit) -> None:
        try:
            self.kernel.cgroups.kill(unit.name)
        except OSError as error:
            self.log(WARNING, unit.name, f"cannot kill its control group: {error.strerror}")

    def owner(self, pid: int) -> Unit | None:
        name = self.kernel.cgroups.name_of(pid) if self._watches else ""
        return next((unit for unit in self._watches if name and unit.name == name), None)

    def forget(self, unit: Unit) -> None:
        """Whatever is left of the unit is nobody's any more; its group goes with the last of them."""
        if self._oom:
            self._oom.forget(unit)
        outlived = self._watch(unit)
        watch = self._watches.pop(unit)
        if outlived:
            self._outlived[unit] = watch
        else:
            self._close(watch)
            self.kernel.cgroups.remove(unit.name)


class ByProcessGroup:
    """A process group for each command, which leads a session of its own. What is left of a group when its leader has ended
    still belongs to the unit, and so do those who left it, as far as they are found: as subreaper (or process 1) we are told of
    the end of each, and they can be known by the invocation in their environment."""

    def __init__(self, kernel: Kernel, owners: Owners) -> None:
        self.kernel = kernel
        self._owners = owners
        self._left: dict[int, Unit] = {}
        """Groups that have outlived their leader."""

    def left(self, unit: Unit, pid: int) -> None:
        """A process is a command no longer: what is there of its group, and those who left it."""
        if self.kernel.kill_group(pid, 0):
            self._left[pid] = unit
        self._note_strays(unit)

    def gone(self) -> list[Unit]:
        """The units that had groups which are no more."""
        over = [group for group in self._left if not self.kernel.kill_group(group, 0)]
        found = [*dict.fromkeys(self._left.pop(group) for group in over)]
        for unit in found:
            self._note_strays(unit)
        return found

    def leftovers(self, unit: Unit) -> bool:
        return unit in self._left.values()

    def send(self, unit: Unit, number: int) -> None:
        """Signal all processes of the unit."""
        self._note_strays(unit)
        self._note_far(unit)
        for signal in signals(number):
            for pid in unit.pids.values():
                if not self.kernel.kill_group(pid, signal):
                    self.kernel.kill(pid, signal)
            for group in self._groups(unit):
                self.kernel.kill_group(group, signal)

    def owner(self, pid: int) -> Unit | None:
        group = self.kernel.group_of(pid)
        owner = self._owners.get(group)
        return self._left.get(group) or (owner[0] if owner else self._of_invocation(self.kernel.invocation_of(pid)))

    def _of_invocation(self, invocation: str) -> Unit | None:
        """The unit of this start, which the process may say it belongs to wherever it has gone."""
        return next((unit for unit, _ in self._owners.values() if invocation and unit.invocation == invocation), None)

    def forget(self, unit: Unit) -> None:
        """Whatever is left of the unit is nobody's any more."""
        for group in self._groups(unit):
            del self._left[group]

    def _groups(self, unit: Unit) -> list[int]:
        return [group for group, owner in self._left.items() if owner is unit]

    def strays(self, unit: Unit) -> list[int]:
        """Children of ours that belong to the unit and are none of its commands."""
        unknown = [child for child in self.kernel.children() if child not in self._owners]
        return [child for child in unknown if self.kernel.invocation_of(child) == unit.invocation]

    def _note_strays(self, unit: Unit) -> None:
        """Processes that have left their group and became our children."""
        for stray in self.strays(unit):
            self._note_group(unit, stray)

    def _note_far(self, unit: Unit) -> None:
        """Descendants that have left their group while those between still live: nothing else would tell us of them."""
        ours = self.kernel.group_of(0)
        for pid in unit.pids.values():
            for far in self.kernel.descendants(pid):
                if self.kernel.group_of(far) != ours:
                    self._note_group(unit, far)

    def _note_group(self, unit: Unit, pid: int) -> None:
        group = self.kernel.group_of(pid)
        if group and group not in self._owners:
            self._left[group] = unit
