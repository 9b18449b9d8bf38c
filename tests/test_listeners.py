"""Opening the ports of a unit for real: all or none, whatever call fails; and what is done about nodes that are already there."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sockact.net.plan import PRIVATE, Port, plan
from sockact.runtime import namespaces
from sockact.runtime.kernel import Kernel
from sockact.runtime.listeners import LACKING, OpenFailed, OpenPort, abandon, close_ports, open_ports
from tests.fakes import FailingKernel, descriptors, ours, removed_queue, socket_unit
from tests.lab import free_port

OPTIONS = "NoDelay=yes\nReceiveBuffer=64M\nReusePort=yes\nBindIPv6Only=both\n"
ERRNO = errno.ENOSYS
"""An errno that none of the calls gives by itself here."""


def ports_of(text: str) -> tuple[Port, ...]:
    unit, found = socket_unit(text)
    assert ours(found) == []
    return plan(unit)


OWNER = f"SocketUser={os.getuid()}\nSocketGroup={os.getgid()}\n"
QUEUE = f"/sockact-test-{os.getpid()}"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network namespace, or become somebody else")


def three_ports(folder: Path) -> tuple[Port, ...]:
    """A unit with a TCP, a UNIX and a FIFO port, with parents to be made and owners to be set."""
    lines = f"ListenStream=[::1]:{free_port(socket.AF_INET6)}\nListenStream={folder}/a/b/s\nListenFIFO={folder}/a/c/f\n"
    return ports_of(lines + OPTIONS + OWNER)


def every_port(folder: Path) -> tuple[Port, ...]:
    """Ports of every kind, in which each call that opens one is made."""
    links = f"ListenStream={folder}/d/s\nSymlinks={folder}/e/f/one {folder}/e/two\n"
    others = f"ListenStream=[::1]:0\nListenSpecial=/dev/null\nListenMessageQueue={QUEUE}\nListenNetlink=route 1\n"
    fifo = f"ListenFIFO={folder}/g/f\nPipeSize=8K\n"
    return three_ports(folder) + ports_of(links) + ports_of(others + OWNER) + ports_of(fifo)


@contextmanager
def plain_user() -> Iterator[None]:
    """Without the privileges of root."""
    before = os.geteuid()
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@contextmanager
def namespace(*settings: str) -> Iterator[str]:
    """The path of a network namespace in which these files of /proc/sys/net have these values."""
    place = Kernel().network("")

    def set_all() -> None:
        for setting in settings:
            name, _, value = setting.partition("=")
            Path("/proc/sys/net", name).write_text(value)

    try:
        namespaces.inside(place, set_all)
        yield f"/proc/self/fd/{place}"
    finally:
        os.close(place)


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


def calls_of_a_good_run(folder: Path, network: str) -> list[str]:
    kernel = FailingKernel()
    abandon(kernel, open_ports(kernel, every_port(folder), lambda text: None, network))
    return kernel.calls


def attempt(kernel: Kernel, ports: tuple[Port, ...], network: str = "") -> tuple[str, list[str]]:
    """Open the ports and close them again: why it failed, or nothing; and the warnings."""
    warnings: list[str] = []
    try:
        abandon(kernel, open_ports(kernel, ports, warnings.append, network))
    except OpenFailed as error:
        return str(error), warnings
    return "", warnings


FATAL_OR_NOT = {"setsockopt", "getsockopt"}
"""Calls that set options: fatal for those without which the socket would be another one."""
NEVER_FATAL = {"set_pipe_size", "make_link"}


@needs_root
def test_whichever_call_fails_the_unit_is_open_with_a_warning_or_nothing_is_left(tmp_path: Path) -> None:
    calls = calls_of_a_good_run(tmp_path, PRIVATE)
    assert set(calls) == set(FailingKernel.WATCHED), "each call of the seam that opens a port is made here, and made to fail"
    fatal, warned = set[str](), set[str]()
    for index, call in enumerate(calls, 1):
        folder = tmp_path / str(index)
        folder.mkdir()
        ports = every_port(folder)
        before, kernel = descriptors(), FailingKernel(index, ERRNO)
        failure, warnings = attempt(kernel, ports, PRIVATE)
        assert kernel.calls[index - 1] == call
        assert descriptors() == before, f"{call}, call {index}: a descriptor leaked"
        assert tree(folder) == [], f"{call}, call {index}: something was left behind"
        assert not removed_queue(QUEUE), f"{call}, call {index}: the queue was left behind"
        (fatal if failure else warned).add(call)
        (said,) = [failure] if failure else [text for text in warnings if os.strerror(ERRNO) in text]
        assert call == "network" or any(str(port.listen.address).removesuffix(":0") in said for port in ports)
        assert os.strerror(ERRNO) in said
        assert said.startswith("cannot ") is bool(failure)
    assert fatal == set(calls) - NEVER_FATAL
    assert warned == FATAL_OR_NOT | NEVER_FATAL


@pytest.mark.parametrize(("call", "text"), [("set_pipe_size", "PipeSize=4K\n"), ("make_link", "Symlinks={}/l\n"), ("bind", "")])
def test_what_the_kernel_refuses_is_told_with_the_name_of_the_errno(tmp_path: Path, call: str, text: str) -> None:
    lines = f"ListenStream={tmp_path}/s\n" if call == "bind" else f"ListenFIFO={tmp_path}/f\n"
    failure, warnings = attempt(FailingKernel(1, ERRNO, call), ports_of(lines + text.format(tmp_path)))
    (said,) = warnings or [failure]
    assert "ENOSYS" in said


@pytest.fixture
def no_queue() -> Iterator[None]:
    yield
    removed_queue(QUEUE)


@pytest.mark.usefixtures("no_queue")
@pytest.mark.parametrize(("call", "count"), [("remove", 4), ("remove_queue", 1)])
def test_an_undo_that_fails_keeps_no_other_from_being_done(tmp_path: Path, call: str, count: int) -> None:
    """Somebody may have mounted something there meanwhile, or the file system may have become read-only."""
    (tmp_path / "taken").write_text("mine")
    text = f"ListenFIFO={tmp_path}/a/f\nListenMessageQueue={QUEUE}\nListenStream={tmp_path}/b/s\nListenFIFO={tmp_path}/taken\n"
    left = []
    for index in range(1, count + 1):
        kernel = FailingKernel(index, errno.EBUSY, call)
        with pytest.raises(OpenFailed, match="taken"):
            open_ports(kernel, ports_of(text), never)
        assert len(kernel.calls) >= count
        left.append(tree(tmp_path))
        assert removed_queue(QUEUE) is (call == "remove_queue")
        for name in ("a/f", "b/s"):
            (tmp_path / name).unlink(missing_ok=True)
        for name in ("a", "b"):
            if (tmp_path / name).exists():
                (tmp_path / name).rmdir()
    assert all(len(names) <= 3 for names in left), "one thing, with the folder that it is in"


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


# What the kernel makes of options


def told(text: str) -> tuple[str, list[str]]:
    return attempt(Kernel(), ports_of(text))


REFUSED = [
    ("TCPCongestion=nosuch", "TCP_CONGESTION=nosuch", "ENOENT"),
    ("KeepAliveProbes=4294967295", "TCP_KEEPCNT", "ERANGE"),
    ("KeepAliveProbes=128", "TCP_KEEPCNT=128", "EINVAL"),
    ("KeepAliveTimeSec=32768", "TCP_KEEPIDLE=32768", "EINVAL"),
    ("IPTTL=256", "IP_TTL=256", "EINVAL"),
]
CHANGED = [("IPTOS=0x13", "IP_TOS is 16, not 19")]
"""TCP has bits 0 and 1 of the type of service for itself (RFC 3168), and leaves them as they are without a word."""
TCP_HERE = "ListenStream=127.0.0.1:0\n"


@pytest.mark.parametrize(("line", "option", "name"), REFUSED)
def test_an_option_that_the_kernel_refuses_is_a_warning_that_names_option_port_and_errno(
    line: str, option: str, name: str
) -> None:
    failure, (warning,) = told(f"{TCP_HERE}{line}\n")
    assert failure == ""
    assert option in warning
    assert f"({name})" in warning
    assert "tcp 127.0.0.1:" in warning


@pytest.mark.parametrize(("line", "words"), CHANGED)
def test_an_option_of_which_the_kernel_makes_something_else_is_a_warning_that_says_what(line: str, words: str) -> None:
    failure, (warning,) = told(f"{TCP_HERE}{line}\n")
    assert failure == ""
    assert words in warning
    assert "tcp 127.0.0.1:" in warning


@pytest.mark.parametrize(("line", "words"), [*((line, option.partition("=")[0]) for line, option, _ in REFUSED), *CHANGED])
def test_where_options_are_not_to_fail_the_unit_does_not_start(line: str, words: str) -> None:
    before = descriptors()
    failure, warnings = told(f"[X-Sockact]\nOptionFailure=fail\n[Socket]\n{TCP_HERE}{line}\n")
    assert failure.startswith("cannot set an option of tcp 127.0.0.1:0")
    assert words in failure
    assert warnings == []
    assert descriptors() == before


def test_where_options_are_not_to_fail_and_do_not_all_is_well() -> None:
    lines = "NoDelay=yes\nReceiveBuffer=64K\nKeepAlive=yes\nTCPCongestion=reno\nBindToDevice=lo\nDeferAcceptSec=5\n"
    own = "LingerSec=5\nMaxSegment=1200\nTCPFastOpen=16\nUserTimeoutSec=500ms\n"
    assert told(f"[X-Sockact]\nOptionFailure=fail\n{own}[Socket]\n{TCP_HERE}{lines}") == ("", [])


@needs_root
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Priority=7", ("SO_PRIORITY", "EPERM")),
        ("Mark=5", ("SO_MARK", "EPERM")),
        ("Transparent=yes", ("IP_TRANSPARENT", "EPERM")),
        ("ReceiveBuffer=256M", ("SO_RCVBUF is ", ", not 268435456")),
        ("SendBuffer=256M", ("SO_SNDBUF is ", ", not 268435456")),
    ],
)
def test_what_needs_privileges_is_a_warning_without_them_or_fails_the_unit_if_asked_for(
    line: str, words: tuple[str, ...]
) -> None:
    """What is refused is told with the reason; of a buffer, which the kernel caps in silence, how large it is."""
    strict = "[X-Sockact]\nOptionFailure=fail\n[Socket]\n"
    assert told(f"{strict}{TCP_HERE}{line}\n") == ("", []), "root may do it"
    with plain_user():
        failure, (warning,) = told(f"{TCP_HERE}{line}\n")
        assert failure == ""
        assert [word for word in words if word not in warning] == []
        failure, warnings = told(f"{strict}{TCP_HERE}{line}\n")
    assert [word for word in words if word not in failure] == []
    assert warnings == []


@needs_root
def test_what_needs_no_privileges_is_had_by_anybody() -> None:
    text = f"[X-Sockact]\nOptionFailure=fail\n[Socket]\n{TCP_HERE}Priority=6\nReceiveBuffer=64K\nFreeBind=yes\n"
    with plain_user():
        assert told(text) == ("", [])


@needs_root
def test_a_buffer_that_is_capped_is_as_large_as_it_may_be() -> None:
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    kernel, warnings = Kernel(), list[str]()
    with plain_user():
        (port,) = open_ports(kernel, ports_of(f"{TCP_HERE}ReceiveBuffer=256M\n"), warnings.append)
    assert kernel.getsockopt(port.fd, "SOL_SOCKET", "SO_RCVBUF") == 2 * limit
    abandon(kernel, [port])


@pytest.mark.parametrize(
    ("line", "words"), [("BindToDevice=nosuchdevice", "SO_BINDTODEVICE"), ("BindIPv6Only=both", "IPV6_V6ONLY")]
)
def test_a_socket_that_would_be_another_one_is_never_opened(line: str, words: str) -> None:
    text = f"ListenStream=[::1]:0\n{line}\n"
    kernel = Kernel() if "Device" in line else FailingKernel(2, errno.EPERM, "setsockopt")
    failure, _ = attempt(kernel, ports_of(text))
    assert failure.startswith(f"cannot set an option of tcp [::1]:0 ({words}): ")


def test_an_option_that_does_not_stick_is_noticed() -> None:
    """Whatever the reason: the kernel took it, and reports something else."""

    class Forgetful(Kernel):
        def getsockopt(self, fd: int, level: str, name: str, like: object = 0) -> int:
            return 0

    failure, warnings = attempt(Forgetful(), ports_of(f"{TCP_HERE}NoDelay=yes\n"))
    assert (failure.partition(":")[0], warnings) == ("cannot set an option of tcp 127.0.0.1", [])
    assert "SO_REUSEADDR is 0, not 1" in failure


# A kernel without the protocol

MPTCP = f"{TCP_HERE}SocketProtocol=mptcp\n"
FALLBACK = "[X-Sockact]\nProtocolFallback=tcp\n[Socket]\n"


@pytest.mark.parametrize("number", sorted(LACKING), ids=errno.errorcode.__getitem__)
def test_a_kernel_without_the_protocol_is_told_and_served_by_tcp(number: int) -> None:
    kernel, warnings = FailingKernel(1, number, "socket"), list[str]()
    (port,) = open_ports(kernel, ports_of(FALLBACK + MPTCP), warnings.append)
    try:
        assert kernel.calls == ["socket", "socket"]
        with socket.socket(fileno=os.dup(port.fd)) as view:
            assert view.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
        assert str(port.port).startswith("tcp 127.0.0.1:")
        (warning,) = warnings
        assert errno.errorcode[number] in warning
        assert "mptcp 127.0.0.1:0" in warning
        assert "ProtocolFallback= makes it tcp 127.0.0.1:0" in warning
    finally:
        abandon(kernel, [port])


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.ENOBUFS])
def test_what_is_not_about_the_protocol_falls_back_to_nothing(number: int) -> None:
    kernel = FailingKernel(1, number, "socket")
    failure, warnings = attempt(kernel, ports_of(FALLBACK + MPTCP))
    assert errno.errorcode[number] in failure
    assert (kernel.calls, warnings) == (["socket"], [])


@pytest.mark.parametrize("call", ["bind", "listen", "setsockopt"])
def test_a_later_step_falls_back_to_nothing(call: str) -> None:
    kernel = FailingKernel(1, errno.EPROTONOSUPPORT, call)
    failure, warnings = attempt(kernel, ports_of(FALLBACK + MPTCP))
    assert "EPROTONOSUPPORT" in failure
    assert warnings == []


def test_without_fallback_a_kernel_without_the_protocol_fails_the_unit() -> None:
    kernel = FailingKernel(1, errno.ENOPROTOOPT, "socket")
    failure, warnings = attempt(kernel, ports_of(MPTCP))
    assert "net.mptcp.enabled is 0" in failure
    assert (kernel.calls, warnings) == (["socket"], [])


def test_a_kernel_that_lacks_the_fallback_too_fails_the_unit_with_both_reasons_told() -> None:
    class Bare(Kernel):
        def socket(self, family: str, kind: str, protocol: int, network: int = -1) -> int:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))

    failure, (warning,) = attempt(Bare(), ports_of(FALLBACK + MPTCP))
    assert "mptcp" in warning
    assert failure.startswith("cannot open a socket for tcp 127.0.0.1:0: ")


def test_every_port_of_a_unit_falls_back_by_itself() -> None:
    kernel, warnings = FailingKernel(2, errno.ENOPROTOOPT, "socket"), list[str]()
    found = open_ports(kernel, ports_of(f"{FALLBACK}{TCP_HERE}{MPTCP}"), warnings.append)
    assert [str(port.port).partition(" ")[0] for port in found] == ["mptcp", "tcp"]
    assert len(warnings) == 1
    abandon(kernel, found)


@needs_root
def test_where_multipath_tcp_is_switched_off_tcp_serves_for_real() -> None:
    before = descriptors()
    kernel, warnings = Kernel(), list[str]()
    with namespace("mptcp/enabled=0") as blue:
        with pytest.raises(OpenFailed, match=r"ENOPROTOOPT: net\.mptcp\.enabled is 0"):
            open_ports(kernel, ports_of(MPTCP), never, blue)
        (port,) = open_ports(kernel, ports_of(FALLBACK + MPTCP + "NoDelay=yes\nIPTTL=5\n"), warnings.append, blue)
        with socket.socket(fileno=os.dup(port.fd)) as view:
            assert view.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
            assert view.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 5, "options are those of TCP now"
        assert len(warnings) == 1
        abandon(kernel, [port])
    assert descriptors() == before


# Port 0


@pytest.mark.parametrize(
    ("key", "address", "name"),
    [
        ("ListenStream", "127.0.0.1:0", "tcp 127.0.0.1:"),
        ("ListenStream", "[::1]:0", "tcp [::1]:"),
        ("ListenStream", "0", "tcp [::]:"),
        ("ListenDatagram", "127.0.0.1:0", "udp 127.0.0.1:"),
    ],
)
def test_the_port_that_the_kernel_chose_is_shown(key: str, address: str, name: str) -> None:
    with opened(f"{key}={address}\n") as (port,), socket.socket(fileno=os.dup(port.fd)) as view:
        chosen = view.getsockname()[1]
        assert chosen > 0
        assert str(port.port) == f"{name}{chosen}"
        assert port.port.listen.address.wire[1] == chosen


def test_each_port_0_is_another_one() -> None:
    with opened(f"{TCP_HERE * 3}") as found:
        assert len({str(port.port) for port in found}) == 3


def test_ports_of_a_range_are_opened_in_order_and_all_or_none() -> None:
    first = range_of_free_ports(3)
    text = f"ListenStream=127.0.0.1:{first}-{first + 2}\n"
    with opened(text) as found:
        assert [str(port.port) for port in found] == [f"tcp 127.0.0.1:{first + offset}" for offset in range(3)]
        assert [port.fd for port in found] == sorted(port.fd for port in found)
    before = descriptors()
    with socket.create_server(("127.0.0.1", first + 2)), pytest.raises(OpenFailed, match=f":{first + 2}: "):
        open_ports(Kernel(), ports_of(text), never)
    assert descriptors() == before
    with opened(text):
        pass


def range_of_free_ports(count: int) -> int:
    """The first of some ports that nobody uses at this moment."""
    while True:
        first = free_port()
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
                return first
        except (OSError, OverflowError):
            continue


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
