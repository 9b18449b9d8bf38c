"""Finds and follows the main process of a service that is none of our making: of Type=forking, or named by MAINPID=."""

from __future__ import annotations

from functools import partial

from sockact.lifecycle import limits
from sockact.lifecycle.limits import Exit
from sockact.lifecycle.service import Event, State
from sockact.record import TYPE_CHECKING
from sockact.runtime.log import INFO, WARNING
from sockact.runtime.units import CONTROL, MAIN, UP

if TYPE_CHECKING:
    from sockact.runtime.units import Service
    from sockact.runtime.work import Work

LOOK_AGAIN = 0.1
"""Seconds between two looks for a PIDFile= that is not written yet."""

CHANGES = (*(set(UP) - {State.EXITED}), State.START, State.START_POST, State.STOP, State.STOP_SIGTERM)
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
        self.work.post(service, Event.CONTROL_EXITED, service.state)

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
            owner = self.kernel.node_access(path)[0]
        except OSError:
            return 0
        pid = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        return pid if self._may_be(service, pid, self._is_trusted(owner)) else 0

    def _is_trusted(self, uid: int) -> bool:
        """Whether this user could end any process itself that we end."""
        return uid in (0, self.kernel.ids()[0])

    def _may_be(self, service: Service, pid: int, trusted: bool) -> bool:
        """Whether the process exists, and belongs to nobody else; only who is trusted may name one that is no process of the
        service's for sure."""
        if pid in (0, 1, self.kernel.pid()) or not self.kernel.kill(pid, 0):
            return False
        owner, role = self.work.processes.owner(pid)
        invocation = self.kernel.invocation_of(pid)
        known = invocation == service.invocation or owner is service or (trusted and not invocation)
        return owner in (None, service) and role != CONTROL and known

    def said(self, service: Service, pid: int, uid: int) -> None:
        """A process of this user has said MAINPID= for the service."""
        if service.state in CHANGES and self._may_be(service, pid, self._is_trusted(uid)):
            self.take(service, pid)
        else:
            self.log(WARNING, service.name, f"MAINPID={pid} is ignored: that is no process of it, or not now")

    def of_descriptor(self, fd: int) -> int:
        """The process that a pidfd of ours stands for; 0 if it is none, or the process has ended."""
        return max(0, self._about(fd, "Pid"))

    def has_id(self, pid: int, number: int | None) -> bool:
        """Whether the process has this number as inode of its pidfds, which no later process has. If we cannot look, it has."""
        try:
            fd = self.kernel.pidfd(pid)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        try:
            return self._about(fd, "ino") == number
        finally:
            self.kernel.close(fd)

    def _about(self, fd: int, name: str) -> int:
        """What the kernel tells about a descriptor (proc(5), fdinfo)."""
        try:
            lines = self.kernel.read_file(f"/proc/self/fdinfo/{fd}").decode().splitlines()
        except OSError:
            return 0
        return next((int(value) for key, _, value in (line.partition(":") for line in lines) if key == name), 0)

    def is_replaced(self, service: Service) -> bool:
        """Whether the PIDFile= of a service, whose main process has ended, names another one by now."""
        settings = service.unit.service
        pid = self._read(service, settings.pid_file) if settings.pid_file and service.state in UP else 0
        if pid:
            self.take(service, pid)
        return pid > 0

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
            service.alien = self.work.loop.take(self.kernel.pidfd(pid), lambda _: self._gone(service, pid))
        except ProcessLookupError:
            self._gone(service, pid)
        except OSError as error:
            self.log(WARNING, service.name, f"cannot watch process {pid}: {error.strerror}; trying again in a second")
            self.work.loop.after(1.0, partial(self._follow, service, pid))

    def _gone(self, service: Service, pid: int) -> None:
        self.forget(service)
        self.work.processes.reap()  # it may have become our child in the meantime, and then we are told how it ended
        self.work.processes.lost(service, MAIN, pid)

    def remove_file(self, path: str) -> None:
        """Remove a PIDFile= that names nobody any more."""
        try:
            self.kernel.unlink(path)
        except OSError:
            pass  # it was never written, or its owner has removed it

    def forget(self, service: Service) -> None:
        """Follow nobody any more."""
        if service.alien >= 0:
            self.work.loop.close(service.alien)
            service.alien = -1
