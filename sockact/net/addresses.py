"""Socket addresses: the grammar of `Listen*=` values (systemd.socket(5)) and their canonical spelling.

An address is a record of its family that knows its canonical text and what bind(2) takes. A kind says what one listens for:
a row for each `Listen*=` directive.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import Invalid

if TYPE_CHECKING:
    from typing import Any, ClassVar

STREAM, DATAGRAM, SEQPACKET, NETLINK = "stream", "datagram", "seqpacket", "netlink"
FIFO, SPECIAL, QUEUE = "fifo", "special", "mqueue"


class ListenKind(Record):
    """What a `Listen*=` directive opens."""

    name: str
    """As `sockact show` prints it."""
    directive: str
    noun: str
    carries: str = ""
    constant: str = ""
    """The type for socket(2); nothing for what is no socket."""
    listens: bool = False
    """Whether listen(2) makes it ready for its peers."""


KINDS = {
    kind.name: kind
    for kind in (
        ListenKind(STREAM, "ListenStream", "stream socket", "streams", "SOCK_STREAM", listens=True),
        ListenKind(DATAGRAM, "ListenDatagram", "datagram socket", "datagrams", "SOCK_DGRAM"),
        ListenKind(SEQPACKET, "ListenSequentialPacket", "packet socket", "sequential packets", "SOCK_SEQPACKET", listens=True),
        ListenKind(NETLINK, "ListenNetlink", "netlink socket", "netlink messages", "SOCK_RAW"),
        ListenKind(FIFO, "ListenFIFO", "FIFO"),
        ListenKind(SPECIAL, "ListenSpecial", "special file"),
        ListenKind(QUEUE, "ListenMessageQueue", "message queue"),
    )
}

LONGEST_UNIX = 107
"""Bytes of `sun_path` without the closing NUL (unix(7))."""

VSOCK_ANY = 0xFFFFFFFF
VSOCK_CIDS = {"": VSOCK_ANY, "any": VSOCK_ANY, "-1": VSOCK_ANY, "hypervisor": 0, "local": 1, "host": 2}
VSOCK_PREFIXES = ("vsock:", "vsock-stream:", "vsock-dgram:", "vsock-seqpacket:")

NETLINK_FAMILIES = {
    **{"route": 0, "firewall": 3, "inet-diag": 4, "nflog": 5, "xfrm": 6, "selinux": 7, "iscsi": 8, "audit": 9, "fib-lookup": 10},
    **{"connector": 11, "netfilter": 12, "ip6-fw": 13, "dnrtmsg": 14, "kobject-uevent": 15, "generic": 16, "scsitransport": 18},
    **{"ecryptfs": 19, "rdma": 20},
}
"""netlink(7) by the names of systemd.socket(5); include/uapi/linux/netlink.h."""

MOST_OF_A_RANGE = 1000
"""Ports of one range: each is a descriptor, and a service has 1024 of them unless it asks for more."""


class Address(Record):
    """Where to listen; its text is the canonical spelling."""

    family: ClassVar[str | None] = None
    """The address family by the name `sockact show` gives it; None for what is no socket."""
    constant: ClassVar[str] = ""
    """The family for socket(2)."""
    noun: ClassVar[str] = ""

    @property
    def protocol(self) -> int:
        """The number for socket(2) that the address itself names; 0 leaves it to the kernel."""
        return 0

    @property
    def node(self) -> str | None:
        """The node it leaves in the file system, if it leaves one."""
        return None

    @property
    def wire(self) -> Any:
        """What bind(2) takes, but for the index of the interface that a scope names."""
        raise TypeError(f"{self} is not the address of a socket")


class Inet(Address):
    """An IPv4 address and port; port 0 lets the kernel choose one."""

    host: str
    port: int
    family = "inet"
    constant = "AF_INET"
    noun = "an IPv4 socket"

    @property
    def wire(self) -> tuple[str, int]:
        return self.host, self.port

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Inet6(Address):
    """An IPv6 address and port, with the interface that gives a link-local address its scope."""

    host: str
    port: int
    scope: str = ""
    family = "inet6"
    constant = "AF_INET6"
    noun = "an IPv6 socket"

    @property
    def wire(self) -> tuple[str, int]:
        return self.host, self.port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" + (f"%{self.scope}" if self.scope else "")


class Unix(Address):
    """A path in the file system, or an abstract name (written with a leading `@`)."""

    name: str
    family = "unix"
    constant = "AF_UNIX"
    noun = "a UNIX socket"

    @property
    def node(self) -> str | None:
        return self.name if self.name.startswith("/") else None

    @property
    def wire(self) -> str | bytes:
        return self.name if self.node else b"\0" + self.name[1:].encode(errors="surrogateescape")

    def __str__(self) -> str:
        return escape(self.name)


class Vsock(Address):
    """A context id and port of a virtual machine (vsock(7))."""

    cid: int
    port: int
    family = "vsock"
    constant = "AF_VSOCK"
    noun = "a vsock"

    @property
    def wire(self) -> tuple[int, int]:
        return self.cid, self.port

    def __str__(self) -> str:
        return f"vsock:{'' if self.cid == VSOCK_ANY else self.cid}:{self.port}"


class Netlink(Address):
    """A netlink family and a mask of multicast groups (netlink(7))."""

    number: int
    groups: int
    family = "netlink"
    constant = "AF_NETLINK"
    noun = "a netlink socket"

    @property
    def protocol(self) -> int:
        return self.number

    @property
    def wire(self) -> tuple[int, int]:
        return 0, self.groups

    def __str__(self) -> str:
        known = {number: name for name, number in NETLINK_FAMILIES.items()}
        return f"{known.get(self.number, self.number)} {self.groups}"


class Path(Address):
    """A node in the file system that is no socket and is made by us: a FIFO."""

    path: str

    @property
    def node(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


class Named(Address):
    """Something of the kernel under a name that begins with a slash: a device or a file of /proc or /sys, a message queue
    (mq_overview(7)). It leaves no node of ours."""

    name: str

    def __str__(self) -> str:
        return self.name


FAMILIES: tuple[type[Address], ...] = (Inet, Inet6, Unix, Vsock, Netlink)


class Listen(Record):
    """One thing to open, of a `Listen*=` line: what kind it is, and where."""

    kind: str
    address: Address


def read(kind: str, text: str, ipv6: bool = True) -> tuple[Listen, ...] | Invalid:
    """Read the value of a `Listen*=` directive; a range of ports is a socket for each of them."""
    found: list[Listen] = []
    parts = several(text) if KINDS[kind].constant and kind != NETLINK else (text,)
    for part in parts if not isinstance(parts, Invalid) else ():
        address = READERS.get(kind, parse)(part, ipv6)
        if isinstance(address, Invalid):
            return address
        found.append(Listen(kind, address))
    return parts if isinstance(parts, Invalid) else tuple(found)


def beyond_systemd(listens: tuple[Listen, ...]) -> str:
    """Why systemd would refuse what `read` has taken; nothing if it would not."""
    for listen in listens:
        if getattr(listen.address, "port", None) == 0 and listen.address.family != "vsock":
            return "systemd takes no port 0"
        if listen.kind == SEQPACKET and listen.address.family != "unix":
            return "systemd takes UNIX sockets only here"
    return "systemd knows no ranges of ports" if len(listens) > 1 else ""


def several(text: str) -> tuple[str, ...] | Invalid:
    """The addresses that a range of ports stands for (`127.0.0.1:8000-8003`, as HAProxy writes it), in order."""
    address, percent, scope = text.partition("%")
    head, colon, ports = address.rpartition(":")
    first, dash, last = ports.partition("-")
    if text.startswith(("/", "@", *VSOCK_PREFIXES)) or not first[:1].isdigit() or not dash:
        return (text,)
    if percent and not is_interface(scope):
        return Invalid(f"not an interface name: '{scope}'", len(address) + 1)
    low, high = _port(first, len(head + colon)), _port(last, len(head + colon + first) + 1)
    if isinstance(low, Invalid):
        return low
    if isinstance(high, Invalid):
        return high
    if not 0 < low < high or high - low >= MOST_OF_A_RANGE:
        hint = f"write FIRST-LAST, at most {MOST_OF_A_RANGE} ports"
        return Invalid(f"not a range of ports: '{ports}'", len(head + colon), len(address), hint)
    return tuple(f"{head}{colon}{port}{percent}{scope}" for port in range(low, high + 1))


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
    if not 0 <= port < 65536:
        return Invalid(f"port {port} is not between 1 and 65535 (0 lets the kernel choose)", at, at + len(text))
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


def absolute(text: str) -> str | Invalid:
    """An absolute path without `..`; `.` and doubled slashes are simplified away."""
    if not text.startswith("/"):
        return Invalid(f"not an absolute path: '{text}'", hint="a path starts with / and is not quoted")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        return Invalid("'..' in the path", hint="write the path without going back")
    path = "/" + "/".join(parts)
    return path if len(path) <= 4095 else Invalid(f"a path of {len(path)} characters; the kernel takes 4095")


def _creatable(text: str) -> str | Invalid:
    """A path where something can be made: not in the kernel's own file systems."""
    path = absolute(text)
    if not isinstance(path, Invalid) and any(path == own or path.startswith(own + "/") for own in KERNELS_OWN):
        return Invalid(f"nothing can be created below {path[: path.find('/', 1)] if path.count('/') > 1 else path}")
    return path


