"""Type=forking: the main process is found, its end is noticed, it is ended with the service; and what PIDFile= may not do."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import PATIENCE, SERVICES, Supervisor, alive, eventually, write_units
from tests.services import POST, acting, end, kept, outcome, said, sh, starts, supervised, text

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a service as somebody else")

DAEMON = "daemon(lambda: (say('daemon', os.getpid()), wait()))"
"""Forks twice, in a session of its own."""


def daemon(folder: Path, body: str = DAEMON) -> str:
    return f"Type=forking\nExecStart={acting(folder, body, 'daemon')}"


def writes(path: object, number: str = "os.getpid()") -> str:
    """A daemon that writes a pid into a file before it says so."""
    return f"daemon(lambda: (Path('{path}').write_text(f'{{{number}}}\\n'), say('daemon', os.getpid()), wait()))"


def daemons(supervisor: Supervisor, count: int = 1) -> list[int]:
    """The pids that the daemons said."""
    return [int(line.split()[1]) for line in supervisor.wait_log("daemon ", count) if line.startswith("daemon ")]


def main_process(supervisor: Supervisor, count: int = 1) -> int:
    return int(supervisor.wait_log("the main process is ", count)[-1].rpartition(" ")[2])


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is none of the supervisor's."""
    with subprocess.Popen(["/bin/sleep", "1000"]) as process:
        yield process.pid
        process.kill()


# --- the main process is found


def test_the_one_process_that_is_left_is_the_main_process_also_in_a_session_of_its_own(tmp_path: Path) -> None:
    stop = "ExecStop=/bin/echo stop $MAINPID"
    with kept(tmp_path, daemon(tmp_path), stop, POST) as supervisor:
        (pid,) = daemons(supervisor)
        assert main_process(supervisor) == pid
        supervisor.wait_log("is running")
        assert supervisor.end() == 0
        assert said(supervisor)[1:] == [f"stop {pid}", "post [success] [killed] [TERM]"]
        assert not alive(pid)


def test_a_process_that_only_stayed_in_the_background_is_found_too(tmp_path: Path) -> None:
    with kept(tmp_path, "Type=forking", f"ExecStart={sh('sleep 1000 & echo daemon $!')}") as supervisor:
        (pid,) = daemons(supervisor)
        assert main_process(supervisor) == pid
        assert supervisor.end() == 0
        assert not alive(pid)


def test_commands_after_the_start_run_when_the_first_process_has_ended_and_know_the_main_one(tmp_path: Path) -> None:
    body = f"{DAEMON}\nsay('first ends')"
    with kept(tmp_path, daemon(tmp_path, body), "ExecStartPost=/bin/echo post $MAINPID") as supervisor:
        (pid,) = daemons(supervisor)
        supervisor.wait_log(f"post {pid}")
        assert supervisor.log.index("first ends") < supervisor.log.index(f"post {pid}")


def test_without_guessing_there_is_no_main_process_and_yet_all_are_ended(tmp_path: Path) -> None:
    lines = (daemon(tmp_path), "GuessMainPID=no", f"ExecStop={sh('echo stop ${MAINPID:-nobody}')}", POST)
    with kept(tmp_path, *lines) as supervisor:
        (pid,) = daemons(supervisor)
        supervisor.wait_log("is running")
        assert alive(pid)
        assert supervisor.end() == 0
        assert said(supervisor)[1:] == ["stop nobody", "post [success] [] []"]
        assert not alive(pid)


def test_of_two_processes_neither_is_the_main_one_and_the_service_lasts_until_both_have_ended(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": text(daemon(tmp_path, f"{DAEMON}\n{DAEMON}"), POST)})
    with supervised(unit) as supervisor:
        first, second = daemons(supervisor, 2)
        supervisor.wait_log("is running")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not alive(first), "the first one has ended")
        assert supervisor.process.poll() is None
        assert alive(second)
        os.kill(second, signal.SIGKILL)
        assert supervisor.wait() == 0
        assert said(supervisor)[2:] == ["post [success] [] []"]


def test_a_service_that_leaves_no_process_behind_is_over(tmp_path: Path) -> None:
    stop = "ExecStop=/bin/echo stop"
    assert outcome(tmp_path, "Type=forking", "ExecStart=/bin/true", stop, POST) == (0, ["stop", "post [success] [] []"])


