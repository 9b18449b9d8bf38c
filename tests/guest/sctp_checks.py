"""What sockact does with SCTP and vsock, checked on whatever kernel this runs on.

    python -m tests.guest.sctp_checks

Prints one line of JSON a check, its name and what failed.  tests/system/test_sctp.py runs it, in a guest if need be; so it
imports little and starts few processes, as Python is twenty times slower under emulation.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

from sockact.runtime.kernel import Kernel
from tests.guest.checking import Checks
from tests.guest.service import IPPROTO_SCTP
from tests.lab import PATIENCE, Supervisor, free_port, started, write_units
from tests.option_table import TAKEN, pairs, verdict

SERVICE = f"[Service]\nExecStart={sys.executable} -IS {Path(__file__).with_name('service.py')}\n"
VMADDR_CID_LOCAL = 1

PAUSE = 0.5
"""Seconds in which a listener that is readable without a message would have shown it; nothing depends on more."""

CHECKS = Checks()
check = CHECKS.add

Address = tuple[str, int] | tuple[int, int]


@check
def an_sctp_stream_listener_answers_over_ipv4_and_over_ipv6(folder: Path) -> None:
    port, port6 = free_sctp_port(), free_sctp_port()
    socket_unit = sctp_socket(f"ListenStream=127.0.0.1:{port}", f"ListenStream=[::1]:{port6}")
    with serving(folder, {"echo.socket": socket_unit, "echo.service": SERVICE}):
        seen = ask(socket.AF_INET, IPPROTO_SCTP, ("127.0.0.1", port))
        seen6 = ask(socket.AF_INET6, IPPROTO_SCTP, ("::1", port6))
    expect(seen, family=socket.AF_INET, type=socket.SOCK_STREAM, protocol=IPPROTO_SCTP, nodelay=0)
    expect(seen6, family=socket.AF_INET6, type=socket.SOCK_STREAM, protocol=IPPROTO_SCTP, nodelay=0, pid=seen["pid"])


@check
def an_sctp_one_to_many_listener_activates_on_the_first_message(folder: Path) -> None:
    port = free_sctp_port()
    files = {"many.socket": sctp_socket(f"ListenSequentialPacket=127.0.0.1:{port}"), "many.service": SERVICE}
    with serving(folder, files) as supervisor, client(socket.AF_INET, IPPROTO_SCTP, socket.SOCK_SEQPACKET) as peer:
        sleep(PAUSE)
        assert children(supervisor.pid) == "", "the service runs before there is a message"
        seen = [ask_by_message(peer, ("127.0.0.1", port)) for _ in range(2)]
    expect(seen[0], family=socket.AF_INET, type=socket.SOCK_SEQPACKET, protocol=IPPROTO_SCTP)
    assert seen[0] == seen[1], f"the second message reached another service: {seen}"


@check
def an_accepted_sctp_connection_is_standard_input_and_names_its_peer(folder: Path) -> None:
    port = free_sctp_port()
    script = folder / "greet"
    script.write_text('echo "$REMOTE_ADDR $REMOTE_PORT"\nexec cat\n')
    socket_unit = sctp_socket(f"ListenStream=127.0.0.1:{port}", "Accept=yes")
    service_unit = f"[Service]\nExecStart=/bin/sh {script}\nStandardInput=socket\n"
    files = {"cat.socket": socket_unit, "cat@.service": service_unit}
    with serving(folder, files), client(socket.AF_INET, IPPROTO_SCTP) as peer:
        peer.connect(("127.0.0.1", port))
        host, own_port = peer.getsockname()
        greeting = peer.recv(4096).decode()
        peer.sendall(b"through cat")
        echo = peer.recv(4096)
    expect({"greeting": greeting, "echo": echo}, greeting=f"{host} {own_port}\n", echo=b"through cat")


@check
def nodelay_reaches_the_listening_sctp_socket(folder: Path) -> None:
    port = free_sctp_port()
    socket_unit = sctp_socket(f"ListenStream=127.0.0.1:{port}", "NoDelay=yes")
    with serving(folder, {"prompt.socket": socket_unit, "prompt.service": SERVICE}):
        seen = ask(socket.AF_INET, IPPROTO_SCTP, ("127.0.0.1", port))
    expect(seen, protocol=IPPROTO_SCTP, nodelay=1)


PORTS = {
    "stream": "SocketProtocol=sctp\nListenStream=127.0.0.1:0",
    "stream6": "SocketProtocol=sctp\nListenStream=[::]:0",
    "packets": "SocketProtocol=sctp\nListenSequentialPacket=127.0.0.1:0",
    "packets6": "SocketProtocol=sctp\nListenSequentialPacket=[::]:0",
}
TAKEN_FOR_NOTHING = {"SO_BROADCAST", "SO_PASSCRED", "SO_PASSSEC", "SO_KEEPALIVE", "SO_LINGER"}
"""What the kernel takes from any socket, and SCTP makes nothing of."""


@check
def sctp_sockets_have_the_options_that_the_table_says_they_have(folder: Path) -> None:
    said = [(pair, verdict(pair, Kernel())) for pair in pairs(PORTS)]
    refused = [f"{pair.port} {pair.option.name}: {text}" for pair, text in said if pair.claimed and text != TAKEN]
    assert not refused, f"in the table, and not taken: {refused}"
    left_out = [
        f"{pair.port} {pair.option.name}"
        for pair, text in said
        if not pair.claimed
        and text == TAKEN
        and pair.option.name not in TAKEN_FOR_NOTHING
        # These are for IPv4 peers of an IPv6 socket; systemd sets the option of the socket's own family.
        and not (pair.option.level == "IPPROTO_IP" and pair.port.endswith("6"))
    ]
    assert not left_out, f"taken, and not in the table: {left_out}"


@check
def tcp_and_sctp_share_a_port_number(folder: Path) -> None:
    port = free_port()
    listen = f"ListenStream=127.0.0.1:{port}"
    files = {"a.socket": f"[Socket]\n{listen}\n", "b.socket": sctp_socket(listen), "a.service": SERVICE, "b.service": SERVICE}
    with serving(folder, files):
        over_tcp = ask(socket.AF_INET, socket.IPPROTO_TCP, ("127.0.0.1", port))
        over_sctp = ask(socket.AF_INET, IPPROTO_SCTP, ("127.0.0.1", port))
    expect(over_tcp, protocol=socket.IPPROTO_TCP)
    expect(over_sctp, protocol=IPPROTO_SCTP)


@check
def a_vsock_listener_on_the_local_cid_answers(folder: Path) -> None:
    port = free_vsock_port()
    socket_unit = f"[Socket]\nListenStream=vsock:{VMADDR_CID_LOCAL}:{port}\n"
    with serving(folder, {"vsock.socket": socket_unit, "vsock.service": SERVICE}):
        seen = ask(socket.AF_VSOCK, 0, (VMADDR_CID_LOCAL, port))
    expect(seen, family=socket.AF_VSOCK, type=socket.SOCK_STREAM)


@contextmanager
def serving(folder: Path, files: Mapping[str, str]) -> Iterator[Supervisor]:
    """sockact with these units; its log goes with whatever fails meanwhile."""
    sockets = [path for path in write_units(folder, files) if path.suffix == ".socket"]
    with started(*sockets) as supervisor:
        try:
            yield supervisor
        except Exception as error:
            error.add_note("The log of sockact:\n" + "\n".join(supervisor.log))
            raise


def lacking() -> str | None:
    """What this kernel lacks for the checks."""
    try:
        free_sctp_port()
        free_vsock_port()
    except OSError as error:
        return f"this kernel lacks SCTP or vsock loopback: {error}"
    return None


def free_sctp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_vsock_port() -> int:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
        probe.bind((VMADDR_CID_LOCAL, socket.VMADDR_PORT_ANY))
        port: int = probe.getsockname()[1]
        return port


def sctp_socket(*lines: str) -> str:
    return "\n".join(["[Socket]", "SocketProtocol=sctp", *lines, ""])


def client(family: int, protocol: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    made.settimeout(PATIENCE)
    return made


def ask(family: int, protocol: int, address: Address) -> dict[str, Any]:
    with client(family, protocol) as peer:
        peer.connect(address)
        peer.sendall(b"hello")
        return understood(peer.recv(4096))


def ask_by_message(peer: socket.socket, address: Address) -> dict[str, Any]:
    peer.sendto(b"hello", address)  # the association comes with the message, there is no connect()
    return understood(peer.recv(4096))


def understood(reply: bytes) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(reply)
    expect(seen, echo="hello")
    return seen


def expect(seen: dict[str, Any], **wanted: object) -> None:
    found = {key: seen[key] for key in wanted}
    assert found == wanted, f"got {found}, not {wanted}"


def children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


if __name__ == "__main__":
    CHECKS.run()
