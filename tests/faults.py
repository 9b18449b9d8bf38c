"""Runs of the real supervisor on the real kernel, of which one call fails: a scripted day of a set of units (start, one
activation, stop), over and over, each time with another call failing, and each time in a process of its own.

`python -m tests.faults` tells of every set what became of it; `tests/test_faults.py` looks at the outcomes.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from typing import Any

from sockact.runtime.kernel import Kernel
from sockact.runtime.orders import Orders
from sockact.runtime.spawn import EXECUTOR_VARIABLE
from sockact.runtime.supervisor import Supervisor
from tests.fakes import descriptors, gathered

SPEED = 20.0
"""How much faster than the world the supervisor's clock goes."""
MOST_TURNS = 400
"""Turns of the loop with something to do, in one run; the usual number is below 50."""
LONGEST = 20.0
"""Seconds that a run may take before it counts as hung."""

SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What runs out, and is there again a moment later."""
ERRORS: dict[str, tuple[int, ...]] = {
    "socket": (errno.EMFILE, errno.ENOBUFS, errno.EACCES),
    "setsockopt": (errno.EINVAL, errno.ENOPROTOOPT),
    "getsockopt": (errno.ENOPROTOOPT,),
    "bind": (errno.EADDRINUSE, errno.EACCES, errno.EROFS),
    "listen": (errno.EADDRINUSE,),
    "make_parents": (errno.EACCES, errno.ENOSPC),
    "make_fifo": (errno.EACCES, errno.ENOSPC),
    "open_fifo": (errno.EMFILE, errno.EACCES),
    "node_access": (errno.EACCES,),
    "make_link": (errno.EACCES, errno.EROFS),
    "set_pipe_size": (errno.EPERM,),
    "unlink": (errno.EACCES, errno.EBUSY),
    "remove": (errno.EACCES, errno.EROFS),
    "accept": (*SCARCE, errno.ENOBUFS),
    "peer": (errno.ENOTCONN,),
    "notify_socket": SCARCE,
    "receive": (errno.ENOMEM,),
    "same_file": (errno.ENOMEM,),
    "pidfd": (*SCARCE, errno.ESRCH),
    "register": (errno.ENOMEM, errno.ENOSPC),
    "pipe": SCARCE,
    "fork": (errno.EAGAIN, errno.ENOMEM),
    "open": (*SCARCE, errno.EACCES),
    "read_file": (errno.EACCES, errno.EIO, errno.EMFILE),
    "execute": (errno.ENOENT, errno.ENOMEM, errno.ETXTBSY),
    "new_session": (errno.EPERM,),
    "duplicate": (errno.EMFILE,),
    "place": (errno.EMFILE,),
    "change_directory": (errno.ENOENT,),
}
"""The calls that may fail, and how."""
OFTEN = 4
"""How many calls of a kind are tried one by one."""

NOTIFIER = (
    "import os,socket,sys; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.connect(chr(0)+os.environ['NOTIFY_SOCKET'][1:]); "
    "socket.send_fds(s,[b'FDSTORE=1'],[1]); s.send(b'READY=1'); d=os.read(3,9); open(sys.argv[1],'wb').write(d); os.read(3,9)"
)
SHELL = "/bin/sh -c 'head -c6 <&3 >DIR/answer; exec sleep 100'"
SETS: dict[str, dict[str, str]] = {
    "fifo": {
        "web.socket": "[Socket]\nListenFIFO=DIR/in/port\nPipeSize=8192\nSymlinks=DIR/link\nRemoveOnStop=yes\n"
        "ExecStartPre=/bin/true\nExecStopPost=/bin/true\n",
        "web.service": f"[Service]\nExecStartPre=/bin/true\nExecStart={SHELL}\nExecStartPost=/bin/true\nExecStop=/bin/true\n"
        "ExecStopPost=/bin/true\nEnvironmentFile=DIR/environment\n",
    },
    "datagram": {
        "web.socket": "[Socket]\nListenDatagram=DIR/port\nReceiveBuffer=64K\nRemoveOnStop=yes\nSymlinks=DIR/link\n",
        "web.service": f"[Service]\nType=exec\nExecStart={SHELL}\nStandardOutput=append:DIR/output\n",
    },
    "two sockets": {
        "web.socket": "[Socket]\nListenDatagram=DIR/port\nRemoveOnStop=yes\n",
        "more.socket": "[Socket]\nListenStream=127.0.0.1:0\nListenFIFO=DIR/in/more\nRemoveOnStop=yes\nService=web.service\n",
        "web.service": f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={SHELL.replace('exec sleep 100', 'exit')}\n",
    },
    "connections": {
        "web.socket": "[Socket]\nListenStream=DIR/port\nAccept=yes\nRemoveOnStop=yes\n",
        "web@.service": "[Service]\nExecStart=/bin/cat\nStandardInput=socket\nStandardOutput=socket\n",
    },
    "notify": {
        "web.socket": "[Socket]\nListenDatagram=DIR/port\nRemoveOnStop=yes\n",
        "web.service": f'[Service]\nType=notify\nExecStart={sys.executable} -I -S -c "{NOTIFIER}" DIR/answer\nWatchdogSec=1h\n'
        "FileDescriptorStoreMax=2\n",
    },
    "forking": {
        "web.socket": "[Socket]\nListenDatagram=DIR/port\nRemoveOnStop=yes\n",
        "web.service": "[Service]\nType=forking\nPIDFile=DIR/pid\nExecStart=/bin/sh -c 'sleep 100 & echo $! >DIR/pid; "
        "head -c6 <&3 >DIR/answer'\n",
    },
}
NATIVE = ("two sockets",)
"""The sets whose processes are made by the C executor, where it was built."""


@dataclass
class Case:
    """Which call fails: the `at`-th of its kind, or all of them for some seconds of the supervisor's time after the start."""

    call: str = ""
    number: int = 0
    at: int = 0
    lasting: float = 0.0

    def __str__(self) -> str:
        when = f"call {self.at}" if self.at else f"for {self.lasting:g} s"
        return f"{self.call} {errno.errorcode.get(self.number, '')} {when}" if self.call else "nothing fails"


