"""Hears what services say (sd_notify(3)), and does what they ask for."""

from __future__ import annotations

from sockact.lifecycle.service import Event, State
from sockact.record import TYPE_CHECKING
from sockact.runtime.log import DEBUG, ERROR, INFO, WARNING
from sockact.runtime.units import CONTROL, MAIN, Service, Stored
from sockact.unit.values import is_fd_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.runtime.notify import Message
    from sockact.runtime.services import Services
    from sockact.runtime.work import Work

HEARD = {"none": (), "main": (MAIN,), "exec": (MAIN, CONTROL), "all": (MAIN, CONTROL, "")}
"""NotifyAccess=, and the processes that may speak; the empty one is any other process of the service."""

NOTED = ("STATUS", INFO), ("ERRNO", WARNING), ("BUSERROR", WARNING), ("VARLINKERROR", WARNING)
"""What it may say that is for the log, and how loud."""

EVENTS = {"RELOADING": Event.RELOADING, "READY": Event.READY, "STOPPING": Event.STOPPING}


class Hearing:
    """The ear for all services. `settle` has events answered."""

    def __init__(self, work: Work, services: Services, settle: Callable[[], None]) -> None:
        self.work = work
        self.services = services
        self.log = work.log
        self._settle = settle

    def hear(self, message: Message) -> tuple[int, ...]:
        """Take a message, if its sender may speak for a service; which of its descriptors are kept."""
        unit, role = self.work.processes.owner(message.pid)
        if not isinstance(unit, Service) or not self._may_speak(unit, role):
            self.log(DEBUG, "sockact", f"a notification from pid {message.pid}, which may not speak for a unit, is ignored")
            return ()
        for name, level in NOTED:
            if text := message.said.get(name):
                self.log(level, unit.name, f"{name.lower()}: {text}")
        self._take_main(unit, message)
        self._take_access(unit, message)
        self._take_events(unit, message)
        self._take_numbers(unit, message)
        return self._store(unit, message)

    def _take_events(self, unit: Service, message: Message) -> None:
        """What is happening to the service. What else it says is about what comes of that: more time to stop, for one."""
        for name, event in EVENTS.items():
            if message.says(name) and (event is not Event.RELOADING or self._is_news(unit, message)):
                unit.says = name.lower()
                self.log(INFO, unit.name, unit.says)
                self.work.post(unit, event)
        self._settle()

    def _may_speak(self, service: Service, role: str) -> bool:
        forks = service.unit.service.type == "forking" and role == CONTROL
        return role in HEARD[service.heard] or (forks and service.heard != "none")

    def _take_main(self, service: Service, message: Message) -> None:
        """Which process is the main one: that of a descriptor (MAINPIDFD=1), else the one of a number (MAINPID=), which
        the id of such a descriptor may confirm (MAINPIDFDID=)."""
        main, pid, said = self.services.main, message.number("MAINPID") or 0, message.said.get("MAINPIDFDID")
        if message.says("MAINPIDFD"):
            pid = main.of_descriptor(message.descriptors[0]) if len(message.descriptors) == 1 else 0
            if not pid:
                self.log(WARNING, service.name, "MAINPIDFD=1 is ignored: it takes one descriptor, of a process that is there")
        elif pid and said is not None and not main.has_id(pid, message.number("MAINPIDFDID")):
            self.log(WARNING, service.name, f"MAINPID={pid} is ignored: that process has not the id {said}")
            return
        if pid > 1 and pid != service.pids.get(MAIN):
            main.said(service, pid, message.uid)

    def _take_access(self, service: Service, message: Message) -> None:
        """Whose messages are heard from now on."""
        access = message.said.get("NOTIFYACCESS")
        if access in HEARD:
            service.heard_instead = access
        elif access is not None:
            self.log(WARNING, service.name, f"NOTIFYACCESS={access} is ignored: it is not one of {', '.join(HEARD)}")

    def _take_numbers(self, service: Service, message: Message) -> None:
        """The watchdog, more time for what is going on, and no more of it before the next restart."""
        more, interval = message.number("EXTEND_TIMEOUT_USEC"), message.number("WATCHDOG_USEC")
        if message.says("RESTART_RESET") and service.state in (State.RUNNING, State.STOP):
            service.restarts = 0
        if more:
            self._extend(service, more / 1e6)
        if interval is not None:
            service.watchdog_interval = interval / 1e6
        if interval is not None or message.says("WATCHDOG"):
            self.services.watch_dog(service)
        if message.said.get("WATCHDOG") == "trigger":
            self.work.post(service, Event.WATCHDOG)

    def _extend(self, service: Service, seconds: float) -> None:
        """Give what is going on at least so much time from now."""
        end = self.work.kernel.now() + seconds
        if service.timer and service.timer.when < end:
            self.work.arm(service, seconds, Event.TIMEOUT)
        if service.watchdog and service.watchdog.when < end:
            self.services.feed_dog(service, seconds)

    def _is_news(self, service: Service, message: Message) -> bool:
        """Whether RELOADING=1 answers the signal that we sent, and not one before it."""
        began = message.number("MONOTONIC_USEC")
        return service.state is not State.RELOAD_SIGNAL or (began is not None and began >= service.reload_began)

    # Stored descriptors

    def _store(self, service: Service, message: Message) -> tuple[int, ...]:
        name = message.said.get("FDNAME", "stored")
        if message.says("FDSTOREREMOVE"):
            self._remove(service, [stored for stored in service.stored if stored.name == name])
        if not message.says("FDSTORE") or message.says("MAINPIDFD"):
            return ()
        return tuple(fd for fd in message.descriptors if self._keep(service, name, fd, message.said.get("FDPOLL") != "0"))

    def _keep(self, service: Service, name: str, fd: int, polled: bool) -> bool:
        """Keep a descriptor, unless it is one that we have, or one too many."""
        if any(self.work.kernel.same_file(fd, stored.fd) for stored in service.stored):
            return False
        if len(service.stored) >= service.unit.service.fd_store_most:
            self.log(
                ERROR, service.name, f"a descriptor is not stored: FileDescriptorStoreMax={service.unit.service.fd_store_most}"
            )
            return False
        stored = Stored(name if name and is_fd_name(name) else "stored", fd, polled)
        service.stored.append(stored)
        if polled:
            self._watch(service, stored)
        return True

    def _watch(self, service: Service, stored: Stored) -> None:
        """Forget a descriptor when its other end is gone; a file that cannot be polled has none."""
        try:
            self.work.loop.watch(stored.fd, lambda _: self._remove(service, [stored]), events=0)
        except OSError as error:
            # It is kept; a regular file has no other end.
            level = DEBUG if isinstance(error, PermissionError) else WARNING
            self.log(level, service.name, f"the end of the descriptor {stored.name} goes unnoticed: {error.strerror}")

    def _remove(self, service: Service, gone: list[Stored]) -> None:
        for stored in gone:
            service.stored.remove(stored)
            self.work.loop.close(stored.fd)
