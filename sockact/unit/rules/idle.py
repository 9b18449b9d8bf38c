"""What stands in a socket unit and has no effect. systemd is silent about all of it.

None of this names a directive that the table can tell of: options say where they apply, rows what they concern and which
Accept= they need.
"""

from __future__ import annotations

from math import ceil, inf

from sockact.net import plan
from sockact.net.addresses import FAMILIES, KINDS
from sockact.net.protocols import PROTOCOLS
from sockact.record import TYPE_CHECKING, Record
from sockact.unit.commands import COMMANDS
from sockact.unit.directives.execution import ExecutionSection
from sockact.unit.directives.socket import SocketSection
from sockact.unit.rules import at_key, changed, listed, made, ports

if TYPE_CHECKING:
    from typing import TypeAlias

    from sockact.net.addresses import Listen
    from sockact.net.protocols import Protocol
    from sockact.unit.directives import Field, Option, Row, Section
    from sockact.unit.load import ServiceUnit, SocketUnit
    from sockact.unit.rules import Findings

    Ports: TypeAlias = list[tuple[Listen, Protocol | None]]

REMOVE = "remove it, or move it to the unit that it was meant for"

# Options and what else is about some sockets only


def concerns_something(unit: SocketUnit) -> Findings:
    opened = ports(unit)
    for section in unit.sections if opened else ():
        for _, row, _, origin in changed(section):
            if row.concerns and not any(row.concerns.holds(listen) for listen, _ in opened):
                yield at_key("SA040", f"has no effect: nothing here is {row.concerns.noun}", origin, REMOVE)


def options_apply_somewhere(unit: SocketUnit) -> Findings:
    opened = ports(unit)
    for section in unit.sections if opened else ():
        for _, row, value, origin in changed(section):
            asked = any(option.encode(value) is not None for option in row.options)
            if asked and not any(_applies(option, port) for option in row.options for port in opened):
                code, why = _why_not(row, opened)
                yield at_key(code, f"has no effect: {why}", origin, REMOVE)


def _applies(option: Option, port: tuple[Listen, Protocol | None]) -> bool:
    listen, protocol = port
    return protocol is not None and plan.applies(option, listen, protocol)


def _why_not(row: Row, opened: Ports) -> tuple[str, str]:
    """The code, and which of family, kind and protocol stands in the way of an option that applies to no port."""
    speakers = [protocol for protocol in PROTOCOLS if any(_speaks(protocol, option) for option in row.options)]
    families = [known for known in FAMILIES if any(_exists(option, str(known.family), speakers) for option in row.options)]
    kinds = [kind for option in row.options for kind in option.kinds]
    home = {known.family for known in families}
    if not any(listen.address.family in home for listen, _ in opened):
        return "SA040", f"nothing here is {listed([known.noun for known in families])}"
    if kinds and not any(listen.kind in kinds for listen, _ in opened):
        return "SA040", f"nothing here is a {listed([KINDS[kind].noun for kind in kinds])}"
    if kinds and not any(listen.kind in kinds and listen.address.family in home for listen, _ in opened):
        return "SA040", f"no {listed([KINDS[kind].noun for kind in kinds])} here is {listed([known.noun for known in families])}"
    lacking = [protocol.title for _, protocol in opened if protocol and any(_lacks(protocol, option) for option in row.options)]
    if lacking:
        return "SA041", f"{listed(lacking)} does not have it"
    return "SA041", f"nothing here speaks {listed([protocol.title for protocol in speakers])}"


def _speaks(protocol: Protocol, option: Option) -> bool:
    return option.level in protocol.levels and option.name not in protocol.lacks


def _lacks(protocol: Protocol, option: Option) -> bool:
    return option.level in protocol.levels and option.name in protocol.lacks


def _exists(option: Option, family: str, speakers: list[Protocol]) -> bool:
    allowed = option.families or plan.ANCILLARY_LEVELS.get(option.level)
    return (not allowed or family in allowed) and any(option.level in p.levels and family in p.families for p in speakers)


# Accept=


def fits_accept(unit: SocketUnit) -> Findings:
    """What needs the other Accept=. systemd refuses one of these and takes the others in silence."""
    accept = unit.socket.accept
    for section in unit.sections:
        for field, row, _, origin in changed(section):
            if row.accept not in (None, accept):
                code, effect = ("SA028", "cannot be combined") if field.name in REFUSED else ("SA042", "has no effect")
                message = f"{effect} with Accept=yes" if accept else f"{effect} without Accept=yes"
                hint = "remove it" if accept else "remove it, or have an instance of the service for each connection: Accept=yes"
                yield at_key(code, message, origin, hint)


REFUSED = frozenset({"defer_trigger"})
"""Fields that systemd refuses with the wrong Accept=."""

# One setting and another

COMMAND_FIELDS = tuple(field.name for field, row in SocketSection.rows() if row.kind is COMMANDS)
EXECUTION_FIELDS = tuple(dict.fromkeys(f.name for f, _ in ExecutionSection.rows() if f.name not in SocketSection.__dict__))
"""What is about commands only, and not about sockets as well."""


class Need(Record):
    """Settings that have no effect unless one of others is made, too."""

    code: str
    settings: tuple[str, ...]
    others: tuple[str, ...]
    hint: str
    without: str = ""
    """How to name the others, if not by their keys."""


