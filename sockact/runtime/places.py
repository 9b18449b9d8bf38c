"""The part of `kernel` that is about what units find in the file system: directories of their own, credentials, terminals, data;
and about user ids that nobody else has. Loaded when a unit asks for any of it."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
import struct
from contextlib import nullcontext, suppress

from sockact.record import TYPE_CHECKING
from sockact.runtime.kernel import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FIRST_DYNAMIC, LAST_DYNAMIC = 61184, 65519
"""systemd's range, which distributions leave alone (https://systemd.io/UIDS-GIDS)."""
DYNAMIC_LOCKS = "/run/systemd/dynamic-uid"
"""Where systemd locks the ids that it has given away; whoever holds the lock of one has it."""

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_RDONLY, MNT_DETACH = 2, 4, 8, 32, 1, 2
TIOCVHANGUP = 0x5437
JOURNAL_VARIABLE = "SOCKACT_JOURNAL"
"""`no` keeps in the supervisor's log what units send to the journal."""
SOCKET_PATIENCE = 2.0
"""Seconds for a socket to hand out a credential; nothing else is done meanwhile."""
CREDSTORES = ("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore")


def _of(owner: int, found: int) -> int:
    return found if owner < 0 else owner


class Places:
    """What is made for units. It remembers what has to be given back."""

    def __init__(self) -> None:
        self._provided: dict[str, str] = {}
        """The folders of credentials, and the invocation they were made for."""
        self._ids: dict[str, tuple[Account, int]] = {}
        """The dynamic accounts by name, and the lock of each."""

    # Directories

    def make_directory(self, path: str, mode: int, uid: int, gid: int, keep: bool) -> None:
        """Make a directory with this mode and owner (-1 leaves it), the missing ones above with 0755. One that is there is
        changed with all that is in it, unless `keep` says to leave it as it is; a link to one only where we alone may make it."""
        self._make_parents(path)
        before = os.umask(0)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
            if keep:
                return
        finally:
            os.umask(before)
        ours = os.stat(os.path.dirname(path)).st_uid in (0, os.geteuid())
        real = os.path.realpath(path) if ours else path
        fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(fd, mode)
            found = os.fstat(fd)
            if os.geteuid() == 0 and (_of(uid, found.st_uid), _of(gid, found.st_gid)) != (found.st_uid, found.st_gid):
                _give_away(fd, uid, gid)
        finally:
            os.close(fd)

    def _make_parents(self, path: str) -> None:
        parent = os.path.dirname(path)
        if os.path.isdir(parent):
            return
        self._make_parents(parent)
        before = os.umask(0o022)
        try:
            os.mkdir(parent, 0o755)
        finally:
            os.umask(before)

    def make_link(self, path: str, target: str) -> None:
        """A symbolic link, relative to where it is; one that leads there already is fine."""
        self._make_parents(path)
        relative = os.path.relpath(target, os.path.dirname(path))
        try:
            os.symlink(relative, path)
        except FileExistsError:
            if not os.path.islink(path) or os.readlink(path) != relative:
                raise

    def remove_tree(self, path: str) -> None:
        """Remove a node and whatever is below it, never following a link; gone is gone."""
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                return
            for _, folders, files, fd in os.fwalk(path, topdown=False):
                for name in files:
                    os.unlink(name, dir_fd=fd)
                for name in folders:
                    _remove_folder(name, fd)
            os.rmdir(path)

    def lock_away(self, path: str) -> None:
        """Let nobody but root into a directory whose owner's id may soon be somebody else's."""
        with suppress(FileNotFoundError):
            os.chown(path, 0, 0, follow_symlinks=False)
            os.chmod(path, 0o700)

    # Credentials

    def credentials_folder(self, unit: str) -> str:
        runtime = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        return f"{runtime}/credentials/{unit}"

    def has_credentials(self, folder: str, invocation: str) -> bool:
        """Whether they have been provided for this start of the unit already."""
        return bool(invocation) and self._provided.get(folder) == invocation

    def provide(self, folder: str, contents: Mapping[str, bytes], uid: int, invocation: str) -> bool:
        """Put credentials where the user alone may read them; False when it is no memory that is never swapped out."""
        self.withdraw(folder)
        self._make_parents(folder)
        os.mkdir(folder, 0o700)
        self._provided[folder] = invocation
        mounted = _mount(b"ramfs", folder, MS_NODEV | MS_NOEXEC | MS_NOSUID, b"mode=0700")
        for name, data in contents.items():
            with open(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400), "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o400)
                os.fchown(file.fileno(), uid, -1)
        os.chown(folder, uid, -1)
        os.chmod(folder, 0o500)
        if mounted:
            _mount(None, folder, MS_REMOUNT | MS_RDONLY | MS_NODEV | MS_NOEXEC | MS_NOSUID, b"mode=0500")
        return mounted

    def withdraw(self, folder: str) -> None:
        """Remove the credentials of a unit; those of a start before, whose end nobody saw, too."""
        self._provided.pop(folder, None)
        if os.path.ismount(folder):
            _unmount(folder)
        with suppress(FileNotFoundError):
            if os.geteuid():
                os.chmod(folder, 0o700)
            self.remove_tree(folder)

    def read_credential(self, path: str, most: int, caller: str) -> Iterator[tuple[str, bytes]]:
        """A credential at a path: the suffix of its name, and what it is. A folder has one for each file in it."""
        found = os.stat(path)
        if stat.S_ISSOCK(found.st_mode):
            yield "", _from_socket(path, most, caller)
        elif not stat.S_ISDIR(found.st_mode):
            yield "", _contents(path, most)
        else:
            for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
                if not entry.is_symlink():
                    for suffix, data in self.read_credential(entry.path, most, caller):
                        yield f"_{entry.name}{suffix}", data

    def stored_credentials(self, wanted: Callable[[str], bool], most: int) -> Iterator[tuple[str, bytes]]:
        """The credentials of the supervisor and of the credstores that are wanted by name, the first of each name."""
        told: set[str] = set()
        for folder in filter(None, (os.environ.get("CREDENTIALS_DIRECTORY", ""), *CREDSTORES)):
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
                if wanted(name) and name not in told and os.path.isfile(f"{folder}/{name}"):
                    told.add(name)
                    yield name, _contents(f"{folder}/{name}", most)

    # Accounts

    def dynamic_account(self, name: str) -> Account:
        """An account whose id nobody else has until it is given back, or the one of that name if there is one."""
        if name in self._ids:
            return self._ids[name][0]
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            login = {"HOME": entry.pw_dir, "USER": name, "LOGNAME": name, "SHELL": entry.pw_shell}
            return Account(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)), login)
        if os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        number, lock = _claim(name)
        login = {"HOME": "/", "USER": name, "LOGNAME": name, "SHELL": "/usr/sbin/nologin"}
        account = Account(number, number, (number,), login)
        self._ids[name] = account, lock
        return account

    def give_back(self, name: str) -> None:
        """The id of a dynamic account may be somebody else's now."""
        account, lock = self._ids.pop(name, (None, -1))
        if account:
            with suppress(FileNotFoundError):
                os.unlink(f"{DYNAMIC_LOCKS}/{account.uid}")
            os.close(lock)

    # Streams

    def data(self, data: bytes) -> int:
        """A descriptor to read these bytes from, once."""
        fd = os.memfd_create("data", os.MFD_CLOEXEC)
        try:
            os.write(fd, data)
            return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(fd)

    def connect(self, path: str, *kinds: str) -> int:
        """A connection to a UNIX socket, which is of one of these types; -1 for anything else at that path."""
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return -1
        for kind in kinds:
            with suppress(OSError) if kind != kinds[-1] else nullcontext():
                return _connected(path, kind)
        raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE), path)

    def open_file(self, path: str, how: str) -> int:
        """Open a file that is there, for reading and writing unless it is read-only."""
        flags = {"read-only": os.O_RDONLY, "append": os.O_RDWR | os.O_APPEND, "truncate": os.O_RDWR | os.O_TRUNC}
        fd = os.open(path, flags.get(how, os.O_RDWR) | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(fd, True)
        return fd

    def journal(self, identifier: str) -> int:
        """A stream into the journal; -1 where there is none, or no python-systemd."""
        if os.environ.get(JOURNAL_VARIABLE) == "no" or not os.path.exists("/run/systemd/journal/stdout"):
            return -1
        try:
            from systemd import journal
        except ImportError:
            return -1
        with journal.stream(identifier) as stream:
            return os.dup(stream.fileno())

    def kernel_log(self) -> int:
        """/dev/kmsg for writing; -1 where it cannot be had."""
        try:
            return os.open("/dev/kmsg", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return -1

    def prepare_terminal(self, path: str, hang_up: bool, reset: bool, size: tuple[int | None, int | None], uid: int) -> None:
        """Make a terminal ready for its next user."""
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if hang_up:
                fcntl.ioctl(fd, TIOCVHANGUP)
                # What was opened before the hang-up is dead, ours included.
                os.close(fd)
                fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
            if reset:
                _sane(fd)
            if size != (None, None):
                _resize(fd, size)
            if uid >= 0 and os.geteuid() == 0:
                os.fchown(fd, uid, -1)
        finally:
            os.close(fd)


def _connected(path: str, kind: str) -> int:
    with socket.socket(socket.AF_UNIX, getattr(socket, kind) | socket.SOCK_CLOEXEC) as client:
        client.settimeout(SOCKET_PATIENCE)
        client.connect(path)
        client.setblocking(True)
        return client.detach()


def _remove_folder(name: str, parent: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except NotADirectoryError:  # a link to a folder
        os.unlink(name, dir_fd=parent)


def _give_away(top: int, uid: int, gid: int) -> None:
    """Change the owner of a directory, and first of all that is in it: a start that was interrupted is done again."""
    for _, folders, files, fd in os.fwalk(".", dir_fd=top):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
    os.fchown(top, uid, gid)


def _contents(path: str, most: int) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read(most + 1)


def _from_socket(path: str, most: int, caller: str) -> bytes:
    """What a UNIX socket says to somebody who calls by the name that systemd would call by."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(SOCKET_PATIENCE)
        client.bind(f"\0{os.urandom(8).hex()}/unit/{caller}"[:107])
        client.connect(path)
        data = b""
        while len(data) <= most and (part := client.recv(1 << 16)):
            data += part
        return data


def _mount(kind: bytes | None, path: str, flags: int, options: bytes) -> bool:
    """mount(2); False where it is not allowed."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).mount(kind, os.fsencode(path), kind, ctypes.c_ulong(flags), options) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _unmount(path: str) -> None:
    import ctypes

    ctypes.CDLL(None).umount2(os.fsencode(path), MNT_DETACH)


def _claim(name: str) -> tuple[int, int]:
    """An id that no account has and whose lock nobody holds, and the lock; the same for the same name where it can be."""
    os.makedirs(DYNAMIC_LOCKS, 0o755, exist_ok=True)
    width = LAST_DYNAMIC - FIRST_DYNAMIC + 1
    start = 0
    for byte in name.encode():
        start = (start * 31 + byte) % width
    for offset in range(width):
        number = FIRST_DYNAMIC + (start + offset) % width
        if not _is_taken(number) and (lock := _lock(number, name)) >= 0:
            return number, lock
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _is_taken(number: int) -> bool:
    for look_up in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look_up(number)
            return True
    return False


def _lock(number: int, name: str) -> int:
    """The lock of an id; -1 when somebody has it."""
    path = f"{DYNAMIC_LOCKS}/{number}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have removed the file in between.
        if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(fd)):
            os.ftruncate(fd, 0)
            os.write(fd, f"{name}\n".encode())
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return -1


def _sane(fd: int) -> None:
    """The modes that login programs expect (termios(3)), as systemd sets them."""
    import termios

    modes = termios.tcgetattr(fd)
    modes[0] = modes[0] & ~(termios.IGNBRK | termios.BRKINT | termios.ISTRIP | termios.INLCR | termios.IGNCR)
    modes[0] |= termios.ICRNL | termios.IMAXBEL
    modes[1] |= termios.ONLCR | termios.OPOST
    modes[2] |= termios.CREAD
    modes[3] = termios.ISIG | termios.ICANON | termios.IEXTEN | termios.ECHO | termios.ECHOE | termios.ECHOK
    termios.tcsetattr(fd, termios.TCSANOW, modes)


def _resize(fd: int, size: tuple[int | None, int | None]) -> None:
    import termios

    rows, columns, *rest = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    wanted = (rows if size[0] is None else size[0], columns if size[1] is None else size[1])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *wanted, *rest))
