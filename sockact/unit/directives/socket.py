"""[Socket]: what to listen on and how (systemd.socket(5))."""

from __future__ import annotations

from math import inf

from sockact.net.addresses import DATAGRAM, FIFO, NETLINK, QUEUE, SEQPACKET, SPECIAL, STREAM
from sockact.net.protocols import IP, IPV6, NETLINK_OPTIONS, SCTP, SOCKET, TCP
from sockact.record import TYPE_CHECKING
from sockact.unit.commands import COMMANDS, PATH, PATHS
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives import Concern, Option, directive, known, not_applied, ordered
from sockact.unit.directives.execution import ExecutionSection
from sockact.unit.endpoints import PROTOCOL, listen
from sockact.unit.values import (
    ACCOUNT,
    BOOLEAN,
    BURST,
    COUNT,
    FD_NAME,
    INTERFACE,
    INTERVAL,
    MODE,
    RESET,
    SECONDS,
    SERVICE,
    SIZE,
    TEXT,
    TIMEOUT,
    TRUTH,
    TYPE_OF_SERVICE,
    UNSET_OR_INTEGER,
    UNSIGNED,
    Kind,
    choice,
)

if TYPE_CHECKING:
    from sockact.net.addresses import Listen
    from sockact.net.protocols import Protocol
    from sockact.unit.commands import Command

STREAMS = frozenset({STREAM})
DATAGRAMS = frozenset({DATAGRAM})
INTERNET = frozenset({"inet", "inet6"})
UNIX = frozenset({"unix"})
LOCAL = frozenset({"unix", "netlink"})
TIMESTAMPS = {
    **{word: "ns" if yes else "off" for word, yes in TRUTH.items()},
    **dict.fromkeys(("us", "usec", "µs", "μs"), "us"),
    **dict.fromkeys(("ns", "nsec"), "ns"),
}

V6ONLY = {"default": None, "both": 0, "ipv6-only": 1}
_ONE_OR_BOTH = {word: "ipv6-only" if only else "both" for word, only in TRUTH.items()}

DEFERRALS = {**{word: "yes" if yes else "no" for word, yes in TRUTH.items()}, "patient": "patient"}

GADGET = Kind(
    "refused", "not applied", lambda text, context: Invalid("sockact makes no USB gadgets", known=True) if text else RESET
)

LISTENERS = Concern("a socket that listens", lambda listen: listen.kind in (STREAM, SEQPACKET))
NODES = Concern("a UNIX path or FIFO", lambda listen: listen.address.node is not None)
OWNED = Concern("a UNIX path, FIFO or message queue", lambda listen: listen.address.node is not None or listen.kind == QUEUE)
FIFOS = Concern("a FIFO", lambda listen: listen.kind == FIFO)
SPECIAL_FILES = Concern("a special file", lambda listen: listen.kind == SPECIAL)
QUEUES = Concern("a message queue", lambda listen: listen.kind == QUEUE)
SOCKETS = Concern("a socket", lambda listen: listen.address.family is not None)


def _doubled(asked: int, got: int) -> bool:
    """The kernel doubles sizes of buffers, for its own bookkeeping (socket(7))."""
    return got >= 2 * asked


def _rounded_up(asked: int, got: int) -> bool:
    """The kernel counts in retransmissions (tcp(7), TCP_DEFER_ACCEPT)."""
    return got >= asked


