"""The part of `kernel` that is about control groups (cgroups(7), version 2): a directory of ours in the group that we are in, and
in it one for each unit.

The kernel keeps processes in their group, whatever they do, and tells and kills all of a group. Version 1 cannot do that; where
its hierarchies have the controllers, nothing is limited.
"""

from __future__ import annotations

import errno
import fcntl
import os

from sockact.net import linux
from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockact.lifecycle.child import Control

SWITCH = "SOCKACT_CGROUPS"
"""`no` in this variable keeps sockact away from control groups."""
NAMES = ("sockact", *(f"sockact-{number}" for number in range(2, 1000)))
"""Of our directory: several supervisors may share a group, as those in a container and those from a shell do."""
ASIDE = "supervisor"
CONTROL = ".control"
"""Where systemd has the other commands of a unit that divides its group."""
MOST_MOVES = 10
"""They may fork while they are moved."""
SIGKILL = linux.SIGNALS["KILL"]
MOST_BYTES = 1 << 16
GONE = (errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EOPNOTSUPP)
"""What is said of groups and processes that were there a moment ago, and of the processes of a group of threads."""
DELEGATED = ("user.delegate", "trusted.delegate")
"""By which systemd marks the groups that others may divide (systemd.resource-control(5), Delegate=)."""


class Spare:
    """A descriptor that is kept for when there is no other, so that groups can be looked at and killed all the same."""

    def __init__(self) -> None:
        self.wanted = False
        self._fd = -1

    def keep(self) -> None:
        """Have one, if there is one now."""
        if not self.wanted or self._fd >= 0:
            return
        try:
            self._fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
        except OSError:
            pass  # it is tried again when the next one is closed

    def give(self) -> bool:
        """Whether there is a descriptor now that there was not."""
        given, self._fd = self._fd, -1
        if given >= 0:
            os.close(given)
        return given >= 0


SPARE = Spare()


class Home:
    """The group in which this process is. OSError tells why it is not to be divided by us."""

    def __init__(self) -> None:
        if os.environ.get(SWITCH) == "no":
            raise OSError(errno.EPERM, f"{SWITCH}=no")
        self.own = _group_of("self")
        self.path = next(_seen_at(self.own), "")
        if not self.path:
            raise OSError(errno.ENOENT, "no file system of type cgroup2 shows the group of this process")
        if os.path.exists("/run/systemd/system") and not _is_delegated(self.path):
            raise OSError(errno.EPERM, f"{self.path} is managed by systemd, and not delegated (Delegate=yes)")
        if not os.access(f"{self.path}/cgroup.procs", os.W_OK):
            raise OSError(errno.EACCES, f"{self.path} is not writable")
        if _read(f"{self.path}/cgroup.type", "domain\n") != "domain\n":
            raise OSError(errno.EOPNOTSUPP, f"{self.path} is a group of threads")
        self.path = self.path.rstrip("/")

    @property
    def is_root(self) -> bool:
        """The root may have processes, and divide its controllers all the same."""
        return not os.path.exists(f"{self.path}/cgroup.type")

    def lacks(self, controller: str) -> str:
        """Why a controller cannot be used for the groups in this one; nothing if it can."""
        if controller not in _read(f"{self.path}/cgroup.controllers").split():
            return f"{self.path} has no controller {controller}"
        if self.is_root or controller in _read(f"{self.path}/cgroup.subtree_control").split() or not self.others():
            return ""
        return f"{self.path} has other processes, which stand in the way of its controllers"

    def others(self) -> bool:
        """Whether processes are here that are not ours to move; those outside of our pid namespace are called 0."""
        pids = {*_pids(self.path)}
        return 0 in pids or (os.getpid() != 1 and bool(pids - {os.getpid()}))


def _group_of(process: str) -> str:
    """The group of a process, from the root of the file system; nothing for one that is gone, or has none of version 2."""
    return next((line[3:] for line in _read(f"/proc/{process}/cgroup", "").split("\n") if line.startswith("0::")), "")


def _seen_at(own: str) -> Iterator[str]:
    """The directories by which our group can be seen (proc(5), mountinfo)."""
    for line in _read("/proc/self/mountinfo").split("\n"):
        mount, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            root, point = mount.split(" ")[3:5]
            if root in ("/", own) or own.startswith(f"{root}/"):
                yield point + own.removeprefix(root.rstrip("/"))


