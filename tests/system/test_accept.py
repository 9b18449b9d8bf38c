"""Accept=yes: one instance of the template for each connection, which is told by whom it was called."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import (
    PROBE,
    Address,
    Supervisor,
    answer,
    ask,
    children,
    connect,
    eventually,
    free_port,
    refused,
    refuses,
    started,
    write_units,
)

IPPROTO_MPTCP = 262
WAIT = f"[Service]\nStandardInput=socket\nStandardOutput=journal\nExecStart={PROBE} answer=1"
HOLD = "[Service]\nStandardInput=socket\nExecStart=/bin/cat"
"""Echoes, and keeps its connection as long as the client does."""


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def listening(folder: Path, socket_lines: str, service: str, arguments: Sequence[str] = ("-v",)) -> Iterator[Supervisor]:
    files = {"one.socket": f"[Socket]\nAccept=yes\n{socket_lines}", "one@.service": service}
    with started(write_units(folder, files)[0], arguments=arguments) as supervisor:
        yield supervisor


def told(*aspects: str) -> str:
    return f"[Service]\nExecStart={PROBE} answer {' '.join(aspects)} --instance=%i"


def cookie_of(client: socket.socket) -> int:
    return int(struct.unpack("=Q", client.getsockopt(socket.SOL_SOCKET, 57, 8))[0])


def at_end(client: socket.socket) -> bool:
    """Wait until the other side closes; False if it says something."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


# --- one connection, one instance


def test_each_connection_gets_an_instance_of_its_own_which_has_it_as_its_only_descriptor(tmp_path: Path, port: int) -> None:
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}", told("activation", "descriptors", "sockets")) as supervisor:
        assert not children(supervisor.pid)
        clients = [connect(("127.0.0.1", port)) for _ in range(3)]
        names = [client.getsockname() for client in clients]
        for client in clients:
            client.sendall(b"hello\n")
        found = [answer(client) for client in clients]
        eventually(lambda: not children(supervisor.pid), "every instance ends with its connection")
    assert len({one["pid"] for one in found}) == 3
    for one, name in zip(found, names, strict=True):
        assert sorted(one["descriptors"]) == ["0", "1", "2", "3"]
        assert one["sockets"] == [
            {"family": "AF_INET", "type": "SOCK_STREAM", "protocol": 6, "listens": False, "address": ["127.0.0.1", port]}
        ]
        told_of = one["activation"]
        assert (told_of["REMOTE_ADDR"], told_of["REMOTE_PORT"]) == ("127.0.0.1", str(name[1]))
        assert (told_of["LISTEN_FDS"], told_of["LISTEN_FDNAMES"], told_of["LISTEN_PID"]) == ("1", "connection", str(one["pid"]))


def test_a_connection_can_be_given_another_name(tmp_path: Path, port: int) -> None:
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}\nFileDescriptorName=caller", told("activation")):
        assert ask(("127.0.0.1", port))["activation"]["LISTEN_FDNAMES"] == "caller"


def test_a_silent_client_keeps_no_other_one_waiting(tmp_path: Path, port: int) -> None:
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}", told()), connect(("127.0.0.1", port)):
        assert ask(("127.0.0.1", port))["fd"] == 3


# --- who calls


