"""Socket addresses: the grammar of `Listen*=` values (systemd.socket(5)) and their canonical spelling.

An address is a record of its family that knows its canonical text. Turning it into what bind(2) takes is the kernel
seam's affair, because an interface name only becomes an index there.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import Invalid

if TYPE_CHECKING:
    from typing import ClassVar

STREAM, DATAGRAM, SEQPACKET, FIFO = "stream", "datagram", "seqpacket", "fifo"
"""The kinds of `Listen*=`, named as `sockact show` prints them."""

LONGEST_UNIX = 107
"""Bytes of `sun_path` without the closing NUL (unix(7))."""

VSOCK_ANY = 0xFFFFFFFF
VSOCK_CIDS = {"": VSOCK_ANY, "any": VSOCK_ANY, "-1": VSOCK_ANY, "hypervisor": 0, "local": 1, "host": 2}
VSOCK_PREFIXES = ("vsock:", "vsock-stream:", "vsock-dgram:", "vsock-seqpacket:")


class Address(Record):
    """Where to listen; its text is the canonical spelling."""

    family: ClassVar[str | None] = None
    """The address family by the name `sockact show` gives it; None for what is no socket."""

    @property
    def node(self) -> str | None:
        """The node it leaves in the file system, if it leaves one."""
        return None


class Inet(Address):
    """An IPv4 address and port."""

    host: str
    port: int
    family = "inet"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Inet6(Address):
    """An IPv6 address and port, with the interface that gives a link-local address its scope."""

    host: str
    port: int
    scope: str = ""
    family = "inet6"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" + (f"%{self.scope}" if self.scope else "")


class Unix(Address):
    """A path in the file system, or an abstract name (written with a leading `@`)."""

    name: str
    family = "unix"

    @property
    def node(self) -> str | None:
        return self.name if self.name.startswith("/") else None

    def __str__(self) -> str:
        return escape(self.name)


class Vsock(Address):
    """A context id and port of a virtual machine (vsock(7))."""

    cid: int
    port: int
    family = "vsock"

    def __str__(self) -> str:
        return f"vsock:{'' if self.cid == VSOCK_ANY else self.cid}:{self.port}"


class Path(Address):
    """A node in the file system that is no socket, such as a FIFO."""

    path: str

    @property
    def node(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


class Listen(Record):
    """One `Listen*=` line: what kind of thing to open, and where."""

    kind: str
    address: Address


def parse(text: str, ipv6: bool = True) -> Address | Invalid:
    """Read a socket address. A bare port means all addresses: `[::]`, or `0.0.0.0` on a host without IPv6."""
    if text.startswith(("/", "@")):
        return _unix(text)
    if text.startswith(VSOCK_PREFIXES):
        return _vsock(text.partition(":")[2], text.index(":") + 1)
    if ":" not in text:
        return _port_only(text, ipv6)
    if "#" in text:
        return Invalid(
            "'#' cannot stand in an address", text.index("#"), text.index("#") + 1, "a comment needs a line of its own"
        )
    return _inet6(text) if text.startswith("[") else _inet(text)


def _unix(text: str) -> Unix | Invalid:
    if len(text) < 2:
        return Invalid(f"'{text}' alone is no address", 0, 1, "a path or @name has at least one more character")
    length = len(text.encode(errors="surrogateescape"))
    if length > LONGEST_UNIX:
        return Invalid(f"UNIX address of {length} bytes: the kernel takes {LONGEST_UNIX}", hint="choose a shorter path")
    if text.startswith("/") and ".." in text.split("/"):
        return Invalid("'..' in the path of a socket", hint="write the path without going back")
    return Unix("/run/" + text[9:] if text.startswith("/var/run/") else "/run/" if text == "/var/run" else text)


def _vsock(rest: str, offset: int) -> Vsock | Invalid:
    cid_text, colon, port_text = rest.rpartition(":")
    if not colon:
        return Invalid("a vsock address has two parts", offset, hint="write vsock:CID:PORT, or vsock::PORT for any CID")
    cid = VSOCK_CIDS[cid_text] if cid_text in VSOCK_CIDS else integer(cid_text.lstrip(" \t"))
    if isinstance(cid, Invalid) or not 0 <= cid <= VSOCK_ANY:
        return Invalid(f"not a vsock CID: '{cid_text}'", offset, offset + len(cid_text))
    port = integer(port_text.lstrip(" \t"))
    if isinstance(port, Invalid) or not 0 <= port < VSOCK_ANY:
        return Invalid(f"not a vsock port: '{port_text}'", offset + len(cid_text) + 1)
    return Vsock(cid, port)


def _port_only(text: str, ipv6: bool) -> Address | Invalid:
    port = _port(text, 0)
    if not isinstance(port, Invalid):
        return Inet6("::", port) if ipv6 else Inet("0.0.0.0", port)
    if (text[:1].isdigit() and text.isalnum()) or (text[:1] in "+-" and text[1:].isdigit()):
        return port
    if text.count(".") == 3:
        return Invalid(f"no port in '{text}'", hint=f"write {text}:PORT")
    return Invalid(f"not an address: '{text}'", hint="write PORT, IPv4:PORT, [IPv6]:PORT, /PATH, @NAME or vsock:CID:PORT")


def _inet(text: str) -> Inet | Invalid:
    address, percent, scope = text.partition("%")
    host, _, port_text = address.rpartition(":")
    if ":" in host:
        return Invalid("an IPv6 address with a port needs brackets", 0, len(address), f"write [{host}]:{port_text}")
    octets = host.split(".")
    if len(octets) != 4 or not all(_is_octet(octet) for octet in octets):
        hint = "host names are not looked up; write the address, or just the port for all addresses"
        return Invalid(f"not an IPv4 address: '{host}'", 0, len(host), hint)
    if percent and not is_interface(scope):
        return Invalid(f"not an interface name: '{scope}'", len(address) + 1)
    port = _port(port_text, len(host) + 1)
    return port if isinstance(port, Invalid) else Inet(host, port)


def _is_octet(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 256 if len(text) < 4 else False


def _inet6(text: str) -> Inet6 | Invalid:
    host, bracket, rest = text[1:].partition("]")
    address, percent, scope = rest.partition("%")
    start = len(host) + 3
    if not bracket or not address.startswith(":"):
        return Invalid(
            "expected ]:PORT after the IPv6 address",
            min(start - 1, len(text)),
            hint="write [IPv6]:PORT, with a scope [IPv6]:PORT%%IFACE",
        )
    canonical = canonical_ipv6(host)
    if canonical is None:
        hint = "the scope stands after the port: [IPv6]:PORT%%IFACE" if "%" in host else ""
        return Invalid(f"not an IPv6 address: '{host}'", 1, 1 + len(host), hint)
    port = _port(address[1:], start)
    if isinstance(port, Invalid):
        return port
    if percent and not is_interface(scope):
        return Invalid(f"not an interface name: '{scope}'", start + len(address))
    return Inet6(canonical, port, scope)


def _port(text: str, at: int) -> int | Invalid:
    port = integer(text)
    if isinstance(port, Invalid):
        return Invalid(f"not a port: '{text}'", at, at + max(1, len(text)), "service names are not looked up; write the number")
    if not 0 < port < 65536:
        return Invalid(f"port {port} is not between 1 and 65535", at, at + len(text))
    return port


RADIX = {"0x": 16, "0X": 16, "0o": 8, "0O": 8, "0b": 2, "0B": 2}


def integer(text: str) -> int | Invalid:
    """An integer in C notation: decimal, 0x, 0o, 0b, or octal by a leading zero; a sign may stand in front."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    base = RADIX.get(digits[:2], 8 if digits.startswith("0") and len(digits) > 1 else 10)
    body = digits[2:] if digits[:2] in RADIX else digits
    if not body.isascii() or not body.isalnum() or len(body) > 100 or body[:2] in RADIX:
        return Invalid(f"not a number: '{text[:40]}'")
    try:
        return int(body, base) * (-1 if text.startswith("-") else 1)
    except ValueError:
        return Invalid(f"not a number: '{text}'" + (" (a leading zero means octal)" if base == 8 else ""))


