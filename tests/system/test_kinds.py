"""What a socket unit opens besides sockets of the Internet, on the running kernel: FIFOs, special files, netlink, message queues;
links to nodes; and sockets in other network namespaces. What is made is as asked for, and it is gone when it should be."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockact.net.plan import PRIVATE, Port, network, plan
from sockact.runtime import namespaces, queues
from sockact.runtime.kernel import Kernel
from sockact.runtime.listeners import OpenFailed, OpenPort, abandon, close_ports, open_ports
from tests.fakes import descriptors, ours, removed_queue, socket_unit
from tests.lab import PROBE, ask, connect, free_port, in_shell, refused, started, write_units

F_GETPIPE_SZ = 1032
SO_NETNS_COOKIE = 71
PAGE = os.sysconf("SC_PAGE_SIZE")
QUEUE = f"/sockact-test-kinds-{os.getpid()}"
OTHER_QUEUE = f"{QUEUE}-other"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this to namespaces, owners and devices")


def ports_of(text: str) -> tuple[Port, ...]:
    unit, found = socket_unit(text)
    assert ours(found) == []
    return plan(unit)


def network_of(text: str) -> str:
    return network(socket_unit(text)[0])


def never(text: str) -> None:
    raise AssertionError(text)


@contextmanager
def opened(text: str, warn: Callable[[str], None] = never) -> Iterator[list[OpenPort]]:
    """The ports of a unit; afterwards it is as if they had never been there."""
    kernel, before = Kernel(), descriptors()
    found = open_ports(kernel, ports_of(text), warn, network_of(text))
    try:
        yield found
    finally:
        abandon(kernel, found)
    assert descriptors() == before


def stopped(text: str, warn: Callable[[str], None] = never) -> None:
    """Open the ports of a unit, and stop it as the supervisor does."""
    unit, _ = socket_unit(text)
    kernel = Kernel()
    close_ports(kernel, open_ports(kernel, plan(unit), warn, network(unit)), unit.socket.remove_on_stop, warn)


def failing(text: str) -> str:
    """Why the unit cannot be opened; nothing is left of it."""
    before = descriptors()
    with pytest.raises(OpenFailed) as failure:
        open_ports(Kernel(), ports_of(text), never, network_of(text))
    assert descriptors() == before
    return str(failure.value)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


# FIFOs


@pytest.mark.parametrize(("text", "size"), [("1", PAGE), ("64K", 64 << 10), ("100000", 128 << 10), ("1M", 1 << 20)])
def test_a_fifo_is_as_large_as_asked_for_or_the_next_size_that_the_kernel_has(text: str, size: int, tmp_path: Path) -> None:
    with opened(f"ListenFIFO={tmp_path}/f\nPipeSize={text}\n") as (port,):
        assert fcntl.fcntl(port.fd, F_GETPIPE_SZ) == size


def test_a_fifo_of_which_no_size_is_asked_for_has_the_kernels(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plain")
    fd = os.open(tmp_path / "plain", os.O_RDWR)
    with opened(f"ListenFIFO={tmp_path}/f\n") as (port,):
        assert fcntl.fcntl(port.fd, F_GETPIPE_SZ) == fcntl.fcntl(fd, F_GETPIPE_SZ)
    os.close(fd)


def test_a_fifo_larger_than_one_may_have_is_a_warning_and_works(tmp_path: Path) -> None:
    limit, told = int(Path("/proc/sys/fs/pipe-max-size").read_text()), list[str]()
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(reader, 1031, 2 * limit)
        largest = 2 * limit
    except PermissionError:
        largest = limit
    finally:
        os.close(reader)
        os.close(writer)
    with opened(f"ListenFIFO={tmp_path}/f\nPipeSize={largest}\n") as (port,):
        assert fcntl.fcntl(port.fd, F_GETPIPE_SZ) == largest
    with opened(f"ListenFIFO={tmp_path}/f\nPipeSize=7E\n", told.append) as (port,):
        (tmp_path / "f").write_text("x")
        assert os.read(port.fd, 1) == b"x"
    (warning,) = told
    assert warning.startswith(f"PipeSize={7 << 60} is not set on fifo {tmp_path}/f: ")
    assert warning.endswith(")"), "with the name of the errno"


def test_a_fifo_never_reports_the_end_of_the_file(tmp_path: Path) -> None:
    with opened(f"ListenFIFO={tmp_path}/f\n") as (port,):
        assert not readable(port.fd)
        writer = os.open(tmp_path / "f", os.O_WRONLY)
        os.write(writer, b"x")
        os.close(writer)
        assert readable(port.fd)
        os.read(port.fd, 1)
        assert not readable(port.fd)


# Special files


@needs_root
@pytest.mark.parametrize("path", ["/dev/kmsg", "/proc/self/mountinfo", "/proc/kmsg", "/dev/null", "/sys/kernel/uevent_seqnum"])
@pytest.mark.parametrize(("line", "mode"), [("", os.O_RDONLY), ("Writable=yes", os.O_RDWR)])
def test_a_device_or_a_file_of_the_kernel_is_opened_as_it_is(path: str, line: str, mode: int) -> None:
    if not os.path.exists(path) or (line and not os.stat(path).st_mode & 0o200):
        pytest.skip("not here, or not to be written to")
    before = os.lstat(path)
    with opened(f"ListenSpecial={path}\n{line}\nSocketUser=nobody\nSocketMode=0600\n") as (port,):
        assert os.path.samestat(os.fstat(port.fd), os.stat(path))
        assert fcntl.fcntl(port.fd, fcntl.F_GETFL) & os.O_ACCMODE == mode
        assert not os.get_blocking(port.fd)
        assert not os.get_inheritable(port.fd)
    stopped(f"ListenSpecial={path}\n{line}\nRemoveOnStop=yes\n")
    after = os.lstat(path)
    assert (after.st_mode, after.st_uid, after.st_ino) == (before.st_mode, before.st_uid, before.st_ino)


@pytest.mark.parametrize("what", ["directory", "fifo", "socket", "symlink", "nothing"])
def test_what_is_no_device_and_no_file_is_not_opened(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif what == "symlink":
        path.symlink_to("/dev/null")
    said = failing(f"ListenSpecial={path}\n")
    names = {"directory": "EEXIST", "fifo": "EEXIST", "socket": "ENXIO", "symlink": "ELOOP", "nothing": "ENOENT"}
    assert said.startswith(f"cannot open special {path}: ")
    assert names[what] in said


# Netlink

NLM = struct.Struct("=IHHII")
RTM_NEWLINK = 16


def groups(fd: int) -> int:
    with socket.socket(fileno=os.dup(fd)) as view:
        return int(view.getsockname()[1])


@pytest.mark.parametrize(("text", "mask"), [("route", 0), ("route 1", 1), ("route 0x11", 17), ("0 2147483648", 1 << 31)])
def test_a_netlink_socket_is_bound_to_its_groups(text: str, mask: int) -> None:
    with opened(f"ListenNetlink={text}\n") as (port,):
        assert groups(port.fd) == mask
        with socket.socket(fileno=os.dup(port.fd)) as view:
            assert (view.family, view.type, view.proto) == (socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


@pytest.mark.parametrize("text", ["kobject-uevent 1", "generic", "connector", "xfrm"])
def test_each_family_that_this_kernel_has_is_the_one_that_was_named(text: str) -> None:
    numbers = {"kobject-uevent": 15, "generic": 16, "connector": 11, "xfrm": 6}
    number = numbers[text.split(maxsplit=1)[0]]
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, number).close()
    except OSError as error:
        pytest.skip(f"this kernel has no {text}: {error}")
    with opened(f"ListenNetlink={text}\n") as (port,), socket.socket(fileno=os.dup(port.fd)) as view:
        assert view.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == number


def test_a_netlink_family_that_nobody_has_is_told() -> None:
    assert "EPROTONOSUPPORT" in failing("ListenNetlink=31 1\n")


def test_several_units_may_listen_to_the_same_news() -> None:
    with opened("ListenNetlink=route 1\nListenNetlink=route 1\n") as found:
        assert [groups(port.fd) for port in found] == [1, 1]


@needs_root
def test_a_netlink_socket_tells_of_a_new_interface() -> None:
    with namespace() as (path, inside):
        kernel, before = Kernel(), descriptors()
        (port,) = open_ports(kernel, ports_of("ListenNetlink=route 1\nReceiveBuffer=64K\n"), never, path)
        assert not readable(port.fd)
        inside(rename)
        news = list[bytes]()
        with socket.socket(fileno=os.dup(port.fd)) as view:
            while readable(port.fd):
                news.append(view.recv(65536))
        assert RTM_NEWLINK in {NLM.unpack(one[: NLM.size])[1] for one in news}
        assert any(f"{INTERFACE}\0".encode() in one for one in news)
        abandon(kernel, [port])
        assert descriptors() == before


# Message queues


@pytest.fixture(autouse=True)
def no_queue_is_left() -> Iterator[None]:
    yield
    left = [name for name in (QUEUE, OTHER_QUEUE) if removed_queue(name)]
    assert left == []


def attributes(fd: int) -> tuple[int, int, int, int]:
    """What mq_getattr(3) says: flags, messages, size, how many wait."""
    found = (ctypes.c_long * 8)()
    assert ctypes.CDLL(None, use_errno=True).mq_getattr(fd, found) == 0
    return found[0], found[1], found[2], found[3]


def send(name: str, text: bytes) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    fd = library.mq_open(name.encode(), os.O_WRONLY)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    assert library.mq_send(fd, text, len(text), 0) == 0
    os.close(fd)


@contextmanager
def existing(name: str, mode: int, messages: int = 5, size: int = 64, owner: int | None = None) -> Iterator[None]:
    """A queue that was there before."""
    before = os.umask(0)
    fd, made = queues.open_or_create(name, mode, messages, size)
    os.umask(before)
    assert made
    if owner is not None:
        os.fchown(fd, owner, -1)
    os.close(fd)
    try:
        yield
    finally:
        removed_queue(name)


@pytest.mark.parametrize("mode", ["0600", "0662", "0400"])
def test_a_queue_has_exactly_the_mode_of_the_unit_whatever_the_umask(mode: str) -> None:
    before = os.umask(0o077)
    try:
        with opened(f"ListenMessageQueue={QUEUE}\nSocketMode={mode}\n") as (port,):
            assert f"{stat.S_IMODE(os.fstat(port.fd).st_mode):04o}" == mode
            assert not os.get_inheritable(port.fd)
    finally:
        os.umask(before)


@needs_root
@pytest.mark.parametrize(
    ("lines", "owner"),
    [("SocketUser=nobody", (65534, 65534)), ("SocketGroup=daemon", (0, 1)), ("SocketUser=1\nSocketGroup=65534", (1, 65534))],
)
def test_a_queue_belongs_to_whom_the_unit_says(lines: str, owner: tuple[int, int]) -> None:
    with opened(f"ListenMessageQueue={QUEUE}\n{lines}\n") as (port,):
        found = os.fstat(port.fd)
        assert (found.st_uid, found.st_gid) == owner


@pytest.mark.parametrize(
    ("lines", "sizes"),
    [
        ("MessageQueueMaxMessages=3\nMessageQueueMessageSize=100", (3, 100)),
        ("MessageQueueMaxMessages=3", None),
        ("MessageQueueMessageSize=100", None),
        ("", None),
    ],
)
def test_a_queue_holds_what_the_unit_says_or_what_the_kernel_thinks(lines: str, sizes: tuple[int, int] | None) -> None:
    defaults = tuple(int(Path(f"/proc/sys/fs/mqueue/{name}_default").read_text()) for name in ("msg", "msgsize"))
    with opened(f"ListenMessageQueue={QUEUE}\n{lines}\n") as (port,):
        flags, messages, size, waiting = attributes(port.fd)
    assert (messages, size) == (sizes or defaults)
    assert flags & os.O_NONBLOCK
    assert waiting == 0


def test_a_queue_is_readable_when_there_is_a_message() -> None:
    with opened(f"ListenMessageQueue={QUEUE}\n") as (port,):
        assert not readable(port.fd)
        send(QUEUE, b"hello")
        assert readable(port.fd)
        assert attributes(port.fd)[3] == 1


@pytest.mark.parametrize(("remove", "there"), [("yes", False), ("no", True)])
def test_a_queue_is_removed_when_the_unit_stops_if_it_says_so(remove: str, there: bool) -> None:
    stopped(f"ListenMessageQueue={QUEUE}\nRemoveOnStop={remove}\n")
    assert removed_queue(QUEUE) is there


def test_a_queue_that_somebody_else_has_removed_is_removed() -> None:
    kernel, found = Kernel(), open_ports(Kernel(), ports_of(f"ListenMessageQueue={QUEUE}\n"), never)
    queues.remove(QUEUE)
    told: list[str] = []
    close_ports(kernel, found, True, told.append)
    assert told == [], "it is as it should be; a node that is gone is not told about either"


def test_a_queue_that_was_there_is_used_with_what_waits_in_it_and_stays() -> None:
    with existing(QUEUE, 0o666):
        send(QUEUE, b"early")
        with opened(f"ListenMessageQueue={QUEUE}\n") as (port,):
            assert readable(port.fd)
        assert removed_queue(QUEUE), "it was not made by the unit, so undoing does not remove it"


def test_a_queue_of_other_sizes_is_told_and_used() -> None:
    told: list[str] = []
    text = f"ListenMessageQueue={QUEUE}\nMessageQueueMaxMessages=3\nMessageQueueMessageSize=100\n"
    with existing(QUEUE, 0o666, 5, 64), opened(text, told.append) as (port,):
        assert attributes(port.fd)[1:3] == (5, 64)
    assert told == [f"mqueue {QUEUE} was there: it holds 5 messages of 64 bytes"]


def test_a_queue_of_the_same_sizes_is_nothing_to_tell() -> None:
    text = f"ListenMessageQueue={QUEUE}\nMessageQueueMaxMessages=5\nMessageQueueMessageSize=64\n"
    with existing(QUEUE, 0o666, 5, 64), opened(text):
        pass


@needs_root
@pytest.mark.parametrize(("mode", "owner"), [(0o600, None), (0o666, 65534)])
def test_a_queue_of_other_access_is_not_taken_over(mode: int, owner: int | None) -> None:
    with existing(QUEUE, mode, owner=owner):
        said = failing(f"ListenMessageQueue={QUEUE}\n")
        assert "a message queue of other access is there" in said
        assert "EEXIST" in said
        assert removed_queue(QUEUE), "it stays"


@needs_root
def test_a_queue_that_was_given_to_its_owner_before_is_taken_again() -> None:
    text = f"ListenMessageQueue={QUEUE}\nSocketUser=nobody\nSocketMode=0600\n"
    stopped(text)
    with opened(text) as (port,):
        assert os.fstat(port.fd).st_uid == 65534
    assert removed_queue(QUEUE)


@pytest.mark.parametrize(
    ("name", "lines", "errno_name"),
    [
        ("/a/b", "", "EACCES"),
        ("/" + "x" * 256, "", "ENAMETOOLONG"),
        (QUEUE, "MessageQueueMaxMessages=9223372036854775807\nMessageQueueMessageSize=1", "EINVAL"),
        (QUEUE, "MessageQueueMaxMessages=1\nMessageQueueMessageSize=1G", "EINVAL"),
    ],
)
def test_a_queue_that_no_kernel_makes_is_refused_by_it_or_before(name: str, lines: str, errno_name: str) -> None:
    unit, found = socket_unit(f"ListenMessageQueue={name}\n{lines}\n")
    if ours(found):
        assert [diagnostic.code for diagnostic in found] == ["SA011"], "told before anything is opened, which is better"
    else:
        assert errno_name in failing(f"ListenMessageQueue={name}\n{lines}\n")
    assert unit.name


# Links


def test_links_are_made_with_their_folders_and_lead_to_the_node(tmp_path: Path) -> None:
    text = f"ListenStream={tmp_path}/s\nSymlinks={tmp_path}/a/b/one '{tmp_path}/a/t w o'\nDirectoryMode=0700\n"
    with opened(text):
        assert [os.readlink(tmp_path / "a" / name) for name in ("b/one", "t w o")] == [f"{tmp_path}/s"] * 2
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
        connect(f"{tmp_path}/a/b/one").close()
    assert tree(tmp_path) == []


def test_a_link_to_a_fifo_is_a_way_into_it(tmp_path: Path) -> None:
    with opened(f"ListenFIFO={tmp_path}/f\nSymlinks={tmp_path}/l\n") as (port,):
        (tmp_path / "l").write_text("x")
        assert readable(port.fd)


def test_a_link_that_is_there_already_is_used_and_stays(tmp_path: Path) -> None:
    (tmp_path / "l").symlink_to(tmp_path / "s")
    with opened(f"ListenStream={tmp_path}/s\nSymlinks={tmp_path}/l\n"):
        pass
    assert tree(tmp_path) == ["l"], "it was not made by the unit, so undoing does not remove it"


@pytest.mark.parametrize("what", ["file", "link", "directory", "dangling link"])
def test_something_else_in_the_place_of_a_link_stays_with_a_warning(what: str, tmp_path: Path) -> None:
    link, told = put(tmp_path, what), list[str]()
    was = os.lstat(link)
    with opened(f"ListenStream={tmp_path}/s\nSymlinks={link}\n", told.append):
        assert os.lstat(link).st_ino == was.st_ino
    (warning,) = told
    assert warning.startswith(f"no link {link} to {tmp_path}/s: ")
    assert os.lstat(link).st_ino == was.st_ino


@pytest.mark.parametrize("what", ["file", "link", "dangling link"])
def test_with_remove_on_stop_something_else_in_the_place_of_a_link_goes(what: str, tmp_path: Path) -> None:
    link = put(tmp_path, what)
    stopped(f"ListenStream={tmp_path}/s\nSymlinks={link}\nRemoveOnStop=yes\n")
    assert not os.path.lexists(link)
    assert not os.path.lexists(tmp_path / "s")


def test_a_folder_in_the_place_of_a_link_stays_even_then(tmp_path: Path) -> None:
    link, told = put(tmp_path, "directory"), list[str]()
    stopped(f"ListenStream={tmp_path}/s\nSymlinks={link}\nRemoveOnStop=yes\n", told.append)
    assert len(told) == 1
    assert link.is_dir()


def put(folder: Path, what: str) -> Path:
    place = folder / "l"
    if what == "file":
        place.write_text("mine")
    elif what == "directory":
        place.mkdir()
    else:
        place.symlink_to("/etc/hostname" if what == "link" else "/nowhere")
    return place


@pytest.mark.parametrize(("line", "left"), [("RemoveOnStop=yes", []), ("", ["l", "s"])])
def test_links_go_with_their_node_when_the_unit_stops_if_it_says_so(line: str, left: list[str], tmp_path: Path) -> None:
    stopped(f"ListenStream={tmp_path}/s\nSymlinks={tmp_path}/l\n{line}\n")
    assert tree(tmp_path) == left


def test_a_link_that_others_have_turned_elsewhere_is_theirs(tmp_path: Path) -> None:
    kernel, text = Kernel(), f"ListenStream={tmp_path}/s\nSymlinks={tmp_path}/l\nRemoveOnStop=yes\n"
    found = open_ports(kernel, ports_of(text), never)
    (tmp_path / "l").unlink()
    (tmp_path / "l").symlink_to("/elsewhere")
    close_ports(kernel, found, True, never)
    assert os.readlink(tmp_path / "l") == "/elsewhere"


def test_links_and_their_folders_are_undone_when_a_later_port_fails(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    text = f"ListenStream={tmp_path}/s\nSymlinks={tmp_path}/a/l {tmp_path}/b/c/l\nListenMessageQueue={QUEUE}\n"
    assert "EEXIST" in failing(f"{text}ListenFIFO={tmp_path}/x\n")
    assert tree(tmp_path) == ["x"]


# Network namespaces


@contextmanager
def namespace() -> Iterator[tuple[str, Callable[[Callable[[], object]], object]]]:
    """The path of a network namespace, and a way to do something in it."""
    place = Kernel().network("")
    try:
        yield f"/proc/self/fd/{place}", lambda action: namespaces.inside(place, action)
    finally:
        os.close(place)


INTERFACE = "eth7sockact"


def rename() -> None:
    """Give the loopback interface a name that it has nowhere else."""
    for line in ("set lo down", f"set lo name {INTERFACE}", f"set {INTERFACE} up"):
        subprocess.run(["ip", "link", *line.split()], check=True)


def cookie(fd: int) -> int:
    """The network namespace that a socket belongs to."""
    with socket.socket(fileno=os.dup(fd)) as view:
        return int.from_bytes(view.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)


def our_cookie() -> int:
    with socket.socket() as one:
        return cookie(one.fileno())


@needs_root
def test_sockets_are_made_in_the_namespace_of_the_unit_and_reached_from_there_alone() -> None:
    with namespace() as (path, inside):
        text = f"ListenStream=127.0.0.1:4711\nListenDatagram=[::1]:0\nListenStream=@x\nNetworkNamespacePath={path}\n"
        with opened(text) as found:
            (there,) = {cookie(port.fd) for port in found}
            assert there != our_cookie()
            with pytest.raises(ConnectionRefusedError):
                connect(("127.0.0.1", 4711))
            inside(lambda: connect(("127.0.0.1", 4711)).close())
            with pytest.raises(ConnectionRefusedError):
                connect("@x")
            inside(lambda: connect("@x").close())
        assert our_cookie() == our_cookie(), "we are where we were"


@needs_root
def test_options_of_a_socket_are_those_of_its_namespace() -> None:
    with namespace() as (path, inside):
        inside(rename)
        text = f"ListenStream=127.0.0.1:0\nBindToDevice={INTERFACE}\nNetworkNamespacePath={path}\n"
        with opened(text):
            pass
        assert "ENODEV" in failing(text.replace(path, "/proc/self/ns/net"))


@needs_root
def test_the_scope_of_an_address_is_an_interface_of_its_namespace() -> None:
    def prepare() -> None:
        rename()
        subprocess.run(["ip", "addr", "add", "fe80::7/64", "dev", INTERFACE, "nodad"], check=True)

    with namespace() as (path, inside):
        inside(prepare)
        text = f"ListenStream=[fe80::7]:80%%{INTERFACE}\nNetworkNamespacePath={path}\n"
        with opened(text) as (port,), socket.socket(fileno=os.dup(port.fd)) as view:
            assert view.getsockname() == ("fe80::7", 80, 0, 1)
        assert "ENODEV" in failing(text.replace(path, "/proc/self/ns/net"))


@needs_root
def test_a_private_network_has_its_own_loopback_and_is_nobody_elses() -> None:
    text = "ListenStream=127.0.0.1:4711\nListenStream=[::1]:4711\nPrivateNetwork=yes\n"
    assert network_of(text) == PRIVATE
    with opened(text) as found, opened(text) as others:
        first, second = ({cookie(port.fd) for port in ports} for ports in (found, others))
        assert (len(first), len(second)) == (1, 1), "all ports of a unit are in one namespace"
        assert len({our_cookie(), *first, *second}) == 3
        with pytest.raises(ConnectionRefusedError):
            connect(("127.0.0.1", 4711))


@needs_root
def test_a_namespace_that_is_none_fails_the_unit_with_its_path(tmp_path: Path) -> None:
    missing = failing(f"ListenStream=127.0.0.1:0\nNetworkNamespacePath={tmp_path}/no\n")
    assert missing.startswith(f"cannot enter the network namespace {tmp_path}/no: ")
    assert "ENOENT" in missing
    (tmp_path / "file").touch()
    wrong = failing(f"ListenStream=127.0.0.1:0\nNetworkNamespacePath={tmp_path}/file\n")
    assert "EINVAL" in wrong
    assert f"{tmp_path}/file" in wrong, "what is no namespace is named, too"


def test_without_privileges_a_namespace_is_refused_with_the_errno() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(OpenFailed, match=r"cannot make a network namespace: .*\(EPERM\)"):
            open_ports(Kernel(), ports_of("ListenStream=127.0.0.1:0\nPrivateNetwork=yes\n"), never, PRIVATE)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


@needs_root
def test_files_are_where_they_are_whatever_the_namespace(tmp_path: Path) -> None:
    text = f"ListenStream={tmp_path}/s\nListenFIFO={tmp_path}/f\nListenMessageQueue={QUEUE}\nPrivateNetwork=yes\n"
    with opened(text):
        connect(f"{tmp_path}/s").close()
        send(QUEUE, b"hello")


# All of it, as a user starts it


def unit(folder: Path, listen: str, service: str, accept: bool = False) -> Path:
    name = "k@.service" if accept else "k.service"
    return write_units(folder, {"k.socket": f"[Socket]\n{listen}\n", name: f"[Service]\n{service}\n"})[0]


def test_a_message_in_a_queue_starts_the_service_which_reads_it(tmp_path: Path) -> None:
    lines = (
        "import ctypes",
        "room = ctypes.create_string_buffer(8192)",
        "length = ctypes.CDLL(None).mq_receive(3, room, 8192, None)",
        "print(room.raw[:length])",
    )
    (tmp_path / "reader.py").write_text("\n".join(lines))
    service = f"ExecStart={sys.executable} -I -S {tmp_path}/reader.py"
    with started(unit(tmp_path, f"ListenMessageQueue={QUEUE}\nRemoveOnStop=yes", service)) as supervisor:
        supervisor.wait_log(f"k.socket: listening on mqueue {QUEUE}")
        send(QUEUE, b"to the service")
        supervisor.wait_log("b'to the service'")
    assert not removed_queue(QUEUE)


@needs_root
def test_a_new_interface_starts_the_service(tmp_path: Path) -> None:
    with namespace() as (path, inside):
        place = int(path.rpartition("/")[2])
        os.set_inheritable(place, True)
        text = f"ListenNetlink=route 1\nNetworkNamespacePath=/proc/{os.getpid()}/fd/{place}"
        service = f"ExecStart={sys.executable} -I -S -c 'import socket; print(socket.socket(fileno=3).recv(65536))'"
        with started(unit(tmp_path, text, service)) as supervisor:
            supervisor.wait_log("listening on netlink route 1")
            inside(rename)
            supervisor.wait_log(INTERFACE)


@needs_root
def test_the_log_of_the_kernel_starts_a_service(tmp_path: Path) -> None:
    """It is readable at once: there is always something in it."""
    (tmp_path / "reader.py").write_text("import os; print(len(os.read(3, 8192)) > 0, os.readlink('/proc/self/fd/3'))")
    text = "ListenSpecial=/dev/kmsg\nTriggerLimitBurst=0\nTriggerLimitIntervalSec=0"
    service = f"ExecStart={sys.executable} -I -S {tmp_path}/reader.py"
    with started(unit(tmp_path, text, service)) as supervisor:
        supervisor.wait_log("True /dev/kmsg")


def test_a_link_is_a_way_to_the_service_and_goes_with_the_unit(tmp_path: Path) -> None:
    text = f"ListenStream={tmp_path}/s\nSymlinks={tmp_path}/d/l\nRemoveOnStop=yes"
    with started(unit(tmp_path, text, f"ExecStart={PROBE} answer")):
        assert ask(f"{tmp_path}/d/l")["got"] == "hello"
    assert [name for name in tree(tmp_path) if not name.endswith((".socket", ".service"))] == ["d"]


def test_the_service_finds_all_ports_of_a_range(tmp_path: Path) -> None:
    first = free_port()
    text = f"ListenStream=127.0.0.1:{first}-{first + 1}"
    try:
        with socket.create_server(("127.0.0.1", first + 1)):
            pass
    except OSError:
        pytest.skip("somebody has the next port")
    with started(unit(tmp_path, text, f"ExecStart={PROBE} answer")) as supervisor:
        assert [ask(("127.0.0.1", first + offset))["fd"] for offset in (0, 1)] == [3, 4]
        assert len(supervisor.wait_log("listening on tcp 127.0.0.1:", 2)) == 2


def test_the_log_names_the_port_that_the_kernel_chose(tmp_path: Path) -> None:
    with started(unit(tmp_path, "ListenStream=127.0.0.1:0", f"ExecStart={PROBE} answer")) as supervisor:
        (line,) = supervisor.wait_log("listening on tcp 127.0.0.1:")
        port = int(line.rpartition(":")[2])
        assert port > 0
        assert ask(("127.0.0.1", port))["got"] == "hello"


@needs_root
def test_a_service_gets_sockets_of_another_network_and_stays_in_its_own(tmp_path: Path) -> None:
    service = (
        f"ExecStart={sys.executable} -I -S -c 'import os, socket, json; s = socket.socket(fileno=3); "
        f'print(json.dumps([int.from_bytes(s.getsockopt(1, {SO_NETNS_COOKIE}, 8), "{sys.byteorder}"), '
        f'int.from_bytes(socket.socket().getsockopt(1, {SO_NETNS_COOKIE}, 8), "{sys.byteorder}")]))'
        "'"
    )
    with started(unit(tmp_path, "ListenStream=127.0.0.1:80\nPrivateNetwork=yes", service), arguments=["--now"]) as supervisor:
        (line,) = supervisor.wait_log("[")
        theirs, own = json.loads(line[line.index("[") :])
    assert own == our_cookie()
    assert theirs != own


@needs_root
def test_where_multipath_tcp_is_switched_off_the_unit_starts_with_tcp_and_says_so(tmp_path: Path) -> None:
    prefix = ["/usr/bin/unshare", "--net", *in_shell("echo 0 >/proc/sys/net/mptcp/enabled && ip link set lo up || exit 77")]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no network namespace with a net.mptcp.enabled of its own")
    text = "ListenStream=127.0.0.1:8080\nSocketProtocol=mptcp\n[X-Sockact]\nProtocolFallback=tcp"
    with started(unit(tmp_path, text, "ExecStart=/bin/cat"), prefix=prefix) as supervisor:
        supervisor.wait_log("listening on tcp 127.0.0.1:8080")
        (line,) = supervisor.wait_log("ProtocolFallback= makes it tcp")
    assert line.startswith("k.socket: warning: ")
    assert errno.errorcode[errno.ENOPROTOOPT] in line


def test_an_option_that_must_not_fail_keeps_the_unit_from_starting(tmp_path: Path) -> None:

    text = f"ListenStream=127.0.0.1:{free_port()}\nTCPCongestion=nosuch\n[X-Sockact]\nOptionFailure=fail"
    said = refused(unit(tmp_path, text, "ExecStart=/bin/cat"))
    assert "TCP_CONGESTION" in said
    assert "ENOENT" in said
