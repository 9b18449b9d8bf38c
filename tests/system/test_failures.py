"""When a socket cannot be opened, or a unit is wrong: nothing is left behind, and the message says what, where and why."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import PROBE, ask, connect, free_port, refused, refuses, started, write_units

SERVICE = f"[Service]\nExecStart={PROBE} answer"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def units(folder: Path, *lines: str, name: str = "one") -> Path:
    files = {f"{name}.socket": "\n".join(["[Socket]", *lines]), f"{name}.service": SERVICE}
    return write_units(folder, files)[0]


def says(message: str, *parts: str) -> None:
    assert [part for part in parts if part not in message] == [], message


# --- a failure undoes what was opened


def test_a_port_that_is_taken_closes_the_others_of_its_unit_and_leaves_no_node(taken: int, tmp_path: Path) -> None:
    port = free_port()
    nodes = [f"ListenStream={tmp_path}/new/deep/node", f"ListenFIFO={tmp_path}/fifo", f"ListenDatagram={tmp_path}/datagrams"]
    unit = units(tmp_path, f"ListenStream=127.0.0.1:{port}", *nodes, f"ListenStream=127.0.0.1:{taken}")
    message = refused(unit)
    says(message, "one.socket: error: ", "cannot bind", f"tcp 127.0.0.1:{taken}", "EADDRINUSE")
    assert refuses(("127.0.0.1", port))
    assert {path.name for path in tmp_path.iterdir()} == {"one.socket", "one.service"}, "nothing was made, not even a folder"


def test_a_port_that_is_taken_closes_the_units_before_it_and_starts_no_service(taken: int, tmp_path: Path) -> None:
    port = free_port()
    first = units(tmp_path, f"ListenStream=127.0.0.1:{port}", f"ListenStream={tmp_path}/node", name="first")
    second = units(tmp_path, f"ListenStream=127.0.0.1:{taken}", name="second")
    message = refused(first, second, arguments=["--now"])
    says(message, "second.socket: error: ", f"127.0.0.1:{taken}", "EADDRINUSE")
    assert "first.service" not in message
    assert refuses(("127.0.0.1", port))
    assert not (tmp_path / "node").exists()


def test_what_was_there_before_stays_when_a_later_socket_fails(taken: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    unit = units(
        tmp_path, f"ListenFIFO={tmp_path}/fifo", f"ListenStream={tmp_path}/folder/node", f"ListenStream=127.0.0.1:{taken}"
    )
    refused(unit)
    assert (tmp_path / "fifo").is_fifo()
    assert list((tmp_path / "folder").iterdir()) == []


REFUSALS = {
    "an address that no interface has": (
        "ListenStream=192.0.2.1:8080",
        ["tcp 192.0.2.1:8080", "bind", "EADDRNOTAVAIL", "FreeBind"],
    ),
    "a UDP address that no interface has": ("ListenDatagram=192.0.2.1:8080", ["udp 192.0.2.1:8080", "bind", "EADDRNOTAVAIL"]),
    "a node below a file": (
        "ListenStream={folder}/one.service/node",
        ["create the directories of unix stream {folder}/one.service/node", "EEXIST"],
    ),
    "a FIFO below a file": (
        "ListenFIFO={folder}/one.service/fifo",
        ["create the directories of fifo {folder}/one.service/fifo", "EEXIST"],
    ),
    "a node in /proc": ("ListenStream=/proc/node", ["unix stream /proc/node", "bind"]),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_kernel_that_refuses_is_quoted_with_address_step_and_errno(what: str, tmp_path: Path) -> None:
    line, parts = REFUSALS[what]
    message = refused(units(tmp_path, line.format(folder=tmp_path)))
    says(message, "one.socket: error: ", *(part.format(folder=tmp_path) for part in parts))


def test_an_address_that_no_interface_has_yet_can_be_bound_all_the_same(tmp_path: Path) -> None:
    with started(units(tmp_path, "ListenStream=192.0.2.1:8080", "FreeBind=yes")) as supervisor:
        supervisor.wait_log("listening on tcp 192.0.2.1:8080")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a node to somebody else")
def test_a_node_that_was_given_away_already_is_removed_too_when_a_later_socket_fails(taken: int, tmp_path: Path) -> None:
    unit = units(tmp_path, f"ListenStream={tmp_path}/node", "SocketUser=nobody", f"ListenStream=127.0.0.1:{taken}")
    refused(unit)
    assert not (tmp_path / "node").exists()


# --- what is already there


@contextmanager
def left_over(path: Path, kind: int) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, kind) as dead:
        dead.bind(str(path))
    yield


LINES = {
    socket.SOCK_STREAM: "ListenStream",
    socket.SOCK_DGRAM: "ListenDatagram",
    socket.SOCK_SEQPACKET: "ListenSequentialPacket",
}
kinds = pytest.mark.parametrize("kind", LINES)


@kinds
@pytest.mark.parametrize("old", LINES)
def test_a_node_that_nobody_listens_on_is_replaced_whatever_its_kind(kind: int, old: int, tmp_path: Path) -> None:
    node = tmp_path / "node"
    with left_over(node, old), started(units(tmp_path, f"{LINES[socket.SocketKind(kind)]}={node}")):
        assert ask(str(node), kind)["got"] == "hello"


@kinds
@pytest.mark.parametrize("old", LINES)
def test_a_node_that_somebody_listens_on_is_not_touched_whatever_its_kind(kind: int, old: int, tmp_path: Path) -> None:
    node = tmp_path / "node"
    with socket.socket(socket.AF_UNIX, old) as living:
        living.bind(str(node))
        if old != socket.SOCK_DGRAM:
            living.listen()
        before = node.stat().st_ino
        message = refused(units(tmp_path, f"{LINES[socket.SocketKind(kind)]}={node}"))
        says(message, "one.socket: error: ", f"{node}", "EADDRINUSE", "bind")
        assert node.stat().st_ino == before
        connect(str(node), old).close()


def test_a_second_supervisor_on_the_same_node_is_refused_and_the_first_one_goes_on(tmp_path: Path) -> None:
    node = tmp_path / "node"
    with started(units(tmp_path, f"ListenStream={node}", "RemoveOnStop=yes")):
        says(refused(tmp_path / "one.socket"), str(node), "EADDRINUSE")
        assert ask(str(node))["got"] == "hello"
    assert not node.exists()


Maker = Callable[[Path], None]


def make_file(path: Path) -> None:
    path.write_text("precious")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link_to_file(path: Path) -> None:
    path.with_name("target").write_text("precious")
    path.symlink_to("target")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


@kinds
@pytest.mark.parametrize("make", [make_file, make_folder, make_link_to_file, make_fifo, make_broken_link])
def test_what_is_no_socket_is_never_removed(make: Maker, kind: int, tmp_path: Path) -> None:
    node = tmp_path / "node"
    make(node)
    before = node.lstat()
    message = refused(units(tmp_path, f"{LINES[socket.SocketKind(kind)]}={node}"))
    says(message, "one.socket: error: ", str(node), "EADDRINUSE")
    after = node.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)


@pytest.mark.parametrize("make", [make_file, make_folder, make_link_to_file])
def test_what_is_no_fifo_is_not_opened_as_one(make: Maker, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    make(path)
    before = path.lstat()
    says(refused(units(tmp_path, f"ListenFIFO={path}")), "one.socket: error: ", f"fifo {path}")
    assert path.lstat().st_ino == before.st_ino


def test_a_fifo_that_is_there_is_used_with_what_is_in_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    with open(os.open(fifo, os.O_RDWR | os.O_NONBLOCK), "w") as writer:
        writer.write("written before\n")
        writer.flush()
        with started(units(tmp_path, f"ListenFIFO={fifo}")) as supervisor:
            assert supervisor.reports()[0]["got"] == "written before"


# --- errors in the units


WRONG = {
    "an address that is none": "ListenStream=nowhere",
    "a protocol that does not fit": "ListenDatagram=127.0.0.1:5353\nSocketProtocol=mptcp",
    "an unknown protocol": "ListenStream=127.0.0.1:5353\nSocketProtocol=quic",
    "an unknown owner": "ListenStream=@x\nSocketUser=no-such-user",
    "nothing to listen on": "Backlog=3",
}


@pytest.mark.parametrize("what", WRONG)
def test_with_an_error_in_one_unit_nothing_of_the_others_is_opened(what: str, tmp_path: Path) -> None:
    good = units(tmp_path, f"ListenStream={tmp_path}/node", name="good")
    bad = units(tmp_path, WRONG[what], name="bad")
    for order in ((good, bad), (bad, good)):
        message = refused(*order)
        says(message, "bad.socket", "error")
        assert not (tmp_path / "node").exists()


def test_with_a_missing_unit_nothing_is_opened(tmp_path: Path) -> None:
    good = units(tmp_path, f"ListenStream={tmp_path}/node", name="good")
    says(refused(good, tmp_path / "missing.socket"), "missing.socket")
    assert not (tmp_path / "node").exists()


def test_two_units_on_one_port_are_found_before_anything_is_opened(tmp_path: Path) -> None:
    port = free_port()
    one = units(tmp_path, f"ListenStream=127.0.0.1:{port}", f"ListenStream={tmp_path}/node", name="one")
    two = units(tmp_path, f"ListenStream=127.0.0.1:{port}", name="two")
    says(refused(one, two), "two.socket:2", "one.socket")
    assert not (tmp_path / "node").exists()


def test_two_units_may_share_a_port_when_both_say_so(tmp_path: Path) -> None:
    port = free_port()
    one, two = (units(tmp_path, f"ListenStream=127.0.0.1:{port}", "ReusePort=yes", name=name) for name in ("one", "two"))
    with started(one, two):
        assert ask(("127.0.0.1", port))["got"] == "hello"