def is_interface(name: str) -> bool:
    """Whether a network interface could bear this name, alternative names included (netdevice(7))."""
    return (
        0 < len(name) <= 127
        and name not in (".", "..")
        and not any(c in ":/%" or c.isspace() or not c.isprintable() for c in name)
    )


def canonical_ipv6(text: str) -> str | None:
    """The address as RFC 5952 writes it (with IPv4 in dotted form where it is embedded), or None for anything else."""
    from ipaddress import AddressValueError, IPv6Address

    if "%" in text:
        return None
    if text == "::":
        return text
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return None
    low = address.ipv4_mapped
    return f"::ffff:{low}" if low else str(address)


C_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}


def escape(text: str) -> str:
    """C-escape as systemd prints UNIX addresses: octal for what is not printable ASCII."""
    data = text.encode(errors="surrogateescape")
    return "".join(C_ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in data)


KERNELS_OWN = ("/proc", "/sys", "/dev")
"""File systems in which nobody else creates nodes."""


def parse_path(text: str) -> Path | Invalid:
    """An absolute path without `..`; `.` and doubled slashes are simplified away, `/var/run` is `/run`."""
    if not text.startswith("/"):
        return Invalid(f"not an absolute path: '{text}'", hint="a path starts with / and is not quoted")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        return Invalid("'..' in the path", hint="write the path without going back")
    path = "/" + "/".join(parts)
    if any(path == prefix or path.startswith(prefix + "/") for prefix in KERNELS_OWN):
        return Invalid(f"nothing can be created below {path[: path.find('/', 1)] if path.count('/') > 1 else path}")
    if len(path) > 4095:
        return Invalid(f"a path of {len(path)} characters; the kernel takes 4095")
    return Path("/run" + path[8:] if path.startswith("/var/run/") else path)
