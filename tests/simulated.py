"""A machine in memory for the real supervisor: descriptors, sockets, processes, signals, and a clock that stands still.

Nothing of it reaches the real one. What happens while the supervisor waits, and what a program does that it starts, is up to
whoever made the machine (`tests.simulation`).
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from sockact.lifecycle.connection import Peer
from sockact.lifecycle.limits import Exit
from sockact.net import linux
from sockact.runtime.filesystem import Node
from sockact.runtime.kernel import Account, Kernel
from sockact.runtime.spawn import STEPS

if TYPE_CHECKING:
    from sockact.lifecycle.child import Control
    from sockact.net.addresses import Address
    from sockact.runtime.spawn import Image

KILL, CHLD, CONT = (linux.SIGNALS[name] for name in ("KILL", "CHLD", "CONT"))
IN, HUNG_UP, PRIORITY = select.EPOLLIN, select.EPOLLHUP, select.EPOLLPRI


class BrokenPromiseError(BaseException):
    """What must never happen has happened. No Exception, for nobody may swallow it."""


def broken(what: str) -> NoReturn:
    raise BrokenPromiseError(what)


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# What a machine consists of


class Thing:
    """Something that a descriptor can be of."""

    def events(self) -> int:
        """What epoll reports of it, whatever it was asked for; the mask is applied by whoever asks."""
        return 0


class Port(Thing):
    """A listening socket, datagram socket or FIFO, and what waits there: who calls, by a number."""

    def __init__(self, family: str, stream: bool) -> None:
        self.family = family
        self.stream = stream
        self.path = ""
        self.waiting: deque[int] = deque()
        self.bound = self.shut_down = False

    def events(self) -> int:
        return (IN if self.waiting or self.shut_down else 0) | (HUNG_UP if self.shut_down else 0)


class Connection(Thing):
    def __init__(self, family: str, client: int) -> None:
        self.family = family
        self.client = client


class Pipe(Thing):
    """Both ends of the pipe for signals."""

    def __init__(self) -> None:
        self.data = bytearray()

    def events(self) -> int:
        return IN if self.data else 0


class Ear(Thing):
    """The socket for sd_notify(3) messages."""

    def __init__(self) -> None:
        self.messages: deque[tuple[bytes, int, tuple[Thing, ...]]] = deque()

    def events(self) -> int:
        return IN if self.messages else 0


class Pidfd(Thing):
    def __init__(self, process: Process) -> None:
        self.process = process

    def events(self) -> int:
        return 0 if self.process.alive else IN


class File(Thing):
    """A file, or one end of a socket of which the other one may go."""

    def __init__(self, pollable: bool = False) -> None:
        self.pollable = pollable
        self.hung_up = False

    def events(self) -> int:
        return IN | HUNG_UP if self.hung_up else 0


class Group(Thing):
    """A control group, or what tells when its last process has gone."""

    def __init__(self, groups: Groups, name: str) -> None:
        self.groups = groups
        self.name = name
        self.seen = bool(groups.inside(name))

    def events(self) -> int:
        return PRIORITY if bool(self.groups.inside(self.name)) is not self.seen else 0


class Memory(Thing):
    """What tells how many processes of a group were killed for want of memory."""

    def __init__(self, groups: Groups, name: str) -> None:
        self.groups = groups
        self.name = name
        self.seen = groups.kills[name]

    def events(self) -> int:
        return PRIORITY if self.groups.kills.get(self.name, 0) != self.seen else 0


class Groups:
    """The control groups, where there are any."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.names: set[str] = set()
        self.kills: dict[str, int] = {}
        """Those whose memory is limited, and how many processes it has cost them."""
        self.whole: set[str] = set()
        """Those of which all are killed then."""
        self.there = True

    def inside(self, name: str) -> list[Process]:
        return [process for process in self.machine.processes.values() if process.home == name and process.alive]

    def begin(self) -> None:
        if not self.there:
            raise error(errno.EROFS)

    def end(self) -> None:
        self.names = {name for name in self.names if self.inside(name)}

    def make(self, name: str) -> bool:
        self.machine.may_fail("mkdir of a group", errno.ENOMEM, errno.ENOSPC, errno.EAGAIN)
        new = name not in self.names
        self.names.add(name)
        return new

    def open(self, name: str) -> int:
        assert name in self.names
        self.machine.may_fail("open of a group", errno.EMFILE, errno.ENFILE)
        return self.machine.new(Group(self, name))

    def close(self, fd: int) -> None:
        self.machine.close(fd)

    def pids(self, name: str) -> list[int]:
        self.machine.may_fail("list of a group", errno.EMFILE, errno.ENFILE)
        return [process.pid for process in self.inside(name)]

    def is_populated(self, name: str) -> bool:
        self.machine.may_fail_a_while("look at a group", errno.EMFILE, errno.ENFILE)
        return bool(self.inside(name))

    def apply(self, name: str, control: Control) -> None:
        self.machine.may_fail("limit of a group", errno.EBUSY, errno.EMFILE)
        self.kills.setdefault(name, 0)
        if control.file == "memory.oom.group":
            self.whole.add(name)

    def watch(self, name: str, file: str) -> int:
        self.machine.may_fail_a_while("watch of a group", errno.EMFILE, errno.ENFILE)
        if file == "cgroup.events":
            return self.machine.new(Group(self, name))
        if name not in self.kills:
            raise error(errno.ENOENT)
        return self.machine.new(Memory(self, name))

    def oom_kills(self, name: str, fd: int) -> int:
        self.machine.may_fail("look at the memory of a group", errno.EMFILE, errno.ENFILE)
        if fd >= 0:
            memory = self.machine.thing(fd)
            assert isinstance(memory, Memory)
            assert memory.name == name
            memory.seen = self.kills[name]
        return self.kills.get(name, 0)

    def oom_kill(self, process: Process) -> list[Process]:
        """The OOM killer has chosen a process; who dies. The kernel counts first."""
        dying = [one for one in self.inside(process.home) if one is process or process.home in self.whole]
        dying = [one for one in dying if not one.unkillable]
        self.kills[process.home] += len(dying)
        for one in dying:
            self.machine.deliver(one, KILL)
        return dying

    def is_emptied(self, fd: int) -> bool:
        group = self.machine.thing(fd)
        assert isinstance(group, Group)
        group.seen = bool(self.inside(group.name))
        return not group.seen

    def kill(self, name: str) -> None:
        self.machine.may_fail("kill of a group", errno.EMFILE, errno.ENFILE)
        for process in self.inside(name):
            self.machine.deliver(process, KILL)

    def remove(self, name: str) -> None:
        if not self.inside(name):
            self.names.discard(name)
            self.kills.pop(name, None)
            self.whole.discard(name)

    def name_of(self, pid: int) -> str:
        process = self.machine.processes.get(pid)
        return process.home if process else ""


