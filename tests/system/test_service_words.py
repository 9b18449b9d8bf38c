"""What a service may say of itself besides that it is ready: its main process, whom to hear, and that all is well again; and
services that run until the last of their processes has ended (ExitType=cgroup)."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.lab import alive, children, eventually, started, write_units
from tests.services import POST, acting, kept, outcome, said, sh, supervised, text

OPENS = "open(folder / 'gate').read()"
"""Waits until somebody opens the gate."""


def gate(folder: Path) -> Path:
    os.mkfifo(folder / "gate")
    return folder / "gate"


def open_gate(path: Path) -> None:
    path.write_text("\n")


def running(folder: Path, *act: str, notify: str = "main") -> tuple[str, ...]:
    """A service that does this, and is ready."""
    return (f"ExecStart={acting(folder, chr(10).join(act))}", "Type=notify", f"NotifyAccess={notify}", POST)


# --- the main process, by a descriptor of it


TWO = "pid = fork(wait)"


@pytest.mark.parametrize(
    "words",
    [
        "tell('MAINPIDFD=1', 'READY=1', fds=[os.pidfd_open(pid)])",
        "tell('MAINPIDFD=1', f'MAINPID={os.getpid()}', 'READY=1', fds=[os.pidfd_open(pid)])",
        "tell(f'MAINPID={pid}', f'MAINPIDFDID={os.fstat(os.pidfd_open(pid)).st_ino}', 'READY=1')",
    ],
)
def test_the_main_process_may_be_told_so_that_it_is_no_other(words: str, tmp_path: Path) -> None:
    with kept(tmp_path, *running(tmp_path, TWO, "say('child', pid)", words, "os._exit(0)")) as supervisor:
        child = int(supervisor.wait_log("child ")[0].split()[1])
        supervisor.wait_log(f"the main process is {child}")
        supervisor.wait_log("is running")
        eventually(lambda: child in children(supervisor.pid), "its parent has ended")
        os.kill(child, signal.SIGKILL)
        supervisor.wait_log("post [signal] [killed] [KILL]")


@pytest.mark.parametrize(
    "words",
    [
        "tell('MAINPIDFD=1', 'READY=1')",
        "tell('MAINPIDFD=1', f'MAINPID={pid}', 'READY=1')",
        "tell('MAINPIDFD=1', 'READY=1', fds=[os.pidfd_open(pid), os.pidfd_open(pid)])",
        "tell('MAINPIDFD=1', 'READY=1', fds=[0])",
        "gone = fork(lambda: None); fd = os.pidfd_open(gone); os.waitpid(gone, 0); tell('MAINPIDFD=1', 'READY=1', fds=[fd])",
        "tell(f'MAINPID={pid}', f'MAINPIDFDID={os.fstat(os.pidfd_open(os.getpid())).st_ino}', 'READY=1')",
        "tell(f'MAINPID={pid}', 'MAINPIDFDID=x', 'READY=1')",
        "tell('MAINPID=4194304', 'MAINPIDFDID=3', 'READY=1')",
    ],
)
def test_what_names_no_process_or_another_one_is_not_believed(words: str, tmp_path: Path) -> None:
    with kept(tmp_path, *running(tmp_path, TWO, words, "os.waitpid(pid, os.WNOHANG)", OPENS, "os._exit(3)")) as supervisor:
        path = gate(tmp_path) if not (tmp_path / "gate").exists() else tmp_path / "gate"
        supervisor.wait_log("is ignored: ")
        supervisor.wait_log("is running")
        assert not any("the main process is" in line for line in supervisor.log)
        open_gate(path)
        supervisor.wait_log("post [exit-code] [exited] [3]")


def test_the_descriptor_of_a_process_is_not_stored(tmp_path: Path) -> None:
    words = "tell('MAINPIDFD=1', 'FDSTORE=1', 'FDPOLL=0', 'READY=1', fds=[os.pidfd_open(pid)]); barrier(); os._exit(0)"
    lines = running(tmp_path, "say('handed', len(handed()))", "if not first_time(): wait()", TWO, words)
    with kept(tmp_path, *lines, "FileDescriptorStoreMax=4", "Restart=always", "RestartSec=0") as supervisor:
        main = int(supervisor.wait_log("the main process is ")[0].split()[-1])
        os.kill(main, signal.SIGKILL)
        supervisor.wait_log("handed", 2)
        assert [line for line in said(supervisor) if line.startswith("handed")] == ["handed 1"] * 2, "that is the FIFO"


# --- whom to hear


def test_a_service_may_have_all_of_it_heard_and_none_of_it_any_more(tmp_path: Path) -> None:
    act = (
        "def child(text): os.waitpid(fork(lambda: (tell(f'STATUS={text}'), barrier())), 0)",
        "os.waitpid(fork(lambda: tell('STATUS=early')), 0)",
        "tell('NOTIFYACCESS=all', 'READY=1'); child('heard')",
        "tell('NOTIFYACCESS=some'); child('still')",
        "tell('NOTIFYACCESS=none'); tell('STATUS=late'); say('done'); wait()",
    )
    with kept(tmp_path, *running(tmp_path, *act)) as supervisor:
        supervisor.wait_log("done")
        supervisor.end()
        told = [line.rpartition(": ")[2] for line in supervisor.log if ": status: " in line]
        assert told == ["heard", "still"]
        assert any("NOTIFYACCESS=some is ignored" in line for line in supervisor.log)


def test_whom_to_hear_is_forgotten_with_the_end_of_the_service(tmp_path: Path) -> None:
    act = (
        "if first_time(): tell('NOTIFYACCESS=none', 'READY=1'); os._exit(1)",
        "tell('STATUS=again', 'READY=1'); wait()",
    )
    with kept(tmp_path, *running(tmp_path, *act), "Restart=always", "RestartSec=0") as supervisor:
        supervisor.wait_log("status: again")


def test_commands_are_heard_after_that_too(tmp_path: Path) -> None:
    lines = running(tmp_path, "tell('NOTIFYACCESS=exec', 'READY=1')", "wait()")
    script = "echo reload [${NOTIFY_SOCKET:+there}]"
    with kept(tmp_path, *lines, f"ExecReload={sh(script)}", f"ExecStartPre={sh(script)}") as supervisor:
        supervisor.wait_log("is running")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log("one.service: reloaded")
        assert said(supervisor) == ["reload []", "reload [there]"]


def test_errors_are_in_the_log_by_their_kinds(tmp_path: Path) -> None:
    words = ("ERRNO=2", "BUSERROR=org.example.No", "VARLINKERROR=org.example.None")
    with kept(tmp_path, *running(tmp_path, f"tell('READY=1', *{words}); wait()")) as supervisor:
        for line in ("errno: 2", "buserror: org.example.No", "varlinkerror: org.example.None"):
            supervisor.wait_log(f"one.service: warning: {line}")


@pytest.mark.skipif(not shutil.which("systemd-notify"), reason="there is no systemd-notify here")
@pytest.mark.parametrize("kind", ["ExecStart", "ExecStartPost"])
def test_systemd_notify_speaks_for_itself_when_we_have_called_it(kind: str, tmp_path: Path) -> None:
    """Else it would speak for its parent, as for a shell script."""
    lines = [f"{kind}=/usr/bin/systemd-notify STATUS=here", "NotifyAccess=exec"]
    lines += ["ExecStart=/bin/sleep 1000"] if kind != "ExecStart" else []
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("one.service: status: here")


@pytest.mark.parametrize(("line", "value"), [("PIDFile={}/pid", "{}/pid"), ("", "")])
def test_commands_know_the_pid_file(line: str, value: str, tmp_path: Path) -> None:
    script = sh("echo [$PIDFILE]")
    words = outcome(tmp_path, line.format(tmp_path), f"ExecStartPre={script}", f"ExecStart={script}", f"ExecStopPost={script}")[1]
    assert words == [f"[{value.format(tmp_path)}]"] * 3


# --- restarts that are forgotten


@pytest.mark.parametrize(
    ("word", "delays"), [("STATUS=fine", ["0.01", "0.1", "1"]), ("RESTART_RESET=1", ["0.01", "0.01", "0.01"])]
)
def test_a_service_that_says_so_is_restarted_as_if_for_the_first_time(word: str, delays: list[str], tmp_path: Path) -> None:
    lines = running(tmp_path, "tell('READY=1'); barrier()", f"tell('{word}'); barrier(); os._exit(3)")
    again = ("Restart=always", "RestartSec=10ms", "RestartSteps=2", "RestartMaxDelaySec=1s", "StartLimitBurst=99")
    with kept(tmp_path, *lines, *again[:-1], unit=again[-1]) as supervisor:
        found = supervisor.wait_log("restarting in ", 3)
        assert [line.split()[-2] for line in found[:3]] == delays


def test_before_it_is_running_nothing_is_forgotten(tmp_path: Path) -> None:
    lines = running(tmp_path, "tell('RESTART_RESET=1'); barrier(); os._exit(3)")
    with kept(tmp_path, *lines, "Restart=always", "RestartSec=10ms", "RestartSteps=1", "RestartMaxDelaySec=20ms") as supervisor:
        found = supervisor.wait_log("restarting in ", 2)
        assert [line.split()[-2] for line in found[:2]] == ["0.01", "0.02"]


# --- services without a main process


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize(("status", "result"), [(0, "success"), (3, "exit-code")])
def test_a_service_may_run_until_its_last_process_has_ended(session: bool, status: int, result: str, tmp_path: Path) -> None:
    path = gate(tmp_path)
    act = f"fork(lambda: {OPENS}, session={session}); os._exit({status})"
    with kept(tmp_path, f"ExecStart={acting(tmp_path, act)}", "ExitType=cgroup", POST) as supervisor:
        supervisor.wait_log(f"ended: exit status {status}")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log("has no ExecReload=")
        assert said(supervisor) == []
        open_gate(path)
        supervisor.wait_log(f"post [{result}] [exited] [{status}]")


def test_what_is_left_is_stopped_with_the_service(tmp_path: Path) -> None:
    act = "fork(lambda: (say('left', os.getpid()), wait())); os._exit(0)"
    with kept(tmp_path, f"ExecStart={acting(tmp_path, act)}", "ExitType=cgroup", POST) as supervisor:
        supervisor.wait_log("ended: exit status 0")
        left = int(supervisor.wait_log("left ")[0].split()[1])
        supervisor.end()
        assert said(supervisor)[1:] == ["post [success] [exited] [0]"]
        assert not alive(left)


def test_a_service_is_started_again_when_its_last_process_has_ended(tmp_path: Path) -> None:
    path = gate(tmp_path)
    act = f"fork(lambda: {OPENS}); os._exit(0)"
    lines = (f"ExecStart={acting(tmp_path, act)}", "ExitType=cgroup", "Restart=always", "RestartSec=0")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("ended: exit status 0")
        assert not any("restarting" in line for line in supervisor.log)
        open_gate(path)
        supervisor.wait_log("ended: exit status 0", 2)


def test_who_is_left_may_say_that_the_service_is_ready(tmp_path: Path) -> None:
    path = gate(tmp_path)
    act = f"fork(lambda: ({OPENS}, tell('READY=1'), wait())); os._exit(0)"
    with kept(tmp_path, *running(tmp_path, act, notify="all"), "ExitType=cgroup") as supervisor:
        supervisor.wait_log("ended: exit status 0")
        open_gate(path)
        supervisor.wait_log("one.service: ready")
        supervisor.wait_log("is running")


def test_a_service_whose_last_process_never_was_ready_has_failed(tmp_path: Path) -> None:
    path = gate(tmp_path)
    act = f"fork(lambda: {OPENS}); os._exit(0)"
    with kept(tmp_path, *running(tmp_path, act, notify="all"), "ExitType=cgroup") as supervisor:
        supervisor.wait_log("ended: exit status 0")
        open_gate(path)
        supervisor.wait_log("post [protocol] [exited] [0]")


def test_a_socket_is_not_polled_while_anybody_of_its_service_is_left(tmp_path: Path) -> None:
    path = gate(tmp_path)
    act = f"say('up'); fork(lambda: {OPENS}); os._exit(0)"
    files = {
        "one.socket": f"[Socket]\nListenFIFO={tmp_path}/fifo",
        "one.service": text(f"ExecStart={acting(tmp_path, act)}", "ExitType=cgroup"),
    }
    with started(write_units(tmp_path, files)[0], arguments=("-v",)) as supervisor:
        fd = os.open(tmp_path / "fifo", os.O_RDWR)
        os.write(fd, b"x")
        supervisor.wait_log("ended: exit status 0")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log("has no ExecReload=")
        assert said(supervisor) == ["up"]
        open_gate(path)
        eventually(lambda: supervisor.log.count("up") == 2, "it is up again")
        os.close(fd)


def test_a_oneshot_service_ends_by_its_command_alone(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": text("Type=oneshot", "ExitType=cgroup", "ExecStart=/bin/true")})
    with supervised(unit) as supervisor:
        assert supervisor.wait() == 1
        eventually(lambda: any("SA012" in line for line in supervisor.log), "it is refused")
