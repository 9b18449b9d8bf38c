"""FlushPending=yes: what waits when a socket begins to listen is dropped, be it at the start or after the service has ended."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.lab import (
    PROBE,
    Address,
    Supervisor,
    answer,
    ask,
    command,
    connect,
    eventually,
    free_port,
    in_shell,
    started,
    write_units,
)

STARTED = "one.service: started"
DROPPED = "FlushPending="
FIRST_WAITS = f"""[Service]
ExecStart=/bin/sh -c 'test -e {{folder}}/again && exec {PROBE} answer; touch {{folder}}/again; read x < {{folder}}/gate'
"""
"""At the first start it serves nobody, and ends when something is written into the gate; after that it answers."""


def starts(supervisor: Supervisor) -> int:
    return sum(STARTED in line for line in supervisor.log)


def unit(folder: Path, *lines: str, service: str = FIRST_WAITS) -> Path:
    if not (folder / "gate").exists():
        os.mkfifo(folder / "gate")
    text = "\n".join(["[Socket]", "FlushPending=yes", *lines])
    files = {"one.socket": text, "one.service": service.format(folder=folder)}
    if "Accept=yes" in lines:
        files["one@.service"] = files.pop("one.service")
    return write_units(folder, files)[0]


def open_gate(folder: Path) -> None:
    (folder / "gate").write_text("\n")


def dropped(supervisor: Supervisor) -> int:
    """How many there were, when it has happened."""
    (line,) = supervisor.wait_log(DROPPED)
    return int(line.partition(DROPPED)[2].strip(" :").split()[0])


KINDS = {
    "tcp": ("ListenStream=127.0.0.1:{port}", "", socket.SOCK_STREAM),
    "unix stream": ("ListenStream={folder}/node", "{folder}/node", socket.SOCK_STREAM),
    "abstract stream": ("ListenStream=@{folder}", "@{folder}", socket.SOCK_STREAM),
    "unix packets": ("ListenSequentialPacket={folder}/node", "{folder}/node", socket.SOCK_SEQPACKET),
    "udp": ("ListenDatagram=127.0.0.1:{port}", "", socket.SOCK_DGRAM),
    "unix datagram": ("ListenDatagram={folder}/node", "{folder}/node", socket.SOCK_DGRAM),
}


def place(kind: str, folder: Path) -> tuple[str, Address, int]:
    line, path, number = KINDS[kind]
    port = 0 if path else free_port(kind=number)
    address: Address = path.format(folder=folder) if path else ("127.0.0.1", port)
    return line.format(folder=folder, port=port), address, number


@pytest.mark.parametrize("kind", ["tcp", "unix stream", "abstract stream", "unix packets"])
def test_connections_that_the_service_did_not_take_are_closed_when_it_ends_and_do_not_start_it_again(
    kind: str, tmp_path: Path
) -> None:
    line, address, number = place(kind, tmp_path)
    with started(unit(tmp_path, line)) as supervisor, ExitStack() as stack:
        clients = [stack.enter_context(connect(address, number)) for _ in range(3)]
        supervisor.wait_log(STARTED)
        open_gate(tmp_path)
        assert [client.recv(1) for client in clients] == [b""] * 3
        assert dropped(supervisor) == 3
        assert starts(supervisor) == 1
        assert ask(address, number, "new")["got"] == "new", "new traffic starts it"
        assert supervisor.end() == 0
        assert starts(supervisor) == 2


@pytest.mark.parametrize("kind", ["udp", "unix datagram"])
def test_datagrams_that_the_service_did_not_read_are_dropped_when_it_ends_and_do_not_start_it_again(
    kind: str, tmp_path: Path
) -> None:
    line, address, number = place(kind, tmp_path)
    with started(unit(tmp_path, line)) as supervisor, connect(address, number) as client:
        for text in (b"old", b"", b"x" * 9000):
            client.send(text)
        supervisor.wait_log(STARTED)
        open_gate(tmp_path)
        assert dropped(supervisor) == 3
        assert starts(supervisor) == 1
        assert ask(address, number, "new")["got"] == "new", "it is the first that the service sees"
        assert supervisor.end() == 0
        assert starts(supervisor) == 2


def test_what_was_written_into_a_fifo_and_not_read_is_dropped_when_the_service_ends(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    with started(unit(tmp_path, f"ListenFIFO={fifo}")) as supervisor:
        fifo.write_text("old\n" * 1000)
        supervisor.wait_log(STARTED)
        open_gate(tmp_path)
        supervisor.wait_log(DROPPED)
        assert starts(supervisor) == 1
        fifo.write_text("new\n")
        assert supervisor.reports()[0]["got"] == "new"
        assert starts(supervisor) == 2
        assert supervisor.end() == 0


class Queue:
    """A message queue, by the C library's hand."""

    def __init__(self, name: str) -> None:
        self.calls = ctypes.CDLL(None, use_errno=True)
        self.name = name.encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK
        self.fd = self.calls.mq_open(self.name, flags, ctypes.c_uint(0o666), None)
        assert self.fd >= 0, os.strerror(ctypes.get_errno())

    def send(self, text: bytes) -> None:
        assert self.calls.mq_send(self.fd, text, ctypes.c_size_t(len(text)), 0) == 0

    def waiting(self) -> int:
        attributes = (ctypes.c_long * 8)()
        assert self.calls.mq_getattr(self.fd, attributes) == 0
        return int(attributes[3])