NEEDS = (
    Need(
        "SA043",
        (*EXECUTION_FIELDS, "timeout"),
        COMMAND_FIELDS,
        "it is for commands such as ExecStartPre=; what the service runs in stands in its own unit",
        "a command in the socket unit",
    ),
    Need(
        "SA043",
        ("pass_to_exec",),
        tuple(name for name in COMMAND_FIELDS if name != "exec_start_pre"),
        "ExecStartPre= runs before there are sockets",
    ),
    Need(
        "SA044",
        ("keep_alive_time", "keep_alive_interval", "keep_alive_probes"),
        ("keep_alive",),
        "add KeepAlive=yes, unless the service itself sets SO_KEEPALIVE",
    ),
    Need("SA044", ("queue_messages",), ("queue_message_size",), "the kernel takes both or none"),
    Need("SA044", ("queue_message_size",), ("queue_messages",), "the kernel takes both or none"),
    Need("SA044", ("defer_trigger_most",), ("defer_trigger",), "sockact defers nothing; systemd does with DeferTrigger=yes"),
)


def has_what_it_needs(unit: SocketUnit) -> Findings:
    given = made(unit.socket)
    for need in NEEDS if given else ():
        if not given.keys().isdisjoint(need.others):
            continue
        without = need.without or listed([f"{_key(unit.socket, name)}=" for name in need.others])
        for name in given.keys() & set(need.settings):
            yield at_key(need.code, f"has no effect without {without}", given[name], need.hint)


def _key(section: Section, name: str) -> str:
    field: Field = type(section).__dict__[name]
    return field.rows[0].key


def falls_back_from_something(unit: SocketUnit) -> Findings:
    origin, opened = made(unit.own).get("protocol_fallback"), ports(unit)
    if origin and opened and all(protocol is None or protocol.default for _, protocol in opened):
        message = "has no effect: every kernel has what is spoken here"
        yield at_key("SA044", message, origin, "name the protocol that may be missing with SocketProtocol=, or remove it")


def is_not_applied(unit: SocketUnit) -> Findings:
    """What is read, and makes no difference under sockact."""
    given = made(unit.socket)
    for name in ("defer_trigger", "defer_trigger_most") if "defer_trigger" in given else ():
        if name in given and not unit.socket.accept:
            yield at_key("SA008", "is not applied: under sockact no unit is in the way of another", given[name], "")
    for origin in made(unit.unit).values():
        if origin.key.startswith("StartLimit"):
            yield at_key("SA008", "is not applied to sockets: sockact starts each of them once", origin, "")


# Limits


class Limit(Record):
    """A number of events in a window, by the fields of its two directives."""

    interval: str
    burst: str


TRIGGER = Limit("trigger_limit_interval", "trigger_limit_burst")
POLL = Limit("poll_limit_interval", "poll_limit_burst")
START = Limit("start_limit_interval", "start_limit_burst")


def most_in(span: float, interval: float, burst: int) -> float:
    """How many events a limit lets pass in any time of this length, however its windows fall into it."""
    return burst * (ceil(span / interval) + 1)


def limits_can_be_reached(unit: SocketUnit) -> Findings:
    for limit in (TRIGGER, POLL):
        yield from switched_off(unit.socket, limit)
    yield from _polls(unit)
    settings, most = unit.socket, unit.socket.max_connections
    origin = settings.origin("max_connections_per_source")
    if origin and settings.accept and settings.max_connections_per_source >= most > 0:
        message = f"has no effect: there are never more than MaxConnections={most} in all"
        yield at_key("SA045", message, origin, "write a smaller number, or raise MaxConnections=")


def switched_off(section: Section, limit: Limit) -> Findings:
    """Half of a limit whose other half is 0, which means no limit."""
    given = made(section)
    for name, other in ((limit.interval, limit.burst), (limit.burst, limit.interval)):
        origin = given.get(name)
        if origin and getattr(section, name) and not getattr(section, other):
            message = f"has no effect: {_key(section, other)}=0 switches the limit off"
            yield at_key("SA045", message, origin, "remove one of the two")


def what_is_random_is_added_to_something(unit: ServiceUnit) -> Findings:
    settings = unit.service
    origin = made(settings).get("runtime_spread")
    if origin and settings.runtime_most == inf:
        yield at_key("SA044", "has no effect without RuntimeMaxSec=", origin, "add RuntimeMaxSec=, or remove it")


def start_limit_is_on(unit: ServiceUnit) -> Findings:
    yield from switched_off(unit.unit, START)


def _polls(unit: SocketUnit) -> Findings:
    """Where one of the two limits of a socket is always reached before the other."""
    settings, given = unit.socket, made(unit.socket)
    poll = settings.poll_limit_interval, settings.poll_limit_burst
    trigger = settings.trigger_limit_interval, settings.trigger_limit_burst
    polls = [given[name] for name in (POLL.interval, POLL.burst) if name in given and all(poll)]
    triggers = [given[name] for name in (TRIGGER.interval, TRIGGER.burst) if name in given and all(trigger)]
    if not settings.accept:
        for origin in polls:
            message = "has no effect without Accept=yes: each time the service is started, the count begins anew"
            yield at_key("SA045", message, origin, "TriggerLimitBurst= counts on")
    elif all(trigger) and all(poll):
        if polls and most_in(poll[0], *trigger) <= poll[1]:
            message = f"has no effect: TriggerLimitBurst={trigger[1]} in {trigger[0]:g} s is always reached before"
            yield at_key("SA045", message, polls[-1], "a limit of polling is of use below that of triggers")
        if triggers and len(settings.listen) * most_in(trigger[0], *poll) <= trigger[1]:
            message = f"has no effect: PollLimitBurst={poll[1]} in {poll[0]:g} s never lets so many pass"
            yield at_key("SA045", message, triggers[-1], "raise PollLimitBurst=, or leave it to that limit")


def pauses_at_something(unit: SocketUnit) -> Findings:
    origin = made(unit.own).get("trigger_limit_action")
    off = not (unit.socket.trigger_limit_interval and unit.socket.trigger_limit_burst)
    if origin and off:
        yield at_key("SA045", "has no effect: the limit is switched off", origin, "set TriggerLimitBurst= and its interval")
