"""What units must be to each other. Each rule is one pass over all units: there may be thousands."""

from __future__ import annotations

from sockact.lifecycle.dependencies import waiting
from sockact.net import plan
from sockact.net.addresses import DATAGRAM, KINDS, Inet, Inet6
from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import Diagnostic
from sockact.unit.gather import service_name
from sockact.unit.rules import at, at_key, made, place, ports
from sockact.unit.rules.idle import TRIGGER, most_in
from sockact.unit.rules.within import needs_scope

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from sockact.net.addresses import Listen
    from sockact.net.protocols import Protocol
    from sockact.unit.gather import UnitSet
    from sockact.unit.load import ServiceUnit, SocketUnit
    from sockact.unit.rules import Findings
    from sockact.unit.syntax import Assignment

    Host: TypeAlias = "str | None"
    """An address of one family, or all of them."""

# Addresses

ANY = "*"
"""Stands for every host or device that somebody has taken."""
IPV4_MAPPED = "::ffff:"


class Taken(Record):
    """Who has an address: the unit, and which of its sockets it is."""

    unit: SocketUnit
    listen: Listen
    origin: Assignment | None


class Claim(Record):
    """What a port takes, and what it cannot have beside it: keys under which others find it, and under which it finds others."""

    takes: tuple[object, ...]
    rivals: tuple[object, ...]


def addresses_are_distinct(units: UnitSet, only_ipv6: bool = False) -> Findings:
    """Two ports where only one can be; `only_ipv6` is what BindIPv6Only=default means here.

    Of two sockets that listen for connections the second fails to bind where the first has an address in common with it, a
    wildcard being all of them, and `[::]` also those of IPv4: SO_REUSEADDR is no help, SO_REUSEPORT in both is. Datagram
    sockets are always bound, and the last one gets what comes (measured: Linux 6.18, tcp, mptcp, udp, udplite).
    """
    taken: dict[object, Taken] = {}
    for unit in units.sockets.values():
        for index, (listen, protocol) in enumerate(ports(unit)):
            claim = _claim(unit, listen, protocol, only_ipv6)
            this = Taken(unit, listen, unit.socket.origin("listen", index))
            other = next((taken[key] for key in claim.rivals if key in taken), None)
            if other:
                yield _collision(this, other)
            for key in claim.takes:
                taken.setdefault(key, this)


def _claim(unit: SocketUnit, listen: Listen, protocol: Protocol | None, only_ipv6: bool) -> Claim:
    address, where = listen.address, plan.identity(unit, listen, protocol)
    if where is None:
        return Claim((), ())
    if not isinstance(address, Inet | Inet6) or protocol is None:
        return Claim((where,), (where,))
    scope = address.scope if isinstance(address, Inet6) and needs_scope(address) else ""
    device, shares = unit.socket.bind_to_device or scope, unit.socket.reuse_port
    modes = (False,) if shares else (False, True)
    if not KINDS[listen.kind].listens:
        spread = is_multicast(address)
        return Claim(((where, device, shares),), () if spread else tuple((where, device, mode) for mode in modes))
    network = unit.name if unit.socket.private_network else plan.network(unit)
    space = network, "tcp" if protocol.name == "mptcp" else protocol.name, address.port
    takes: list[object] = []
    rivals: list[object] = []
    for family, host in _hosts(unit, address, only_ipv6):
        takes += [(space, family, h, d, shares) for h in (host, ANY) for d in (device, ANY)]
        hosts = (ANY,) if host is None else (host, None)
        devices = (device, "") if device else (ANY,)
        rivals += [(space, family, h, d, mode) for h in hosts for d in devices for mode in modes]
    return Claim(tuple(takes), tuple(rivals))


def _hosts(unit: SocketUnit, address: Inet | Inet6, only_ipv6: bool) -> list[tuple[str, Host]]:
    """The families in which an address is one, and which it is there; None for all."""
    host = address.host.removeprefix(IPV4_MAPPED)
    if isinstance(address, Inet) or host != address.host:
        return [("inet", None if host == "0.0.0.0" else host)]
    if host != "::":
        return [("inet6", host)]
    mode = unit.socket.bind_ipv6_only
    both = mode == "both" or (mode == "default" and not only_ipv6)
    return [("inet6", None), ("inet", None)] if both else [("inet6", None)]


