"""Every system call by which sockact opens, listens, spawns and supervises, in one readable list.

What runs units touches the operating system through it alone, so that a test can hand in a kernel that fails at the n-th
call. Descriptors are plain integers outside of this module. All failures are OSError.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import select
import signal
import socket
import struct
import sys
import time
from functools import partial
from socket import socket as Socket  # noqa: N812 - the module's own name is needed, too

from sockact.lifecycle.connection import Peer
from sockact.lifecycle.limits import Exit
from sockact.net import addresses, linux
from sockact.record import TYPE_CHECKING, Record
from sockact.runtime import namespaces, queues
from sockact.runtime.filesystem import FileSystem
from sockact.unit.values import is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from sockact.lifecycle.child import Setting
    from sockact.net.plan import Value

FAMILY_NAMES = {int(getattr(socket, known.constant)): str(known.family) for known in addresses.FAMILIES}
ACCEPT_TRANSIENT = frozenset(
    {errno.EAGAIN, errno.ECONNABORTED, errno.ECONNRESET, errno.EINTR, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT}
    | {errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ENOTCONN, errno.ETIMEDOUT}
)
"""What accept(2) may report about a connection that is already gone; the listener is fine."""

MOST_DESCRIPTORS = 1 << 16
"""How far descriptors are looked for to be closed. All of ours are close-on-exec anyway; RLIMIT_NOFILE may be a billion."""

PR_SET_CHILD_SUBREAPER = 36
SIOCGIFINDEX = 0x8933
LONGEST_INTERFACE = 15
MOST_DESCENDANTS = 10_000
"""A service that makes processes faster than we count them ends the counting here."""
MOST_FLUSHED = 1024
"""Connections or messages that are dropped at a stretch; somebody might send faster than we drop."""


class Account(Record):
    """A user and group to run as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    environment: dict[str, str]


