"""[Socket]: what to listen on and how (systemd.socket(5))."""

from __future__ import annotations

from sockact.net.addresses import DATAGRAM, FIFO, SEQPACKET, STREAM
from sockact.net.protocols import IP, IPV6, SCTP, SOCKET, TCP
from sockact.record import TYPE_CHECKING
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives import Option, Section, directive, known, not_applied, ordered
from sockact.unit.values import (
    ACCOUNT,
    BOOLEAN,
    BURST,
    FD_NAME,
    INTERFACE,
    INTERVAL,
    MODE,
    PROTOCOL,
    SECONDS,
    SERVICE,
    SIZE,
    TEXT,
    TRUTH,
    TYPE_OF_SERVICE,
    UNSET_OR_INTEGER,
    UNSIGNED,
    Kind,
    choice,
    listen,
)

if TYPE_CHECKING:
    from sockact.net.addresses import Listen
    from sockact.net.protocols import Protocol

STREAMS = frozenset({STREAM})
DATAGRAMS = frozenset({DATAGRAM})
INTERNET = frozenset({"inet", "inet6"})
UNIX = frozenset({"unix"})
TIMESTAMPS = {
    **{word: "ns" if yes else "off" for word, yes in TRUTH.items()},
    **dict.fromkeys(("us", "usec", "µs", "μs"), "us"),
    **dict.fromkeys(("ns", "nsec"), "ns"),
}

V6ONLY = {"default": None, "both": 0, "ipv6-only": 1}
_ONE_OR_BOTH = {word: "ipv6-only" if only else "both" for word, only in TRUTH.items()}

REFUSED = Kind("refused", "not applied", lambda text, context: Invalid("sockact does not open sockets of this kind"))