def is_multicast(address: Inet | Inet6) -> bool:
    """Whether everybody who is bound there gets what comes."""
    first = address.host.partition("." if isinstance(address, Inet) else ":")[0]
    return 224 <= int(first) < 240 if isinstance(address, Inet) else first.startswith("ff")


def _collision(this: Taken, other: Taken) -> Diagnostic:
    internet = isinstance(this.listen.address, Inet | Inet6)
    share = ", or share it with ReusePort=yes in both" if internet else ""
    hint = f"the other is at {place(other.origin, other.unit.file)}; remove one{share}"
    address, same = this.listen.address, this.listen.address == other.listen.address
    if this.listen.kind == DATAGRAM and internet:
        message = f"{address} is bound twice, and what comes goes to one of the two only"
        return at("SA026", message, this.origin, hint, this.unit.file)
    theirs = "stands here twice" if other.unit is this.unit else f"is taken by {other.unit.name}"
    if same or not internet:
        return at("SA025", f"{address} {theirs}", this.origin, hint, this.unit.file)
    whose = "" if other.unit is this.unit else f" of {other.unit.name}"
    if type(address) is not type(other.listen.address):
        hint += ", or leave IPv4 out of [::] with BindIPv6Only=ipv6-only"
    message = f"{address} overlaps with {other.listen.address}{whose}: only one of them can be bound"
    return at("SA025", message, this.origin, hint, this.unit.file)


def links_are_in_nobodys_way(units: UnitSet) -> Findings:
    """A link that is made where another unit has a node or a link: the one that comes second is not made, or takes the place."""
    everybody = units.sockets.values()
    taken = {
        listen.address.node: (unit, unit.socket.origin("listen", index))
        for unit in everybody
        for index, listen in enumerate(unit.socket.listen)
        if listen.address.node
    }
    for unit in everybody:
        for index, link in enumerate(unit.socket.symlinks):
            origin = unit.socket.origin("symlinks", index)
            other, theirs = taken.setdefault(link, (unit, origin))
            if theirs is not origin:
                message = f"the link {link} is in the way of {other.name if other is not unit else 'another line'}"
                hint = f"the other is at {place(theirs, other.file)}; choose another path"
                yield at("SA039", message, origin, hint, unit.file)


# Services and their sockets


def inetd_services_have_one_socket(units: UnitSet) -> Findings:
    of_connections = {template.sample.name for template in units.templates.values()}
    for service in units.services.values():
        count = sum(len(socket.socket.listen) for socket in units.sockets_of(service))
        origin = service.service.origin("standard_input")
        if service.service.standard_input.kind != "socket" or count == 1 or service.name in of_connections:
            continue
        if count:
            message = f"StandardInput=socket needs exactly one socket; {service.name} has {count}"
            yield at("SA034", message, origin, "use Accept=yes, or take the sockets from LISTEN_FDS", service.file)
        else:
            hint = "start the .socket unit instead"
            yield at("SA036", f"{service.name} gets its standard input from a socket, and has none", origin, hint, service.file)


def sockets_start_who_asks_for_them(units: UnitSet) -> Findings:
    """A service gets the sockets that name it and those it names; traffic starts the service that the socket names."""
    for service in units.services.values():
        for index, name in enumerate(service.service.sockets):
            socket, origin = units.sockets.get(units.own_name(name)), service.service.origin("sockets", index)
            if socket and socket.socket.accept:
                message = f"{name} has Accept=yes: its connections go to instances of their own, and nothing of it comes here"
                yield at(
                    "SA037", message, origin, f"set Accept=no in {place(socket.socket.origin('accept'), name)}", service.file
                )
            elif socket and units.own_name(service_name(socket)) != service.name:
                message = f"traffic on {name} starts {service_name(socket)}, not {service.name}"
                yield at("SA037", message, origin, f"add Service={service.name} to {socket.file}", service.file)


def names_tell_descriptors_apart(units: UnitSet) -> Findings:
    for service, sockets in units.feeds.items():
        first: dict[str, SocketUnit] = {}
        for socket in sockets:
            name, origin = socket.socket.fd_name, socket.socket.origin("fd_name")
            other = first.setdefault(name, socket) if name else socket
            if origin and other is not socket:
                message = f"{service} gets descriptors of {other.name} under the name {name}, too"
                hint = f"the other is at {place(other.socket.origin('fd_name'), other.file)}; only their order tells them apart"
                yield at("SA038", message, origin, hint, socket.file)