@pytest.fixture
def queue() -> Iterator[Callable[[], Queue]]:
    """Makes (or opens) the queue of this test; it is removed afterwards."""
    name = f"/sockact-test-{os.getpid()}"
    library = ctypes.CDLL(None)
    if not hasattr(library, "mq_open"):
        pytest.skip("the C library keeps message queues in librt")
    made: list[Queue] = []

    def make() -> Queue:
        before = os.umask(0)
        try:
            made.append(Queue(name))
        except AssertionError as error:
            pytest.skip(f"no message queues here: {error}")
        finally:
            os.umask(before)
        return made[-1]

    yield make
    for one in made:
        os.close(one.fd)
    library.mq_unlink(name.encode())


def test_messages_of_a_queue_that_the_service_did_not_take_are_dropped_when_it_ends(
    tmp_path: Path, queue: Callable[[], Queue]
) -> None:
    jobs = queue()
    service = "[Service]\nExecStart=/bin/sh -c 'read x < {folder}/gate'"
    with started(unit(tmp_path, f"ListenMessageQueue={jobs.name.decode()}", service=service)) as supervisor:
        for text in (b"one", b"", b"three"):
            jobs.send(text)
        supervisor.wait_log(STARTED)
        assert jobs.waiting() == 3
        open_gate(tmp_path)
        assert dropped(supervisor) == 3
        assert jobs.waiting() == 0
        assert starts(supervisor) == 1
        jobs.send(b"new")
        supervisor.wait_log(STARTED, count=2)
        assert jobs.waiting() == 1, "it is left for the service"
        assert supervisor.end() == 0


def test_without_it_what_waits_starts_the_service_again(tmp_path: Path) -> None:
    with started(unit(tmp_path, "FlushPending=no", f"ListenStream={tmp_path}/node")) as supervisor:
        with connect(f"{tmp_path}/node") as client:
            supervisor.wait_log(STARTED)
            open_gate(tmp_path)
            client.sendall(b"patient\n")
            assert answer(client)["got"] == "patient"
        assert supervisor.end() == 0
    assert not any(DROPPED in line for line in supervisor.log)


def test_FlushPending_yes_one_start_after_exit_queued_client_is_accepted_and_closed_socket_listening(  # noqa: N802
    tmp_path: Path,
) -> None:
    """The row of the reference's table: a service that never accepts would else be started until it hits its limit."""
    one = unit(tmp_path, f"ListenStream={tmp_path}/node", service="[Service]\nExecStart=/bin/true")
    with started(one) as supervisor:
        for number in (1, 2):
            with connect(f"{tmp_path}/node") as client:
                assert client.recv(1) == b""
            supervisor.wait_log(DROPPED, count=number)
            assert starts(supervisor) == number
        assert supervisor.end() == 0


def test_all_ports_of_the_unit_and_of_others_for_the_same_service_are_flushed(tmp_path: Path) -> None:
    service = FIRST_WAITS.format(folder=tmp_path)
    one = unit(tmp_path, f"ListenStream={tmp_path}/a", f"ListenStream={tmp_path}/b", "Service=pool.service")
    files = {
        "two.socket": f"[Socket]\nListenStream={tmp_path}/c\nService=pool.service\nFlushPending=yes",
        "three.socket": f"[Socket]\nListenStream={tmp_path}/d\nService=pool.service",
        "pool.service": service,
    }
    two, three, _ = write_units(tmp_path, files)
    with started(one, two, three) as supervisor, ExitStack() as stack:
        a = stack.enter_context(connect(f"{tmp_path}/a"))
        supervisor.wait_log("pool.service: started")
        b, c, d = (stack.enter_context(connect(f"{tmp_path}/{name}")) for name in "bcd")
        d.sendall(b"kept\n")
        open_gate(tmp_path)
        assert [one.recv(1) for one in (a, b, c)] == [b""] * 3
        assert answer(d)["got"] == "kept", "its own unit drops nothing"
        assert supervisor.end() == 0


# --- at the start


@contextmanager
def filled(fifo: Path) -> Iterator[None]:
    """A FIFO with something in it, as long as somebody has it open."""
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    with open(os.open(fifo, os.O_RDWR | os.O_NONBLOCK), "w") as writer:
        writer.write("left over\n")
        writer.flush()
        yield


