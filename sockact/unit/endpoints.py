"""Value types of where to listen: addresses of each kind, and protocols."""

from __future__ import annotations

from sockact.net import addresses, protocols
from sockact.record import TYPE_CHECKING
from sockact.unit.diagnostics import Invalid
from sockact.unit.values import RESET, Kind

if TYPE_CHECKING:
    from sockact.net.addresses import Listen
    from sockact.net.protocols import Protocol
    from sockact.unit.specifiers import Context

GRAMMARS = {
    addresses.FIFO: "absolute path",
    addresses.SPECIAL: "absolute path",
    addresses.QUEUE: "name with a slash in front",
    addresses.NETLINK: "family by name or number, and a mask of groups",
}
ADDRESS = (
    "PORT, IPv4:PORT, [IPv6]:PORT, /PATH, @NAME or vsock:CID:PORT; PORT may be FIRST-LAST, or 0 for one that the kernel chooses"
)


def listen(kind: str) -> Kind:
    """Addresses of one kind."""

    def read(text: str, context: Context) -> object:
        if not text:
            return RESET
        value = context.substitute(text)
        found = value if isinstance(value, Invalid) else addresses.read(kind, value, context.ipv6)
        if isinstance(found, Invalid) and not isinstance(value, Invalid) and value != text:
            found = found.replace(start=0, end=None)  # no column of what something stands for is one of the file
        if isinstance(found, Invalid) and text.startswith("[") and "%" in text.replace("%%", ""):
            return found.replace(hint="the scope of an address is written [IPv6]:PORT%%IFACE: one % begins a specifier")
        return found

    name = {addresses.FIFO: "path", addresses.SPECIAL: "path", addresses.QUEUE: "queue", addresses.NETLINK: "netlink"}
    return Kind(name.get(kind, "address"), GRAMMARS.get(kind, ADDRESS), read, appends=True, extends=_beyond_systemd)


def _beyond_systemd(text: str, value: tuple[Listen, ...]) -> str:
    literal = any("${" in str(listen.address) for listen in value)
    return "systemd puts no variables into addresses" if "${" in text and not literal else addresses.beyond_systemd(value)


def _protocol(text: str, context: Context) -> object:
    if not text:
        return RESET
    number = addresses.integer(text)
    found = protocols.by_name(text) if isinstance(number, Invalid) else protocols.by_number(number)
    return found or Invalid(f"unknown protocol '{text}'", hint=f"one of {', '.join(protocols.NAMES)}")


def _not_systemds(text: str, value: Protocol | None) -> str:
    if not text:
        return "systemd does not reset it by an empty value"
    return "systemd takes udplite, sctp and mptcp only" if value and value.default else ""


PROTOCOL = Kind(
    "protocol",
    f"{', '.join(protocols.NAMES)}, or the number",
    _protocol,
    lambda protocol: protocol.name,
    extends=_not_systemds,
)