def trigger_limits_can_be_reached(units: UnitSet) -> Findings:
    """Each activation of a socket with Accept=no is a start of its service, and those have a limit of their own."""
    for socket in units.sockets.values():
        service = units.service_of(socket)
        settings = socket.socket
        limit = settings.trigger_limit_interval, settings.trigger_limit_burst
        if service and not settings.accept and all(limit) and _fails_first(service, *limit):
            starts = f"StartLimitBurst={service.unit.start_limit_burst} in {service.unit.start_limit_interval:g} s"
            hint = f"StartLimitIntervalSec=0 in [Unit] of {service.file} switches that limit off"
            for origin in _written(socket, (TRIGGER.interval, TRIGGER.burst)):
                yield at_key("SA045", f"has no effect: {service.name} fails before, at its {starts}", origin, hint)
            pausing = made(socket.own).get("trigger_limit_action")
            if pausing:
                message = f"comes to nothing: {service.name} fails before, at its {starts}, and the socket with it"
                yield at_key("SA046", message, pausing, hint)


def _written(socket: SocketUnit, names: Iterable[str]) -> list[Assignment]:
    """The last of these settings that was made, if any: one is enough to point at."""
    given = made(socket.socket)
    return [given[name] for name in names if name in given][-1:]


def _fails_first(service: ServiceUnit, interval: float, burst: int) -> bool:
    """Whether so many activations in so short a time are always too many starts. Restarts come without activations, so that
    nothing is certain with them."""
    limit = service.unit.start_limit_interval, service.unit.start_limit_burst
    return all(limit) and service.service.restart == "no" and most_in(interval, *limit) <= burst


# Dependencies

RELATIONS = (
    *("requires", "requisite", "wants", "binds_to", "part_of", "upholds", "conflicts", "on_failure", "on_success"),
    *("propagates_stop_to", "stop_propagated_from"),
)
"""Fields of [Unit] that name units. After= and Before= ask for none."""
NOTHING_TO_RUN = (".target", ".slice")
"""Units without which the others do the same."""


def named_units_are_here(units: UnitSet) -> Findings:
    everybody: list[SocketUnit | ServiceUnit] = [*units.sockets.values(), *units.services.values()]
    for unit in everybody:
        missing = {name: origin for name, origin in _named(unit).items() if not _is_here(units, name)}
        yield from _left_out(missing, "not given to sockact, and left out: {}")
    for template in units.templates.values():
        yield from _left_out(_named(template.sample), "an instance depends on its connection only; left out: {}")


def _named(unit: SocketUnit | ServiceUnit) -> dict[str, Assignment]:
    """The units that a unit names, and where."""
    given, origins = unit.unit.given, unit.unit.origins
    found: dict[str, Assignment] = {}
    for field in RELATIONS:
        for name, origin in zip(given.get(field, ()), origins.get(field, ()), strict=True):
            if not name.endswith(NOTHING_TO_RUN):
                found.setdefault(name, origin)
    return found


def _is_here(units: UnitSet, name: str) -> bool:
    own = units.own_name(name)
    return own in units.sockets or own in units.services


def _left_out(names: dict[str, Assignment], message: str) -> Findings:
    """One finding for all of them, at the first."""
    if names:
        origin = next(iter(names.values()))
        yield Diagnostic("SA009", message.format(", ".join(names)), origin.key_span, file=origin.file)


def nobody_waits_for_himself(units: UnitSet) -> Findings:
    _, circles = waiting(units)
    for circle in circles:
        first, second = (units.services[name] for name in circle[:2])
        message = f"{' after '.join(circle)}: {first.name} does not wait for {second.name}"
        origin = _naming(units, first, "after", second) or _naming(units, second, "before", first)
        yield at("SA047", message, origin, "take one After= or Before= out of the circle", first.file)


def _naming(units: UnitSet, unit: ServiceUnit, field: str, other: ServiceUnit) -> Assignment | None:
    """The line of a unit that names another one."""
    named = zip(unit.unit.given.get(field, ()), unit.unit.origins.get(field, ()), strict=True)
    return next((origin for name, origin in named if units.own_name(name) == other.name), None)
