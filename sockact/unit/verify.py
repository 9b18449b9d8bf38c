"""What is wrong with units: rules within a unit, rules between units, and facts about this host.

Each rule is a generator of findings; the tables say which rules there are. `Survey` is what a rule may know of the machine;
without one (`--offline`) its rules are left out.
"""

from __future__ import annotations

from math import inf

from sockact.record import TYPE_CHECKING
from sockact.unit.diagnostics import PORTABLE, Diagnostic, errors
from sockact.unit.rules import between, idle, machine, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockact.unit.gather import UnitSet
    from sockact.unit.load import ServiceUnit, SocketUnit
    from sockact.unit.rules.machine import Survey

SOCKET_RULES = (
    *(within.listens, within.protocols_fit, within.accepting_sockets_accept, within.accepting_sockets_name_no_service),
    *(within.admits_somebody, within.links_lead_to_one_node, within.link_local_addresses_have_an_interface),
    *(idle.concerns_something, idle.options_apply_somewhere, idle.fits_accept, idle.has_what_it_needs),
    *(idle.falls_back_from_something, idle.is_not_applied, idle.limits_can_be_reached, idle.pauses_at_something),
)
SERVICE_RULES = (
    *(within.runs_something, within.comes_to_an_end, within.ends_by_one_measure, idle.start_limit_is_on),
    idle.what_is_random_is_added_to_something,
)
SET_RULES = (
    *(between.inetd_services_have_one_socket, between.sockets_start_who_asks_for_them, between.names_tell_descriptors_apart),
    *(between.trigger_limits_can_be_reached, between.links_are_in_nobodys_way),
    *(between.named_units_are_here, between.nobody_waits_for_himself),
)
HOST_RULES = (machine.names_what_exists, machine.accounts_may_be_taken, machine.groups_may_be_limited)
HOST_SOCKET_RULES = (
    *(machine.scopes_exist, machine.addresses_are_here, machine.ports_may_be_bound, machine.kernel_has_the_protocol),
    *(machine.what_is_opened_exists, machine.options_may_be_set, machine.nodes_may_be_given_away),
)

NO_EFFECT = "SA04"
"""The tens of what has no effect."""


def verify(units: UnitSet, survey: Survey | None, portable: bool = False) -> list[Diagnostic]:
    """Everything that is wrong with the units; with `portable` also what systemd would refuse of them."""
    services = _all_services(units)
    found = list(units.diagnostics)
    found += [d for socket in units.sockets.values() for rule in SOCKET_RULES for d in rule(socket)]
    found += [d for service in services for rule in SERVICE_RULES for d in rule(service)]
    if units.complete:
        only_ipv6 = survey is not None and survey.setting("net.ipv6.bindv6only") == 1
        found += between.addresses_are_distinct(units, only_ipv6)
        found += [d for rule in SET_RULES for d in rule(units)]
    if survey:
        everybody: list[SocketUnit | ServiceUnit] = [*units.sockets.values(), *services]
        found += [d for unit in everybody for rule in HOST_RULES for d in rule(unit, survey)]
        found += [d for socket in units.sockets.values() for rule in HOST_SOCKET_RULES for d in rule(socket, survey)]
    # A template used by two sockets is checked twice and told about once.
    told = [d for d in dict.fromkeys(_telling(found)) if portable or d.scope != PORTABLE]
    return sorted(told, key=lambda d: (d.span.file, d.span.line) if d.span else (d.file, inf))


def _telling(found: list[Diagnostic]) -> Iterator[Diagnostic]:
    """Of each line that it has no effect once, and not at all if it is wrong anyway."""
    told = {(d.span.file, d.span.line) for d in errors(found) if d.span}
    for diagnostic in found:
        if diagnostic.code.startswith(NO_EFFECT) and diagnostic.span:
            line = diagnostic.span.file, diagnostic.span.line
            if line in told:
                continue
            told.add(line)
        yield diagnostic


def _all_services(units: UnitSet) -> list[ServiceUnit]:
    return [*units.services.values(), *(template.sample for template in units.templates.values())]
