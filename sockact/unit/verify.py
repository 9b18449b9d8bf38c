"""What units must be to work: rules within a unit, rules between units, and facts about this host.

Each rule is a generator of diagnostics; the tables at the end say which rules there are. `Survey` is what a rule may know
of the machine; without one (`--offline`) its rules are left out.
"""

from __future__ import annotations

from math import inf

from sockact.net import plan, protocols
from sockact.net.addresses import Inet6
from sockact.record import TYPE_CHECKING
from sockact.unit.diagnostics import Diagnostic, Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from sockact.unit.gather import UnitSet
    from sockact.unit.load import ServiceUnit, SocketUnit
    from sockact.unit.syntax import Assignment

    class Survey(Protocol):
        """Questions about the machine; each answers with what is wrong, or with an empty text."""

        def program(self, name: str, path: str) -> str: ...
        def user(self, name: str) -> str: ...
        def group(self, name: str) -> str: ...
        def interface(self, name: str) -> str: ...
        def file(self, path: str) -> str: ...
        def directory(self, path: str) -> str: ...


def verify(units: UnitSet, survey: Survey | None) -> list[Diagnostic]:
    """Everything that is wrong with the units, those of loading first."""
    found = list(units.diagnostics)
    found += [d for socket in units.sockets.values() for rule in SOCKET_RULES for d in rule(socket)]
    found += [d for service in _all_services(units) for rule in SERVICE_RULES for d in rule(service)]
    found += [d for rule in SET_RULES for d in rule(units)] if units.complete else []
    if survey:
        found += [d for socket in units.sockets.values() for d in _interfaces(socket, survey)]
        found += [d for socket in units.sockets.values() for d in _owners(socket, survey)]
        found += [d for service in _all_services(units) for rule in HOST_RULES for d in rule(service, survey)]
    # A template used by two sockets is checked twice and told about once.
    return sorted(dict.fromkeys(found), key=lambda d: (d.span.file, d.span.line) if d.span else (d.file, inf))


def _all_services(units: UnitSet) -> list[ServiceUnit]:
    return [*units.services.values(), *(template.sample for template in units.templates.values())]


def _at(code: str, message: str, origin: Assignment | None, hint: str, file: str) -> Diagnostic:
    return Diagnostic(code, message, origin.span() if origin else None, hint, file)


# Rules within a socket unit


def _listens(unit: SocketUnit) -> Iterator[Diagnostic]:
    if not unit.socket.listen and "listen" not in unit.socket.refused:
        yield Diagnostic("SA020", "nothing to listen on", hint="add ListenStream=PORT to [Socket]", file=unit.file)


def _protocols_fit(unit: SocketUnit) -> Iterator[Diagnostic]:
    for index, listen in enumerate(unit.socket.listen):
        misfit = protocols.choose(listen, unit.socket.protocol)
        if isinstance(misfit, Invalid):
            origin = unit.socket.origin("protocol") or unit.socket.origin("listen", index)
            yield _at("SA021", misfit.message, origin, misfit.hint, unit.file)


def _accept_can_accept(unit: SocketUnit) -> Iterator[Diagnostic]:
    for index, listen in enumerate(unit.socket.listen if unit.socket.accept else ()):
        if not plan.accepts(listen):
            message = f"Accept=yes with a {listen.kind} ({listen.address}): there are no connections to accept"
            yield _at("SA022", message, unit.socket.origin("listen", index), "use Accept=no, or a unit of its own", unit.file)


def _accept_has_no_service(unit: SocketUnit) -> Iterator[Diagnostic]:
    if unit.socket.accept and unit.socket.service:
        hint = "Accept=yes starts instances of NAME@.service; remove one of the two"
        yield _at("SA023", "Service= cannot be combined with Accept=yes", unit.socket.origin("service"), hint, unit.file)


def _admits_somebody(unit: SocketUnit) -> Iterator[Diagnostic]:
    if unit.socket.max_connections == 0:
        message = "MaxConnections=0 would close every connection"
        yield _at(
            "SA024", message, unit.socket.origin("max_connections"), "the default is 64; there is no 'unlimited'", unit.file
        )


# Rules within a service unit


def _runs_something(unit: ServiceUnit) -> Iterator[Diagnostic]:
    commands = unit.service.exec_start
    if not commands and "exec_start" not in unit.service.refused:
        yield Diagnostic(
            "SA033", "the service has no ExecStart=", hint="add ExecStart=/PATH/OF/PROGRAM to [Service]", file=unit.file
        )
    elif len(commands) > 1 and unit.service.type != "oneshot":
        origin = unit.service.origin("exec_start")
        yield _at("SA033", f"{len(commands)} commands", origin, "several commands need Type=oneshot", unit.file)


# Rules between units