def _is_delegated(path: str) -> bool:
    for name in DELEGATED:
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


class Cgroups:
    """The groups of units, by their names."""

    def __init__(self) -> None:
        self._home: Home | None = None
        self._base = ""
        self._lock = -1
        self._enabled: list[str] = []
        self._borrowed: list[str] = []
        """The controllers that nobody used before us."""

    def begin(self) -> None:
        """Make our directory. OSError tells why there can be none."""
        home = Home()
        for name in NAMES:
            path = f"{home.path}/{name}"
            lock = _taken(path)
            if lock >= 0:
                self._home, self._base, self._lock = home, path, lock
                SPARE.wanted = True
                SPARE.keep()
                return
        raise OSError(errno.EEXIST, f"{home.path} is full of supervisors")

    def lacks(self, controller: str) -> str:
        """Why a controller could not be used; nothing if it could. OSError tells why there are no groups at all."""
        return Home().lacks(controller)

    def make(self, name: str) -> bool:
        """Make a group; whether it was not there."""
        return _make(f"{self._base}/{name}")

    def open(self, name: str) -> int:
        """A descriptor by which processes are made in a group; a group that its own processes have divided may have none beside
        them, but in another part."""
        path = f"{self._base}/{name}"
        if _has_groups(path) and _read(f"{path}/cgroup.subtree_control").strip():
            path += f"/{CONTROL}"
            _make(path)
        return _open(path, os.O_PATH | os.O_DIRECTORY)

    def close(self, fd: int) -> None:
        _close(fd)

    def join(self, group: int) -> None:
        """Move this process into the control group of that directory."""
        fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=group)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)

    def apply(self, name: str, control: Control) -> None:
        """Set an attribute of a group, and have its controller work."""
        if control.controller not in self._enabled:
            self._enable(control.controller)
        assert self._home is not None
        text = str(_total(self._home.path, control.controller) * control.share // 10000) if control.share else control.text
        _write(f"{self._base}/{name}/{control.file}", text)

    def _enable(self, controller: str) -> None:
        assert self._home is not None
        lack = self._home.lacks(controller)
        if lack:
            raise OSError(errno.EBUSY, lack)
        if not self._home.is_root:
            self._step_aside(self._home.path)
        if controller not in _read(f"{self._home.path}/cgroup.subtree_control").split():
            _write(f"{self._home.path}/cgroup.subtree_control", f"+{controller}")
            self._borrowed.append(controller)
        _write(f"{self._base}/cgroup.subtree_control", f"+{controller}")
        self._enabled.append(controller)

    def _step_aside(self, home: str) -> None:
        """Move into a group beside those of the units, with whoever came into the container otherwise. Some controllers would
        let themselves be divided without that, and make a group of threads of ours."""
        for _ in range(MOST_MOVES):
            if not _pids(home):
                return
            self.make(ASIDE)
            _move(home, f"{self._base}/{ASIDE}")
        raise OSError(errno.EBUSY, f"{home} cannot be left by all its processes")

    def pids(self, name: str) -> list[int]:
        """The processes of a group and of the groups that they have made in it."""
        path = f"{self._base}/{name}"
        folders = [folder for folder, _, _ in os.walk(path)] if _has_groups(path) else [path]
        return [pid for folder in folders for pid in _pids(folder) if pid]

    def is_populated(self, name: str) -> bool:
        """Whether a group has processes, zombies aside."""
        return "populated 1\n" in _read(f"{self._base}/{name}/cgroup.events", "")

    def watch(self, name: str, file: str) -> int:
        """A descriptor of which epoll(7) reports EPOLLPRI when that file changes: `cgroup.events` when the group gets its first
        process or loses its last one, `memory.events` when a limit of its memory is felt."""
        fd = os.open(f"{self._base}/{name}/{file}", os.O_RDONLY | os.O_CLOEXEC)
        os.read(fd, MOST_BYTES)
        return fd

    def is_emptied(self, fd: int) -> bool:
        """Whether a watched group has no processes any more, or is no more."""
        return "populated 1\n" not in _read_again(fd)

    def oom_kills(self, name: str, fd: int) -> int:
        """How many processes of a group the OOM killer has killed, by the descriptor that watches its `memory.events` if there is
        one (-1 otherwise). The kernel counts first, and kills then."""
        text = _read_again(fd) if fd >= 0 else _read(f"{self._base}/{name}/memory.events", "")
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)

    def kill(self, name: str) -> None:
        """End all processes of a group at once (before Linux 5.14: one by one, as long as more of them come)."""
        try:
            _write(f"{self._base}/{name}/cgroup.kill", "1")
        except FileNotFoundError:
            killed: set[int] = set()
            while more := {*self.pids(name)} - killed:
                killed |= more
                for pid in more:
                    _kill(pid)

    def remove(self, name: str) -> None:
        """Remove a group and those in it; one in which processes still are stays."""
        _remove(f"{self._base}/{name}")

    def name_of(self, pid: int) -> str:
        """The group that a process is in; nothing for one that is not among ours."""
        assert self._home is not None
        own = _group_of(str(pid))
        inside = f"{self._home.own.rstrip('/')}/{self._base.rpartition('/')[2]}/"
        return own.removeprefix(inside).partition("/")[0] if own.startswith(inside) else ""

    def end(self) -> None:
        """Leave things as they were, but for groups in which processes still are."""
        if not self._home:
            return
        home = self._home.path
        for controller in self._borrowed:
            for folder in (self._base, home):
                _try_to_write(f"{folder}/cgroup.subtree_control", f"-{controller}")
        _move(f"{self._base}/{ASIDE}", home)
        _remove(self._base)
        os.close(self._lock)
        SPARE.wanted = False
        SPARE.give()
        self._home = None