class Process:
    """`parent` is 0 for a child of the supervisor, and -1 for a process that is none of its descendants."""

    def __init__(self, pid: int, group: int, parent: int, invocation: str, program: str) -> None:
        self.pid = pid
        self.group = group
        self.parent = parent
        self.invocation = invocation
        self.program = program
        self.things: tuple[Thing, ...] = ()
        """What its descriptors are of."""
        self.home = ""
        """Its control group."""
        self.end: Exit | None = None
        self.ignores = self.hangs = self.unkillable = self.frozen = self.asked = False
        """Whether it ignores all but SIGKILL, does not end by itself, survives even that, but does nothing any more; and
        whether it was asked to end."""

    @property
    def alive(self) -> bool:
        return self.end is None

    @property
    def is_main(self) -> bool:
        return self.program.startswith("/m-")


class Epoll:
    """Where the world moves on: `poll` is called when the supervisor has done all it wanted to do."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.masks: dict[int, int] = {}

    def register(self, fd: int, mask: int) -> None:
        thing = self.machine.thing(fd)
        if fd in self.masks:
            raise error(errno.EEXIST)
        if isinstance(thing, File) and not thing.pollable:
            raise error(errno.EPERM)
        self.machine.may_fail_a_while("register", errno.ENOMEM, errno.ENOSPC)
        self.masks[fd] = mask

    def modify(self, fd: int, mask: int) -> None:
        if fd not in self.masks:
            raise error(errno.ENOENT)
        self.masks[fd] = mask

    def unregister(self, fd: int) -> None:
        self.machine.thing(fd)
        if self.masks.pop(fd, None) is None:
            raise error(errno.ENOENT)

    def poll(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        return self.machine.wait(timeout)

    def ready(self) -> list[tuple[int, int]]:
        things, found = self.machine.things, []
        for fd, mask in self.masks.items():
            events = things[fd].events() & (mask | HUNG_UP)
            if events:
                found.append((fd, events))
        return found


class Machine(Kernel):
    """The system calls of the runtime, on a machine in memory. `wait` is what happens while the supervisor waits."""

    def __init__(self, random: Random, tell: Callable[[str], None]) -> None:
        self.random = random
        self.tell = tell
        self.time = 1000.0
        self.things: dict[int, Thing] = {}
        self.processes: dict[int, Process] = {}
        self.nodes: dict[str, Node] = {}
        self.links: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.pids = 100
        self.invocations = 0
        self.undead: set[str] = set()
        """Starts with a process that cannot be killed."""
        self.fault = 0.0
        """How likely it is that a call fails that may."""
        self.faults = 0
        self.adopts = True
        self.groups = Groups(self)
        self.wakeup = Pipe()
        self.ear: Ear | None = None
        self.waits: Callable[[float | None], list[tuple[int, int]]]
        self.executes: Callable[[Image, Process], None]
        self.handled: Callable[[], None]
        self.watcher = Epoll(self)
        self.failed_at = -10.0

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        return self.waits(timeout)

    def may_fail(self, call: str, *numbers: int) -> None:
        """Fail now and then, in a run that is about failures."""
        if self.fault and self.random.random() < self.fault:
            self.faults += 1
            number = self.random.choice(numbers)
            self.tell(f"{call} fails: {errno.errorcode[number]}")
            raise error(number)

    def may_fail_a_while(self, call: str, *numbers: int) -> None:
        """Fail in a way that is to be tried again."""
        try:
            self.may_fail(call, *numbers)
        except OSError:
            self.failed_at = self.time
            raise

    # Descriptors

    @property
    def cgroups(self) -> Groups:  # type: ignore[override]
        return self.groups

    def thing(self, fd: int) -> Thing:
        found = self.things.get(fd)
        if found is None:
            raise error(errno.EBADF)
        return found

    def new(self, thing: Thing) -> int:
        things, fd = self.things, 5
        while fd in things:
            fd += 1
        things[fd] = thing
        return fd

    def port(self, fd: int) -> Port:
        found = self.thing(fd)
        assert isinstance(found, Port)
        return found

    def close(self, fd: int) -> None:
        if fd in self.watcher.masks:
            broken(f"descriptor {fd} is closed while it is watched")
        if self.things.pop(fd, None) is None:
            broken(f"descriptor {fd} is closed, and was not open")

    def same_file(self, fd: int, other: int) -> bool:
        return self.thing(fd) is self.thing(other)

    def set_blocking(self, fd: int, blocking: bool) -> None:
        self.thing(fd)

    def open(self, path: str, how: str) -> int:
        self.may_fail("open", errno.EMFILE, errno.ENFILE, errno.ENOMEM)
        return self.new(File())

    # Sockets

    def network(self, path: str) -> int:
        return self.new(File())

    def socket(self, family: str, kind: str, protocol: int, network: int = -1) -> int:
        self.may_fail("socket", errno.EMFILE, errno.ENFILE, errno.ENOBUFS)
        return self.new(Port(family.removeprefix("AF_").lower(), kind != "SOCK_DGRAM"))

    def setsockopt(self, fd: int, level: str, name: str, value: Any) -> None:
        self.thing(fd)

    def getsockopt(self, fd: int, level: str, name: str, like: Any = 0) -> Any:
        self.thing(fd)
        return like

    def bind(self, fd: int, address: Address, mode: int | None) -> None:
        self.may_fail("bind", errno.EADDRINUSE, errno.EACCES)
        port = self.port(fd)
        path = getattr(address, "path", "")
        if path in self.nodes:
            raise error(errno.EADDRINUSE)
        port.bound, port.path = True, path
        if path:
            self._node(path)

    def bound_port(self, fd: int) -> int:
        return 40000

    def answers(self, kind: str, path: str) -> bool:
        return any(isinstance(thing, Port) and thing.path == path for thing in self.things.values())

    def listen(self, fd: int, backlog: int) -> None:
        self.may_fail("listen", errno.EADDRINUSE)

    def accept(self, fd: int) -> int | None:
        port = self.port(fd)
        if not port.waiting:
            return None
        self.may_fail_a_while("accept", errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
        return self.new(Connection(port.family, port.waiting.popleft()))

    def peer(self, fd: int) -> Peer:
        self.may_fail("peer", errno.ENOTCONN)
        connection = self.thing(fd)
        assert isinstance(connection, Connection)
        client = connection.client
        if connection.family == "unix":
            return Peer("unix", "/run/a", "", client, 1000 + client % 3, client)
        return Peer("inet", ("127.0.0.1", 80), (f"10.0.0.{client % 3}", 1024 + client), client)

    def flush(self, fd: int) -> int:
        port = self.port(fd)
        count = len(port.waiting)
        port.waiting.clear()
        return count

    def notify_socket(self) -> tuple[int, str]:
        self.may_fail("notify_socket", errno.EMFILE, errno.ENFILE)
        self.ear = Ear()
        return self.new(self.ear), "@ear"

    def receive(self, fd: int) -> tuple[bytes, int, int, tuple[int, ...]] | None:
        ear = self.thing(fd)
        assert isinstance(ear, Ear)
        if not ear.messages:
            return None
        data, pid, things = ear.messages.popleft()
        # Some have become somebody else.
        return data, pid, 0 if pid % 4 else 1000, tuple(self.new(thing) for thing in things)

    # Nodes and files

    def _node(self, path: str) -> None:
        self.invocations += 1
        self.nodes[path] = Node(1, self.invocations)

    def make_parents(self, path: str, mode: int, made: list[str]) -> None:
        self.may_fail("mkdir", errno.EACCES, errno.ENOSPC)

    def make_fifo(self, path: str, mode: int) -> bool:
        self.may_fail("mkfifo", errno.EACCES, errno.ENOSPC)
        new = path not in self.nodes
        self._node(path)
        return new

    def open_fifo(self, path: str) -> int:
        self.may_fail("open_fifo", errno.EMFILE)
        port = Port("fifo", False)
        port.bound, port.path = True, path
        return self.new(port)

    def node_access(self, path: str) -> tuple[int, int, int]:
        return 0, 0, 0o666  # also of a PIDFile=, which counts as written by somebody who is trusted

    def ids(self) -> tuple[int, int]:
        return 0, 0

    def node(self, path: str) -> Node | None:
        return self.nodes.get(path)

    def is_socket_node(self, path: str) -> bool:
        return True

    def make_link(self, target: str, path: str, replace_other: bool) -> bool:
        self.links[path] = target
        return True

    def is_link(self, path: str, target: str) -> bool:
        return self.links.get(path) == target

    def chown(self, target: str | int, uid: int, gid: int) -> None:
        pass

    def unlink(self, path: str) -> None:
        self.links.pop(path, None)
        self.nodes.pop(path, None)

    remove = unlink

    def read_file(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "not there", path)
        return self.files[path]

    # Accounts

    def account(self, user: str | None, gid: int | None) -> Account:
        return Account(0, 0, (0,), {})

    def group_id(self, group: str) -> int:
        return 0

    def must_become(self, account: Account) -> bool:
        return False

    # Processes

    def find_program(self, name: str, search: str, root: str = "") -> str:
        return name

    def make(self, group: int, parent: int, invocation: str, program: str) -> Process:
        """fork(2); without a group it leads one of its own."""
        self.pids += 1
        process = Process(self.pids, group or self.pids, parent, invocation, program)
        self.processes[process.pid] = process
        return process

    def execute_image(self, image: Image) -> tuple[int, int, int]:
        """A child that becomes the program, as the executors of `spawn` make it."""
        self.may_fail("fork", errno.EAGAIN, errno.ENOMEM)
        process = self.make(0, 0, image.environment.get("INVOCATION_ID", ""), image.path)
        process.things = tuple(self.thing(fd) for fd in (*image.stdio[:1], *image.descriptors))
        group = self.thing(image.group) if image.group >= 0 else None
        process.home = group.name if isinstance(group, Group) else ""
        try:
            self.may_fail("execve", errno.ENOENT, errno.ENOMEM, errno.ETXTBSY)
        except OSError as failed:
            self.ends(process, Exit(STEPS[-1].status))
            return process.pid, len(STEPS) - 1, failed.errno or 0
        self.executes(image, process)
        return process.pid, -1, 0

    def ends(self, process: Process, how: Exit) -> None:
        """A process ends; its children become ours, and we are told of the end of ours."""
        process.end, process.things = how, ()
        pid = process.pid
        if process.parent == 0:
            self.signal(CHLD)
        else:
            del self.processes[pid]
        for child in self.processes.values():
            if child.parent == pid:
                child.parent = 0 if self.adopts else -1

    def reap(self) -> tuple[int, Exit] | None:
        for pid, process in self.processes.items():
            if process.parent == 0 and process.end is not None:
                del self.processes[pid]
                return pid, process.end
        return None

    def kill(self, pid: int, number: int) -> bool:
        if pid <= 1:
            broken(f"kill({pid}, {number})")
        process = self.processes.get(pid)
        if process is None:
            return False
        if number and process.alive:
            self.deliver(process, number)
        return True

    def kill_group(self, group: int, number: int) -> bool:
        if group <= 1:
            broken(f"killpg({group}, {number})")
        found = [process for process in self.processes.values() if process.group == group]
        for process in found if number else ():
            if process.alive:
                self.deliver(process, number)
        return bool(found)

    def deliver(self, process: Process, number: int) -> None:
        process.frozen = process.unkillable and number == KILL
        if number == CONT or process.unkillable or (process.ignores and number != KILL):
            return
        self.tell(f"{process.pid} gets {linux.signal_name(number)}")
        if number == KILL or self.random.random() < 0.5:
            self.ends(process, Exit(signal=number) if number == KILL or self.random.random() < 0.7 else Exit())
        else:
            process.asked = True

    def invocation_id(self) -> str:
        self.invocations += 1
        return f"i{self.invocations}"

    def children(self) -> list[int]:
        return [pid for pid, process in self.processes.items() if process.parent == 0]

    def descendants(self, pid: int) -> list[int]:
        found, ahead = list[int](), [pid]
        while ahead:
            parent = ahead.pop()
            children = [process.pid for process in self.processes.values() if process.parent == parent]
            ahead += children
            found += children
        return found

    def invocation_of(self, pid: int) -> str:
        process = self.processes.get(pid)
        return process.invocation if process and process.alive else ""

    def pidfd(self, pid: int) -> int:
        process = self.processes.get(pid)
        if process is None:
            raise error(errno.ESRCH)
        self.may_fail_a_while("pidfd", errno.EMFILE, errno.ENOMEM)
        return self.new(Pidfd(process))

    def group_of(self, pid: int) -> int:
        process = self.processes.get(pid)
        return process.group if process else 0

    def pid(self) -> int:
        return 1

    def become_subreaper(self) -> bool:
        return self.adopts

    # Waiting

    def epoll(self) -> select.epoll:
        return self.watcher  # type: ignore[return-value]

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def pipe(self) -> tuple[int, int]:
        return self.new(self.wakeup), self.new(File())

    def read(self, fd: int, size: int) -> bytes:
        assert self.thing(fd) is self.wakeup
        data = bytes(self.wakeup.data)
        self.wakeup.data.clear()
        return data

    def handle_signals(self, numbers: Sequence[int], wakeup: int) -> None:
        self.handled()

    def block_signals(self) -> None:
        pass

    def unblock_signals(self) -> None:
        pass

    def not_default(self) -> list[int]:
        return []

    def hangs_on_terminal(self) -> bool:
        return False

    def signal(self, number: int) -> None:
        self.wakeup.data.append(number)


def _unknown(name: str) -> Callable[..., NoReturn]:
    def call(*_: object) -> NoReturn:
        broken(f"the simulated machine has no {name}()")

    return call


for _name in (name for base in Machine.__mro__[1:-1] for name in vars(base) if not name.startswith("_")):
    if _name not in vars(Machine):
        # Nothing may reach the real machine.
        setattr(Machine, _name, _unknown(_name))
