"""Random days of a supervisor: the real one, with its loop and its hands, on a machine that exists in memory only.

The machine has a clock that stands still until somebody waits, processes that end, fork, hide or hang, clients that come at the
worst moment, and system calls that fail. What happens is chosen by a seed; whenever the supervisor waits, it has to have kept
its promises (`Run.check`). The loop runs as it always does: the machine's epoll is where the world moves on.

`python -m tests.simulation --runs 1000000 --seed 1` takes as long as one likes; `--runs 1 --seed N` replays one run and tells it.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from collections import Counter
from functools import cache
from multiprocessing import get_context
from random import Random
from typing import TYPE_CHECKING, Any

from sockact.lifecycle import service as service_machine
from sockact.lifecycle import socket as socket_machine
from sockact.lifecycle.limits import Exit
from sockact.lifecycle.service import State as ServiceState
from sockact.lifecycle.socket import State as SocketState
from sockact.net import linux
from sockact.runtime.orders import ALL, FIRST, Forward, Orders
from sockact.runtime.supervisor import Supervisor
from sockact.runtime.units import Service, Socket
from tests.fakes import codes, gathered
from tests.simulated import CHLD, KILL, BrokenPromiseError, Ear, File, Group, Machine, Memory, Pidfd, Port, Process, Thing, broken

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.runtime.spawn import Image
    from sockact.unit.gather import UnitSet
    from sockact.unit.load import SocketUnit

HUP, USR1 = linux.SIGNALS["HUP"], linux.SIGNALS["USR1"]
STOPS = tuple(linux.SIGNALS[name] for name in ("TERM", "INT", "QUIT"))
A_MOMENT = 1e-6


# Units


RELATIONS = (
    *("After", "Before", "Requires", "Wants", "Requisite", "BindsTo", "PartOf", "Upholds", "Conflicts", "OnFailure", "OnSuccess"),
    *("PropagatesStopTo", "StopPropagatedFrom"),
)
COMMANDS = ("/c-ok", "/c-ok", "/c-ok", "/c-fail", "-/c-fail", "/c-slow", "/c-hang", "/c-fork", "/c-hide")
POOL = 400
"""So many sets of units there are; each is loaded once."""


class Draw:
    """Unit files of all shapes."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.chance, self.pick = random.random, random.choice

    def some(self, key: str, likely: float, *values: object) -> str:
        return f"{key}={self.pick(values)}\n" if self.chance() < likely else ""

    def commands(self, *keys: str, likely: float = 0.25) -> str:
        return "".join(self.some(key, likely, *COMMANDS) * self.pick((1, 1, 2)) for key in keys)

    def service(self, sockets: str = "", others: tuple[str, ...] = ()) -> str:
        kind = self.pick(("simple", "exec", "notify", "notify-reload", "oneshot", "forking", "idle"))
        text = f"[Unit]\nStartLimitIntervalSec={self.pick((0, 10, 10, 60))}\nStartLimitBurst={self.pick((1, 2, 5))}\n"
        text += self.some("ConditionPathExists", 0.06, "/", "!/") + self.some("AssertPathExists", 0.03, "/", "!/")
        text += "".join(self.some(key, 0.2, *others) for key in RELATIONS if others)
        text += f"[Service]\nType={kind}\nExecStart={self.pick(('', '', '', '-'))}/m-{kind}\n"
        text += "ExecStart=/m-second\nExecStart=/m-third\n" if kind == "oneshot" and self.chance() < 0.4 else ""
        text += f"Sockets={sockets}\n" if sockets else ""
        text += self.commands("ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost", "ExecReload")
        text += self.commands("ExecReloadPost", likely=0.1)
        text += self.some("ExitType", 0.15, "cgroup") if kind != "oneshot" else ""
        text += self.commands("ExecCondition", likely=0.1)
        if kind == "forking":
            text += self.pick(("PIDFile=/run/web.pid\n", "", "GuessMainPID=no\n"))
        text += self.some("Restart", 0.5, "always", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort")
        return text + "".join(
            self.some(key, likely, *values)
            for key, likely, values in (
                ("RestartSec", 0.5, (0, 1, 7)),
                ("RestartSteps", 0.2, (3,)),
                ("RestartRandomizedDelaySec", 0.1, (4,)),
                ("RestartMode", 0.3, ("direct", "direct", "debug")),
                ("RestartMaxDelaySec", 0.2, (20,)),
                ("KillMode", 0.6, ("control-group", "mixed", "process", "none")),
                ("SendSIGKILL", 0.1, ("no",)),
                ("SendSIGHUP", 0.1, ("yes",)),
                ("FinalKillSignal", 0.05, ("SIGABRT",)),
                ("RemainAfterExit", 0.2, ("yes",)),
                ("WatchdogSec", 0.25, (3,)),
                ("FileDescriptorStoreMax", 0.25, (1, 3)),
                ("FileDescriptorStorePreserve", 0.2, ("yes", "no")),
                ("NotifyAccess", 0.3, ("none", "main", "exec", "all")),
                ("TimeoutStartSec", 0.5, (5, 5, "infinity")),
                ("TimeoutStopSec", 0.5, (2, 5)),
                ("TimeoutStartFailureMode", 0.3, ("abort", "kill")),
                ("TimeoutStopFailureMode", 0.3, ("abort", "kill")),
                ("TimeoutAbortSec", 0.1, (1,)),
                ("RuntimeMaxSec", 0.15, (8,)),
                ("RuntimeRandomizedExtraSec", 0.05, (3,)),
                ("SuccessExitStatus", 0.1, ("1 SIGKILL",)),
                ("RestartPreventExitStatus", 0.1, (1,)),
                ("RestartForceExitStatus", 0.1, ("1",)),
                ("MemoryMax", 0.3, ("64M",)),
                ("OOMPolicy", 0.5, ("continue", "kill")),
            )
        )

    def socket(self, *listen: str, accept: bool = False, service: str = "") -> str:
        text = "[Socket]\n" + "".join(f"{line}\n" for line in listen) + (f"Service={service}\n" if service else "")
        if accept:
            text += "Accept=yes\n" + self.some("MaxConnections", 0.5, 1, 2) + self.some("MaxConnectionsPerSource", 0.3, 1)
        else:
            text += self.some("FlushPending", 0.2, "yes")
        text += self.commands("ExecStartPre", "ExecStartPost", "ExecStopPre", "ExecStopPost", likely=0.12)
        text += self.some("PassFileDescriptorsToExec", 0.2, "yes") + self.some("RemoveOnStop", 0.3, "yes")
        text += self.some("KillMode", 0.3, "mixed", "process", "none") + self.some("TimeoutSec", 0.3, 3)
        text += self.some("MemoryMax", 0.1, "64M")
        text += f"TriggerLimitBurst={self.pick((1, 2, 5, 20))}\n" + self.some("TriggerLimitIntervalSec", 0.5, 2, 30)
        text += self.some("PollLimitBurst", 0.3, 1, 3) + self.some("PollLimitIntervalSec", 0.3, 1)
        return text + ("[X-Sockact]\nTriggerLimitAction=pause\n" if self.chance() < 0.3 else "")

    def files(self) -> dict[str, str]:
        """A set of units that belong together."""
        shape = self.pick(("plain", "plain", "plain", "two", "accept", "accept", "both", "shared", "related", "related"))
        lines = ["ListenStream=127.0.0.1:80", "ListenDatagram=127.0.0.1:81", "ListenStream=/run/a", "ListenFIFO=/run/f"]
        self.random.shuffle(lines)
        found: dict[str, str] = {}
        if shape in ("plain", "both", "shared"):
            found |= {"web.socket": self.socket(*lines[: self.pick((1, 1, 2, 4))]), "web.service": self.service()}
        if shape == "two":
            found["a.socket"] = self.socket(lines[0], service="web.service")
            found |= {"b.socket": self.socket(*lines[1:3], service="web.service"), "web.service": self.service()}
        if shape in ("accept", "both"):
            found["in.socket"] = self.socket("ListenStream=127.0.0.1:90", "ListenStream=/run/b", accept=True)
            found["in@.service"] = self.service()
        if shape == "shared":
            found["other.service"] = self.service(sockets="web.socket")
        if shape == "related":
            names = ("a.service", "b.service", "c.service")[: self.pick((1, 2, 3))]
            found |= {name: self.service(others=tuple(other for other in names if other != name)) for name in names}
            if self.chance() < 0.7:
                found["a.socket"] = self.socket(lines[0])
        return found


@cache
def units(number: int) -> UnitSet:
    files = Draw(Random(f"units {number}")).files()
    found = gathered(files, *(name for name in files if "@" not in name))
    assert not [diagnostic for diagnostic in found.diagnostics if diagnostic.severity == "error"], codes(found.diagnostics)
    return found


def text_of(number: int) -> str:
    files = Draw(Random(f"units {number}")).files()
    return "\n".join(f"# {name}\n{text}" for name, text in files.items())


# A run


OVER = (ServiceState.DEAD, ServiceState.FAILED)
ENDED = (*OVER, ServiceState.AUTO_RESTART)
BY_CONTROL = tuple(
    ServiceState[name] for name in ("CONDITION", "START_PRE", "START_POST", "RELOAD", "RELOAD_POST", "STOP", "STOP_POST")
)
FINAL = tuple(ServiceState[name] for name in ("FINAL_WATCHDOG", "FINAL_SIGTERM", "FINAL_SIGKILL"))
ENDING = (*(ServiceState[name] for name in ("STOP_WATCHDOG", "STOP_SIGTERM", "STOP_SIGKILL")), *FINAL)
UP = tuple(ServiceState[name] for name in ("RUNNING", "RELOAD_SIGNAL", "RELOAD_NOTIFY"))
BY_ANYBODY = (*ENDING, *UP)
ENDLESS = (*BY_CONTROL[:5], ServiceState.START, *UP)
"""States whose timeout may be infinite."""
SOCKET_COMMANDS = tuple(SocketState[name] for name in ("START_PRE", "START_POST", "STOP_PRE", "STOP_POST"))
SOCKET_ENDING = tuple(SocketState[name] for name in ("STOP_PRE_SIGTERM", "STOP_PRE_SIGKILL", "FINAL_SIGTERM", "FINAL_SIGKILL"))
CLOSED = tuple(SocketState[name] for name in ("DEAD", "START_PRE", "FINAL_SIGTERM", "FINAL_SIGKILL", "FAILED"))
ENDS = (Exit(), Exit(), Exit(), Exit(1), Exit(3), Exit(signal=9), Exit(signal=15), Exit(signal=11, dumped=True))
MOST_TURNS = 300
"""Turns in a row in which nothing new happens in the world."""
MOST_EFFECTS = 2000
"""What is done between two turns of the loop."""
MOST_STEPS = 150
"""Things that happen between the request to stop and the end."""


class Windows:
    """How often something was done to each unit, in windows that begin with whatever comes first after the last one."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.windows: dict[str, tuple[float, int]] = {}

    def count(self, name: str, interval: float, burst: int, done: bool = True) -> None:
        began, count = self.windows.get(name, (-1e9, 0))
        if self.machine.time - began >= interval:
            began, count = self.machine.time, 0
        self.windows[name] = began, count + done
        # A start for which there was no memory or descriptor does not count.
        if interval > 0 and 0 < burst < count + done and not self.machine.faults:
            broken(f"{name}: {count + 1} starts in {interval:g} s")


class Run:
    """One run of a supervisor."""

    def __init__(self, seed: int, trace: bool = False) -> None:
        self.random = random = Random(seed)
        self.seed = seed
        self.trace: list[str] | None = [] if trace else None
        self.units = units(random.randrange(POOL))
        self.machine = machine = Machine(random, self.tell)
        machine.waits, machine.executes = self.turn, self.executed
        kind = random.random()
        self.fault = 0.0 if kind < 0.6 else 0.03 if kind < 0.9 else 0.2
        machine.handled = self.begins
        machine.adopts = random.random() > 0.03
        machine.groups.there = random.random() < 0.5
        self.wild = random.random() < 0.3
        """Whether processes misbehave more often than not."""
        self.budget = random.randrange(3, 25)
        self.turns = self.steps = self.effects = 0
        self.stops = 0
        self.at_work = ""
        """The unit that answers to an event."""
        self.clients = 0
        self.starts, self.triggers = Windows(machine), Windows(machine)
        self.owners: dict[str, Service | Socket] = {}
        """The unit of each invocation."""
        self.starved: set[str] = set()
        """The invocations that have to fail for want of memory."""
        self.supervisor = supervisor = Supervisor(machine, self.units, {"PATH": "/bin"}, self.log)
        processes = supervisor.work.processes
        processes._execute = machine.execute_image
        processes._has_groups = processes._groups.begin()
        self._spy(supervisor)

    def begins(self) -> None:
        """From here on calls may fail; without its signals there is no supervisor."""
        self.machine.fault = self.fault

    def _spy(self, supervisor: Supervisor) -> None:
        do_service, do_socket = supervisor.services.do, supervisor.sockets.do
        begin, start = service_machine.Effect.BEGIN, socket_machine.Effect.START_SERVICE
        serve, refuse = socket_machine.Effect.SERVE, socket_machine.Effect.REFUSE

        def service(unit: Service, effect: service_machine.Effect, *rest: Any) -> None:
            do_service(unit, effect, *rest)
            self.tire(unit)
            if effect is begin:
                limits = unit.unit.unit
                self.owners[unit.invocation] = unit
                self.starts.count(unit.name, limits.start_limit_interval, limits.start_limit_burst)

        def socket(unit: Socket, effect: socket_machine.Effect, *rest: Any) -> None:
            do_socket(unit, effect, *rest)
            self.tire(unit)
            if effect is start or effect is serve or effect is refuse:
                settings = unit.unit.socket
                # The connection that hits the limit was taken already; a socket that pauses serves it first.
                burst = settings.trigger_limit_burst and settings.trigger_limit_burst + (effect is serve)
                self.triggers.count(unit.name, settings.trigger_limit_interval, burst, effect is not refuse)

        supervisor.services.do = service  # type: ignore[method-assign,assignment]
        supervisor.sockets.do = socket  # type: ignore[method-assign,assignment]
        for name in ("_step_service", "_step_socket"):
            setattr(supervisor, name, self.one_at_a_time(getattr(supervisor, name)))

    def one_at_a_time(self, step: Callable[..., None]) -> Callable[..., None]:
        """Units are told of each other by the queue alone: none is at work while another one is."""

        def alone(unit: Service | Socket, event: object, detail: object) -> None:
            if self.at_work:
                broken(f"{unit.name} answers to {event}, and {self.at_work} is at work")
            self.at_work = unit.name
            step(unit, event, detail)
            self.at_work = ""

        return alone

    def tire(self, unit: Service | Socket) -> None:
        self.effects += 1
        if self.effects > MOST_EFFECTS:
            broken(f"{unit.name}: no end of it without a turn of the loop")

    def tell(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.machine.time:10.2f}  {text}")

    def log(self, level: str, who: str, what: str) -> None:
        if self.trace is not None:
            self.tell(f"    {level}: {who}: {what}")
        if "internal error" in what:
            broken(f"{who}: {what}\n{traceback.format_exc()}")

    def go(self) -> int:
        """Run until the supervisor has ended; its exit status."""
        forwards = (Forward(USR1, USR1),) if self.random.random() < 0.1 else ()
        orders = Orders(self.random.random() < 0.3, self.random.choice((ALL, ALL, ALL, FIRST)), forwards)
        status = self.supervisor.run(orders)
        self.check_end(status)
        return status

    # While the supervisor waits

    def turn(self, timeout: float | None) -> list[tuple[int, int]]:
        self.check()
        self.effects = 0
        self.turns += 1
        if self.turns > MOST_TURNS:
            broken("it spins")
        ready = self.machine.watcher.ready()
        if timeout == 0.0 and (not ready or self.random.random() < 0.5):
            return []
        if not ready or self.random.random() < 0.15:
            self.happens(timeout)
            ready = self.machine.watcher.ready()
        if len(ready) > 1:
            self.random.shuffle(ready)
        return ready

    def happens(self, timeout: float | None) -> None:
        """Something happens in the world."""
        self.turns = 0
        if self.budget > 0:
            self.budget -= 1
            self.live(timeout)
        else:
            self.steps += 1
            if self.steps > MOST_STEPS:
                broken(f"the stop takes more than {MOST_STEPS} steps")
            self.die(timeout)

    def live(self, timeout: float | None) -> None:
        chosen, random = self.random.random(), self.random.random
        if chosen < 0.30:
            done = self.call()
        elif chosen < 0.45:
            done = self.exit()
        elif chosen < 0.60:
            done = self.say()
        elif chosen < 0.68:
            done = self.serve()
        elif chosen < 0.76:
            done = self.fork()
        elif chosen < 0.785:
            done = self.signal(HUP)
        elif chosen < 0.79:
            done = self.signal(USR1) if self.supervisor.orders.forwards else self.signal(HUP)
        elif chosen < 0.80:
            done = self.signal(self.random.choice(STOPS))
        elif chosen < 0.82:
            done = self.hang_up()
        elif chosen < 0.84:
            done = self.write_pid()
        elif chosen < 0.86:
            done = self.starve()
        elif chosen < 0.88:
            done = self.advance(random())
        else:
            done = self.time_out(timeout)
        if not done and not self.time_out(timeout):
            self.call()

    def die(self, timeout: float | None) -> None:
        """The way to the end: who was asked to go goes, sooner or later, or time passes."""
        if not self.stops or (self.stops < 3 and self.random.random() < 0.04):
            self.signal(self.random.choice(STOPS))
            return
        chosen = self.random.random()
        if chosen < 0.05 and self.call():
            return
        if chosen < 0.1 and self.say():
            return
        if chosen < 0.12 and self.starve():
            return
        if chosen < 0.65 and self.exit(going=True):
            return
        if not self.time_out(timeout) and not self.exit(going=True):
            broken("it waits, and nothing is left to wait for")

    def alive(self) -> list[Process]:
        return [process for process in self.machine.processes.values() if process.end is None]

    def someone(self) -> Process | None:
        alive = [process for process in self.alive() if not process.frozen]
        return self.random.choice(alive) if alive else None

    # What may happen; each tells whether it could

    def call(self) -> bool:
        """A client connects or writes."""
        found = [thing for thing in self.machine.things.values() if isinstance(thing, Port) and thing.bound]
        if not found:
            return False
        for _ in range(self.random.choice((1, 1, 2, 4))):
            port = self.random.choice(found)
            self.clients += 1
            port.waiting.append(self.clients)
            self.tell(f"client {self.clients} calls {port.path or port.family}")
        return True

    def exit(self, going: bool = False) -> bool:
        """A process ends by itself; `going`: one that is on its way."""
        random = self.random
        found = [process for process in self.alive() if not process.unkillable and not process.hangs]
        if going:
            found = [process for process in found if process.asked or not process.is_main]
        if not found:
            return False
        process = random.choice(found)
        how = random.choice(ENDS)
        self.tell(f"{process.pid} ({process.program}) ends: {how}")
        self.machine.ends(process, how)
        return True

    def starve(self) -> bool:
        """A process is killed for want of memory, if one is where memory is limited."""
        groups = self.machine.groups
        found = [process for process in self.alive() if process.home in groups.kills and not process.unkillable]
        if not found:
            return False
        process = self.random.choice(found)
        unit = self.supervisor.work.services.get(process.home)
        self.tell(f"{process.pid} ({process.program}) is killed for want of memory")
        if unit and unit.result == "success" and unit.unit.service.oom_policy != "continue" and unit.state not in ENDED:
            self.starved.add(unit.invocation)
        groups.oom_kill(process)
        return True

    def say(self) -> bool:
        """A process sends a message, as a rule a sensible one."""
        ear, process, random = self.machine.ear, self.someone(), self.random
        if ear is None or process is None:
            return False
        things: tuple[Thing, ...] = ()
        text = random.choice(MESSAGES)
        if random.random() < 0.4 and process.is_main:
            text = "READY=1"
        elif text.endswith("MAINPID="):
            other = self.someone()
            text += str(other.pid if other and random.random() < 0.8 else 99999)
        elif "FD" in text or "BARRIER" in text:
            one: Thing = File(random.random() < 0.7)
            things = random.choice(((one,), (one, one), (one, File(True)), process.things[:1] or (one,)))
        self.tell(f"{process.pid} says {text!r}{f' and sends {len(things)}' if things else ''}")
        ear.messages.append((text.encode(), process.pid, things))
        return True

    def serve(self) -> bool:
        """A process takes what waits at its sockets, or spoils them."""
        holders = [process for process in self.alive() if any(isinstance(thing, Port) for thing in process.things)]
        if not holders:
            return False
        for thing in self.random.choice(holders).things:
            if isinstance(thing, Port):
                if thing.waiting:
                    self.tell(f"client {thing.waiting[0]} is served")
                    thing.waiting.popleft()
                if thing.stream and self.random.random() < 0.05:
                    thing.shut_down = True
        return True

    def fork(self) -> bool:
        """A process makes another one, in its group, in one of its own, or behind a middleman."""
        parent = self.someone()
        return parent is not None and self.forks(parent) is not None

    def forks(self, parent: Process, way: str = "") -> Process | None:
        machine, random = self.machine, self.random
        way = way or random.choice(("stay", "stay", "session", "hide", "alien"))
        group = parent.group if way == "stay" else 0
        # Behind a middleman that ends at once it is an orphan, and so ours, at once.
        above = {"hide": 0 if machine.adopts and parent.parent >= 0 else -1, "alien": -1}.get(way, parent.pid)
        invocation = "" if way == "alien" else parent.invocation
        child = machine.make(group, above if parent.parent >= 0 else -1, invocation, "/child")
        child.things = parent.things
        child.home = "" if way == "alien" else parent.home
        self.behave(child)
        self.tell(f"{parent.pid} forks {child.pid} ({way}){self.nature(child)}")
        return child

    def behave(self, process: Process) -> None:
        chance = self.random.random
        process.ignores = chance() < (0.5 if self.wild else 0.1)
        process.unkillable = chance() < (0.1 if self.wild else 0.005)
        if process.unkillable:
            # Whoever waits for it gives up the others, too.
            self.machine.undead.add(process.invocation)
        process.hangs = process.ignores and chance() < 0.5

    def nature(self, process: Process) -> str:
        words = [word for word in ("ignores", "unkillable", "hangs") if getattr(process, word)]
        return f", {' '.join(words)}" if words else ""

    def signal(self, number: int) -> bool:
        if number in STOPS:
            self.stops += 1
        self.tell(f"signal {linux.signal_name(number)}")
        self.machine.signal(number)
        return True

    def hang_up(self) -> bool:
        """The other end of something that is stored goes."""
        found = [thing for thing in self.machine.things.values() if isinstance(thing, File) and thing.pollable]
        for thing in found[:1]:
            self.tell("a stored descriptor hangs up")
            thing.hung_up = True
        return bool(found)

    def write_pid(self) -> bool:
        process = self.someone()
        self.machine.files["/run/web.pid"] = self.random.choice((b"", b"x", b"1", b"%d\n" % (process.pid if process else 99999)))
        return True

    def advance(self, seconds: float) -> bool:
        self.machine.time += seconds
        return True

    def time_out(self, timeout: float | None) -> bool:
        if timeout is None:
            return False
        self.tell(f"{timeout:g} s pass")
        return self.advance(timeout + A_MOMENT)

    def executed(self, image: Image, process: Process) -> None:
        """A program begins."""
        machine, random, program = self.machine, self.random, process.program
        unit = self.owner(process)
        if unit is not None:
            role = "main" if process.is_main and program != "/m-forking" else "control"
            if role in unit.pids:
                broken(f"{unit.name}: a second {role} process {program} starts while {unit.pids[role]} runs")
            if process.is_main:
                self.check_alone(unit, process)
        self.behave(process)
        self.tell(f"{unit.name if unit else '?'}: {process.pid} is {program}{self.nature(process)}")
        if program.startswith("/c-"):
            process.hangs = program == "/c-hang"
            if program in ("/c-fork", "/c-hide"):
                self.forks(process, "stay" if program == "/c-fork" else "hide")
            if program not in ("/c-slow", "/c-hang"):
                machine.ends(process, Exit(1 if program == "/c-fail" else 0))
        elif program == "/m-forking" and random.random() < 0.8:
            machine.files.pop("/run/web.pid", None)
            child = self.forks(process, random.choice(("stay", "stay", "hide", "session", "alien")))
            if child and random.random() < 0.6:
                machine.files["/run/web.pid"] = b"%d" % child.pid
            if random.random() < 0.3:
                self.forks(process, "stay")
            if random.random() < 0.8:
                machine.ends(process, Exit(0 if random.random() < 0.9 else 1))
        elif random.random() < (0.7 if "oneshot" in program else 0.15):
            machine.ends(process, Exit(0 if random.random() < 0.7 else 1))

    # What must hold

    def owner(self, process: Process) -> Service | Socket | None:
        found = self.owners.get(process.invocation)
        if found is None:
            for socket in self.supervisor.work.sockets.values():
                if socket.invocation == process.invocation:
                    return socket
        return found

    def check_alone(self, unit: Service | Socket, process: Process) -> None:
        """The main process of a start is the only one, unless an earlier one could or should not be ended."""
        for other in self.machine.processes.values():
            if other is process or not other.is_main or not other.alive or other.invocation == process.invocation:
                continue
            if self.owner(other) is unit and self.must_go(unit, other):
                broken(f"{unit.name}: {other.pid} still runs, and {process.pid} starts")

    def must_go(self, unit: Service | Socket, process: Process) -> bool:
        """Whether no process of this kind outlives its unit."""
        settings = unit.unit.service if isinstance(unit, Service) else unit.unit.socket
        if process.unkillable or settings.kill_mode not in ("control-group", "mixed"):
            return False
        if not process.home and (process.parent < 0 or not self.machine.adopts):
            return False
        if self.machine.faults or process.invocation in self.machine.undead:
            return False
        return isinstance(unit, Socket) or (unit.unit.service.send_sigkill and unit.unit.service.final_kill_signal == KILL)

    def check(self) -> None:
        """When the supervisor waits, all is as it should be."""
        machine, work = self.machine, self.supervisor.work
        if self.supervisor.queue:
            broken("it waits, and has not done all it had to do")
        for name, blockers in self.supervisor.jobs._starting.items():
            if not any(self.comes(other) for other in blockers):
                broken(f"{name} waits to be started for {blockers or 'nobody'}")
        things, expected = machine.things, 2 if machine.things else 0
        expected += machine.ear is not None
        expected += sum(isinstance(thing, Group | Memory) for thing in things.values())
        self.check_groups()
        self.check_memory()
        for socket in work.sockets.values():
            expected += self.check_socket(socket)
        for service in work.services.values():
            expected += self.check_service(service)
        if expected != len(things) - self.pidfds():
            broken(f"{expected} descriptors are of use, and these are open: {sorted(things.items())}")
        if CHLD not in machine.wakeup.data:
            for process in machine.processes.values():
                if process.parent == 0 or process.home:
                    self.check_process(process)

    def check_groups(self) -> None:
        """A control group is there for a unit, or for those that are left of one, and is watched as long as nothing else would
        tell of its end."""
        machine, watches = self.machine, self.supervisor.work.processes._groups._watches
        watched = {machine.things[fd] for fd in machine.watcher.masks}
        ended = {thing.name for thing in watched if isinstance(thing, Group)}
        for unit in watches:
            waits = isinstance(unit, Service) and unit.state in BY_ANYBODY
            alone = waits and not unit.pids and bool(machine.groups.inside(unit.name))
            if alone and unit.name not in ended and not self.tries_again():
                broken(f"the group of {unit.name} has processes, no command runs, and nobody watches it")
        left = machine.groups.names - ended - {unit.name for unit in watches}
        if left and not machine.faults:
            broken(f"control groups are left: {left}")

    def check_memory(self) -> None:
        """The memory of a group is watched for a unit that is at work, once, if it is limited; who has lost a process fails."""
        machine, watches = self.machine, self.supervisor.work.processes._groups._watches
        watched = Counter(thing.name for thing in machine.things.values() if isinstance(thing, Memory))
        limited = {unit.name for unit in watches} & machine.groups.kills.keys()
        if watched.keys() - limited or any(count > 1 for count in watched.values()):
            broken(f"the memory of {dict(watched)} is watched, of {limited} it has to be")
        if limited - watched.keys() and not self.tries_again():
            broken(f"nobody watches the memory of {limited - watched.keys()}")
        for service in self.supervisor.work.services.values():
            untold = any(isinstance(thing, Memory) and thing.events() for thing in machine.things.values())
            if service.invocation in self.starved and not untold and not machine.faults:
                self.check_starved(service)

    def check_starved(self, service: Service) -> None:
        if service.result not in ("oom-kill", "start-limit-hit"):
            broken(f"{service.name} has lost a process for want of memory, and its result is {service.result}")
        if service.state in UP:
            broken(f"{service.name} has lost a process for want of memory, and is {service.state.value}")

    def leaves(self, service: Service) -> bool:
        """Whether processes are left of it, or what tells of their end is still to be read."""
        processes = self.supervisor.work.processes
        if not processes._groups.has(service):
            return processes.leftovers(service)
        watch = self.machine.things.get(processes._groups._watches[service])
        return bool(watch and watch.events()) or bool(self.machine.groups.inside(service.name)) or self.tries_again()

    def comes(self, name: str) -> bool:
        """Whether a service is on its way up, or down."""
        service = self.supervisor.work.services.get(name)
        return service is not None and (not service.over or name in self.supervisor.jobs._starting)

    def pidfds(self) -> int:
        found = [thing for thing in self.machine.things.values() if isinstance(thing, Pidfd)]
        if found:
            mains = [service.pids.get("main") for service in self.supervisor.work.services.values()]
            for pidfd in found:
                # One that has ended is to be read in the next turn.
                if pidfd.process.alive and pidfd.process.pid not in mains:
                    broken(f"process {pidfd.process.pid} is watched, and is no main process")
        return len(found)

    def check_process(self, process: Process) -> None:
        pid = process.pid
        if process.end is not None:
            broken(f"{pid} is a zombie, and nobody was told")
        unit = self.owner(process)
        if unit is None or unit.invocation != process.invocation:
            return
        if isinstance(unit, Service) and unit.state in ENDED and self.must_go(unit, process):
            broken(f"{unit.name} is {unit.state.value}, and {pid} still runs")
        if isinstance(unit, Socket) and unit.over and self.must_go(unit, process):
            broken(f"{unit.name} is {unit.state.value}, and {pid} still runs")

    def check_pids(self, unit: Service | Socket) -> None:
        for role, pid in unit.pids.items():
            if pid not in self.machine.processes and not self.is_watched(pid) and not self.tries_again():
                broken(f"{unit.name}: its {role} process {pid} is gone, and nobody was told")
        timer = unit.timer
        if timer and timer.callback is None:
            broken(f"{unit.name}: its timer was called off")

    def is_watched(self, pid: int) -> bool:
        return any(isinstance(thing, Pidfd) and thing.process.pid == pid for thing in self.machine.things.values())

    def check_socket(self, socket: Socket) -> int:
        """Check a socket; how many descriptors it has."""
        state, masks = socket.state, self.machine.watcher.masks
        listening = state is SocketState.LISTENING and self.supervisor.sockets.complete
        for port in socket.ports:
            if (port.fd in masks) is not listening and not (listening and self.rests(port.fd)):
                broken(f"{socket.name} is {state.value}, and {port.port} is {'' if port.fd in masks else 'not '}watched")
        if socket.ports and state in CLOSED:
            broken(f"{socket.name} is {state.value}, and its ports are open")
        settings = socket.unit.socket
        if settings.accept:
            if len(socket.sources) > settings.max_connections:
                broken(f"{socket.name}: {len(socket.sources)} connections")
            if settings.max_connections_per_source:
                most = max(Counter(map(str, socket.sources.values())).values(), default=0)
                if most > settings.max_connections_per_source:
                    broken(f"{socket.name}: {most} connections of one source")
        elif listening or state is SocketState.RUNNING:
            self.check_ownership(socket)
        self.check_pids(socket)
        if state in SOCKET_COMMANDS and not socket.pids:
            broken(f"{socket.name} waits in {state.value} for nobody")
        if state in (*SOCKET_ENDING, SocketState.PAUSED) and not socket.timer:
            broken(f"{socket.name} waits in {state.value} without a timer")
        return len(socket.ports)

    def tries_again(self) -> bool:
        """Whether accepting or watching has just failed: it is tried again a second later."""
        return self.machine.time - self.machine.failed_at <= 1.0 + A_MOMENT

    def rests(self, fd: int) -> bool:
        """Whether a port is left alone for a while, because it was readable too often, or because something failed."""
        watch = self.supervisor.work.loop._watched.get(fd)
        if watch and self.machine.time <= watch.window.began + watch.limit[0]:
            return True
        return self.tries_again()

    def check_ownership(self, socket: Socket) -> None:
        """While a service has the sockets nobody else looks at them, and else somebody does."""
        work = self.supervisor.work
        owned = [
            service
            for service in work.services.values()
            if socket.unit in work.units.sockets_of(service.unit) and service.socket is None
        ]
        if socket.state is SocketState.RUNNING:
            waiting = self.supervisor.jobs._starting
            if all(service.state in OVER and service.name not in waiting for service in owned):
                broken(f"{socket.name} is running, and no service has it")
            return
        for service in owned:
            pid = service.pids.get("main")
            process = self.machine.processes.get(pid or 0)
            # One of those that are being killed may still say that it is the main process.
            if process and service.state not in ENDED and (process.is_main or service.state not in ENDING):
                broken(f"{socket.name} listens, and the main process {pid} of {service.name} has it")

    def check_service(self, service: Service) -> int:
        """Check a service; how many descriptors it has."""
        state, pids = service.state, service.pids
        self.check_pids(service)
        waits = f"{service.name} waits in {state.value}"
        if state in BY_CONTROL and "control" not in pids:
            broken(f"{waits} for nobody")
        if state in OVER or state is ServiceState.EXITED:
            if service.timer:
                broken(f"{service.name} is {state.value}, and has a timer")
            if state in OVER and pids:
                broken(f"{service.name} is {state.value}, and has processes")
        elif not service.timer and (state not in ENDLESS):
            broken(f"{waits} without a timer")
        if state in BY_ANYBODY and not pids and not self.leaves(service):
            broken(f"{waits} for nobody")
        if state is ServiceState.START and not pids and not service.unit.service.pid_file and not self.goes_on(service):
            broken(f"{waits} for nobody")
        if state in UP and "main" not in pids and service.main_known and not self.goes_on(service):
            broken(f"{service.name} is {state.value}, and its main process has ended")
        held = len(service.stored)
        if held > service.unit.service.fd_store_most:
            broken(f"{service.name}: {held} descriptors are stored")
        return held + (service.accepted is not None and service.accepted.fd >= 0)

    def goes_on(self, service: Service) -> bool:
        """Whether any process of it is as good as its main one."""
        return service.unit.service.exit_type == "cgroup" and self.leaves(service)

    def check_end(self, status: int) -> None:
        """Nothing is left."""
        machine, work = self.machine, self.supervisor.work
        preserved = [stored.fd for service in work.services.values() for stored in service.stored]
        left = {fd: thing for fd, thing in machine.things.items() if fd not in preserved and not isinstance(thing, Ear | Group)}
        if len(left) > 2:
            broken(f"descriptors are left open: {left}")
        if CHLD not in machine.wakeup.data:
            for process in machine.processes.values():
                if process.parent == 0 or process.home:
                    self.check_process(process)
        if status and self.supervisor.stops and self.supervisor.status is None:
            broken(f"stopped, and the status is {status}")
        for service in work.services.values():
            if service.socket:
                broken(f"{service.name} is left")
            if service.stored and service.unit.service.fd_store_preserve != "yes":
                broken(f"{service.name} has stored descriptors")
        for name, socket in self.units.sockets.items():
            if socket.socket.remove_on_stop and not machine.faults:
                left_over = [path for path in paths(socket) if path in machine.nodes]
                if left_over:
                    broken(f"{name} leaves {left_over}")


def paths(socket: SocketUnit) -> list[str]:
    """The nodes of a socket."""
    return [path for listen in socket.socket.listen if (path := getattr(listen.address, "path", ""))]


MESSAGES = (
    *("READY=1", "READY=1", "STOPPING=1", "RELOADING=1", "RELOADING=1\nREADY=1", "STATUS=fine", "ERRNO=5"),
    *("WATCHDOG=1", "WATCHDOG=trigger", "WATCHDOG_USEC=1000000", "EXTEND_TIMEOUT_USEC=3000000", "MAINPID=", "MAINPID="),
    *("RESTART_RESET=1", "NOTIFYACCESS=all", "NOTIFYACCESS=none", "NOTIFYACCESS=x", "MAINPIDFD=1", "MAINPIDFDID=1\nMAINPID="),
    *("FDSTORE=1", "FDSTORE=1\nFDNAME=a", "FDSTORE=1\nFDNAME=a\nFDPOLL=0", "FDSTOREREMOVE=1\nFDNAME=a", "BARRIER=1"),
    *("", "\n\n=", "READY=2", "MAINPID=-1", "WATCHDOG_USEC=x", "FDSTORE=1\nFDNAME=a:b"),
)


# Many runs


def broken_by(seed: int) -> str:
    """Run one seed; what went wrong, if anything did."""
    try:
        Run(seed).go()
    except BrokenPromiseError as promise:
        return str(promise)
    except Exception:
        return traceback.format_exc()
    return ""


def told(seed: int) -> str:
    """The story of a run."""
    run = Run(seed, trace=True)
    try:
        end = f"exit status {run.go()}"
    except BrokenPromiseError as promise:
        end = f"BROKEN: {promise}"
    except Exception:
        end = f"BROKEN: {traceback.format_exc()}"
    number = Random(seed).randrange(POOL)
    how = f"replay with: python -m tests.simulation --runs 1 --seed {seed}"
    return "\n".join([text_of(number), *(run.trace or ()), end, how])


def _some(task: tuple[int, int]) -> list[tuple[int, str]]:
    first, count = task
    gc.disable()
    found = []
    for seed in range(first, first + count):
        what = broken_by(seed)
        if what:
            found.append((seed, what))
        if seed % 200 == 0:
            gc.collect()
    return found


CHUNK = 500


def many(runs: int, seed: int, stop_after: int = 1) -> list[tuple[int, str]]:
    """Run seeds on all processors; those that broke a promise, and which."""
    tasks = [(first, min(CHUNK, seed + runs - first)) for first in range(seed, seed + runs, CHUNK)]
    found: list[tuple[int, str]] = []
    with get_context("spawn").Pool() as pool:
        for some in pool.imap_unordered(_some, tasks):
            found += some
            if len(found) >= stop_after:
                pool.terminate()
                break
    return sorted(found)


def main() -> int:
    parser = argparse.ArgumentParser(description="simulated runs of the supervisor")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000_000)
    parser.add_argument("--most", type=int, default=1, help="stop after so many broken runs")
    asked = parser.parse_args()
    if asked.runs == 1:
        story = told(asked.seed)
        print(story)
        return "BROKEN" in story
    print(f"seed {asked.seed}", flush=True)
    began = time.monotonic()
    found = many(asked.runs, asked.seed, asked.most)
    if not found:
        print(f"{asked.runs} runs in {time.monotonic() - began:.0f} s")
    kinds = Counter("".join(c for c in what.splitlines()[0] if not c.isdigit())[:90] for _, what in found)
    for kind, count in kinds.most_common() if asked.most > 1 else ():
        example = next(seed for seed, what in found if "".join(c for c in what.splitlines()[0] if not c.isdigit())[:90] == kind)
        print(f"{count:6}  {kind}   (--seed {example})")
    if found and asked.most == 1:
        print(told(found[0][0]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