def parse_fifo(text: str, ipv6: bool = True) -> Path | Invalid:
    """Where a FIFO is or shall be; `/var/run` is `/run`."""
    path = _creatable(text)
    return path if isinstance(path, Invalid) else Path("/run" + path[8:] if path.startswith("/var/run/") else path)


def parse_special(text: str, ipv6: bool = True) -> Named | Invalid:
    """A device, or a file of /proc or /sys, that exists."""
    path = absolute(text)
    return path if isinstance(path, Invalid) else Named(path)


def parse_queue(text: str, ipv6: bool = True) -> Named | Invalid:
    """The name of a POSIX message queue: one slash, in front (mq_overview(7))."""
    name = _creatable(text)
    if isinstance(name, Invalid):
        return name
    length = len(name.encode(errors="surrogateescape"))
    return Named(name) if length <= 256 else Invalid(f"a name of {length} bytes; the kernel takes 256")


def parse_netlink(text: str, ipv6: bool = True) -> Netlink | Invalid:
    """`FAMILY [GROUPS]`: a name or number, and a mask of multicast groups."""
    word, *rest = text.split(None, 1) or [""]
    number: int | Invalid = NETLINK_FAMILIES[word] if word in NETLINK_FAMILIES else integer(word)
    if isinstance(number, Invalid) or not 0 <= number < 1 << 31:
        return Invalid(f"not a netlink family: '{word}'", 0, len(word), f"a number, or one of {', '.join(NETLINK_FAMILIES)}")
    groups = integer(rest[0]) if rest else 0
    if isinstance(groups, Invalid) or not 0 <= groups < 1 << 32:
        return Invalid(f"not a mask of groups: '{rest[0]}'", text.index(rest[0], len(word)), hint="0 to 4294967295; 0x is taken")
    return Netlink(number, groups)


READERS = {FIFO: parse_fifo, SPECIAL: parse_special, QUEUE: parse_queue, NETLINK: parse_netlink}
"""Grammars by kind; every other kind takes a socket address."""
