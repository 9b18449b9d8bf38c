"""The part of `kernel` that is about nodes and files: FIFOs, devices, links, message queues, owners."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from functools import cached_property

from sockact.record import TYPE_CHECKING, Record
from sockact.runtime import queues

if TYPE_CHECKING:
    from sockact.runtime.cgroups import Cgroups
    from sockact.runtime.places import Places

HOW = {
    "null": os.O_RDWR,
    "read": os.O_RDONLY,
    "both": os.O_RDWR | os.O_CREAT,
    "tty": os.O_RDWR,
    "file": os.O_WRONLY | os.O_CREAT,
    "append": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "truncate": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
}
LARGEST_FILE = 16 << 20
"""Bytes of a file that is read as a whole. The largest unit files have some hundred lines; this is a mistake in a name."""

F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032


class Node(Record):
    """The identity of a node in the file system, whatever its name."""

    device: int
    inode: int


class FileSystem:
    """What is done to nodes and files."""

    @cached_property
    def places(self) -> Places:
        """What is made for units that ask for it: directories, credentials and so on."""
        from sockact.runtime.places import Places

        return Places()

    @cached_property
    def cgroups(self) -> Cgroups:
        """What holds the processes of a unit together, where it may be used."""
        from sockact.runtime.cgroups import Cgroups

        return Cgroups()

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

    def open_special(self, path: str, writable: bool) -> int:
        """Open a character device or a regular file (of /proc or /sys); FileExistsError for anything else."""
        how = os.O_RDWR if writable else os.O_RDONLY
        fd = os.open(path, how | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
        mode = os.fstat(fd).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISREG(mode):
            return fd
        os.close(fd)
        raise FileExistsError(errno.EEXIST, "neither a character device nor a regular file", path)

    def set_pipe_size(self, fd: int, size: int) -> int:
        """Ask for a capacity; what the kernel made of it."""
        fcntl.fcntl(fd, F_SETPIPE_SZ, min(size, (1 << 31) - 1))
        return fcntl.fcntl(fd, F_GETPIPE_SZ)

    def open_queue(self, name: str, mode: int, messages: int, size: int) -> tuple[int, bool]:
        """Open a message queue for reading, and create it with exactly this mode unless it is there; whether it was created."""
        before = os.umask(~mode & 0o777)
        try:
            return queues.open_or_create(name, mode, messages, size)
        finally:
            os.umask(before)

    def queue_sizes(self, fd: int) -> tuple[int, int]:
        """How many messages a queue holds, and how long they may be (mq_getattr(3))."""
        return queues.sizes(fd)

    def remove_queue(self, name: str) -> None:
        queues.remove(name)

    def make_link(self, target: str, path: str, replace_other: bool) -> bool:
        """Make a symbolic link; False when the same link was there. FileExistsError when something else is, and may not go."""
        if os.path.islink(path) and os.readlink(path) == target:
            return False
        if replace_other and os.path.lexists(path):
            os.unlink(path)
        os.symlink(target, path)
        return True

    def is_link(self, path: str, target: str) -> bool:
        return os.path.islink(path) and os.readlink(path) == target

    def same_file(self, fd: int, other: int) -> bool:
        """Whether two descriptors are of one file or socket."""
        return os.path.samestat(os.fstat(fd), os.fstat(other))

    def descriptor_access(self, fd: int) -> tuple[int, int, int]:
        """Owner, group and access mode of what is open there."""
        found = os.fstat(fd)
        return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)

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

    def chown(self, target: str | int, uid: int, gid: int) -> None:
        """Change the owner of a node by its path, or of what is open at a descriptor."""
        if isinstance(target, int):
            os.fchown(target, uid, gid)
        else:
            os.chown(target, uid, gid, follow_symlinks=False)

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