def test_what_is_left_in_a_fifo_at_the_start_is_dropped(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    with (
        filled(fifo),
        started(unit(tmp_path, f"ListenFIFO={fifo}", service=f"[Service]\nExecStart={PROBE} answer")) as supervisor,
    ):
        supervisor.wait_log(DROPPED)
        assert starts(supervisor) == 0
        fifo.write_text("new\n")
        assert supervisor.reports()[0]["got"] == "new"
        assert starts(supervisor) == 1


def test_what_is_left_in_a_queue_at_the_start_is_dropped(tmp_path: Path, queue: Callable[[], Queue]) -> None:
    jobs = queue()
    jobs.send(b"left over")
    with started(unit(tmp_path, f"ListenMessageQueue={jobs.name.decode()}")) as supervisor:
        assert dropped(supervisor) == 1
        assert jobs.waiting() == 0
        assert starts(supervisor) == 0


def test_who_connects_while_start_post_runs_is_dropped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    lines = [f"ListenStream={tmp_path}/node", f"ExecStartPost=/bin/sh -c 'echo post; read x < {tmp_path}/held'"]
    supervisor = Supervisor(command(unit(tmp_path, *lines)))
    try:
        supervisor.wait_log("post")
        with connect(f"{tmp_path}/node") as client:
            (tmp_path / "held").write_text("\n")
            assert client.recv(1) == b""
        supervisor.wait_log("ready: ")
        assert starts(supervisor) == 0
    finally:
        supervisor.destroy()


def test_with_nothing_to_drop_nothing_is_said_and_the_service_is_started_as_usual(tmp_path: Path) -> None:
    one = unit(tmp_path, f"ListenStream={tmp_path}/node", service=f"[Service]\nExecStart={PROBE} answer")
    with started(one) as supervisor:
        assert ask(f"{tmp_path}/node")["got"] == "hello"
        assert ask(f"{tmp_path}/node")["got"] == "hello"
    assert not any(DROPPED in line for line in supervisor.log)


def test_hundreds_of_sockets_can_be_flushed(tmp_path: Path) -> None:
    """More than select(2) can count."""
    lines = [f"ListenStream=@{tmp_path}/{number}" for number in range(1100)]
    with started(unit(tmp_path, *lines), prefix=in_shell("ulimit -n 4096")) as supervisor:
        assert supervisor.end() == 0


# --- with others


def test_with_accept_yes_it_is_ignored(tmp_path: Path) -> None:
    service = "[Service]\nStandardInput=socket\nExecStart=/bin/cat"
    with started(unit(tmp_path, "Accept=yes", f"ListenStream={tmp_path}/node", service=service)) as supervisor:
        clients = [connect(f"{tmp_path}/node") for _ in range(3)]
        for client in clients:
            with client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
        assert supervisor.end() == 0


def test_a_pause_of_the_trigger_limit_drops_nothing(tmp_path: Path) -> None:
    """Neither when it begins nor when it ends; the end of the service does."""
    lines = [f"ListenStream={tmp_path}/node", "TriggerLimitIntervalSec=2s", "TriggerLimitBurst=1"]
    script = f"test -e {tmp_path}/again && exec {PROBE} answer; touch {tmp_path}/again; exec {PROBE} answer=1"
    service = f"[Service]\nExecStart=/bin/sh -c '{script}'"
    one = unit(tmp_path, *lines, "[X-Sockact]", "TriggerLimitAction=pause", service=service)
    with started(one) as supervisor, ExitStack() as stack:
        ask(f"{tmp_path}/node")

        def paused() -> bool:
            client = stack.enter_context(connect(f"{tmp_path}/node"))
            client.sendall(b"early\n")
            return any("paused" in line for line in supervisor.log)

        eventually(paused, "a client that came behind the end of the service makes the socket pause")
        with connect(f"{tmp_path}/node") as client:
            client.sendall(b"patient\n")
            assert answer(client)["got"] == "patient"
        assert supervisor.end() == 0
    assert starts(supervisor) == 2


def test_a_service_that_restarts_by_itself_finds_nothing_old(tmp_path: Path) -> None:
    script = "test -e {folder}/again && exec " + PROBE + " answer; touch {folder}/again; read x < {folder}/gate; exit 1"
    service = f"[Service]\nRestart=on-failure\nRestartSec=0\nExecStart=/bin/sh -c '{script}'"
    with started(unit(tmp_path, f"ListenStream={tmp_path}/node", service=service)) as supervisor:
        with connect(f"{tmp_path}/node") as old:
            supervisor.wait_log(STARTED)
            open_gate(tmp_path)
            assert old.recv(1) == b""
        supervisor.wait_log(STARTED, count=2)
        assert ask(f"{tmp_path}/node", text="new")["got"] == "new"
        assert supervisor.end() == 0