CALLERS = {
    "IPv4": ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
    "IPv6": ("[::1]", "::1", "::1"),
    "IPv4 at a dual-stack listener": ("[::]", "127.0.0.1", "127.0.0.1"),
    "IPv6 at a dual-stack listener": ("[::]", "::1", "::1"),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_the_instance_is_told_address_and_port_and_cookie_of_its_client(caller: str, tmp_path: Path, port: int) -> None:
    listen, host, seen = CALLERS[caller]
    lines = f"ListenStream={listen}:{port}\nBindIPv6Only=both"
    with listening(tmp_path, lines, told("activation", "arguments", "cookie")):
        client = connect((host, port))
        remote = client.getsockname()[1]
        client.sendall(b"hello\n")
        found = answer(client)
    told_of = found["activation"]
    assert (told_of["REMOTE_ADDR"], told_of["REMOTE_PORT"]) == (seen, str(remote))
    assert told_of["SO_COOKIE"] == str(found["cookie"]), "the cookie is that of the descriptor"
    assert f"--instance=0-{found['cookie']}-{seen}:{port}-{seen}:{remote}" in found["arguments"]


def test_instances_are_numbered_from_0(tmp_path: Path, port: int) -> None:
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}", told("arguments")):
        names = [word for _ in range(3) for word in ask(("127.0.0.1", port))["arguments"] if word.startswith("--instance=")]
    assert [name.partition("=")[2].partition("-")[0] for name in names] == ["0", "1", "2"]


@pytest.mark.parametrize("name", [None, "{folder}/caller", "@{folder}/caller"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_unix_client_is_known_by_its_address_if_it_has_one_and_by_its_process(
    name: str | None, kind: int, tmp_path: Path
) -> None:
    line = "ListenStream" if kind == socket.SOCK_STREAM else "ListenSequentialPacket"
    bound = name and name.format(folder=tmp_path)
    service = told("activation", "arguments", "cookie")
    with listening(tmp_path, f"{line}={tmp_path}/node", service), socket.socket(socket.AF_UNIX, kind) as client:
        if bound:
            client.bind("\0" + bound[1:] if bound.startswith("@") else bound)
        client.connect(f"{tmp_path}/node")
        client.sendall(b"hello\n")
        found = answer(client)
    assert found["activation"].get("REMOTE_ADDR") == bound
    assert "REMOTE_PORT" not in found["activation"]
    assert found["activation"]["SO_COOKIE"] == str(found["cookie"])
    (instance,) = (word for word in found["arguments"] if word.startswith("--instance="))
    assert re.fullmatch(rf"--instance=0-{found['cookie']}-{os.getpid()}(_\d+)?-{os.getuid()}", instance)


# --- inetd's way


def test_with_standard_input_socket_the_connection_is_standard_input_and_output_and_nothing_else(
    tmp_path: Path, port: int
) -> None:
    service = f"[Service]\nStandardInput=socket\nExecStart={PROBE} answer descriptors activation non_blocking"
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}", service):
        found = ask(("127.0.0.1", port))
    assert sorted(found["descriptors"]) == ["0", "1", "2"]
    assert found["descriptors"]["0"] == found["descriptors"]["1"]
    assert found["descriptors"]["0"].startswith("socket:")
    assert found["descriptors"]["2"].startswith("pipe:"), "error messages go to the log, not to the client"
    assert sorted(found["activation"]) == ["REMOTE_ADDR", "REMOTE_PORT", "SO_COOKIE"]
    assert found["non_blocking"] == [False]


def test_a_filter_becomes_a_server(tmp_path: Path, port: int) -> None:
    service = "[Service]\nStandardInput=socket\nExecStart=/usr/bin/tr a-z A-Z"
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}", service), connect(("127.0.0.1", port)) as client:
        client.sendall(b"quiet please\n")
        client.shutdown(socket.SHUT_WR)
        assert client.makefile().read() == "QUIET PLEASE\n"


def test_without_accept_the_listening_socket_is_standard_input_as_inetd_has_it_with_wait(tmp_path: Path, port: int) -> None:
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}",
        "one.service": f"{WAIT} descriptors activation",
    }
    with started(write_units(tmp_path, files)[0]):
        found = ask(("127.0.0.1", port))
        assert (found["fd"], found["activation"]) == (0, {})
        assert sorted(found["descriptors"]) == ["0", "1", "2"]
        assert ask(("127.0.0.1", port))["pid"] != found["pid"], "the next client, the next start"


