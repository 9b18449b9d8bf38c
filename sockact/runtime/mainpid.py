"""Finds and follows the main process of a service that is none of our making: of Type=forking, or named by MAINPID=."""

from __future__ import annotations

from functools import partial

from sockact.lifecycle import limits
from sockact.lifecycle.limits import Exit
from sockact.lifecycle.service import Event, State
from sockact.record import TYPE_CHECKING
from sockact.runtime.processes import CONTROL, MAIN
from sockact.runtime.units import UP
from sockact.runtime.work import INFO, WARNING

if TYPE_CHECKING:
    from sockact.runtime.units import Service
    from sockact.runtime.work import Work

LOOK_AGAIN = 0.1
"""Seconds between two looks for a PIDFile= that is not written yet."""

CHANGES = (*UP, State.START, State.START_POST, State.STOP, State.STOP_SIGTERM)
"""States in which a service may say who its main process is."""


class MainProcesses:
    """The main processes that somebody else has made."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.kernel = work.kernel
        self.log = work.log

    def look(self, service: Service) -> None:
        """Find the main process of a Type=forking service, whose first process has ended well."""
        settings = service.unit.service
        strays = self.work.processes.strays(service)
        if settings.pid_file:
            pid = self._read(service, settings.pid_file)
            late = bool(settings.exec_start_post)  # one of these may be what writes the file
            if not pid and not late and (strays or self.work.processes.leftovers(service)):
                self._look_again(service)
                return
        else:
            pid = strays[0] if settings.guess_main_pid and len(strays) == 1 else 0
        if pid:
            self.take(service, pid)
        elif settings.pid_file and not settings.exec_start_post:
            self.log(WARNING, service.name, f"{settings.pid_file} names no process of it, and none is left")
            service.fail(limits.PROTOCOL)
            service.command_ended = Exit(code=1)
        elif not settings.pid_file:
            self.log(WARNING, service.name, "nobody knows its main process; give it a PIDFile=")
        self.work.post(service, Event.CONTROL_EXITED)

    def look_late(self, service: Service) -> None:
        """Look into a PIDFile= that the last commands of the start may have written."""
        settings = service.unit.service
        if settings.type == "forking" and settings.pid_file and not service.main_known:
            pid = self._read(service, settings.pid_file)
            if pid:
                self.take(service, pid)

    def _look_again(self, service: Service) -> None:
        """Look once more in a moment, as long as the service is still starting."""
        invocation = service.invocation

        def look() -> None:
            if service.state is State.START and service.invocation == invocation:
                self.look(service)

        self.work.loop.after(LOOK_AGAIN, look)

    def _read(self, service: Service, path: str) -> int:
        """The pid in a file; 0 if it is not there yet, or names nobody who may be the main process."""
        try:
            text = self.kernel.read_file(path).decode(errors="replace").strip()
        except OSError:
            return 0
        pid = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        return pid if self._may_be(service, pid) else 0

    def _may_be(self, service: Service, pid: int) -> bool:
        """Whether the process exists, and belongs to nobody else."""
        if pid in (0, 1, self.kernel.pid()) or not self.kernel.kill(pid, 0):
            return False
        owner, role = self.work.processes.owner(pid)
        known = self.kernel.invocation_of(pid) in ("", service.invocation)
        return owner in (None, service) and role != CONTROL and known

    def said(self, service: Service, pid: int) -> None:
        """The service has said MAINPID=."""
        if service.state in CHANGES and self._may_be(service, pid):
            self.take(service, pid)
        else:
            self.log(WARNING, service.name, f"MAINPID={pid} is ignored: that is no process of it, or not now")

    def take(self, service: Service, pid: int) -> None:
        """Make a process the main one; the end of one that is no child of ours is told by its pidfd."""
        self.forget(service)
        service.main_known = True
        self.work.processes.adopt(service, MAIN, pid)
        self.log(INFO, service.name, f"the main process is {pid}")
        if pid not in self.kernel.children():
            self._follow(service, pid)

    def _follow(self, service: Service, pid: int) -> None:
        if service.pids.get(MAIN) != pid:
            return
        try:
            service.alien = self.kernel.pidfd(pid)
            self.work.loop.watch(service.alien, lambda _: self._gone(service, pid))
        except ProcessLookupError:
            self._gone(service, pid)
        except OSError as error:
            self.log(WARNING, service.name, f"cannot watch process {pid}: {error.strerror}; trying again in a second")
            self.forget(service)
            self.work.loop.after(1.0, partial(self._follow, service, pid))

    def _gone(self, service: Service, pid: int) -> None:
        self.forget(service)
        self.work.processes.reap()  # it may have become our child in the meantime, and then we are told how it ended
        self.work.processes.lost(service, MAIN, pid)

    def forget(self, service: Service) -> None:
        """Follow nobody any more."""
        if service.alien >= 0:
            self.work.loop.unwatch(service.alien)
            self.kernel.close(service.alien)
            service.alien = -1