class SocketSection(Section, title="Socket"):
    listen: tuple[Listen, ...] = ordered(
        directive(
            "ListenStream",
            listen(STREAM),
            "Listen for connections. All Listen…= lines form one list, whose order is that of the descriptors; "
            "an empty value clears it.",
            (),
            examples=("8080", "127.0.0.1:8080", "[::1]:8080", "/run/web.sock", "@web", "vsock::8080"),
            rejects=("0", "localhost:80", "127.0.0.1", "::1:80", "[::1]", "vsock:80"),
            essential=True,
        ),
        directive(
            "ListenDatagram",
            listen(DATAGRAM),
            "Receive datagrams.",
            examples=("5353", "/run/log.sock"),
            rejects=("65536",),
            essential=True,
        ),
        directive(
            "ListenSequentialPacket",
            listen(SEQPACKET),
            "Listen for connections that keep message boundaries: UNIX, vsock, or SCTP one-to-many with SocketProtocol=sctp.",
            examples=("/run/packets.sock", "@packets"),
            rejects=("packets",),
            essential=True,
        ),
        directive(
            "ListenFIFO",
            listen(FIFO),
            "Read from a FIFO (fifo(7)), which is created unless it exists.",
            examples=("/run/control",),
            rejects=("control", "/run/../control", "/proc/control"),
            essential=True,
        ),
        *(
            directive(key, REFUSED, "Not applied.", rejects=("/x",), essential=True)
            for key in ("ListenSpecial", "ListenNetlink", "ListenMessageQueue", "ListenUSBFunction")
        ),
    )
    protocol: Protocol | None = directive(
        "SocketProtocol",
        PROTOCOL,
        "The protocol of all sockets of the unit, which must exist for each of them. Empty: the kernel's choice.",
        examples=("mptcp", "MPTCP", "262", "tcp"),
        rejects=("quic", "mptcp,sctp", "-1", "0"),
        essential=True,
    )
    bind_ipv6_only: str = directive(
        "BindIPv6Only",
        choice({**{word: word for word in V6ONLY}, **_ONE_OR_BOTH}),
        "Whether an IPv6 wildcard takes IPv4 too; default is net.ipv6.bindv6only.",
        "default",
        examples=("both", "ipv6-only", "yes"),
        rejects=("never", ""),
        options=(Option(IPV6, "IPV6_V6ONLY", fatal=True, encode=V6ONLY.__getitem__),),
    )
    reuse_port: bool = directive(
        "ReusePort",
        BOOLEAN,
        "Let several sockets bind the same port and share its connections.",
        False,
        examples=("yes",),
        rejects=("port",),
        options=(Option(SOCKET, "SO_REUSEPORT", families=INTERNET),),
    )
    free_bind: bool = directive(
        "FreeBind",
        BOOLEAN,
        "Bind addresses that no interface has yet.",
        False,
        examples=("yes",),
        rejects=("2",),
        options=(Option(IP, "IP_FREEBIND"), Option(IPV6, "IPV6_FREEBIND")),
    )
    transparent: bool = directive(
        "Transparent",
        BOOLEAN,
        "Accept connections to addresses that are not this host's, as a transparent proxy does.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(IP, "IP_TRANSPARENT"), Option(IPV6, "IPV6_TRANSPARENT")),
    )
    bind_to_device: str | None = directive(
        "BindToDevice",
        INTERFACE,
        "Take traffic of one network interface only.",
        examples=("lo",),
        rejects=("a/b", "0123456789abcdef", "42"),
        options=(Option(SOCKET, "SO_BINDTODEVICE", families=INTERNET, fatal=True),),
    )
    broadcast: bool = directive(
        "Broadcast",
        BOOLEAN,
        "Allow datagrams to broadcast addresses.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_BROADCAST", kinds=DATAGRAMS, families=INTERNET),),
    )
    priority: int | None = directive(
        "Priority",
        UNSET_OR_INTEGER,
        "Priority of what is sent; above 6 only with privileges.",
        examples=("5",),
        rejects=("high",),
        options=(Option(SOCKET, "SO_PRIORITY"),),
    )
    mark: int | None = directive(
        "Mark",
        UNSET_OR_INTEGER,
        "Firewall mark of what is sent; needs privileges.",
        examples=("0x10",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_MARK"),),
    )
    ip_tos: int | None = directive(
        "IPTOS",
        TYPE_OF_SERVICE,
        "Type of service in the IPv4 header.",
        examples=("low-delay", "8"),
        rejects=("fast", "256"),
        options=(Option(IP, "IP_TOS", families=INTERNET),),
    )
    ip_ttl: int | None = directive(
        "IPTTL",
        UNSET_OR_INTEGER,
        "Time to live of what is sent.",
        examples=("5",),
        rejects=("x",),
        options=(Option(IP, "IP_TTL"), Option(IPV6, "IPV6_UNICAST_HOPS")),
    )
    defer_accept: float | None = directive(
        "DeferAcceptSec",
        SECONDS,
        "Count a connection as one only when data has come, or this time has passed.",
        examples=("1",),
        rejects=("x",),
        options=(Option(TCP, "TCP_DEFER_ACCEPT"),),
    )
    pass_credentials: bool = directive(
        "PassCredentials",
        BOOLEAN,
        "Have the kernel tell who sent what.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_PASSCRED", families=UNIX),),
    )
    pass_pidfd: bool = directive(
        "PassPIDFD",
        BOOLEAN,
        "Have the kernel send a pidfd of the sender along; Linux 6.5.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_PASSPIDFD", families=UNIX),),
    )
    pass_security: bool = directive(
        "PassSecurity",
        BOOLEAN,
        "Have the kernel send the security context of the sender along.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_PASSSEC", families=UNIX),),
    )
    accept_descriptors: bool = directive(
        "AcceptFileDescriptors",
        BOOLEAN,
        "Whether clients may send descriptors; refusing them needs Linux 6.16.",
        True,
        examples=("no",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_PASSRIGHTS", families=UNIX, encode={True: None, False: 0}.__getitem__),),
    )
    pass_packet_info: bool = directive(
        "PassPacketInfo",
        BOOLEAN,
        "Have the kernel tell at which address and interface a packet came in.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(IP, "IP_PKTINFO"), Option(IPV6, "IPV6_RECVPKTINFO")),
    )
    timestamping: str = directive(
        "Timestamping",
        choice(TIMESTAMPS),
        "Have the kernel tell when a packet came in, in microseconds (us) or nanoseconds (ns).",
        "off",
        examples=("us", "ns", "yes"),
        rejects=("ms", ""),
        options=(
            Option(SOCKET, "SO_TIMESTAMP", encode={"us": 1}.get),
            Option(SOCKET, "SO_TIMESTAMPNS", encode={"ns": 1}.get),
        ),
    )
    backlog: int = directive(
        "Backlog",
        UNSIGNED,
        "Connections the kernel queues before they are accepted; capped by net.core.somaxconn.",
        2147483647,
        examples=("128", "0x80"),
        rejects=("-1", "many", ""),
    )
    keep_alive: bool = directive(
        "KeepAlive",
        BOOLEAN,
        "Probe idle connections.",
        False,
        examples=("yes",),
        rejects=("often",),
        options=(Option(SOCKET, "SO_KEEPALIVE", kinds=STREAMS, families=INTERNET),),
    )
    keep_alive_time: float | None = directive(
        "KeepAliveTimeSec",
        SECONDS,
        "Idle time before the first probe.",
        examples=("60",),
        rejects=("x",),
        options=(Option(TCP, "TCP_KEEPIDLE"),),
    )
    keep_alive_interval: float | None = directive(
        "KeepAliveIntervalSec",
        SECONDS,
        "Time between probes.",
        examples=("10s",),
        rejects=("x",),
        options=(Option(TCP, "TCP_KEEPINTVL"),),
    )
    keep_alive_probes: int | None = directive(
        "KeepAliveProbes",
        UNSIGNED,
        "Unanswered probes before the connection counts as lost.",
        examples=("3",),
        rejects=("x",),
        options=(Option(TCP, "TCP_KEEPCNT"),),
    )
    no_delay: bool = directive(
        "NoDelay",
        BOOLEAN,
        "Send small packets at once.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(TCP, "TCP_NODELAY"), Option(SCTP, "SCTP_NODELAY")),
    )
    receive_buffer: int | None = directive(
        "ReceiveBuffer",
        SIZE,
        "Size of the receive buffer; beyond net.core.rmem_max only with privileges.",
        examples=("64K",),
        rejects=("8MB", "8m"),
        options=(Option(SOCKET, "SO_RCVBUF", forced="SO_RCVBUFFORCE"),),
    )
    send_buffer: int | None = directive(
        "SendBuffer",
        SIZE,
        "Size of the send buffer; beyond net.core.wmem_max only with privileges.",
        examples=("64K",),
        rejects=("8Mi",),
        options=(Option(SOCKET, "SO_SNDBUF", forced="SO_SNDBUFFORCE"),),
    )
    socket_user: str | None = directive(
        "SocketUser",
        ACCOUNT,
        "Owner of UNIX socket nodes and FIFOs.",
        examples=("nobody", "65534"),
        rejects=("a:b",),
        essential=True,
    )
    socket_group: str | None = directive(
        "SocketGroup",
        ACCOUNT,
        "Group of UNIX socket nodes and FIFOs; the user's primary group if only SocketUser= is given.",
        examples=("nogroup",),
        rejects=("a/b",),
        essential=True,
    )
    socket_mode: int = directive(
        "SocketMode",
        MODE,
        "Access mode of UNIX socket nodes and FIFOs.",
        0o666,
        examples=("0600",),
        rejects=("0o600", "8", "rw"),
    )
    directory_mode: int = directive(
        "DirectoryMode",
        MODE,
        "Access mode of parent directories that have to be created.",
        0o755,
        examples=("0700",),
        rejects=("10000",),
    )
    remove_on_stop: bool = directive(
        "RemoveOnStop",
        BOOLEAN,
        "Remove UNIX socket nodes and FIFOs when the unit stops.",
        False,
        examples=("yes",),
        rejects=("x",),
    )
    accept: bool = directive(
        "Accept",
        BOOLEAN,
        "Start one instance of NAME@.service for each connection, instead of one service for all.",
        False,
        examples=("yes",),
        rejects=("all",),
    )
    max_connections: int = directive(
        "MaxConnections",
        UNSIGNED,
        "Connections served at once with Accept=yes; others are closed.",
        64,
        examples=("3",),
        rejects=("-1",),
    )
    max_connections_per_source: int = directive(
        "MaxConnectionsPerSource",
        UNSIGNED,
        "Connections served at once for one peer: IP address, user id (UNIX) or context id (vsock). 0: no limit.",
        0,
        examples=("2",),
        rejects=("x",),
    )
    trigger_limit_interval: float = directive(
        "TriggerLimitIntervalSec",
        INTERVAL,
        "The window in which TriggerLimitBurst= activations are allowed; one more fails the socket.",
        2.0,
        examples=("5s", "0"),
        rejects=("x",),
    )
    trigger_limit_burst: int = directive(
        "TriggerLimitBurst",
        BURST,
        "Activations allowed in the window; 20, with Accept=yes 200.",
        lambda section: 200 if section.accept else 20,
        examples=("7",),
        rejects=("x",),
    )
    service: str | None = directive(
        "Service",
        SERVICE,
        "The service to start; by default the one with the socket's own name. Not with Accept=yes.",
        examples=("other.service", "pool@1.service"),
        rejects=("other", "pool@.service", "other.socket"),
    )
    fd_name: str | None = directive(
        "FileDescriptorName",
        FD_NAME,
        "The name in LISTEN_FDNAMES; by default the unit's name, with Accept=yes connection.",
        examples=("http",),
        rejects=("a:b",),
    )
    congestion: str | None = directive(
        "TCPCongestion",
        TEXT,
        "The congestion control algorithm.",
        examples=("reno",),
        options=(Option(TCP, "TCP_CONGESTION"),),
    )

    known = {
        **known.IN_SOCKET,
        **not_applied(
            {
                "a socket unit runs no commands of its own": """
ExecStartPre ExecStartPost ExecStopPre ExecStopPost TimeoutSec PassFileDescriptorsToExec""",
                "sockact has no such limit": "PollLimitIntervalSec PollLimitBurst",
                "sockact does not do this": "FlushPending DeferTrigger DeferTriggerMaxSec Symlinks",
                "sockact sets no extended attributes or security labels": """
XAttrEntryPoint XAttrListen XAttrAccept SmackLabel SmackLabelIPIn SmackLabelIPOut SELinuxContextFromNet""",
                "it concerns a kind of socket that sockact does not open": """
Writable PipeSize MessageQueueMaxMessages MessageQueueMessageSize""",
            }
        ),
    }
