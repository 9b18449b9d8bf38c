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
import stat
import struct
import sys
import time
from socket import socket as Socket  # noqa: N812 - the module's own name is needed, too

from sockact.lifecycle.connection import Peer
from sockact.lifecycle.limits import Exit
from sockact.net import addresses, linux
from sockact.record import TYPE_CHECKING, Record
from sockact.unit.values import is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6, "unix": socket.AF_UNIX, "vsock": socket.AF_VSOCK}
FAMILY_NAMES = {int(number): name for name, number in FAMILIES.items()}
KINDS = {
    addresses.STREAM: socket.SOCK_STREAM,
    addresses.DATAGRAM: socket.SOCK_DGRAM,
    addresses.SEQPACKET: socket.SOCK_SEQPACKET,
}
HOW = {
    "null": os.O_RDWR,
    "read": os.O_RDONLY,
    "file": os.O_WRONLY | os.O_CREAT,
    "append": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "truncate": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
}
ACCEPT_TRANSIENT = frozenset(
    {errno.EAGAIN, errno.ECONNABORTED, errno.ECONNRESET, errno.EINTR, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT}
    | {errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ENOTCONN, errno.ETIMEDOUT}
)
"""What accept(2) may report about a connection that is already gone; the listener is fine."""

MOST_DESCRIPTORS = 1 << 16
"""How far descriptors are looked for to be closed. All of ours are close-on-exec anyway; RLIMIT_NOFILE may be a billion."""

LARGEST_FILE = 16 << 20
"""Bytes of a file that is read as a whole. The largest unit files have some hundred lines; this is a mistake in a name."""

PR_SET_CHILD_SUBREAPER = 36


class Node(Record):
    """The identity of a node in the file system, whatever its name."""

    device: int
    inode: int