def test_a_service_that_leaves_no_process_behind_may_remain(tmp_path: Path) -> None:
    lines = ("Type=forking", "ExecStart=/bin/true", "RemainAfterExit=yes", "ExecStop=/bin/echo stop")
    with kept(tmp_path, *lines, "ExecStartPost=/bin/echo after") as supervisor:
        eventually(lambda: "after" in supervisor.log, "it has started")
        assert supervisor.end() == 0
        assert said(supervisor) == ["after", "stop"]


# --- PIDFile=


def test_the_pid_file_names_the_main_process_among_several(tmp_path: Path) -> None:
    body = f"{DAEMON}\n{writes(tmp_path / 'pid')}\nwhile not (folder / 'pid').exists(): time.sleep(0.01)"
    with kept(tmp_path, daemon(tmp_path, body), f"PIDFile={tmp_path}/pid") as supervisor:
        pids = daemons(supervisor, 2)
        pid = main_process(supervisor)
        assert pid == int((tmp_path / "pid").read_text())
        assert supervisor.end() == 0
        assert not any(map(alive, pids))


@root_only
def test_a_relative_pid_file_is_below_run(tmp_path: Path) -> None:
    path = Path(f"/run/sockact-test-{os.getpid()}.pid")
    try:
        with kept(tmp_path, daemon(tmp_path, writes(path)), f"PIDFile={path.name}") as supervisor:
            assert main_process(supervisor) == daemons(supervisor)[0]
        assert not path.exists()
    finally:
        path.unlink(missing_ok=True)


def test_a_pid_file_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    body = f"""
        def live():
            say("daemon", os.getpid())
            Path("{gate}").read_text()
            (folder / "new").write_text(f"{{os.getpid()}}")
            (folder / "new").rename(folder / "pid")
            wait()
        daemon(live)
    """
    with kept(tmp_path, daemon(tmp_path, body), f"PIDFile={tmp_path}/pid") as supervisor:
        (pid,) = daemons(supervisor)
        assert not any("is running" in line for line in supervisor.log)
        gate.write_text("\n")
        assert main_process(supervisor) == pid
        supervisor.wait_log("is running")


def test_a_pid_file_may_be_written_by_a_command_after_the_start(tmp_path: Path) -> None:
    body = "daemon(lambda: ((folder / 'told').write_text(str(os.getpid())), say('daemon', os.getpid()), wait()))"
    script = f"while ! test -s {tmp_path}/told; do sleep 0.02; done; cp {tmp_path}/told {tmp_path}/pid"
    lines = (daemon(tmp_path, body), f"PIDFile={tmp_path}/pid", f"ExecStartPost={sh(script)}", "GuessMainPID=no")
    with kept(tmp_path, *lines) as supervisor:
        assert main_process(supervisor) == daemons(supervisor)[0]
        supervisor.wait_log("is running")


def test_a_pid_file_that_nobody_is_left_to_write_is_a_failure_at_once(tmp_path: Path) -> None:
    lines = ("Type=forking", "ExecStart=/bin/true", f"PIDFile={tmp_path}/pid", "TimeoutStartSec=1h", POST)
    status, words = outcome(tmp_path, *lines)
    assert (status != 0, words) == (True, ["post [protocol] [] []"])


def test_a_pid_file_whose_writer_ends_before_writing_it_is_a_failure_at_once(tmp_path: Path) -> None:
    body = "daemon(lambda: (say('daemon', os.getpid()), wait()))"
    lines = (daemon(tmp_path, body), f"PIDFile={tmp_path}/pid", "TimeoutStartSec=1h", POST)
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        (pid,) = daemons(supervisor)
        os.kill(pid, signal.SIGTERM)
        assert supervisor.wait() != 0
        assert said(supervisor)[1:] == ["post [protocol] [] []"]


WRONG = ["", "x", "1", "0", "-1", "4194305", "99999999999999999999", "1 2", "१२"]


@pytest.mark.parametrize("content", WRONG)
def test_a_pid_file_with_anything_else_than_the_pid_of_somebody_is_not_believed(content: str, tmp_path: Path) -> None:
    body = f"daemon(lambda: ((folder / 'pid').write_text('{content}'), say('daemon', os.getpid()), wait()))"
    lines = (daemon(tmp_path, body), f"PIDFile={tmp_path}/pid", "TimeoutStartSec=1s", POST)
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        (pid,) = daemons(supervisor)
        assert supervisor.wait() != 0
        assert said(supervisor)[1:] == ["post [timeout] [] []"]
        assert not alive(pid), "it is ended with the service all the same"


