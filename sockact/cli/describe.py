"""What `sockact show` prints of a unit: what was understood, as JSON values, and the same as text."""

from __future__ import annotations

from sockact.net.plan import fd_name, plan
from sockact.record import TYPE_CHECKING
from sockact.unit.gather import service_name, template_name
from sockact.unit.load import ServiceUnit, SocketUnit

if TYPE_CHECKING:
    from typing import Any

    from sockact.net.plan import Port


def describe(unit: SocketUnit | ServiceUnit, with_plan: bool) -> dict[str, Any]:
    """The unit as JSON values: booleans, integers, seconds or "infinity", modes as "0666", null for what is unset."""
    description: dict[str, Any] = {
        "unit": unit.name,
        "file": unit.file,
        "service": unit.name if isinstance(unit, ServiceUnit) else _service(unit),
        "listen": [],
        "settings": _settings(unit),
    }
    if isinstance(unit, SocketUnit):
        ports = plan(unit)
        description["listen"] = [_listen(port) for port in ports]
        description["settings"] |= _effective(unit)
        if with_plan:
            description["plan"] = [{"socket": str(port), "calls": [str(step) for step in port.steps]} for port in ports]
    return description


def _service(unit: SocketUnit) -> str:
    return template_name(unit) if unit.socket.accept else service_name(unit)


def _listen(port: Port) -> dict[str, Any]:
    protocol = port.protocol.name if port.protocol and port.protocol.selectable else None
    address = port.listen.address
    return {"kind": port.listen.kind, "address": str(address), "family": address.family, "protocol": protocol}


def _settings(unit: SocketUnit | ServiceUnit) -> dict[str, Any]:
    """Every directive but the addresses, with its value or default."""
    found = {}
    for section in unit.sections:
        for field, row in section.rows():
            if field.name != "listen" and row is field.rows[0]:
                value = section.value(field)
                found[row.key] = None if value is None else row.kind.show(value)
    return found


def _effective(unit: SocketUnit) -> dict[str, Any]:
    """Settings whose default is the unit's own name."""
    return {"FileDescriptorName": fd_name(unit), "Service": None if unit.socket.accept else service_name(unit)}


def as_text(description: dict[str, Any]) -> str:
    """The description for people."""
    lines = [f"{description['unit']}  ({description['file']})"]
    if description["service"] != description["unit"]:
        lines.append(f"service  {description['service']}")
    for listen in description["listen"]:
        words = (listen["kind"], listen["protocol"] or listen["family"], listen["address"])
        lines.append(f"listen   {' '.join(filter(None, words))}")
    lines += [f"  {key}={_shown(value)}" for key, value in description["settings"].items()]
    for port in description.get("plan", ()):
        lines += [f"plan     {port['socket']}", *(f"  {call}" for call in port["calls"])]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