@dataclass
class Outcome:
    """What became of a run."""

    case: str
    call: str = ""
    status: int = -1
    served: bool = False
    """Whether the client was answered."""
    failed: int = 0
    """How many calls were made to fail."""
    log: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Descriptors, nodes and processes that should be gone."""
    crash: str = ""
    turns: int = 0
    calls: dict[str, int] = field(default_factory=dict)


class Failing(Kernel):
    """The real kernel with a fast clock and one failure."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.counts = Counter[str]()
        self.failures = 0
        self.began = super().now()
        self.scarce_until = 0.0
        self.day: Day

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ERRORS:
            return found

        def call(*arguments: Any) -> Any:
            self.check(name)
            return found(*arguments)

        return call

    def check(self, name: str) -> None:
        """Count a call, and fail if it is the one."""
        self.counts[name] += 1
        case = self.case
        if name == case.call and (self.counts[name] == case.at or self.now() < self.scarce_until):
            self.failures += 1
            raise OSError(case.number, os.strerror(case.number), "somewhere")

    def now(self) -> float:
        real = super().now()
        began = self.__dict__.get("began", real)
        return float(began + (real - began) * SPEED)

    def epoll(self) -> select.epoll:
        return Epoll(self)  # type: ignore[return-value]


class Epoll:
    """A real epoll, where the script of the day moves on when the supervisor waits."""

    def __init__(self, kernel: Failing) -> None:
        self.kernel = kernel
        self.real = select.epoll()
        self.modify, self.unregister = self.real.modify, self.real.unregister

    def register(self, fd: int, mask: int) -> None:
        self.kernel.check("register")
        self.real.register(fd, mask)

    def poll(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        found = (
            self.real.poll(0, most) or self.kernel.day.waits(timeout) or self.real.poll(min((timeout or 1e9) / SPEED, 0.01), most)
        )
        self.kernel.day.outcome.turns += bool(found)
        if self.kernel.day.outcome.turns > MOST_TURNS:
            raise SystemExit("it spins")
        return found


class Day:
    """One run: the units start, a client comes, and is answered or gives up, the supervisor is told to stop."""

    def __init__(self, name: str, case: Case, folder: str) -> None:
        self.folder = folder
        self.outcome = Outcome(f"{name}: {case}", case.call)
        os.environ[EXECUTOR_VARIABLE] = "native" if name in NATIVE else "fork"
        with open(f"{folder}/environment", "w") as file:
            file.write("A=b\n")
        files = {unit: text.replace("DIR", folder) for unit, text in SETS[name].items()}
        self.units = gathered(files, *(unit for unit in files if unit.endswith(".socket")))
        wrong = [found for found in self.units.diagnostics if found.severity == "error"]
        assert not wrong, wrong
        self.kernel = Failing(case)
        self.kernel.day = self
        self.streams = bool(self.units.templates)
        self.client: socket.socket | None = None
        self.script = self.steps()
        self.patience = 0.4 if case.at else 8.0
        """Seconds until the client gives up; where one call fails, it is not about the client."""

    def log(self, level: str, who: str, what: str) -> None:
        self.outcome.log.append(f"{level}: {who}: {what}")

    def waits(self, timeout: float | None) -> list[tuple[int, int]]:
        next(self.script, None)
        return []

    def steps(self) -> Iterator[None]:
        """What the world does, a step each time the supervisor waits."""
        while not any(": ready: " in line for line in self.outcome.log):
            yield
        self.kernel.scarce_until = self.kernel.now() + self.kernel.case.lasting
        deadline = time.monotonic() + self.patience
        while not self.calls() and time.monotonic() < deadline:
            yield
        while not self.outcome.served and time.monotonic() < deadline:
            self.outcome.served = self.is_answered()
            yield
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            yield

    def calls(self) -> bool:
        path = next((path for path in (f"{self.folder}/port", f"{self.folder}/in/port") if os.path.exists(path)), "")
        if path.endswith("/in/port"):
            # The supervisor has it open for reading and writing, so this cannot wait.
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.write(fd, b"hello\n")
            os.close(fd)
        elif path:
            self.client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if self.streams else socket.SOCK_DGRAM)
            self.client.connect(path)
            self.client.send(b"hello\n")
            self.client.setblocking(False)
        return bool(path)

    def is_answered(self) -> bool:
        try:
            if self.streams:
                return self.client is not None and self.client.recv(9) == b"hello\n"
            with open(f"{self.folder}/answer", "rb") as file:
                return file.read() == b"hello\n"
        except OSError:
            return False

    def run(self) -> None:
        before = Counter(what for _, what in descriptors())
        outcome = self.outcome
        try:
            supervisor = Supervisor(self.kernel, self.units, {"PATH": "/usr/bin:/bin"}, self.log)
            outcome.status = supervisor.run(Orders())
        except OSError as error:
            if self.is_open():
                outcome.crash = traceback.format_exc()
            else:
                # As `sockact start` does.
                self.log("error", "sockact", f"cannot start: {error.strerror}")
                outcome.status = 1
        except BaseException:
            outcome.crash = traceback.format_exc()
        signal.set_wakeup_fd(-1)
        if self.client:
            self.client.close()
        outcome.failed, outcome.calls = self.kernel.failures, dict(self.kernel.counts)
        outcome.left += [f"descriptor of {what}" for what in surplus(before)]
        outcome.left += [f"node {name}" for name in self.nodes() - {"environment", "answer", "output", "pid"}]
        outcome.left += [f"process {pid}" for pid in self.processes()]

    def is_open(self) -> bool:
        return any("listening on" in line for line in self.outcome.log)

    def nodes(self) -> set[str]:
        """What is there now. Directories of ports that were open stay, as with systemd."""
        walked = list(os.walk(self.folder))
        files = {os.path.relpath(f"{folder}/{name}", self.folder) for folder, _, names in walked for name in names}
        return files if self.is_open() else files | {name for _, names, _ in walked for name in names}

    def processes(self) -> list[int]:
        """Our children that are left; they are ended, for nobody else will."""
        found = self.kernel.children()
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return found


