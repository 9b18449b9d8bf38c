"""What `sockact show` prints of a unit: what was understood, as JSON values, and the same as text."""

from __future__ import annotations

from sockact.net.plan import PRIVATE, fd_name, network, plan
from sockact.record import TYPE_CHECKING
from sockact.unit.gather import service_name, template_name
from sockact.unit.load import ServiceUnit, SocketUnit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from sockact.net.plan import Port
    from sockact.unit.conditions import Condition
    from sockact.unit.syntax import Assignment

LISTS = ("listen", "conditions", "asserts")
"""Fields that are fed by several directives, and shown apart."""

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START (sd_listen_fds(3))."""


def describe(unit: SocketUnit | ServiceUnit, with_plan: bool, drop_ins: tuple[str, ...] = ()) -> dict[str, Any]:
    """The unit as JSON values: booleans, integers, seconds or "infinity", modes as "0666", null for what is unset."""
    description: dict[str, Any] = {
        "unit": unit.name,
        "file": unit.file,
        "drop_ins": list(drop_ins),
        "service": unit.name if isinstance(unit, ServiceUnit) else _service(unit),
        "network_namespace": None,
        "listen": [],
        "conditions": _conditions(unit, "conditions", unit.unit.conditions) + _conditions(unit, "asserts", unit.unit.asserts),
        "settings": _settings(unit),
        "origins": _origins(unit),
    }
    if isinstance(unit, SocketUnit):
        ports = plan(unit)
        description["network_namespace"] = _network(unit)
        description["listen"] = [_listen(unit, index, port) for index, port in enumerate(ports)]
        description["settings"] |= _effective(unit)
        if with_plan:
            description["plan"] = [{"socket": str(port), "calls": [str(step) for step in port.steps]} for port in ports]
    return description


def _service(unit: SocketUnit) -> str:
    return template_name(unit) if unit.socket.accept else service_name(unit)


def _network(unit: SocketUnit) -> str | None:
    """The network namespace of the sockets: its path, or one made for them; None for that of sockact."""
    return "private" if network(unit) == PRIVATE else network(unit) or None


def _listen(unit: SocketUnit, index: int, port: Port) -> dict[str, Any]:
    """One `Listen…=` line. The descriptor is that of a service with this one socket unit; of connections each is the first."""
    address, assignment = port.listen.address, unit.socket.origin("listen", index)
    return {
        "kind": port.listen.kind,
        "address": str(address),
        "family": address.family,
        "protocol": _protocol(port),
        "fallback": _protocol(port.fallback) if port.fallback else None,
        "name": port.fd_name,
        "descriptor": FIRST_DESCRIPTOR + (0 if unit.socket.accept else index),
        "origin": _origin(assignment) if assignment else None,
    }


def _conditions(unit: SocketUnit | ServiceUnit, name: str, conditions: tuple[Condition, ...]) -> list[dict[str, Any]]:
    origins = unit.unit.origins.get(name, ())
    return [{"text": str(text), "origin": _origin(origin)} for text, origin in zip(conditions, origins, strict=True)]


def _protocol(port: Port) -> str | None:
    return port.protocol.name if port.protocol and port.protocol.selectable else None


def _settings(unit: SocketUnit | ServiceUnit) -> dict[str, Any]:
    """Every directive but the addresses, with its value or default."""
    found = {}
    for section in unit.sections:
        for field, row in section.rows():
            if field.name not in LISTS and row is field.rows[0]:
                value = section.value(field)
                found[row.key] = None if value is None else row.kind.show(value)
    return found


def _origins(unit: SocketUnit | ServiceUnit) -> dict[str, list[dict[str, Any]]]:
    """Where each setting was set that was; a list has one place for each assignment that added to it."""
    return {
        row.key: [_origin(assignment) for assignment in dict.fromkeys(section.origins[field.name])]
        for section in unit.sections
        for field, row in section.rows()
        if field.name not in LISTS and row is field.rows[0] and section.origins.get(field.name)
    }


def _origin(assignment: Assignment) -> dict[str, Any]:
    span = assignment.key_span
    return {"file": span.file, "line": span.line}


def _effective(unit: SocketUnit) -> dict[str, Any]:
    """Settings whose default is the unit's own name."""
    return {"FileDescriptorName": fd_name(unit), "Service": None if unit.socket.accept else service_name(unit)}


# As text


def as_text(description: dict[str, Any]) -> str:
    """The description for people: what was set, and where, comes before what was not."""
    lines = [f"{description['unit']}  ({description['file']})", *_head(description)]
    settings, origins = description["settings"], description["origins"]
    given = [(f"  {key}={_shown(settings[key])}", _places(places)) for key, places in origins.items()]
    lines += ["", "set", *_aligned(given)] if given else []
    lines += ["", "defaults", *(f"  {key}={_shown(value)}" for key, value in settings.items() if key not in origins)]
    for port in description.get("plan", ()):
        lines += ["", f"plan     {port['socket']}", *(f"  {call}" for call in port["calls"])]
    return "\n".join(lines)


def _head(description: dict[str, Any]) -> Iterator[str]:
    yield from (f"drop-in  {file}" for file in description["drop_ins"])
    if description["service"] != description["unit"]:
        yield f"service  {description['service']}"
    if description["network_namespace"]:
        yield f"network  {description['network_namespace']}"
    listens = [(f"listen   {_listened(listen)}", _places([listen["origin"]])) for listen in description["listen"]]
    conditions = [(f"if       {known['text']}", _places([known["origin"]])) for known in description["conditions"]]
    yield from _aligned([*listens, *conditions])


def _listened(listen: dict[str, Any]) -> str:
    words = (str(listen["descriptor"]), listen["kind"], listen["protocol"] or listen["family"], listen["address"])
    return " ".join(filter(None, words)) + (f", else {listen['fallback']}" if listen["fallback"] else "")


WIDEST = 60
"""Columns of the longest text that others are aligned with."""


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    """Texts with their places in one column behind them."""
    width = max((len(text) for text, _ in rows if len(text) <= WIDEST), default=0)
    return [f"{text:<{width}}  {place}".rstrip() for text, place in rows]


def _places(origins: list[dict[str, Any] | None]) -> str:
    return " ".join(f"{origin['file']}:{origin['line']}" for origin in origins if origin)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