class Account(Record):
    """A user and group to run as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    environment: dict[str, str]


class Kernel:
    """The operating system. One instance for the life of the process; it remembers the sockets it opened by descriptor."""

    def __init__(self) -> None:
        self._sockets: dict[int, Socket] = {}

    # Sockets

    def socket(self, family: str, kind: str, protocol: int) -> int:
        return self._remember(Socket(FAMILIES[family], KINDS[kind] | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol))

    def _remember(self, opened: Socket) -> int:
        self._sockets[opened.fileno()] = opened
        return opened.fileno()

    def setsockopt(self, fd: int, level: str, name: str, value: int | str) -> None:
        if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
        number = value if isinstance(value, int) else value.encode()
        self._sockets[fd].setsockopt(linux.number(level), linux.number(name), number)

    def getsockopt(self, fd: int, level: str, name: str) -> int:
        return self._sockets[fd].getsockopt(linux.number(level), linux.number(name))

    def bind(self, fd: int, address: addresses.Address, mode: int | None) -> None:
        """Bind; a UNIX node gets exactly `mode`, which umask(2) alone can do without a moment of other permissions."""
        if mode is None:
            self._sockets[fd].bind(_sockaddr(address))
            return
        before = os.umask(~mode & 0o777)
        try:
            self._sockets[fd].bind(_sockaddr(address))
        finally:
            os.umask(before)

    def answers(self, kind: str, path: str) -> bool:
        """Whether somebody still receives at a UNIX path: connect(2) is refused when the node is a leftover."""
        with socket.socket(socket.AF_UNIX, KINDS[kind] | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
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
        finally:
            os.close(pidfd)

    def notify_socket(self) -> tuple[int, str]:
        """A datagram socket for sd_notify(3), under an abstract name the kernel chose; every message tells who sent it."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        receiver.bind("")
        return self._remember(receiver), "@" + receiver.getsockname()[1:].decode()

    def receive(self, fd: int) -> tuple[bytes, int] | None:
        """A message and the pid of its sender, None when there is none. Descriptors sent along are closed: that is also
        what a sender waits for who asked for a barrier (sd_notify(3), BARRIER=1)."""
        try:
            space = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(253 * 4)
            data, ancillary, _, _ = self._sockets[fd].recvmsg(4096, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        pid = 0
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid = struct.unpack("=iII", raw[:12])[0]
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                for passed in struct.unpack(f"={len(raw) // 4}i", raw[: len(raw) // 4 * 4]):
                    os.close(passed)
        return data, pid

    # Files

    def make_fifo(self, path: str, mode: int) -> bool:
        """Create a FIFO with exactly this mode; False when something is there already."""
        before = os.umask(~mode & 0o777)
        try:
            os.mkfifo(path, mode)
        except FileExistsError:
            return False
        finally:
            os.umask(before)
        return True

    def open_fifo(self, path: str) -> int:
        """Open a FIFO; FileExistsError for anything else at that path."""
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "something else than a FIFO is there", path)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)

    def node_access(self, path: str) -> tuple[int, int, int]:
        """Owner, group and access mode of a node."""
        found = os.lstat(path)
        return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)

    def ids(self) -> tuple[int, int]:
        """The user and group that what we create belongs to."""
        return os.geteuid(), os.getegid()

    def node(self, path: str) -> Node | None:
        """Which node is at that path; None when there is none, or nobody may look."""
        try:
            found = os.lstat(path)
        except OSError:
            return None
        return Node(found.st_dev, found.st_ino)

    def is_socket_node(self, path: str) -> bool:
        return stat.S_ISSOCK(os.lstat(path).st_mode)

    def make_parents(self, path: str, mode: int, made: list[str]) -> None:
        """Create missing parents with exactly this mode; `made` grows by each of them."""
        parent = os.path.dirname(path)
        if os.path.isdir(parent):
            return
        self.make_parents(parent, mode, made)
        before = os.umask(0)
        try:
            os.mkdir(parent, mode)
            made.append(parent)
        finally:
            os.umask(before)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(path, uid, gid, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def remove(self, path: str) -> None:
        """Remove a node or an empty directory of ours; gone is gone, and what others have put there stays."""
        try:
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise

    def read_file(self, path: str) -> bytes:
        """The contents of a regular file; anything else could keep us waiting."""
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            if found.st_size > LARGEST_FILE:
                raise OSError(errno.EFBIG, f"larger than {LARGEST_FILE >> 20} MiB", path)
            return file.read()

    def open(self, path: str, how: str) -> int:
        """Open a file for a standard stream. A FIFO nobody reads from is an error (ENXIO), not a wait."""
        fd = os.open(path, HOW[how] | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        os.set_blocking(fd, True)
        return fd

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
            group = os.getgid() if gid is None else gid
            return Account(os.getuid(), group, (group,), {})
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
        first = 3 + len(sources)
        # Copies above the target range first: a source may stand where another one has to go.
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first + 1) for fd in (*sources, keep)]
        for target, copy in enumerate(copies[:-1], 3):
            os.dup2(copy, target)
        os.dup2(copies[-1], first, inheritable=False)
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

    def reset_signals(self, numbers: Sequence[int]) -> None:
        """Default dispositions for these signals, and none blocked. Before that, no signal may reach Python's handlers."""
        signal.set_wakeup_fd(-1)
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def block_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ALL_SIGNALS)

    def unblock_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def change_directory(self, path: str) -> None:
        os.chdir(path)

    def execute(self, path: str, argv: list[str], environment: Mapping[str, str]) -> None:
        os.execve(path, argv, environment)

    def find_program(self, name: str, search: str) -> str:
        """The path of a program named without slashes; the name itself when it is nowhere, for exec to report."""
        if "/" in name:
            return name
        found = (f"{folder}/{name}" for folder in search.split(":") if folder)
        return next((path for path in found if os.path.isfile(path) and os.access(path, os.X_OK)), name)

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


def _sockaddr(address: addresses.Address) -> Any:
    """What Python's bind() takes for an address."""
    if isinstance(address, addresses.Inet):
        return address.host, address.port
    if isinstance(address, addresses.Inet6):
        return address.host, address.port, 0, scope_id(address.scope)
    if isinstance(address, addresses.Vsock):
        return address.cid, address.port
    if isinstance(address, addresses.Unix):
        return address.name if address.node else b"\0" + os.fsencode(address.name[1:])
    raise TypeError(f"{address} is not the address of a socket")


def scope_id(scope: str) -> int:
    if not scope:
        return 0
    try:
        return socket.if_nametoindex(scope)
    except OSError as error:
        if scope.isdigit():
            return int(scope)
        raise OSError(errno.ENODEV, f"no interface {scope}") from error