def _taken(path: str) -> int:
    """A lock on a directory, made if it is not there: it is ours then, and nobody's when we end. -1 if somebody has it, or if
    those still live whom a killed supervisor left in it."""
    new, lock = _make(path), -1
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = "populated 0\n" in _read(f"{path}/cgroup.events")
        for folder in [folder for folder in os.scandir(path) if folder.is_dir()] if free else ():
            _remove(folder.path)
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        if error.errno in (*GONE, errno.EAGAIN):
            return -1
        if new:
            _remove(path)
        raise
    if not free:
        os.close(lock)
    return lock if free else -1


def _make(path: str) -> bool:
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def _total(home: str, controller: str) -> int:
    """What percentages are of: the memory or the tasks of this machine, or what the group that we are in may have of it."""
    if controller == "memory":
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        whole = min(int(_read(f"/proc/sys/kernel/{name}")) for name in ("pid_max", "threads-max"))
    most = _read(f"{home}/{controller}.max", "max").strip()
    return whole if most == "max" else min(whole, int(most))


def _move(source: str, target: str) -> None:
    for pid in _pids(source):
        _try_to_write(f"{target}/cgroup.procs", str(pid))


def _has_groups(path: str) -> bool:
    """Whether a group is divided: links to a directory are those of the directories in it, and two more."""
    try:
        return os.stat(path).st_nlink > 2
    except FileNotFoundError:
        return False


def _pids(folder: str) -> list[int]:
    """The processes of a group without those in it. A group of threads says nothing of its own: its processes are counted
    where the first of them is."""
    return [int(word) for word in _read(f"{folder}/cgroup.procs", "").split()]


def _remove(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        _remove_all(path)


def _remove_all(path: str) -> None:
    for folder, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            continue  # processes are in it, or it was removed by somebody else


def _kill(pid: int) -> None:
    try:
        os.kill(pid, SIGKILL)
    except ProcessLookupError:
        pass


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EMFILE or not SPARE.give():
            raise
        return os.open(path, flags | os.O_CLOEXEC)


def _close(fd: int) -> None:
    os.close(fd)
    SPARE.keep()


def _read(path: str, otherwise: str | None = None) -> str:
    """A file of the kernel; `otherwise` if it is not there, or not any more."""
    try:
        fd = _open(path, os.O_RDONLY)
        try:
            data = b""
            while part := os.read(fd, MOST_BYTES):
                data += part
        finally:
            _close(fd)
    except OSError as error:
        if otherwise is None or error.errno not in GONE:
            raise
        return otherwise
    return data.decode(errors="replace")


def _read_again(fd: int) -> str:
    """A file that is watched, which is watched on; nothing if its group is no more."""
    try:
        return os.pread(fd, MOST_BYTES, 0).decode(errors="replace")
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return ""


def _write(path: str, text: str) -> None:
    fd = _open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        _close(fd)


def _try_to_write(path: str, text: str) -> None:
    try:
        _write(path, text)
    except OSError:
        pass  # the process has gone; or somebody else uses the controller, too