class Kernel(FileSystem):
    """The operating system. One instance for the life of the process; it remembers the sockets it opened by descriptor."""

    def __init__(self) -> None:
        self._sockets: dict[int, Socket] = {}
        self._children = -1
        """The list of our children, which is asked for at the end of each."""

    # Sockets

    def socket(self, family: str, kind: str, protocol: int, network: int = -1) -> int:
        """A socket of a family and type by the names of socket(2), in the network namespace behind a descriptor or in ours."""
        flags = getattr(socket, kind) | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        make = partial(Socket, getattr(socket, family), flags, protocol)
        return self._remember(make() if network < 0 else namespaces.inside(network, make))

    def network(self, path: str) -> int:
        """A descriptor of a network namespace: the one at a path, or without a path a new one with nothing but loopback."""
        return namespaces.at(path) if path else namespaces.private_network()

    def _remember(self, opened: Socket) -> int:
        self._sockets[opened.fileno()] = opened
        return opened.fileno()

    def setsockopt(self, fd: int, level: str, name: str, value: Value) -> None:
        numbers = value if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()
        if not all(-(1 << 31) <= number < 1 << 31 for number in numbers):
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
        raw = struct.pack("=ii", *value) if isinstance(value, tuple) else value if isinstance(value, int) else value.encode()
        self._sockets[fd].setsockopt(linux.number(level), linux.number(name), raw)

    def getsockopt(self, fd: int, level: str, name: str, like: Value = 0) -> Value:
        """What the kernel reports of an option, in the form of `like`."""
        opened, numbers = self._sockets[fd], (linux.number(level), linux.number(name))
        if isinstance(like, str):
            return opened.getsockopt(*numbers, 64).rstrip(b"\0").decode(errors="replace")
        if isinstance(like, tuple):
            first, second = struct.unpack("=ii", opened.getsockopt(*numbers, 8))
            return first, second
        return opened.getsockopt(*numbers)

    def bind(self, fd: int, address: addresses.Address, mode: int | None) -> None:
        """Bind; a UNIX node gets exactly `mode`, which umask(2) alone can do without a moment of other permissions."""
        if mode is None:
            self._sockets[fd].bind(self._sockaddr(fd, address))
            return
        before = os.umask(~mode & 0o777)
        try:
            self._sockets[fd].bind(address.wire)
        finally:
            os.umask(before)

    def _sockaddr(self, fd: int, address: addresses.Address) -> Any:
        """What bind(2) takes; the name of an interface becomes its index in the socket's own network namespace."""
        scope = getattr(address, "scope", "")
        return (*address.wire, 0, scope_id(scope, self._sockets[fd])) if scope else address.wire

    def bound_port(self, fd: int) -> int:
        """The port that the kernel chose (getsockname(2))."""
        return int(self._sockets[fd].getsockname()[1])

    def answers(self, kind: str, path: str) -> bool:
        """Whether somebody still receives at a UNIX path: connect(2) is refused when the node is a leftover."""
        with socket.socket(socket.AF_UNIX, getattr(socket, kind) | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
            return probe.connect_ex(path) != errno.ECONNREFUSED

    def listen(self, fd: int, backlog: int) -> None:
        self._sockets[fd].listen(backlog)

    def accept(self, fd: int) -> int | None:
        """The next connection, or None when there is none after all."""
        try:
            return self._remember(self._sockets[fd].accept()[0])
        except OSError as error:
            if error.errno in ACCEPT_TRANSIENT:
                return None
            raise

    def peer(self, fd: int) -> Peer:
        """Both ends of a connection; OSError when the other end is gone."""
        connection = self._sockets[fd]
        family = FAMILY_NAMES[connection.family]
        ends = Peer(family, connection.getsockname(), connection.getpeername(), self._cookie(connection))
        if family == "inet6" and ends.remote[3]:
            return ends.replace(scope=socket.if_indextoname(ends.remote[3]))
        if family != "unix":
            return ends
        pid, uid, _ = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return ends.replace(pid=pid, uid=uid, pidfd_id=self._pidfd_id(connection))

    def _cookie(self, connection: Socket) -> int | None:
        """SO_COOKIE, where the kernel or its sandbox gives one."""
        try:
            return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, linux.number("SO_COOKIE"), 8), sys.byteorder)
        except OSError:
            return None

    def _pidfd_id(self, connection: Socket) -> int | None:
        """The kernel's id of the peer process: the inode of its pidfd, where pidfds have inodes of their own (Linux 6.9)."""
        try:
            raw = connection.getsockopt(socket.SOL_SOCKET, linux.number("SO_PEERPIDFD"), 4)
        except OSError:
            return None
        pidfd = struct.unpack("=i", raw)[0]
        try:
            with select.epoll() as anonymous:
                ours, theirs = os.fstat(anonymous.fileno()), os.fstat(pidfd)
            return theirs.st_ino if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) else None
        except OSError:
            return None
        finally:
            os.close(pidfd)

    def flush(self, fd: int) -> int:
        """Drop what is waiting at a descriptor: connections are accepted and closed, all else is read. How many there were."""
        return next((count for count in range(MOST_FLUSHED) if not self._drop(fd)), MOST_FLUSHED)

    def _drop(self, fd: int) -> bool:
        """Drop one connection or message; False when there is none."""
        try:
            poll = select.poll()  # select(2) ends at descriptor 1023
            poll.register(fd, select.POLLIN)
            if not poll.poll(0):
                return False
            opened = self._sockets.get(fd)
            if opened is None:
                return bool(queues.receive(fd) if queues.is_queue(fd) else os.read(fd, 1 << 16))
            if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                opened.accept()[0].close()
            else:
                opened.recv(1)
        except OSError as error:
            return error.errno in ACCEPT_TRANSIENT - {errno.EAGAIN, errno.EOPNOTSUPP}
        return True

    def notify_socket(self) -> tuple[int, str]:
        """A datagram socket for sd_notify(3), under an abstract name the kernel chose; every message tells who sent it."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        receiver.bind("")
        return self._remember(receiver), "@" + receiver.getsockname()[1:].decode()

    def receive(self, fd: int) -> tuple[bytes, int, int, tuple[int, ...]] | None:
        """A message, pid and user id of its sender, and the descriptors that were sent along, which are the caller's now; None
        when there is none."""
        try:
            space = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(253 * 4)
            data, ancillary, _, _ = self._sockets[fd].recvmsg(4096, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        pid, uid, passed = 0, -1, tuple[int, ...]()
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, _ = struct.unpack("=iII", raw[:12])
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                passed += struct.unpack(f"={len(raw) // 4}i", raw[: len(raw) // 4 * 4])
        return data, pid, uid, passed

    def close(self, fd: int) -> None:
        known = self._sockets.pop(fd, None)
        if known is not None:
            known.close()
        else:
            os.close(fd)

    # Accounts

    def account(self, user: str | None, gid: int | None) -> Account:
        """Ids and login environment; without a group the user's own. KeyError when nobody knows the user."""
        if user is None:
            return Account(os.getuid(), os.getgid() if gid is None else gid, (), {})
        entry = pwd.getpwuid(int(user)) if is_id(user) else pwd.getpwnam(user)
        group = entry.pw_gid if gid is None else gid
        login = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}
        return Account(entry.pw_uid, group, tuple(os.getgrouplist(entry.pw_name, group)), login)

    def group_id(self, group: str) -> int:
        """The id of a group; KeyError when nobody knows it."""
        return int(group) if is_id(group) else grp.getgrnam(group).gr_gid

    def must_become(self, account: Account) -> bool:
        """Whether ids have to change; a process without privileges may stay what it is, and nothing else."""
        return os.getuid() == 0 or (os.getuid(), os.getgid()) != (account.uid, account.gid)

    def become(self, account: Account) -> None:
        """Take on groups and ids."""
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)

    # Processes

    def fork(self) -> int:
        return os.fork()

    def pipe(self) -> tuple[int, int]:
        return os.pipe2(os.O_CLOEXEC)

    def read(self, fd: int, size: int) -> bytes:
        return os.read(fd, size)

    def write(self, fd: int, data: bytes) -> None:
        os.write(fd, data)

    def new_session(self) -> None:
        os.setsid()

    def place(self, sources: Sequence[int], keep: int) -> int:
        """Make `sources` the descriptors 3, 4, … and close all others; `keep` survives behind them. Returns where it is."""
        first, left = 3 + len(sources), [*sources, keep]
        for index, target in enumerate(range(3, first)):
            # One that stands where another one has to go is copied first; no more, for the limit of descriptors may be near.
            if left[index] != target and target in left[index + 1 :]:
                moved = fcntl.fcntl(target, fcntl.F_DUPFD_CLOEXEC, first)
                left = [moved if fd == target else fd for fd in left]
            self.duplicate(left[index], target)
        if left[-1] != first:
            os.dup2(left[-1], first, inheritable=False)
        os.closerange(first + 1, MOST_DESCRIPTORS)
        return first

    def set_blocking(self, fd: int, blocking: bool) -> None:
        os.set_blocking(fd, blocking)

    def duplicate(self, fd: int, target: int) -> None:
        """dup2(2) that survives exec, also onto itself (where dup2 would leave close-on-exec set)."""
        if fd == target:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, target)

    def reset_signals(self, numbers: Sequence[int], ignored: Sequence[int]) -> None:
        """Default dispositions for these signals, some ignored, none blocked. Before that, none may reach Python's handlers."""
        signal.set_wakeup_fd(-1)
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def block_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ALL_SIGNALS)

    def unblock_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def change_directory(self, path: str) -> None:
        os.chdir(path)

    def set_umask(self, mask: int) -> None:
        os.umask(mask)

    def get_ready_to_apply(self) -> None:
        """Load what `apply` takes, before there is a fork."""
        from sockact.runtime import attributes

        attributes.ready()

    def apply(self, setting: Setting) -> None:
        """Set something of this process that only some services ask for."""
        from sockact.runtime import attributes

        attributes.apply(setting)

    def execute(self, path: str, argv: list[str], environment: Mapping[str, str]) -> None:
        os.execve(path, argv, environment)

    def find_program(self, name: str, search: str, root: str = "") -> str:
        """The path inside a root of a program named without slashes; the name itself when it is nowhere, for exec to report."""
        if "/" in name:
            return name
        found = (f"{folder}/{name}" for folder in search.split(":") if folder)
        return next((path for path in found if os.path.isfile(root + path) and os.access(root + path, os.X_OK)), name)

    def exit_child(self, status: int) -> None:
        os._exit(status)

    def reap(self) -> tuple[int, Exit] | None:
        """A child that ended, and how; None when there is none now."""
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if not pid:
            return None
        return pid, Exit(os.WEXITSTATUS(status)) if os.WIFEXITED(status) else Exit(0, os.WTERMSIG(status), os.WCOREDUMP(status))

    def kill(self, pid: int, number: int) -> bool:
        """Signal a process; False when it is gone."""
        return _signalled(os.kill, pid, number)

    def kill_group(self, group: int, number: int) -> bool:
        """Signal a process group; False when nobody is in it. Signal 0 just asks."""
        return _signalled(os.killpg, group, number)

    def hangs_on_terminal(self) -> bool:
        """Whether SIGHUP says that our terminal is gone. Process 1 of a container is not left alone by its terminal."""
        return os.getpid() != 1 and os.isatty(2)

    def invocation_id(self) -> str:
        """A name for one start of a unit that no other one has (systemd.exec(5), $INVOCATION_ID)."""
        return os.urandom(16).hex()

    def children(self) -> list[int]:
        """Our children, orphans that we have adopted included (proc(5), children; empty where the kernel does not tell)."""
        try:
            if self._children < 0:
                self._children = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
            return [int(pid) for pid in os.pread(self._children, 1 << 20, 0).split()]
        except OSError:
            return []

    def descendants(self, pid: int) -> list[int]:
        """The processes that a process has made, and those have, as far as their parents still live."""
        found, ahead = list[int](), [pid]
        while ahead and len(found) < MOST_DESCENDANTS:
            parent = ahead.pop()
            try:
                for thread in os.listdir(f"/proc/{parent}/task"):
                    with open(f"/proc/{parent}/task/{thread}/children") as file:
                        ahead += (children := [int(child) for child in file.read().split()])
                        found += children
            except OSError:
                continue
        return found

    def invocation_of(self, pid: int) -> str:
        """The INVOCATION_ID that a process was started with; nothing for one that we may not look at, or that is gone."""
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                found = [line[14:] for line in file.read().split(b"\0") if line.startswith(b"INVOCATION_ID=")]
        except OSError:
            return ""
        return found[0].decode(errors="replace") if found else ""

    def pidfd(self, pid: int) -> int:
        """A descriptor that becomes readable when the process ends; ProcessLookupError when it has."""
        return os.pidfd_open(pid)

    def group_of(self, pid: int) -> int:
        """The process group of a process; 0 when it is gone."""
        try:
            return os.getpgid(pid)
        except ProcessLookupError:
            return 0

    def pid(self) -> int:
        return os.getpid()

    def become_subreaper(self) -> bool:
        """Let orphaned descendants become our children (prctl(2)). PID 1 has them anyway; False where it cannot be had."""
        if os.getpid() == 1:
            return True
        try:
            import ctypes

            return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
        except (ImportError, OSError, AttributeError):
            return False

    def tidy_descriptors(self) -> None:
        """Have 0, 1 and 2 open, so that nothing of ours lands there; what else we were started with is not for children."""
        while (fd := os.open("/dev/null", os.O_RDWR)) < 3:
            os.set_inheritable(fd, True)
        os.close(fd)
        for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
            fd = int(name)
            if fd > 2:
                try:
                    os.set_inheritable(fd, False)
                except OSError as error:
                    if error.errno != errno.EBADF:
                        raise

    # Waiting

    def epoll(self) -> select.epoll:
        return select.epoll()

    def now(self) -> float:
        """CLOCK_BOOTTIME, the clock of systemd's limits: it goes on while the machine sleeps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC, by which services tell when they began to reload (sd_notify(3), MONOTONIC_USEC)."""
        return time.monotonic()

    def handle_signals(self, numbers: Sequence[int], wakeup: int) -> None:
        """Have these signals written into `wakeup` as bytes. PID 1 has no default dispositions: what it does not handle,
        the kernel drops (signal(7))."""
        for number in numbers:
            # A supervisor started by nohup(1) is to survive the hang-up.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _noted)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        # Whoever started us may have had signals blocked, and a mask is inherited: SIGTERM would never arrive.
        self.unblock_signals()

    def not_default(self) -> list[int]:
        """Signals whose disposition a child must reset: handled by us, or ignored by Python or whoever started us."""
        return [number for number in ALL_SIGNALS if signal.getsignal(number) is not signal.SIG_DFL]


def _signalled(send: Callable[[int, int], None], target: int, number: int) -> bool:
    try:
        send(target, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody is there, and has become somebody else
    return True


ALL_SIGNALS = sorted(set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP})


def _noted(number: int, frame: object) -> None:
    """The wakeup descriptor has the news; a handler must be there for it to be written."""


def scope_id(scope: str, asked: Socket | None = None) -> int:
    """The index of an interface by name or number, as a socket sees it (netdevice(7), SIOCGIFINDEX). ENODEV without one."""
    try:
        if asked is None or len(scope) > LONGEST_INTERFACE:  # alternative names are longer than what the ioctl takes
            return socket.if_nametoindex(scope)
        request = struct.pack("16si", os.fsencode(scope), 0)
        return int(struct.unpack("16si", fcntl.ioctl(asked.fileno(), SIOCGIFINDEX, request + bytes(20))[:20])[1])
    except OSError as error:
        if scope.isdigit():
            return int(scope)
        raise OSError(errno.ENODEV, f"no interface {scope}") from error
