"""Opening the ports of a unit for real: all or none, whatever call fails; and what is done about nodes that are already there."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockact.net.plan import Port, plan
from sockact.runtime.kernel import Kernel
from sockact.runtime.listeners import OpenFailed, OpenPort, abandon, close_ports, open_ports
from tests.fakes import FailingKernel, descriptors, socket_unit
from tests.lab import free_port

OPTIONS = "NoDelay=yes\nReceiveBuffer=64M\nReusePort=yes\nBindIPv6Only=both\n"
ERRNO = errno.ENOSYS
"""An errno that none of the calls gives by itself here."""


def ports_of(text: str) -> tuple[Port, ...]:
    unit, found = socket_unit(text)
    assert found == []
    return plan(unit)


def three_ports(folder: Path) -> tuple[Port, ...]:
    """A unit with a TCP, a UNIX and a FIFO port, with parents to be made and owners to be set."""
    owner = f"SocketUser={os.getuid()}\nSocketGroup={os.getgid()}\n"
    lines = f"ListenStream=[::1]:{free_port(socket.AF_INET6)}\nListenStream={folder}/a/b/s\nListenFIFO={folder}/a/c/f\n"
    return ports_of(lines + OPTIONS + owner)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def never(text: str) -> None:
    raise AssertionError(text)


@contextmanager
def opened(text: str, kernel: Kernel | None = None) -> Iterator[list[OpenPort]]:
    kernel = kernel or Kernel()
    found = open_ports(kernel, ports_of(text), never)
    try:
        yield found
    finally:
        abandon(kernel, found)


# All or none


def test_all_ports_are_opened_in_order_and_abandoning_leaves_nothing(tmp_path: Path) -> None:
    before = descriptors()
    kernel = Kernel()
    found = open_ports(kernel, three_ports(tmp_path), lambda text: None)
    assert tree(tmp_path) == ["a", "a/b", "a/b/s", "a/c", "a/c/f"]
    kinds = [stat.S_IFMT(os.fstat(port.fd).st_mode) for port in found]
    assert kinds == [stat.S_IFSOCK, stat.S_IFSOCK, stat.S_IFIFO]
    assert all(not os.get_inheritable(port.fd) and not os.get_blocking(port.fd) for port in found)
    abandon(kernel, found)
    assert tree(tmp_path) == []
    assert descriptors() == before


def calls_of_a_good_run(folder: Path) -> list[str]:
    kernel = FailingKernel()
    abandon(kernel, open_ports(kernel, three_ports(folder), lambda text: None))
    return kernel.calls


def attempt(kernel: Kernel, ports: tuple[Port, ...]) -> tuple[str, list[str]]:
    """Open the ports and close them again: why it failed, or nothing; and the warnings."""
    warnings: list[str] = []
    try:
        abandon(kernel, open_ports(kernel, ports, warnings.append))
    except OpenFailed as error:
        return str(error), warnings
    return "", warnings


def test_whichever_call_fails_the_unit_is_open_with_a_warning_or_nothing_is_left(tmp_path: Path) -> None:
    calls = calls_of_a_good_run(tmp_path)
    assert set(calls) == set(FailingKernel.WATCHED), "each call of the seam that opens a port is made here, and made to fail"
    fatal, warned = set[str](), set[str]()
    for index, call in enumerate(calls, 1):
        folder = tmp_path / str(index)
        folder.mkdir()
        ports = three_ports(folder)
        before, kernel = descriptors(), FailingKernel(index, ERRNO)
        failure, warnings = attempt(kernel, ports)
        assert kernel.calls[index - 1] == call
        assert descriptors() == before, f"{call}, call {index}: a descriptor leaked"
        assert tree(folder) == [], f"{call}, call {index}: something was left behind"
        (fatal if failure else warned).add(call)
        (said,) = [failure] if failure else [text for text in warnings if "ENOSYS" in text]
        assert any(str(port.listen.address) in said for port in ports)
        assert os.strerror(ERRNO) in said
        assert "ENOSYS" in said
        assert said.startswith("cannot ") is bool(failure)
    assert fatal == set(calls) - {"getsockopt"}
    assert warned == {"setsockopt", "getsockopt"}


def test_an_option_without_which_the_socket_would_be_another_one_fails_the_unit(tmp_path: Path) -> None:
    text = f"ListenStream=[::1]:{free_port(socket.AF_INET6)}\nBindIPv6Only=both\nNoDelay=yes\n"
    outcomes = []
    for index in (1, 2, 3):
        failure, warnings = attempt(FailingKernel(index, ERRNO, "setsockopt"), ports_of(text))
        name = failure.partition("(")[2].partition(")")[0] if failure else warnings[0].partition("=")[0]
        outcomes.append(f"{'failed' if failure else 'warned'}: {name}")
    assert outcomes == ["failed: SO_REUSEADDR", "failed: IPV6_V6ONLY", "warned: TCP_NODELAY"]


@pytest.mark.parametrize(
    ("number", "call", "words"),
    [
        (errno.ENOPROTOOPT, "socket", "net.mptcp.enabled is 0"),
        (errno.EPROTONOSUPPORT, "socket", "CONFIG_MPTCP"),
        (errno.EINVAL, "socket", "older than 5.6"),
        (errno.EADDRINUSE, "bind", "TCP and Multipath TCP share their ports"),
        (errno.EADDRNOTAVAIL, "bind", "FreeBind=yes"),
        (errno.EADDRINUSE, "listen", "another socket listens there"),
    ],
)
def test_a_failure_names_what_step_address_errno_and_meaning(number: int, call: str, words: str) -> None:
    kernel = FailingKernel(1, number, call)
    if call == "socket":
        text = f"ListenStream=127.0.0.1:{free_port()}\nSocketProtocol=mptcp\n"
    else:
        text = f"ListenStream=127.0.0.1:{free_port()}\n"
    (port,) = ports_of(text)
    with pytest.raises(OpenFailed) as failure:
        open_ports(kernel, (port,), never)
    said = str(failure.value)
    assert said.startswith(
        f"cannot {'open a socket for' if call == 'socket' else call if call == 'bind' else 'listen on'} {port}: "
    )
    assert errno.errorcode[number] in said
    assert words in said


def test_an_unknown_owner_is_named_and_the_node_is_removed_again(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(OpenFailed, match="nobodyofthisname"):
        open_ports(Kernel(), ports_of(f"ListenStream={tmp_path}/s\nSocketUser=nobodyofthisname\n"), never)
    assert (tree(tmp_path), descriptors()) == ([], before)


def test_a_failure_of_the_last_port_undoes_the_first(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    before = descriptors()
    port = free_port()
    with pytest.raises(OpenFailed, match=r"/f: .*EEXIST"):
        open_ports(
            Kernel(), ports_of(f"ListenStream=127.0.0.1:{port}\nListenStream={tmp_path}/s\nListenFIFO={tmp_path}/f\n"), never
        )
    assert (tree(tmp_path), descriptors(), (tmp_path / "f").read_text()) == (["f"], before, "mine")
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_fifo_that_was_made_and_cannot_be_opened_is_removed_again(tmp_path: Path) -> None:
    ports = ports_of(f"ListenFIFO={tmp_path}/f\n")
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OpenFailed, match="EMFILE"):
            open_ports(Kernel(), ports, never)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert tree(tmp_path) == []


def test_parents_that_were_made_are_removed_again_when_one_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OpenFailed, match="ENAMETOOLONG"):
        open_ports(Kernel(), ports_of(f"ListenFIFO={tmp_path}/a/b/{'x' * 300}/f\n"), never)
    assert tree(tmp_path) == []


def test_a_parent_that_others_have_put_something_into_stays(tmp_path: Path) -> None:
    kernel = Kernel()
    found = open_ports(kernel, ports_of(f"ListenStream={tmp_path}/a/s\n"), never)
    (tmp_path / "a" / "note").touch()
    abandon(kernel, found)
    assert tree(tmp_path) == ["a", "a/note"]


# Nodes that are already there


def test_a_leftover_node_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen()
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(path))
    with opened(f"ListenStream={path}\n"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("key", ["ListenStream", "ListenDatagram", "ListenSequentialPacket"])
@pytest.mark.parametrize(
    "kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET], ids=["stream", "datagram", "seqpacket"]
)
def test_a_node_at_which_somebody_receives_is_never_touched(tmp_path: Path, key: str, kind: socket.SocketKind) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, kind) as live:
        live.bind(str(path))
        if kind != socket.SOCK_DGRAM:
            live.listen()
        inode = path.stat().st_ino
        before = descriptors()
        with pytest.raises(OpenFailed, match="EADDRINUSE") as failure:
            open_ports(Kernel(), ports_of(f"{key}={path}\n"), never)
        assert "another process listens there" in str(failure.value)
        assert descriptors() == before
        assert path.stat().st_ino == inode
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(str(path))


def test_a_listener_whose_queue_is_full_is_alive(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        live.bind(str(path))
        live.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(OpenFailed, match="listens there"):
            open_ports(Kernel(), ports_of(f"ListenStream={path}\n"), never)
        assert path.is_socket()


@pytest.mark.parametrize("what", ["file", "directory", "fifo", "symlink", "dangling symlink"])
def test_what_is_no_socket_is_never_touched(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s"
    if what == "file":
        path.write_text("mine")
    elif what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "symlink":
        (tmp_path / "target").write_text("mine")
        path.symlink_to(tmp_path / "target")
    else:
        path.symlink_to(tmp_path / "nowhere")
    was, before = (path.lstat().st_ino, tree(tmp_path)), descriptors()
    with pytest.raises(OpenFailed, match=r"no socket is there.*EADDRINUSE"):
        open_ports(Kernel(), ports_of(f"ListenStream={path}\n"), never)
    assert (path.lstat().st_ino, tree(tmp_path)) == was
    assert descriptors() == before


@pytest.mark.parametrize("what", ["file", "directory", "socket", "symlink"])
def test_what_is_no_fifo_is_never_touched(tmp_path: Path, what: str) -> None:
    path = tmp_path / "f"
    if what == "file":
        path.write_text("mine")
    elif what == "directory":
        path.mkdir()
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as old:
            old.bind(str(path))
    else:
        os.mkfifo(tmp_path / "target")
        path.symlink_to(tmp_path / "target")
    was, before = (path.lstat().st_ino, tree(tmp_path)), descriptors()
    with pytest.raises(OpenFailed) as failure:
        open_ports(Kernel(), ports_of(f"ListenFIFO={path}\n"), never)
    assert str(path) in str(failure.value)
    assert (path.lstat().st_ino, tree(tmp_path)) == was
    assert descriptors() == before


def test_a_fifo_that_is_already_there_is_used_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "f"
    os.mkfifo(path)
    path.chmod(0o666)
    with opened(f"ListenFIFO={path}\n") as (port,):
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, b"hello")
        os.close(writer)
        assert os.read(port.fd, 5) == b"hello"
    assert path.is_fifo()


@pytest.mark.parametrize(("mode", "owner"), [(0o644, None), (0o666, 65534)])
def test_a_fifo_of_another_mode_or_owner_is_not_taken_over(tmp_path: Path, mode: int, owner: int | None) -> None:
    path = tmp_path / "f"
    os.mkfifo(path)
    path.chmod(mode)
    if owner is not None:
        if os.geteuid() != 0:
            pytest.skip("only root can give a node to somebody else")
        os.chown(path, owner, -1)
    with pytest.raises(OpenFailed, match="other access"), opened(f"ListenFIFO={path}\n"):
        pass
    assert path.is_fifo()


# What the opened ports are


def test_modes_are_exact_whatever_the_umask(tmp_path: Path) -> None:
    text = f"ListenStream={tmp_path}/d/s\nListenFIFO={tmp_path}/d/f\nSocketMode=0662\nDirectoryMode=0751\n"
    before = os.umask(0o77)
    try:
        with opened(text):
            modes = [stat.S_IMODE((tmp_path / "d" / name).stat().st_mode) for name in ("s", "f")]
            assert [f"{mode:04o}" for mode in modes] == ["0662", "0662"]
            assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o751
        assert os.umask(0o77) == 0o77, "the umask is what it was"
    finally:
        os.umask(before)


def test_the_kernel_has_the_options_that_were_asked_for() -> None:
    text = f"ListenStream=[::1]:{free_port(socket.AF_INET6)}\nNoDelay=yes\nKeepAlive=yes\nKeepAliveTimeSec=77\n"
    with opened(text) as (port,), socket.socket(fileno=os.dup(port.fd)) as view:
        assert view.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert view.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert view.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
        assert view.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert view.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


@pytest.mark.parametrize(("setting", "only"), [("both", 0), ("ipv6-only", 1)])
def test_an_ipv6_socket_takes_ipv4_as_it_is_told(setting: str, only: int) -> None:
    with (
        opened(f"ListenStream={free_port()}\nBindIPv6Only={setting}\n") as (port,),
        socket.socket(fileno=os.dup(port.fd)) as view,
    ):
        assert view.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == only


def test_abstract_names_are_exact(tmp_path: Path) -> None:
    name = f"sockact-test-{os.getpid()}"
    with opened(f"ListenDatagram=@{name}\n"), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(b"\0" + name.encode())


def test_two_sockets_share_a_port_when_both_want_to() -> None:
    port = free_port()
    with opened(f"ListenStream=127.0.0.1:{port}\nListenStream=127.0.0.1:{port}\nReusePort=yes\n") as found:
        assert len({port.fd for port in found}) == 2


# Closing


@pytest.mark.parametrize(("remove", "left"), [(True, ["a"]), (False, ["a", "a/f", "a/s"])])
def test_closing_removes_nodes_when_told_and_leaves_directories(tmp_path: Path, remove: bool, left: list[str]) -> None:
    before, kernel = descriptors(), Kernel()
    found = open_ports(
        kernel, ports_of(f"ListenStream={tmp_path}/a/s\nListenFIFO={tmp_path}/a/f\nListenStream=@x{os.getpid()}\n"), never
    )
    close_ports(kernel, found, remove, never)
    assert (tree(tmp_path), descriptors()) == (left, before)


def test_closing_does_not_mind_a_node_that_is_already_gone(tmp_path: Path) -> None:
    kernel = Kernel()
    found = open_ports(kernel, ports_of(f"ListenStream={tmp_path}/s\n"), never)
    (tmp_path / "s").unlink()
    close_ports(kernel, found, True, never)
    assert tree(tmp_path) == []
