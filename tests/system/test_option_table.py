"""The option table, held against the running kernel: what it says exists is taken and reported back, what it leaves out is
refused or would do nothing; and what connections have of the options of their listener. (SCTP is asked in the guest.)"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sockact.net.plan import SetOption, plan
from sockact.runtime.kernel import Kernel
from sockact.runtime.listeners import abandon, open_ports
from tests.fakes import SERVICE, findings
from tests.option_table import TAKEN, Pair, at_least, opened, pairs, reported, unit_of, verdict

NAME = f"@sockact-test-{os.getpid()}"
PORTS = {
    "tcp": "ListenStream=127.0.0.1:0\nSocketProtocol=tcp",
    "tcp6": "ListenStream=[::]:0\nSocketProtocol=tcp",
    "mptcp": "ListenStream=127.0.0.1:0\nSocketProtocol=mptcp",
    "mptcp6": "ListenStream=[::]:0\nSocketProtocol=mptcp",
    "udp": "ListenDatagram=127.0.0.1:0\nSocketProtocol=udp",
    "udp6": "ListenDatagram=[::]:0\nSocketProtocol=udp",
    "udplite": "ListenDatagram=127.0.0.1:0\nSocketProtocol=udplite",
    "udplite6": "ListenDatagram=[::]:0\nSocketProtocol=udplite",
    "unix": f"ListenStream={NAME}",
    "unix datagram": f"ListenDatagram={NAME}",
    "unix packets": f"ListenSequentialPacket={NAME}",
    "vsock": "ListenStream=vsock::5000",
    "vsock packets": "ListenSequentialPacket=vsock::5000",
    "netlink": "ListenNetlink=route 1",
}
STREAMS = ("tcp", "tcp6", "mptcp", "mptcp6")
INTERNET6 = ("tcp6", "mptcp6", "udp6", "udplite6")
DATAGRAMS = ("udp", "udp6", "udplite", "udplite6")
UNIX = ("unix", "unix datagram", "unix packets")
VSOCK = ("vsock", "vsock packets")
PAIRS = list(pairs(PORTS))

SINCE = {"SO_PASSPIDFD": (6, 5), "SO_PASSRIGHTS": (6, 16)}
SINCE_WITH_MPTCP = {"TCP_MAXSEG": (6, 17), "TCP_FASTOPEN": (6, 2)}
PRIVILEGED = {"SO_MARK", "IP_TRANSPARENT", "IPV6_TRANSPARENT"}

TAKEN_FOR_NOTHING = {
    "SO_BROADCAST": ("tcp", "tcp6", *UNIX, *VSOCK, "netlink"),
    # Only datagrams of the Internet are broadcast.
    "SO_KEEPALIVE": (*DATAGRAMS, *UNIX, *VSOCK, "netlink"),
    # Only TCP probes.
    "SO_LINGER": (*DATAGRAMS, *UNIX, *VSOCK, "netlink"),
    # Nothing is waited for; vsock would, but its connections have nothing of their listener.
    "SO_BINDTODEVICE": (*UNIX, *VSOCK, "netlink"),
    # There is no device in between.
    **dict.fromkeys(("SO_PASSCRED", "SO_PASSSEC"), ("netlink",)),
    # systemd asks for them on UNIX sockets only; a netlink message comes from the kernel.
    "IP_FREEBIND": INTERNET6,
    "IP_TRANSPARENT": INTERNET6,
    "IP_TTL": tuple(port for port in INTERNET6 if port != "mptcp6"),
    "IP_PKTINFO": tuple(port for port in INTERNET6 if port != "mptcp6"),
    # These are for IPv4 clients of an IPv6 socket; systemd sets the option of the socket's own family.
}
"""What the kernel takes and the table leaves out all the same."""

NOT_OF_CONNECTIONS = {
    "SO_PRIORITY": "a new connection has the priority that its type of service gives it (net/core/sock.c, sk_clone_lock)",
    "TCP_DEFER_ACCEPT": "it is about connections that are not yet there",
    "TCP_FASTOPEN": "it is about connections that are not yet there",
    "IPV6_V6ONLY": "a connection has one family",
}


def possible(pair: Pair) -> str:
    """Why the running kernel, or this user, cannot have the option; nothing if they can."""
    name = pair.option.name
    since = SINCE.get(name, SINCE_WITH_MPTCP.get(name, (0, 0)) if pair.protocol.name == "mptcp" else (0, 0))
    if not at_least(*since):
        return f"{name} came with Linux {since[0]}.{since[1]}"
    if name in PRIVILEGED and os.geteuid() != 0:
        return f"{name} needs privileges"
    return there(pair)


def there(pair: Pair) -> str:
    kernel = Kernel()
    try:
        kernel.close(opened(pair, kernel))
    except OSError as error:
        return f"this kernel has no {pair.port}: {error}"
    return ""


def of(claimed: bool) -> list[object]:
    return [pytest.param(pair, id=f"{pair.port} {pair.option.name}") for pair in PAIRS if pair.claimed is claimed]


def test_every_protocol_that_this_kernel_can_have_is_asked() -> None:
    assert {pair.protocol.name for pair in PAIRS} == {"tcp", "mptcp", "udp", "udplite", "unix", "vsock", "netlink"}
    assert {option for names in (TAKEN_FOR_NOTHING, NOT_OF_CONNECTIONS) for option in names} <= {p.option.name for p in PAIRS}


@pytest.mark.parametrize("pair", of(True))
def test_an_option_that_the_table_knows_is_taken_and_reported_back(pair: Pair) -> None:
    if why := possible(pair):
        pytest.skip(why)
    assert verdict(pair, Kernel()) == TAKEN


@pytest.mark.parametrize("pair", of(True))
def test_an_option_that_the_table_knows_is_set_before_bind_and_still_there_when_the_port_is_open(pair: Pair) -> None:
    if why := possible(pair):
        pytest.skip(why)
    kernel, unit = Kernel(), unit_of(f"[X-Sockact]\nOptionFailure=fail\n{pair.unit}")
    (port,) = open_ports(kernel, plan(unit), complaint)
    try:
        steps = [step for step in port.port.steps if isinstance(step, SetOption) and step.name == pair.option.name]
        assert steps
        assert not str(reported(port.fd, pair)).startswith("changed")
    finally:
        abandon(kernel, [port])


def complaint(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize("pair", of(False))
def test_an_option_that_the_table_leaves_out_is_refused_or_would_do_nothing(pair: Pair) -> None:
    if why := there(pair):
        pytest.skip(why)
    if pair.option.name in PRIVILEGED and os.geteuid() != 0:
        pytest.skip("needs privileges")
    pointless = pair.port in TAKEN_FOR_NOTHING.get(pair.option.name, ())
    assert (verdict(pair, Kernel()) == TAKEN) is pointless


def rows() -> list[object]:
    found: dict[tuple[str, str], list[Pair]] = {}
    for pair in PAIRS:
        found.setdefault((pair.port, pair.row.key), []).append(pair)
    return [pytest.param(same, id=" ".join(name)) for name, same in found.items()]


@pytest.mark.parametrize("same", rows())
def test_a_directive_is_told_to_have_no_effect_exactly_where_the_table_leaves_it_out(same: list[Pair]) -> None:
    files = {"t.socket": same[0].unit, "t.service": SERVICE}
    told = [diagnostic for diagnostic in findings(files) if diagnostic.code in ("SA040", "SA041")]
    assert bool(told) is not any(pair.claimed for pair in same)
    assert all(same[0].row.key in diagnostic.message for diagnostic in told)


# Connections


CLIENTS = {
    "tcp": ("tcp", socket.AF_INET, 0),
    "tcp6": ("tcp6", socket.AF_INET6, 0),
    "mptcp": ("mptcp", socket.AF_INET, 262),
    "mptcp6": ("mptcp6", socket.AF_INET6, 262),
    "tcp to mptcp": ("mptcp", socket.AF_INET, 0),
    "tcp6 to mptcp6": ("mptcp6", socket.AF_INET6, 0),
}


def connections() -> Iterator[object]:
    for name, (port, family, protocol) in CLIENTS.items():
        for pair in PAIRS:
            if pair.port == port and pair.claimed:
                yield pytest.param(pair, family, protocol, id=f"{name} {pair.option.name}")


@contextmanager
def connected(pair: Pair, family: int, protocol: int) -> Iterator[tuple[int, int]]:
    """The descriptors of a listener with the option, and of a connection it has accepted."""
    kernel = Kernel()
    (port,) = open_ports(kernel, plan(unit_of(pair.unit)), complaint)
    try:
        address: object = (
            "\0" + NAME[1:] if family == socket.AF_UNIX else (pair.listen.address.wire[0], kernel.bound_port(port.fd))
        )
        kind = socket.SOCK_SEQPACKET if pair.port == "unix packets" else socket.SOCK_STREAM
        with socket.socket(family, kind, protocol) as client:
            client.connect(address)  # type: ignore[arg-type]
            client.sendall(b"x")  # DeferAcceptSec= waits for it
            select.select([port.fd], [], [])
            accepted = kernel.accept(port.fd)
            assert accepted is not None
            yield port.fd, accepted
            kernel.close(accepted)
    finally:
        abandon(kernel, [port])


@pytest.mark.parametrize(("pair", "family", "protocol"), list(connections()))
def test_a_connection_has_the_option_of_its_listener_or_cannot(pair: Pair, family: int, protocol: int) -> None:
    if why := possible(pair):
        pytest.skip(why)
    with connected(pair, family, protocol) as (listener, accepted):
        theirs, ours = reported(accepted, pair), reported(listener, pair)
    if pair.option.name == "TCP_MAXSEG":
        assert isinstance(pair.value, int)
        announced = int(str(theirs).removeprefix("changed: "))
        assert pair.value - 40 <= announced <= pair.value, "options in the header are counted in"
    elif pair.option.name == "IPV6_V6ONLY":
        assert str(theirs)[-1] in "01"
    else:
        assert (theirs == ours) is (pair.option.name not in NOT_OF_CONNECTIONS)


PASSED = {"SO_PASSCRED", "SO_PASSPIDFD", "SO_PASSSEC", "SO_PASSRIGHTS"}
UNIX_LISTENERS = [pair for pair in PAIRS if pair.port in ("unix", "unix packets") and pair.claimed]


@pytest.mark.parametrize("pair", UNIX_LISTENERS, ids=lambda pair: f"{pair.port} {pair.option.name}")
def test_a_unix_connection_has_what_is_passed_and_nothing_else_of_its_listener(pair: Pair) -> None:
    """So ReceiveBuffer=, SendBuffer=, Priority=, Mark= and Timestamping= are for datagrams there."""
    if why := possible(pair):
        pytest.skip(why)
    larger = pair._replace(value=1 << 20, example="1M") if "BUF" in pair.option.name else pair
    with connected(larger, socket.AF_UNIX, 0) as (listener, accepted):
        same = reported(accepted, larger) == reported(listener, larger)
    assert same is (pair.option.name in PASSED)
