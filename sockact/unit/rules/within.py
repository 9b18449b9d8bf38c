"""What makes a single unit unable to work, whatever else there is."""

from __future__ import annotations

from sockact.net import plan, protocols
from sockact.net.addresses import KINDS, Inet6
from sockact.record import TYPE_CHECKING
from sockact.unit.diagnostics import Diagnostic, Invalid
from sockact.unit.rules import at, at_key

if TYPE_CHECKING:
    from sockact.unit.load import ServiceUnit, SocketUnit
    from sockact.unit.rules import Findings

# Of a socket unit


def listens(unit: SocketUnit) -> Findings:
    if not unit.socket.listen and "listen" not in unit.socket.refused:
        yield Diagnostic("SA020", "nothing to listen on", hint="add ListenStream=PORT to [Socket]", file=unit.file)


def protocols_fit(unit: SocketUnit) -> Findings:
    for index, listen in enumerate(unit.socket.listen):
        misfit = protocols.choose(listen, unit.socket.protocol)
        if isinstance(misfit, Invalid):
            origin = unit.socket.origin("protocol") or unit.socket.origin("listen", index)
            yield at("SA021", misfit.message, origin, misfit.hint, unit.file)


def accepting_sockets_accept(unit: SocketUnit) -> Findings:
    for index, listen in enumerate(unit.socket.listen if unit.socket.accept else ()):
        if not plan.accepts(listen):
            what = KINDS[listen.kind].noun
            message = f"Accept=yes with a {what} ({listen.address}): there are no connections to accept"
            hint = f"use Accept=no, or put the {what} into a unit of its own"
            yield at("SA022", message, unit.socket.origin("listen", index), hint, unit.file)


def accepting_sockets_name_no_service(unit: SocketUnit) -> Findings:
    if unit.socket.accept and unit.socket.service:
        hint = "Accept=yes starts instances of NAME@.service; remove one of the two"
        yield at("SA023", "Service= cannot be combined with Accept=yes", unit.socket.origin("service"), hint, unit.file)


def admits_somebody(unit: SocketUnit) -> Findings:
    if unit.socket.max_connections == 0:
        origin, hint = unit.socket.origin("max_connections"), "the default is 64; there is no 'unlimited'"
        yield at("SA024", "MaxConnections=0 would close every connection", origin, hint, unit.file)


def links_lead_to_one_node(unit: SocketUnit) -> Findings:
    origin = unit.socket.origin("symlinks")
    nodes = [listen.address.node for listen in unit.socket.listen if listen.address.node]
    if unit.socket.listen and origin and len(nodes) != 1:
        message = f"leads to the one UNIX path or FIFO of a unit; here {f'are {len(nodes)}' if nodes else 'is none'}"
        hint = "put the one it is for into a unit of its own" if nodes else "remove it, or listen on a path"
        yield at_key("SA027", message, origin, hint)


def link_local_addresses_have_an_interface(unit: SocketUnit) -> Findings:
    for index, listen in enumerate(unit.socket.listen if not unit.socket.bind_to_device else ()):
        address = listen.address
        if isinstance(address, Inet6) and needs_scope(address) and not address.scope:
            message = f"{address} is on every link: without an interface it cannot be bound"
            hint = f"write [{address.host}]:{address.port}%%IFACE (one % would begin a specifier)"
            yield at("SA029", message, unit.socket.origin("listen", index), hint, unit.file)


def needs_scope(address: Inet6) -> bool:
    """Whether an address means something on one link only: fe80::/10, and multicast of interface and link (RFC 4007)."""
    first = address.host.partition(":")[0]
    number = int(first, 16) if first else 0
    return number & 0xFFC0 == 0xFE80 or number & 0xFF0F in (0xFF01, 0xFF02)


# Of a service unit


def runs_something(unit: ServiceUnit) -> Findings:
    settings = unit.service
    commands, oneshot = settings.exec_start, settings.type == "oneshot"
    cleans_up = settings.remains and settings.exec_stop
    is_of_use = oneshot and (cleans_up or unit.unit.success_action != "none")
    if not commands and not is_of_use and "exec_start" not in settings.refused:
        hint = "add ExecStart=/PATH/OF/PROGRAM to [Service]"
        if oneshot and settings.exec_stop:
            hint += ", or RemainAfterExit=yes, so that there is something to stop"
        yield Diagnostic("SA033", "the service has no ExecStart=", hint=hint, file=unit.file)
    elif len(commands) > 1 and not oneshot:
        origin = settings.origin("exec_start")
        yield at("SA033", f"{len(commands)} commands", origin, "several commands need Type=oneshot", unit.file)


def ends_by_one_measure(unit: ServiceUnit) -> Findings:
    """A oneshot service that would not have ended when its command has; systemd refuses it."""
    settings = unit.service
    if settings.type == "oneshot" and settings.exit_type == "cgroup":
        message = "ExitType=cgroup with Type=oneshot: a oneshot service has ended when its command has"
        yield at("SA012", message, settings.origin("exit_type"), "remove it, or use Type=exec", unit.file)


def comes_to_an_end(unit: ServiceUnit) -> Findings:
    """A oneshot service that is started again when it has done its work; systemd refuses it."""
    settings = unit.service
    if settings.type == "oneshot" and settings.restart in ("always", "on-success"):
        message = f"Restart={settings.restart} with Type=oneshot: the service would never be done"
        yield at("SA012", message, settings.origin("restart"), "use Restart=on-failure, or Type=exec", unit.file)