OURS = ("pipe:*", "pipe:*", "anon_inode:*eventpoll*", "socket:*", "/proc/*/children")
"""What a supervisor has open until it is gone: the pipe for signals, its epoll, the socket for notifications, the list of its
children."""


def surplus(before: Counter[str]) -> list[str]:
    """The descriptors that are open now, were not before, and are not ours."""
    found = [what for what in (Counter(what for _, what in descriptors()) - before).elements() if not what.endswith("/fd")]
    for kind in OURS:
        known = next((what for what in found if fnmatch(what, kind)), None)
        if known:
            found.remove(known)
    return found


# All runs of a set


def outcome_of(name: str, case: Case) -> Outcome:
    """Run it in a process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        folder = tempfile.mkdtemp(prefix="sockact-")
        signal.alarm(int(LONGEST))
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 2)
        try:
            day = Day(name, case, folder)
            day.run()
            text = json.dumps(asdict(day.outcome))
        except BaseException:
            text = json.dumps(asdict(Outcome(f"{name}: {case}", crash=traceback.format_exc())))
        shutil.rmtree(folder, ignore_errors=True)
        with open(writer, "w") as out:
            out.write(text)
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return Outcome(**json.loads(text)) if text else Outcome(f"{name}: {case}", crash="it hangs, or was killed")


def single(name: str) -> list[Outcome]:
    """Nothing fails; and then one call after the other."""
    usual = outcome_of(name, Case())
    cases = [
        Case(call, number, at)
        for call, numbers in ERRORS.items()
        for at in range(1, min(usual.calls.get(call, 1 if call in IN_CHILD and name not in NATIVE else 0), OFTEN) + 1)
        for number in numbers
    ]
    return [usual, *(outcome_of(name, case) for case in cases)]


IN_CHILD = ("execute", "new_session", "duplicate", "place", "change_directory")
"""Calls between fork and exec; nobody counts them here."""
FOR_A_WHILE = {
    "fork": errno.EAGAIN,
    "register": errno.ENOSPC,
    **dict.fromkeys(("accept", "notify_socket", "open", "pipe"), errno.EMFILE),
}
"""What may be used up for a while, and what is said then."""


def lasting(name: str) -> list[Outcome]:
    """What is used up for some seconds while there is traffic."""
    return [outcome_of(name, Case(call, number, 0, 8.0)) for call, number in FOR_A_WHILE.items()]


RUNS: dict[str, Callable[[str], list[Outcome]]] = {"single": single, "lasting": lasting}


def main(which: str = "single", *names: str) -> None:
    for name in names or SETS:
        for outcome in RUNS[which](name):
            print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
