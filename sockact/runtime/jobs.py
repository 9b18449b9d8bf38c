"""Starts and stops services in the order that their units ask for: with whom they need, after whom they wait for."""

from __future__ import annotations

from sockact.lifecycle.dependencies import Dependencies
from sockact.lifecycle.service import Event, State
from sockact.lifecycle.socket import Event as SocketEvent
from sockact.record import TYPE_CHECKING
from sockact.runtime.log import ERROR, INFO
from sockact.runtime.services import outcome
from sockact.runtime.units import UP, Service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockact.runtime.services import Services
    from sockact.runtime.units import Unit
    from sockact.runtime.work import Work


class Jobs:
    """Services that wait to be started or stopped, and for whom."""

    def __init__(self, work: Work, services: Services) -> None:
        self.work = work
        self.services = services
        self.between = Dependencies(work.units)
        self._order = {name: number for number, name in enumerate(work.services)}
        self._starting: dict[str, set[str]] = {}
        """Who waits to be started, and for whom."""
        self._begun = set[str]()
        """Who is being started."""
        self._stopping: set[str] = set()
        self._closed = False
        self.refused: dict[str, None] = {}
        """Who could not be started for the sake of others."""

    # Starting

    def begin(self, services: Iterable[Service]) -> None:
        """Start these, but for those that are there for the end of others."""
        wanted = {service.name: service for service in services}
        first = self.between.first(wanted)
        for name in wanted.keys() - first:
            self.work.log(INFO, name, "waits to be called, by OnFailure= or OnSuccess= of another unit")
        self.start(*(wanted[name] for name in first))

    def start(self, *services: Service) -> None:
        """Start services, and those that they pull in, each when its time has come."""
        asked, against = self._pull(services) if not self._closed else ({}, {})
        for name in asked:
            for other in self._services(self.between.conflicts.get(name, ())):
                self.stop(other)
        # All are noted before anybody's turn: what comes first on a command line need not come first.
        self._starting |= {name: set() for name in (*asked, *against)}
        self._starting |= {name: self._whom_to_wait_for(name) for name in asked}
        for name, enemy in against.items():
            self._give_up(name, f"it conflicts with {enemy}, which is started, too")
        for name in asked:
            missing = [other.name for other in self._services(self.between.requisite.get(name, ())) if not self._comes_up(other)]
            if missing:
                self._give_up(name, f"{missing[0]}, which has to run by then, does not")
            elif self._starting.get(name) == set():
                self._begin(name)

    def _pull(self, services: Iterable[Service]) -> tuple[dict[str, Service], dict[str, str]]:
        """The services that have to be started, in order; and those which conflict with one of these, with its name."""
        asked: dict[str, Service] = {}
        against: dict[str, str] = {}
        ahead = list(services)[::-1]
        while ahead:
            service = ahead.pop()
            name = service.name
            if name in asked or name in against or not service.over or self._comes_up(service):
                continue
            enemies = [other for other in sorted(self.between.conflicts.get(name, ())) if other in asked]
            if enemies:
                against[name] = enemies[0]
                continue
            asked[name] = service
            ahead += self._services(self.between.pulls.get(name, ()))[::-1]
        return asked, against

    def _comes_up(self, service: Service) -> bool:
        return not service.over or service.name in self._starting or service.name in self._begun

    def _begin(self, name: str) -> None:
        if self._starting.pop(name, None) is None:
            return  # given up in the meantime
        self._begun.add(name)
        self.work.services[name].stop_asked = False
        self.work.post(self.work.services[name], Event.START)

    def _whom_to_wait_for(self, name: str) -> set[str]:
        after = [other for other in self._services(self.between.waits.get(name, ())) if self._is_starting(other)]
        against = [other for other in self._services(self.between.conflicts.get(name, ())) if not other.over]
        return {other.name for other in (*after, *against)}

    def _is_starting(self, service: Service) -> bool:
        return self._comes_up(service) and service.state not in UP

    def settled(self, service: Service) -> None:
        """A service has come up, or has ended, if only to be restarted: who waited for it goes on, unless he needs it and it
        has failed."""
        name, between = service.name, self.between
        self._begun.discard(name)
        for other, blockers in list(self._starting.items()):
            if name not in blockers:
                continue
            blockers.discard(name)
            lost = service.has_failed and name in between.needs.get(other, ())
            if lost or (service.has_ended and name in between.bound.get(other, ())):
                self._give_up(other, f"{name}, which it needs, {'has failed' if lost else 'does not run'}")
            elif not blockers:
                self._begin(other)

    def _give_up(self, name: str, why: str) -> None:
        """Do not start a service that waited, nor those that need it; its sockets listen on, and who is there for failures is
        called."""
        given_up, ahead = list[str](), [(name, why)]
        while ahead:
            name, why = ahead.pop(0)
            if self._starting.pop(name, None) is None:
                continue
            self.refused[name] = None
            given_up.append(name)
            self.work.log(ERROR, name, f"not started: {why}")
            self.services.tell(self.work.services[name], SocketEvent.SERVICE_DOWN)
            for other, blockers in list(self._starting.items()):
                if name in blockers and name in self.between.needs.get(other, ()):
                    ahead.append((other, f"{name}, which it needs, is not"))
        for other, blockers in list(self._starting.items()):
            if blockers & set(given_up):
                blockers.difference_update(given_up)
                if not blockers:
                    self._begin(other)
        self.start(*(other for name in given_up for other in self._services(self.between.on_failure.get(name, ()))))

    def close(self) -> None:
        """Start nobody any more."""
        self._closed = True
        self._starting.clear()
        self._begun.clear()

    # Stopping

    def stop(self, service: Service) -> None:
        """Have a service end, and not come back by itself."""
        service.stop_asked = True
        self._begun.discard(service.name)
        if service.name in self._starting:
            self._give_up(service.name, "it was stopped before its time had come")
        self.work.post(service, Event.STOP)

    def stop_all(self) -> None:
        """End all services, each before those it was started after."""
        self._stopping = set(self.work.services)
        for service in self.work.services.values():
            service.stop_asked = True
            if service.over or service.state is State.AUTO_RESTART:
                self.stop(service)
                self._stopping.discard(service.name)
        self._stop_who_may(self._stopping)

    def _stop_who_may(self, names: set[str]) -> None:
        """Stop those of whom nobody is left who was started after them."""
        for name in sorted(names & self._stopping):
            waited_for = self._services(self.between.waited_for.get(name, ()))
            if all(other.over for other in waited_for) and name in self.work.services:
                self._stopping.discard(name)
                self.stop(self.work.services[name])

    def ended(self, unit: Unit, failed: bool, started: bool) -> None:
        """A unit has ended: others end with it, and somebody may be there for that."""
        name = unit.name
        self._begun.discard(name)
        with_it = self.between.ends_with.get(name, set())
        if isinstance(unit, Service):
            if unit.stop_asked:
                with_it = with_it | self.between.stops_with.get(name, set())
            self._stop_who_may(self.between.waits.get(name, set()))
        for other in self._services(with_it):
            if not other.over:
                self.work.log(INFO, other.name, f"stopping with {name}")
                self.stop(other)
        for other in self._services(self.between.upheld_by.get(name, ())):
            if started and not other.over and isinstance(unit, Service) and unit.over and not unit.stop_asked:
                self.work.log(INFO, name, f"started again: {other.name} upholds it")
                self.start(unit)
        called = self.between.on_failure if failed else self.between.on_success if started else {}
        for other in self._services(called.get(name, ())):
            self.work.log(INFO, other.name, f"called by the {'failure' if failed else 'end'} of {name}")
            if isinstance(unit, Service) and other.over:
                said = {**outcome(unit), "INVOCATION_ID": unit.invocation, "UNIT": name}
                other.called_for = {f"MONITOR_{key}": value for key, value in said.items()}
            self.start(other)

    def _services(self, names: Iterable[str]) -> list[Service]:
        """The services of these names, in the order in which they were given."""
        known = [name for name in names if name in self._order]
        return [self.work.services[name] for name in sorted(known, key=self._order.__getitem__)]