class SocketSection(ExecutionSection, title="Socket"):
    listen: tuple[Listen, ...] = ordered(
        directive(
            "ListenStream",
            listen(STREAM),
            "Listen for connections. All Listen…= lines form one list, whose order is that of the descriptors; "
            "an empty value clears it.",
            (),
            examples=("8080", "127.0.0.1:8080", "[::1]:8080", "/run/web.sock", "@web", "vsock::8080"),
            rejects=("70000", "localhost:80", "127.0.0.1", "::1:80", "[::1]", "vsock:80"),
            essential=True,
            since="1",
        ),
        directive(
            "ListenDatagram",
            listen(DATAGRAM),
            "Receive datagrams.",
            examples=("5353", "/run/log.sock"),
            rejects=("65536",),
            essential=True,
            since="1",
        ),
        directive(
            "ListenSequentialPacket",
            listen(SEQPACKET),
            "Listen for connections that keep message boundaries: UNIX, vsock, or SCTP one-to-many with SocketProtocol=sctp.",
            examples=("/run/packets.sock", "@packets"),
            rejects=("packets",),
            essential=True,
            since="1",
        ),
        directive(
            "ListenFIFO",
            listen(FIFO),
            "Read from a FIFO (fifo(7)), which is created unless it exists.",
            examples=("/run/control",),
            rejects=("control", "/run/../control", "/proc/control"),
            essential=True,
            since="1",
        ),
        directive(
            "ListenSpecial",
            listen(SPECIAL),
            "Watch a character device or a file of /proc or /sys.",
            examples=("/dev/kmsg",),
            rejects=("kmsg", "/run/../kmsg"),
            essential=True,
            since="25",
        ),
        directive(
            "ListenNetlink",
            listen(NETLINK),
            "Receive netlink messages (netlink(7)) of a family, and of the multicast groups of a mask.",
            examples=("route 1", "kobject-uevent", "15 0x1"),
            rejects=("roads", "route -1", "route x"),
            essential=True,
            since="25",
        ),
        directive(
            "ListenMessageQueue",
            listen(QUEUE),
            "Receive from a POSIX message queue (mq_overview(7)), which is created unless it exists.",
            examples=("/jobs",),
            rejects=("jobs", "/dev/jobs"),
            essential=True,
            since="27",
        ),
        directive(
            "ListenUSBFunction",
            GADGET,
            "Not applied: sockact makes no USB gadgets.",
            rejects=("/x",),
            essential=True,
            since="227",
        ),
    )
    protocol: Protocol | None = directive(
        "SocketProtocol",
        PROTOCOL,
        "The protocol of all sockets of the unit, which must exist for each of them. Empty: the kernel's choice.",
        examples=("mptcp", "MPTCP", "262", "tcp"),
        rejects=("quic", "mptcp,sctp", "-1", "0"),
        essential=True,
        concerns=SOCKETS,
        since="229",
    )
    bind_ipv6_only: str = directive(
        "BindIPv6Only",
        choice({**{word: word for word in V6ONLY}, **_ONE_OR_BOTH}),
        "Whether an IPv6 wildcard takes IPv4 too; default is net.ipv6.bindv6only.",
        "default",
        examples=("both", "ipv6-only", "yes"),
        rejects=("never", ""),
        options=(Option(IPV6, "IPV6_V6ONLY", fatal=True, encode=V6ONLY.__getitem__),),
        since="1",
    )
    reuse_port: bool = directive(
        "ReusePort",
        BOOLEAN,
        "Let several sockets bind the same port and share its connections.",
        False,
        examples=("yes",),
        rejects=("port",),
        options=(Option(SOCKET, "SO_REUSEPORT", families=INTERNET),),
        since="209",
    )
    free_bind: bool = directive(
        "FreeBind",
        BOOLEAN,
        "Bind addresses that no interface has yet.",
        False,
        examples=("yes",),
        rejects=("2",),
        options=(Option(IP, "IP_FREEBIND"), Option(IPV6, "IPV6_FREEBIND")),
        since="1",
    )
    transparent: bool = directive(
        "Transparent",
        BOOLEAN,
        "Accept connections to addresses that are not this host's, as a transparent proxy does.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(IP, "IP_TRANSPARENT"), Option(IPV6, "IPV6_TRANSPARENT")),
        since="27",
    )
    bind_to_device: str | None = directive(
        "BindToDevice",
        INTERFACE,
        "Take traffic of one network interface only.",
        examples=("lo",),
        rejects=("a/b", "0123456789abcdef", "42"),
        options=(Option(SOCKET, "SO_BINDTODEVICE", families=INTERNET, fatal=True),),
        since="1",
    )
    broadcast: bool = directive(
        "Broadcast",
        BOOLEAN,
        "Allow datagrams to broadcast addresses.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_BROADCAST", kinds=DATAGRAMS, families=INTERNET),),
        since="27",
    )
    priority: int | None = directive(
        "Priority",
        UNSET_OR_INTEGER,
        "Priority of what is sent; above 6 only with privileges.",
        examples=("5",),
        rejects=("high",),
        options=(Option(SOCKET, "SO_PRIORITY", inherited=False),),
        since="1",
    )
    mark: int | None = directive(
        "Mark",
        UNSET_OR_INTEGER,
        "Firewall mark of what is sent; needs privileges.",
        examples=("0x10",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_MARK"),),
        since="1",
    )
    ip_tos: int | None = directive(
        "IPTOS",
        TYPE_OF_SERVICE,
        "Type of service in the IPv4 header.",
        examples=("low-delay", "8"),
        rejects=("fast", "256"),
        options=(Option(IP, "IP_TOS", families=INTERNET),),
        since="1",
    )
    ip_ttl: int | None = directive(
        "IPTTL",
        UNSET_OR_INTEGER,
        "Time to live of what is sent.",
        examples=("5",),
        rejects=("x",),
        options=(Option(IP, "IP_TTL"), Option(IPV6, "IPV6_UNICAST_HOPS")),
        since="1",
    )
    defer_accept: float | None = directive(
        "DeferAcceptSec",
        SECONDS,
        "Count a connection as one only when data has come, or this time has passed.",
        examples=("1",),
        rejects=("x",),
        options=(Option(TCP, "TCP_DEFER_ACCEPT", holds=_rounded_up),),
        since="216",
    )
    pass_credentials: bool = directive(
        "PassCredentials",
        BOOLEAN,
        "Have the kernel tell who sent what.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_PASSCRED", families=LOCAL),),
        since="38",
    )
    pass_pidfd: bool = directive(
        "PassPIDFD",
        BOOLEAN,
        "Have the kernel send a pidfd of the sender along; Linux 6.5.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_PASSPIDFD", families=UNIX),),
        since="258",
    )
    pass_security: bool = directive(
        "PassSecurity",
        BOOLEAN,
        "Have the kernel send the security context of the sender along.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_PASSSEC", families=LOCAL),),
        since="44",
    )
    accept_descriptors: bool = directive(
        "AcceptFileDescriptors",
        BOOLEAN,
        "Whether clients may send descriptors; refusing them needs Linux 6.16.",
        True,
        examples=("no",),
        rejects=("x",),
        options=(Option(SOCKET, "SO_PASSRIGHTS", families=UNIX, encode={True: None, False: 0}.__getitem__),),
        since="258",
    )
    pass_packet_info: bool = directive(
        "PassPacketInfo",
        BOOLEAN,
        "Have the kernel tell at which address and interface a packet came in.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(IP, "IP_PKTINFO"), Option(IPV6, "IPV6_RECVPKTINFO"), Option(NETLINK_OPTIONS, "NETLINK_PKTINFO")),
        since="246",
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
        since="247",
    )
    backlog: int = directive(
        "Backlog",
        UNSIGNED,
        "Connections the kernel queues before they are accepted; capped by net.core.somaxconn.",
        2147483647,
        examples=("128", "0x80"),
        rejects=("-1", "many", ""),
        concerns=LISTENERS,
        since="1",
    )
    keep_alive: bool = directive(
        "KeepAlive",
        BOOLEAN,
        "Probe idle connections.",
        False,
        examples=("yes",),
        rejects=("often",),
        options=(Option(SOCKET, "SO_KEEPALIVE", kinds=STREAMS, families=INTERNET),),
        since="1",
    )
    keep_alive_time: float | None = directive(
        "KeepAliveTimeSec",
        SECONDS,
        "Idle time before the first probe.",
        examples=("60",),
        rejects=("x",),
        options=(Option(TCP, "TCP_KEEPIDLE"),),
        since="216",
    )
    keep_alive_interval: float | None = directive(
        "KeepAliveIntervalSec",
        SECONDS,
        "Time between probes.",
        examples=("10s",),
        rejects=("x",),
        options=(Option(TCP, "TCP_KEEPINTVL"),),
        since="216",
    )
    keep_alive_probes: int | None = directive(
        "KeepAliveProbes",
        UNSIGNED,
        "Unanswered probes before the connection counts as lost.",
        examples=("3",),
        rejects=("x",),
        options=(Option(TCP, "TCP_KEEPCNT"),),
        since="216",
    )
    no_delay: bool = directive(
        "NoDelay",
        BOOLEAN,
        "Send small packets at once.",
        False,
        examples=("yes",),
        rejects=("x",),
        options=(Option(TCP, "TCP_NODELAY"), Option(SCTP, "SCTP_NODELAY")),
        since="216",
    )
    receive_buffer: int | None = directive(
        "ReceiveBuffer",
        SIZE,
        "Size of the receive buffer; beyond net.core.rmem_max only with privileges.",
        examples=("64K",),
        rejects=("8MB", "8m"),
        options=(Option(SOCKET, "SO_RCVBUF", forced="SO_RCVBUFFORCE", holds=_doubled),),
        since="1",
    )
    send_buffer: int | None = directive(
        "SendBuffer",
        SIZE,
        "Size of the send buffer; beyond net.core.wmem_max only with privileges.",
        examples=("64K",),
        rejects=("8Mi",),
        options=(Option(SOCKET, "SO_SNDBUF", forced="SO_SNDBUFFORCE", holds=_doubled),),
        since="1",
    )
    socket_user: str | None = directive(
        "SocketUser",
        ACCOUNT,
        "Owner of UNIX socket nodes, FIFOs and message queues.",
        examples=("nobody", "65534"),
        rejects=("a:b",),
        essential=True,
        concerns=OWNED,
        since="214",
    )
    socket_group: str | None = directive(
        "SocketGroup",
        ACCOUNT,
        "Group of UNIX socket nodes, FIFOs and message queues; the user's primary group if only SocketUser= is given.",
        examples=("nogroup",),
        rejects=("a/b",),
        essential=True,
        concerns=OWNED,
        since="214",
    )
    socket_mode: int = directive(
        "SocketMode",
        MODE,
        "Access mode of UNIX socket nodes, FIFOs and message queues.",
        0o666,
        examples=("0600",),
        rejects=("0o600", "8", "rw"),
        concerns=OWNED,
        since="1",
    )
    directory_mode: int = directive(
        "DirectoryMode",
        MODE,
        "Access mode of parent directories that have to be created.",
        0o755,
        examples=("0700",),
        rejects=("10000",),
        concerns=NODES,
        since="1",
    )
    remove_on_stop: bool = directive(
        "RemoveOnStop",
        BOOLEAN,
        "Remove UNIX socket nodes, FIFOs, message queues and symbolic links when the unit stops.",
        False,
        examples=("yes",),
        rejects=("x",),
        concerns=OWNED,
        since="214",
    )
    symlinks: tuple[str, ...] = directive(
        "Symlinks",
        PATHS,
        "Symbolic links to make to the one UNIX path or FIFO of the unit.",
        (),
        examples=("/run/web.link",),
        rejects=("web.link", "/run/../x", "'/x"),
        concerns=NODES,
        since="214",
    )
    writable: bool = directive(
        "Writable",
        BOOLEAN,
        "Open special files for writing, too.",
        False,
        examples=("yes",),
        rejects=("x",),
        concerns=SPECIAL_FILES,
        since="227",
    )
    pipe_size: int = directive(
        "PipeSize",
        SIZE,
        "Capacity of a FIFO; beyond fs.pipe-max-size only with privileges.",
        0,
        examples=("64K",),
        rejects=("x",),
        concerns=FIFOS,
        since="1",
    )
    queue_messages: int = directive(
        "MessageQueueMaxMessages",
        COUNT,
        "How many messages a queue holds; used together with MessageQueueMessageSize=.",
        0,
        examples=("5",),
        rejects=("0", "x"),
        concerns=QUEUES,
        since="27",
    )
    queue_message_size: int = directive(
        "MessageQueueMessageSize",
        SIZE,
        "The longest message of a queue; used together with MessageQueueMaxMessages=.",
        0,
        examples=("1K",),
        rejects=("x",),
        concerns=QUEUES,
        since="27",
    )
    network_namespace: str | None = directive(
        "NetworkNamespacePath",
        PATH,
        "The network namespace in which sockets are made, as in /run/netns/blue.",
        examples=("/run/netns/blue",),
        rejects=("blue",),
        concerns=SOCKETS,
        since="242",
    )
    private_network: bool = directive(
        "PrivateNetwork",
        BOOLEAN,
        "Make the sockets in a network namespace of their own, with nothing but a loopback interface.",
        False,
        examples=("yes",),
        rejects=("x",),
        concerns=SOCKETS,
        since="33",
    )
    accept: bool = directive(
        "Accept",
        BOOLEAN,
        "Start one instance of NAME@.service for each connection, instead of one service for all.",
        False,
        examples=("yes",),
        rejects=("all",),
        since="1",
    )
    max_connections: int = directive(
        "MaxConnections",
        UNSIGNED,
        "Connections served at once with Accept=yes; others are closed.",
        64,
        examples=("3",),
        rejects=("-1",),
        accept=True,
        since="1",
    )
    max_connections_per_source: int = directive(
        "MaxConnectionsPerSource",
        UNSIGNED,
        "Connections served at once for one peer: IP address, user id (UNIX) or context id (vsock). 0: no limit.",
        0,
        examples=("2",),
        rejects=("x",),
        accept=True,
        since="232",
    )
    flush_pending: bool = directive(
        "FlushPending",
        BOOLEAN,
        "Drop connections and data that are waiting, whenever the socket begins to listen, also after its service has ended.",
        False,
        examples=("yes",),
        rejects=("x",),
        accept=False,
        since="247",
    )
    poll_limit_interval: float = directive(
        "PollLimitIntervalSec",
        INTERVAL,
        "The window in which one socket may report traffic PollLimitBurst= times; then it is left alone until the window ends.",
        2.0,
        examples=("5s", "0"),
        rejects=("x",),
        since="255",
    )
    poll_limit_burst: int = directive(
        "PollLimitBurst",
        BURST,
        "Reports of traffic in the window; 15, with Accept=yes 150.",
        lambda section: 150 if section.accept else 15,
        examples=("7",),
        rejects=("x",),
        since="255",
    )
    trigger_limit_interval: float = directive(
        "TriggerLimitIntervalSec",
        INTERVAL,
        "The window in which TriggerLimitBurst= activations are allowed; one more fails the socket.",
        2.0,
        examples=("5s", "0"),
        rejects=("x",),
        since="230",
    )
    trigger_limit_burst: int = directive(
        "TriggerLimitBurst",
        BURST,
        "Activations allowed in the window; 20, with Accept=yes 200.",
        lambda section: 200 if section.accept else 20,
        examples=("7",),
        rejects=("x",),
        since="230",
    )
    defer_trigger: str = directive(
        "DeferTrigger",
        choice(DEFERRALS),
        "Wait when the service cannot be started because of units it conflicts with. Under sockact no unit is in the way of "
        "another, and nothing is ever deferred.",
        "no",
        examples=("yes", "patient"),
        rejects=("all", ""),
        accept=False,
        since="258",
    )
    defer_trigger_most: float = directive(
        "DeferTriggerMaxSec",
        TIMEOUT,
        "How long to wait with DeferTrigger=.",
        inf,
        examples=("5",),
        rejects=("x",),
        accept=False,
        since="258",
    )
    service: str | None = directive(
        "Service",
        SERVICE,
        "The service to start; by default the one with the socket's own name. Not with Accept=yes.",
        examples=("other.service", "pool@1.service"),
        rejects=("other", "pool@.service", "other.socket"),
        since="1",
    )
    fd_name: str | None = directive(
        "FileDescriptorName",
        FD_NAME,
        "The name in LISTEN_FDNAMES; by default the unit's name, with Accept=yes connection.",
        examples=("http",),
        rejects=("a:b",),
        since="227",
    )
    congestion: str | None = directive(
        "TCPCongestion",
        TEXT,
        "The congestion control algorithm.",
        examples=("reno",),
        options=(Option(TCP, "TCP_CONGESTION"),),
        since="5",
    )

    exec_start_pre: tuple[Command, ...] = directive(
        "ExecStartPre",
        COMMANDS,
        "Commands to run before the sockets are made.",
        (),
        examples=("/bin/mkdir -p /run/web", "-/bin/false"),
        rejects=("'x", "bin/x"),
        since="1",
    )
    exec_start_post: tuple[Command, ...] = directive(
        "ExecStartPost",
        COMMANDS,
        "Commands to run when the sockets are there, before traffic is taken.",
        (),
        examples=("/bin/true",),
        rejects=("'x",),
        since="1",
    )
    exec_stop_pre: tuple[Command, ...] = directive(
        "ExecStopPre",
        COMMANDS,
        "Commands to run before the sockets are closed.",
        (),
        examples=("/bin/true",),
        rejects=("'x",),
        since="1",
    )
    exec_stop_post: tuple[Command, ...] = directive(
        "ExecStopPost",
        COMMANDS,
        "Commands to run when the sockets are closed.",
        (),
        examples=("/bin/true",),
        rejects=("'x",),
        since="1",
    )
    timeout: float = directive(
        "TimeoutSec",
        TIMEOUT,
        "How long each of the commands may take.",
        90.0,
        examples=("5",),
        rejects=("x",),
        since="1",
    )
    pass_to_exec: bool = directive(
        "PassFileDescriptorsToExec",
        BOOLEAN,
        "Hand the sockets to ExecStartPost=, ExecStopPre= and ExecStopPost=, too.",
        False,
        examples=("yes",),
        rejects=("x",),
        since="256",
    )

    known = {
        **known.IN_SOCKET,
        **not_applied(
            {
                "user attributes on sockets need Linux 7.0": "XAttrEntryPoint XAttrListen XAttrAccept",
                "sockact sets no security labels": "SmackLabel SmackLabelIPIn SmackLabelIPOut SELinuxContextFromNet",
            }
        ),
    }
