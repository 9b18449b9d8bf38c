"""What those share who carry out effects: the units at work, the way to the kernel, and the queue into which events go."""

from __future__ import annotations

from sockact.record import TYPE_CHECKING
from sockact.runtime import spawn
from sockact.runtime.log import ERROR, WARNING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sockact.runtime.kernel import Kernel
    from sockact.runtime.log import Log
    from sockact.runtime.loop import Loop
    from sockact.runtime.notify import Notifications
    from sockact.runtime.processes import Processes
    from sockact.runtime.units import Service, Socket, Unit
    from sockact.unit.gather import UnitSet

    Post = Callable[[Unit, object, object], None]
    """A unit, what happened to it, and with what."""

FOREVER = float("inf")


class Work:
    """The units at work, and all that is at hand for them."""

    sockets: dict[str, Socket]
    services: dict[str, Service]
    loop: Loop
    processes: Processes
    notifications: Notifications

    start: Callable[[Service], None]
    """Has a service start, with whom it needs and after whom it waits for."""

    def __init__(self, kernel: Kernel, given: UnitSet, environment: Mapping[str, str], log: Log, post: Post) -> None:
        self.kernel = kernel
        self.units = given
        self.environment = environment
        self.log = log
        self._post = post

    def post(self, unit: Unit, event: object, detail: object = None) -> None:
        """Have a unit's machine answer to an event, when those before it are answered."""
        self._post(unit, event, detail)

    def release(self, unit: Service | Socket, restarts: bool) -> None:
        """Take away what the unit had, such as its runtime directory, and what does not outlive it."""
        spawn.release(self.kernel, unit.section, unit.name, restarts, lambda text: self.log(WARNING, unit.name, text))

    def report_oom(self, unit: Service | Socket) -> None:
        """Say that the kernel has killed a process of a unit, and which limit may have been the reason."""
        origin = unit.section.origin("memory_max")
        limit = f" ({origin.key}={origin.value})" if origin else ""
        self.log(ERROR, unit.name, f"the kernel has killed a process of it for want of memory{limit}")

    def arm(self, unit: Unit, seconds: float, event: object) -> None:
        """Set the one timer of a unit."""
        self.disarm(unit)
        if seconds != FOREVER:
            unit.timer = self.loop.after(seconds, lambda: self.post(unit, event))

    def disarm(self, unit: Unit) -> None:
        if unit.timer:
            unit.timer.cancel()
            unit.timer = None