def test_without_accept_a_datagram_is_read_from_standard_input(tmp_path: Path) -> None:
    port = free_port(kind=socket.SOCK_DGRAM)
    files = {
        "one.socket": f"[Socket]\nListenDatagram=127.0.0.1:{port}",
        "one.service": f"{WAIT} non_blocking",
    }
    with started(write_units(tmp_path, files)[0]):
        found = ask(("127.0.0.1", port), socket.SOCK_DGRAM)
    assert (found["fd"], found["non_blocking"]) == (0, [False])


# --- limits


def hold(address: Address, stack: ExitStack) -> socket.socket:
    """A connection that is being served: its echo came back."""
    client = stack.enter_context(connect(address))
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    return client


def test_connections_beyond_the_maximum_are_closed_at_once_until_one_of_the_others_ends(tmp_path: Path, port: int) -> None:
    address = ("127.0.0.1", port)
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}\nMaxConnections=2", HOLD) as supervisor, ExitStack() as stack:
        first, second = hold(address, stack), hold(address, stack)
        for _ in range(3):
            with connect(address) as excess:
                assert at_end(excess)
        supervisor.wait_log("refused", count=3)
        first.close()
        eventually(lambda: len(children(supervisor.pid)) == 1, "the first instance ended")
        supervisor.wait_log("ended: exit status 0")
        hold(address, stack)
        second.sendall(b"y")
        assert second.recv(1) == b"y", "those that are served stay"


def test_one_source_may_have_its_share_of_connections_and_another_one_has_its_own(tmp_path: Path, port: int) -> None:
    lines = f"ListenStream=0.0.0.0:{port}\nMaxConnectionsPerSource=1"
    with listening(tmp_path, lines, HOLD), ExitStack() as stack:
        hold(("127.0.0.1", port), stack)
        with connect(("127.0.0.1", port)) as excess:
            assert at_end(excess)
        other = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30, source_address=("127.0.0.2", 0)))
        other.sendall(b"x")
        assert other.recv(1) == b"x"


def test_unix_clients_are_told_apart_by_user(tmp_path: Path) -> None:
    with listening(tmp_path, f"ListenStream={tmp_path}/node\nMaxConnectionsPerSource=1", HOLD), ExitStack() as stack:
        hold(f"{tmp_path}/node", stack)
        with connect(f"{tmp_path}/node") as excess:
            assert at_end(excess)


def test_more_connections_than_the_trigger_limit_allows_fail_the_socket_but_not_those_that_are_served(
    tmp_path: Path, port: int
) -> None:
    address = ("127.0.0.1", port)
    lines = f"ListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=1h\nTriggerLimitBurst=2"
    with ExitStack() as stack, listening(tmp_path, lines, HOLD, ()) as supervisor:
        first = hold(address, stack)
        hold(address, stack)
        with connect(address) as excess:
            assert at_end(excess)
        supervisor.wait_log("TriggerLimitBurst")
        eventually(lambda: refuses(address), "the socket is closed")
        first.sendall(b"y")
        assert first.recv(1) == b"y"


def test_when_the_socket_failed_and_its_last_instance_ended_the_exit_status_is_1(tmp_path: Path, port: int) -> None:
    address = ("127.0.0.1", port)
    lines = f"ListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=1h\nTriggerLimitBurst=1"
    files = {"one.socket": f"[Socket]\nAccept=yes\n{lines}", "one@.service": HOLD}
    with started(write_units(tmp_path, files)[0], status=1) as supervisor:
        with ExitStack() as stack:
            hold(address, stack)
            with connect(address) as excess:
                assert at_end(excess)
            supervisor.wait_log("TriggerLimitBurst")
            assert supervisor.process.poll() is None, "a connection is still being served"
        assert supervisor.wait() == 1


# --- instances that fail


def vanishing(folder: Path) -> Path:
    program = folder / "program"
    program.write_text("#!/bin/sh\ncat\n")
    program.chmod(0o755)
    return program