def test_a_pid_file_that_names_the_supervisor_is_not_believed(tmp_path: Path) -> None:
    """It would otherwise end itself by killing its service."""
    script = sh(f"sleep 1000 & echo $PPID >{tmp_path}/pid; echo daemon $!")
    lines = (
        "Type=forking",
        f"ExecStart={script}",
        f"PIDFile={tmp_path}/pid",
        "TimeoutStartSec=1s",
        "KillSignal=SIGUSR2",
        POST,
    )
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        (pid,) = daemons(supervisor)
        try:
            assert supervisor.process.wait(PATIENCE) > 0
        finally:
            end(pid)
        supervisor.wait()
        assert said(supervisor)[1:] == ["post [timeout] [] []"]


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_a_pid_file_that_is_no_file_does_not_hang_the_supervisor(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    lines = (daemon(tmp_path), f"PIDFile={path}", "TimeoutStartSec=200ms", POST)
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        assert supervisor.wait() != 0
        assert said(supervisor)[1:] == ["post [timeout] [] []"]


@root_only
def test_a_service_without_privileges_cannot_have_a_stranger_killed_by_naming_it(tmp_path: Path, stranger: int) -> None:
    """PIDFile= in a folder of the service: under systemd the file must belong to root if the process is not of the service."""
    tmp_path.chmod(0o755)
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    own = tmp_path / "own"
    own.mkdir()
    own.chmod(0o777)
    command = sh(f"sleep 1000 & echo {stranger} >{own}/pid; echo daemon $!")
    lines = ("Type=forking", "User=nobody", f"ExecStart={command}", f"PIDFile={own}/pid", "TimeoutStartSec=1s", POST)
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        assert supervisor.wait() != 0
        assert said(supervisor)[1:] == ["post [timeout] [] []"]
    assert alive(stranger)


def test_the_end_of_a_main_process_that_is_no_child_of_ours_is_noticed(tmp_path: Path, stranger: int) -> None:
    """root's own file may name whom it likes; nobody tells how such a process ended."""
    body = writes(tmp_path / "pid", str(stranger))
    with kept(tmp_path, daemon(tmp_path, body), f"PIDFile={tmp_path}/pid", POST) as supervisor:
        assert main_process(supervisor) == stranger
        supervisor.wait_log("is running")
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)
        supervisor.wait_log("post [success]")


def test_the_pid_file_is_removed_when_the_service_is_over(tmp_path: Path) -> None:
    with kept(tmp_path, daemon(tmp_path, writes(tmp_path / "pid")), f"PIDFile={tmp_path}/pid") as supervisor:
        pid = main_process(supervisor)
        os.kill(pid, signal.SIGTERM)
        supervisor.wait_log("ended: killed by SIGTERM")
        eventually(lambda: not (tmp_path / "pid").exists(), "the file is gone")


def test_the_pid_file_is_removed_before_a_restart_so_that_the_old_one_is_not_believed(tmp_path: Path) -> None:
    look = sh(f"test -e {tmp_path}/pid && echo stale; true")
    lines = (daemon(tmp_path, writes(tmp_path / "pid")), f"PIDFile={tmp_path}/pid", f"ExecStartPre={look}")
    with kept(tmp_path, *lines, "Restart=always", "RestartSec=0") as supervisor:
        os.kill(main_process(supervisor), signal.SIGKILL)
        assert main_process(supervisor, 2) == daemons(supervisor, 2)[1]
        assert "stale" not in supervisor.log


REPLACES_ITSELF = """
    def name_me():
        (folder / "new").write_text(str(os.getpid()))
        (folder / "new").rename(folder / "pid")
        say("daemon", os.getpid())
    def hand_over():
        daemon(lambda: (name_me(), wait()))
        while (folder / "pid").read_text() == str(os.getpid()):
            time.sleep(0.01)
        os._exit(0)
    daemon(lambda: (on("USR1", hand_over), name_me(), wait()))
"""


def test_a_daemon_may_replace_itself_by_another_if_it_writes_the_pid_file_first(tmp_path: Path) -> None:
    lines = (daemon(tmp_path, REPLACES_ITSELF), f"PIDFile={tmp_path}/pid", "ExecStop=/bin/echo stop $MAINPID", POST)
    with kept(tmp_path, *lines) as supervisor:
        first = main_process(supervisor)
        supervisor.wait_log("is running")
        os.kill(first, signal.SIGUSR1)
        second = daemons(supervisor, 2)[1]
        assert main_process(supervisor, 2) == second
        assert supervisor.end() == 0
        assert said(supervisor)[2:] == [f"stop {second}", "post [success] [killed] [TERM]"]
        assert not alive(second)


# --- its end