def _addresses_are_distinct(units: UnitSet) -> Iterator[Diagnostic]:
    taken: dict[object, SocketUnit] = {}
    for unit in units.sockets.values():
        for index, listen in enumerate(unit.socket.listen):
            protocol = protocols.choose(listen, unit.socket.protocol)
            key = None if isinstance(protocol, Invalid) else plan.identity(listen, protocol)
            first = taken.get(key)
            shared = first and first.socket.reuse_port and unit.socket.reuse_port and not listen.address.node
            if key and first and not shared:
                who = "stands here twice" if first is unit else f"is taken by {first.name}"
                hint = "remove one, or share it with ReusePort=yes in both"
                yield _at("SA025", f"{listen.address} {who}", unit.socket.origin("listen", index), hint, unit.file)
            elif key:
                taken[key] = unit


def _inetd_services_have_one_socket(units: UnitSet) -> Iterator[Diagnostic]:
    for service in units.services.values():
        count = sum(len(socket.socket.listen) for socket in units.sockets_of(service))
        origin = service.service.origin("standard_input")
        if service.service.standard_input.kind != "socket" or count == 1:
            continue
        if count:
            message = f"StandardInput=socket needs exactly one socket; {service.name} has {count}"
            yield _at("SA034", message, origin, "use Accept=yes, or take the sockets from LISTEN_FDS", service.file)
        else:
            hint = "start the .socket unit instead"
            yield _at("SA036", f"{service.name} gets its standard input from a socket, and has none", origin, hint, service.file)


# Facts about this host


def _interfaces(unit: SocketUnit, survey: Survey) -> Iterator[Diagnostic]:
    for index, listen in enumerate(unit.socket.listen):
        scope = listen.address.scope if isinstance(listen.address, Inet6) else ""
        if scope and (wrong := survey.interface(scope)):
            yield _at("SA052", wrong, unit.socket.origin("listen", index), "", unit.file)
    if unit.socket.bind_to_device and (wrong := survey.interface(unit.socket.bind_to_device)):
        yield _at("SA052", wrong, unit.socket.origin("bind_to_device"), "", unit.file)


def _owners(unit: SocketUnit, survey: Survey) -> Iterator[Diagnostic]:
    user, group = unit.socket.socket_user, unit.socket.socket_group
    if user and (wrong := survey.user(user)):
        yield _at("SA051", wrong, unit.socket.origin("socket_user"), "", unit.file)
    if group and (wrong := survey.group(group)):
        yield _at("SA051", wrong, unit.socket.origin("socket_group"), "", unit.file)


def _programs_exist(unit: ServiceUnit, survey: Survey) -> Iterator[Diagnostic]:
    path = dict(unit.service.environment).get("PATH", "")
    for index, command in enumerate(unit.service.exec_start):
        # A file of variables may set PATH, and is read at each start only.
        unknowable = "-" in command.prefixes or ("/" not in command.program and unit.service.environment_file)
        wrong = "" if unknowable else survey.program(command.program, path)
        origin = unit.service.origin("exec_start", index)
        if wrong and origin:
            end = command.start + len(command.source.split()[0])
            yield Diagnostic("SA050", wrong, origin.span(command.start, end), "", unit.file)


def _accounts_exist(unit: ServiceUnit, survey: Survey) -> Iterator[Diagnostic]:
    if unit.service.user and (wrong := survey.user(unit.service.user)):
        yield _at("SA051", wrong, unit.service.origin("user"), "", unit.file)
    if unit.service.group and (wrong := survey.group(unit.service.group)):
        yield _at("SA051", wrong, unit.service.origin("group"), "", unit.file)


def _directory_exists(unit: ServiceUnit, survey: Survey) -> Iterator[Diagnostic]:
    directory = unit.service.working_directory
    if directory and not directory.optional and directory.path != "~" and (wrong := survey.directory(directory.path)):
        yield _at("SA053", wrong, unit.service.origin("working_directory"), "- in front allows it to be missing", unit.file)


def _variables_exist(unit: ServiceUnit, survey: Survey) -> Iterator[Diagnostic]:
    for index, file in enumerate(unit.service.environment_file):
        if not file.optional and (wrong := survey.file(file.path)):
            origin = unit.service.origin("environment_file", index)
            hint = "it is read at each start; - in front allows it to be missing"
            yield _at("SA054", wrong, origin, hint, unit.file)


SOCKET_RULES = (_listens, _protocols_fit, _accept_can_accept, _accept_has_no_service, _admits_somebody)
SERVICE_RULES = (_runs_something,)
SET_RULES = (_addresses_are_distinct, _inetd_services_have_one_socket)
HOST_RULES = (_programs_exist, _accounts_exist, _directory_exists, _variables_exist)