def test_a_program_that_cannot_be_executed_ends_its_connection_and_the_socket_goes_on(tmp_path: Path, port: int) -> None:
    program = vanishing(tmp_path)
    service = f"[Service]\nStandardInput=socket\nExecStart={program}"
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}", service, ()) as supervisor:
        program.rename(tmp_path / "elsewhere")
        for _ in range(3):
            with connect(("127.0.0.1", port)) as client:
                assert at_end(client)
        supervisor.wait_log("executing the program failed", count=3)
        (tmp_path / "elsewhere").rename(program)
        with ExitStack() as stack:
            hold(("127.0.0.1", port), stack)


def test_an_instance_that_fails_is_reported_and_the_socket_goes_on(tmp_path: Path, port: int) -> None:
    with listening(
        tmp_path, f"ListenStream=127.0.0.1:{port}", "[Service]\nStandardInput=socket\nExecStart=/bin/sh -c 'read x; exit 9'", ()
    ) as supervisor:
        for _ in range(7):
            with connect(("127.0.0.1", port)) as client:
                client.sendall(b"\n")
                assert at_end(client)
        supervisor.wait_log("ended: exit status 9", count=7)


def test_an_instance_that_restarts_still_has_its_connection(tmp_path: Path, port: int) -> None:
    script = "echo once; test -e %T/again || { touch %T/again; exit 1; }; echo twice"
    service = f"[Service]\nStandardInput=socket\nRestart=on-failure\nRestartSec=0\nExecStart=/bin/sh -c '{script}'"
    service = service.replace("%T", str(tmp_path))
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}", service), connect(("127.0.0.1", port)) as client:
        assert client.makefile().read() == "once\nonce\ntwice\n"


# --- accepted connections have the options that the unit asks for


def test_a_unix_connection_has_the_buffers_of_the_unit_although_the_kernel_does_not_inherit_them(tmp_path: Path) -> None:
    service = f"[Service]\nExecStart={PROBE} answer option:1:8"
    with listening(tmp_path, f"ListenStream={tmp_path}/node\nReceiveBuffer=64K", service):
        assert ask(f"{tmp_path}/node")["options"] == [{"option:1:8": 2 * 65536}]


def test_a_template_that_is_missing_is_found_when_loading(tmp_path: Path, port: int) -> None:
    (unit,) = write_units(tmp_path, {"one.socket": f"[Socket]\nAccept=yes\nListenStream=127.0.0.1:{port}"})
    assert "one@.service" in refused(unit)
    assert refuses(("127.0.0.1", port))


def peers(found: dict[str, Any]) -> tuple[str, str]:
    return found["activation"]["REMOTE_ADDR"], found["activation"]["REMOTE_PORT"]


def test_multipath_and_plain_tcp_connections_look_the_same_to_the_instance(tmp_path: Path, port: int) -> None:
    with listening(tmp_path, f"ListenStream=127.0.0.1:{port}\nSocketProtocol=mptcp", told("activation", "sockets")):
        try:
            multipath = ask(("127.0.0.1", port), protocol=IPPROTO_MPTCP)
        except OSError as error:
            if error.errno not in (errno.EPROTONOSUPPORT, errno.ENOPROTOOPT, errno.EINVAL):
                raise
            pytest.skip(f"this kernel offers no Multipath TCP: {error}")
        plain = ask(("127.0.0.1", port))
    assert [peers(one)[0] for one in (multipath, plain)] == ["127.0.0.1", "127.0.0.1"]
    assert [one["sockets"][0]["protocol"] for one in (multipath, plain)] == [262, 6]


def test_several_commands_of_a_oneshot_instance_have_the_connection_one_after_the_other(tmp_path: Path) -> None:
    port = free_port()
    service = "[Service]\nType=oneshot\nStandardInput=socket\nExecStart=/bin/echo one\nExecStart=/bin/echo two\n"
    files = {"one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes", "one@.service": service}
    with started(write_units(tmp_path, files)[0]), connect(("127.0.0.1", port)) as client, client.makefile() as answers:
        assert answers.read() == "one\ntwo\n"