ENDS = {"sys.exit(0)": ("[success] [exited] [0]", 0), "sys.exit(3)": ("[exit-code] [exited] [3]", 3)}


@pytest.mark.parametrize("act", ENDS)
def test_how_the_daemon_ended_is_known(act: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    body = f"daemon(lambda: (Path('{gate}').read_text(), {act}))"
    words, status = ENDS[act]
    (unit,) = write_units(tmp_path, {"one.service": text(daemon(tmp_path, body), POST)})
    with supervised(unit) as supervisor:
        supervisor.wait_log("is running")
        gate.write_text("\n")
        assert supervisor.wait() == status
        assert said(supervisor) == [f"post {words}"]


@pytest.mark.parametrize(
    ("number", "status", "words"), [(9, 137, "[signal] [killed] [KILL]"), (15, 0, "[success] [killed] [TERM]")]
)
def test_the_end_of_the_main_process_is_the_end_of_the_service_though_others_are_left(
    number: int, status: int, words: str, tmp_path: Path
) -> None:
    worker = "fork(lambda: (say('worker', os.getpid()), wait()))"
    body = f"daemon(lambda: ((folder / 'pid').write_text(str(os.getpid())), {worker}, wait()))"
    (unit,) = write_units(tmp_path, {"one.service": text(daemon(tmp_path, body), f"PIDFile={tmp_path}/pid", POST)})
    with supervised(unit) as supervisor:
        pid = int(next(line for line in supervisor.wait_log("worker ") if line.startswith("worker")).split()[1])
        supervisor.wait_log("is running")
        os.kill(main_process(supervisor), number)
        assert supervisor.wait() == status
        assert said(supervisor)[1:] == [f"post {words}"]
        assert not alive(pid)


def test_a_daemon_that_was_killed_is_started_again(tmp_path: Path) -> None:
    with kept(tmp_path, daemon(tmp_path), "Restart=on-failure", "RestartSec=0") as supervisor:
        os.kill(main_process(supervisor), signal.SIGKILL)
        second = main_process(supervisor, 2)
        assert alive(second)
        assert starts(supervisor) == 2


def test_a_first_process_that_fails_has_not_started_and_what_it_left_is_ended(tmp_path: Path) -> None:
    body = f"{DAEMON}\nwait_for = folder / 'x'\nsys.exit(4)"
    (unit,) = write_units(tmp_path, {"one.service": text(daemon(tmp_path, body), "ExecStop=/bin/echo stop", POST)})
    with supervised(unit) as supervisor:
        assert supervisor.wait() == 4
        words = said(supervisor)
        assert "post [exit-code] [] []" in words
        assert "stop" not in words
        assert not any(alive(int(line.split()[1])) for line in words if line.startswith("daemon "))


@pytest.mark.parametrize(("prefix", "more"), [("-", ""), ("", "SuccessExitStatus=4")])
def test_a_first_process_that_may_fail_has_started(prefix: str, more: str, tmp_path: Path) -> None:
    command = acting(tmp_path, f"{DAEMON}\nsys.exit(4)")
    with kept(tmp_path, "Type=forking", f"ExecStart={prefix}{command}", more) as supervisor:
        supervisor.wait_log("is running")
        assert alive(daemons(supervisor)[0])


def test_a_first_process_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    lines = (daemon(tmp_path, f"{DAEMON}\nwait()"), "TimeoutStartSec=1s", POST)
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        (pid,) = daemons(supervisor)
        assert supervisor.wait() != 0
        assert said(supervisor)[1:] == ["post [timeout] [] []"]
        assert not alive(pid)


def test_a_request_to_stop_while_the_pid_file_is_awaited_ends_all(tmp_path: Path) -> None:
    with kept(tmp_path, daemon(tmp_path), f"PIDFile={tmp_path}/pid", POST) as supervisor:
        (pid,) = daemons(supervisor)
        assert supervisor.end() == 0
        assert not alive(pid)


def test_real_shell_daemons_are_ended_as_well(tmp_path: Path) -> None:
    """family.sh in the background: a main process and a child of it."""
    (unit,) = write_units(
        tmp_path, {"one.service": text("Type=forking", f"ExecStart={sh(f'setsid {SERVICES}/family.sh dies dies &')}")}
    )
    with supervised(unit) as supervisor:
        supervisor.wait_log("child ")
        eventually(lambda: len(said(supervisor)) == 2, "both have said who they are")
        pids = [int(line.split()[1]) for line in said(supervisor)]
        assert supervisor.end() == 0
        assert not any(map(alive, pids))
        end(*pids)
