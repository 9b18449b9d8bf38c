"""Whom the kernel has killed for want of memory, by `memory.events` of control groups (cgroups(7), version 2). Imported for the
first unit whose memory is limited; nothing is known of the others.

Two things tell of such a kill, in either order: that file, which epoll(7) reports some milliseconds later, and the end of the
process, if it is a command. So the count is also asked for when a command has ended, before that is told.
"""

from __future__ import annotations

import errno
import select
from functools import partial

from sockact.record import TYPE_CHECKING
from sockact.runtime.log import WARNING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.runtime.kernel import Kernel
    from sockact.runtime.log import Log
    from sockact.runtime.loop import Loop
    from sockact.runtime.units import Unit

EVENTS = "memory.events"
UNWATCHED = -1


class OomKills:
    """Counts for units at work. `killed` is told of a unit that has lost processes."""

    def __init__(self, kernel: Kernel, loop: Loop, log: Log, killed: Callable[[Unit], None]) -> None:
        self.kernel = kernel
        self.loop = loop
        self.log = log
        self._killed = killed
        self._watches: dict[Unit, int] = {}
        """The units at work, and by which descriptor the memory of theirs is watched."""
        self._counts: dict[Unit, int] = {}
        """How many were killed by now."""

    def begin(self, unit: Unit) -> None:
        """Watch the group that a unit has, unless that is done; whom it lost before is told to nobody."""
        if unit not in self._watches:
            self._watches[unit] = UNWATCHED
            self._counts[unit] = self._count(unit, 0)
            self._watch(unit)

    def _watch(self, unit: Unit) -> None:
        if self._watches.get(unit) != UNWATCHED:
            return  # it was tried again by its next start, or is over
        try:
            fd = self.kernel.cgroups.watch(unit.name, EVENTS)
            self._watches[unit] = self.loop.take(fd, lambda _: self.look(unit), select.EPOLLPRI)
        except OSError as error:
            self._not_watched(unit, error)

    def _not_watched(self, unit: Unit, error: OSError) -> None:
        if error.errno == errno.ENOENT:
            self.forget(unit)  # it has not got the controller, and was told so
            return
        self.log(WARNING, unit.name, f"cannot watch its memory: {error.strerror}; trying again in a second")
        self.loop.after(1.0, partial(self._retry, unit))

    def _retry(self, unit: Unit) -> None:
        """Watch, and tell what happened while that was not possible."""
        self._watch(unit)
        self.look(unit)

    def look(self, unit: Unit) -> None:
        """Tell if there are more than before."""
        if unit in self._watches:
            before = self._counts[unit]
            self._counts[unit] = self._count(unit, before)
            if self._counts[unit] > before:
                self._killed(unit)

    def _count(self, unit: Unit, otherwise: int) -> int:
        try:
            return self.kernel.cgroups.oom_kills(unit.name, self._watches[unit])
        except OSError as error:
            self.log(WARNING, unit.name, f"cannot tell whom the OOM killer has killed: {error.strerror}")
            return otherwise

    def forget(self, unit: Unit) -> None:
        """What happens to whoever is left of the unit is no concern of its any more."""
        self._counts.pop(unit, None)
        fd = self._watches.pop(unit, UNWATCHED)
        if fd >= 0:
            self.loop.close(fd)

    def end(self) -> None:
        for unit in [*self._watches]:
            self.forget(unit)
