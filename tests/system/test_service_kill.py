"""Whom the end of a service reaches, and by which signals: KillMode= and its signals; also who left the process group."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lab import PATIENCE, Supervisor, alive, eventually, write_units
from tests.services import POST, acting, end, kept, outcome, said, sh, supervised, text

TELLS = """
    def live(who):
        on("TERM", lambda: say(who, "TERM"))
        on("HUP", lambda: say(who, "HUP"))
        on("INT", lambda: (say(who, "INT"), os._exit(0)))
        say(who, os.getpid())
        wait()
    fork(lambda: live("child"))
    live("main")
"""
"""A main process and its child; of what they hear only SIGINT, and what nobody survives, ends them."""


def family(folder: Path, *lines: str) -> tuple[str, ...]:
    return (f"ExecStart={acting(folder, TELLS)}", "TimeoutStopSec=500ms", *lines, POST)


def pids(supervisor: Supervisor, *names: str) -> list[int]:
    """The pids that they said."""
    found = []
    for name in names:
        supervisor.wait_log(f"{name} ")
        eventually(lambda name=name: any(line.startswith(f"{name} ") for line in supervisor.log), name)  # type: ignore[misc]
        found.append(int(next(line for line in supervisor.log if line.startswith(f"{name} ")).split()[1]))
    return found


def heard(supervisor: Supervisor) -> set[str]:
    return {line for line in said(supervisor) if line.split()[-1] in ("TERM", "HUP", "INT")}


REACHED = {
    # asked, killed: who hears KillSignal=, and whether both are gone in the end
    "control-group": ({"main TERM", "child TERM"}, (False, False)),
    "mixed": ({"main TERM"}, (False, False)),
    "process": ({"main TERM"}, (False, True)),
    "none": (set[str](), (True, True)),
}


@pytest.mark.parametrize("mode", REACHED)
def test_kill_mode_says_who_is_asked_and_who_is_killed(mode: str, tmp_path: Path) -> None:
    asked, lives = REACHED[mode]
    with kept(tmp_path, *family(tmp_path, f"KillMode={mode}")) as supervisor:
        both = pids(supervisor, "main", "child")
        try:
            supervisor.process.send_signal(signal.SIGTERM)
            assert supervisor.process.wait(PATIENCE) == 0
            assert tuple(map(alive, both)) == lives
        finally:
            end(*both)
        supervisor.wait()
        assert heard(supervisor) == asked


@pytest.mark.parametrize("mode", ["control-group", "mixed"])
def test_the_rest_of_a_service_whose_main_process_is_gone_is_ended(mode: str, tmp_path: Path) -> None:
    """In a group asked first; otherwise killed at once, before the commands after the end."""
    with kept(tmp_path, *family(tmp_path, f"KillMode={mode}")) as supervisor:
        main, child = pids(supervisor, "main", "child")
        os.kill(main, signal.SIGINT)
        supervisor.wait_log("post [")
        assert not alive(child)
        assert ("child TERM" in supervisor.log) == (mode == "control-group")


def test_process_leaves_the_rest_alone_when_the_main_process_ends_by_itself(tmp_path: Path) -> None:
    with kept(tmp_path, *family(tmp_path, "KillMode=process")) as supervisor:
        main, child = pids(supervisor, "main", "child")
        try:
            os.kill(main, signal.SIGINT)
            supervisor.wait_log("post [success] [exited] [0]")
            assert alive(child)
        finally:
            end(child)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["KillSignal=SIGINT"], {"main INT", "child INT"}),
        (["KillSignal=SIGINT", "KillMode=mixed"], {"main INT"}),
        (["SendSIGHUP=yes"], {"main TERM", "main HUP", "child TERM", "child HUP"}),
        (["SendSIGHUP=yes", "KillMode=mixed"], {"main TERM", "main HUP"}),
        (["KillSignal=SIGHUP", "SendSIGHUP=yes"], {"main HUP", "child HUP"}),
        (["RestartKillSignal=SIGINT"], {"main TERM", "child TERM"}),
    ],
)
def test_the_signals_that_ask_can_be_chosen(lines: list[str], expected: set[str], tmp_path: Path) -> None:
    with kept(tmp_path, *family(tmp_path, *lines)) as supervisor:
        both = pids(supervisor, "main", "child")
        assert supervisor.end() == 0
        assert heard(supervisor) == expected
        assert not any(map(alive, both))


def test_an_automatic_restart_asks_with_the_kill_signal(tmp_path: Path) -> None:
    """RestartKillSignal= is for restarts that somebody asks for (systemctl restart)."""
    lines = family(tmp_path, "RestartKillSignal=SIGINT", "RuntimeMaxSec=1500ms", "Restart=always", "RestartSec=1h")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("restarting in 3600 s")
        assert heard(supervisor) == {"main TERM", "child TERM"}


@pytest.mark.parametrize(("line", "name"), [("", "KILL"), ("FinalKillSignal=SIGUSR1", "USR1"), ("FinalKillSignal=ABRT", "ABRT")])
def test_the_signal_that_nobody_survives_can_be_chosen(line: str, name: str, tmp_path: Path) -> None:
    with kept(tmp_path, *family(tmp_path, line, "LimitCORE=0")) as supervisor:
        both = pids(supervisor, "main", "child")
        assert supervisor.end() == 0
        assert said(supervisor)[-1] in (f"post [timeout] [killed] [{name}]", f"post [timeout] [dumped] [{name}]")
        assert not any(map(alive, both))


def test_who_is_not_to_be_killed_is_only_asked(tmp_path: Path) -> None:
    with kept(tmp_path, *family(tmp_path, "SendSIGKILL=no")) as supervisor:
        both = pids(supervisor, "main", "child")
        try:
            supervisor.process.send_signal(signal.SIGTERM)
            assert supervisor.process.wait(PATIENCE) == 0
            assert all(map(alive, both))
        finally:
            end(*both)
        supervisor.wait()
        assert "post [timeout] [] []" in said(supervisor)


# --- those who left the process group

LEAVES = {
    "a daughter in a session of her own": 'fork(lambda: (say("other", os.getpid()), wait()), session=True)',
    "a daemon": 'daemon(lambda: (say("other", os.getpid()), wait()))',
    "a daughter of a daughter": """
        between = lambda: (fork(lambda: (say("other", os.getpid()), wait()), session=True), wait())
fork(between, session=True)
    """.strip(),
    "a group of its own": 'fork(lambda: (os.setpgid(0, 0), say("other", os.getpid()), wait()))',
    "one that ignores": 'daemon(lambda: (ignore("TERM", "HUP", "INT"), say("other", os.getpid()), wait()))',
}


@pytest.mark.parametrize("how", ["by a stop", "by itself", "by a failure"])
@pytest.mark.parametrize("mode", ["control-group", "mixed"])
@pytest.mark.parametrize("leaves", LEAVES)
def test_processes_that_left_the_group_of_the_service_are_ended_with_it(leaves: str, mode: str, how: str, tmp_path: Path) -> None:
    body = f'{LEAVES[leaves]}\non("USR1", lambda: os._exit(0))\non("USR2", lambda: os._exit(1))\nsay("main", os.getpid())\nwait()'
    lines = (f"ExecStart={acting(tmp_path, body)}", f"KillMode={mode}", "TimeoutStopSec=200ms")
    with kept(tmp_path, *lines) as supervisor:
        main, other = pids(supervisor, "main", "other")
        try:
            if how == "by a stop":
                supervisor.process.send_signal(signal.SIGTERM)
                assert supervisor.process.wait(PATIENCE) == 0
            else:
                os.kill(main, signal.SIGUSR1 if how == "by itself" else signal.SIGUSR2)
            eventually(lambda: not alive(other), "it is ended, too")
        finally:
            end(other)
        supervisor.end()


def test_a_daughter_that_has_emptied_her_environment_is_ended_with_her_mother(tmp_path: Path) -> None:
    """Nothing but its parent tells whom it belongs to."""
    body = 'fork(lambda: (say("other", os.getpid()), os.execve("/bin/sleep", ["sleep", "1000"], {})), session=True)\nwait()'
    with kept(tmp_path, f"ExecStart={acting(tmp_path, body)}") as supervisor:
        (other,) = pids(supervisor, "other")
        try:
            eventually(lambda: b"sleep" in Path(f"/proc/{other}/cmdline").read_bytes(), "it is another program")
            supervisor.process.send_signal(signal.SIGTERM)
            assert supervisor.process.wait(PATIENCE) == 0
            assert not alive(other)
        finally:
            end(other)
        supervisor.wait()


def test_processes_of_one_service_that_left_its_group_are_not_ended_with_another(tmp_path: Path) -> None:
    body = 'daemon(lambda: (say("other", os.getpid()), wait()))\nwait()'
    files = {
        "one.service": text(f"ExecStart={acting(tmp_path, body)}"),
        "two.service": text("ExecStart=/bin/sleep 0.3", f"ExecStop={sh('echo two ends')}"),
    }
    with supervised(*write_units(tmp_path, files)) as supervisor:
        (other,) = pids(supervisor, "other")
        supervisor.wait_log("two ends")
        supervisor.wait_log("two.service")
        assert alive(other)
        assert supervisor.end() == 0
        assert not alive(other)


def test_what_a_command_leaves_behind_is_ended_with_the_service(tmp_path: Path) -> None:
    leave = acting(tmp_path, 'daemon(lambda: (say("other", os.getpid()), wait()))', "leave")
    with kept(tmp_path, f"ExecStartPost={leave}", "ExecStart=/bin/sleep 1000") as supervisor:
        (other,) = pids(supervisor, "other")
        supervisor.wait_log("is running")
        assert supervisor.end() == 0
        assert not alive(other)


def test_what_a_command_after_the_end_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    leave = acting(tmp_path, 'daemon(lambda: (say("other", os.getpid()), wait()))', "leave")
    (unit,) = write_units(tmp_path, {"one.service": text("ExecStart=/bin/true", f"ExecStopPost={leave}")})
    with supervised(unit) as supervisor:
        (other,) = pids(supervisor, "other")
        supervisor.process.wait(PATIENCE)
        try:
            assert not alive(other)
        finally:
            end(other)


# --- steps


def test_stopping_takes_each_step_only_for_its_time(tmp_path: Path) -> None:
    """Stop command, request, kill: none of them waits for the ones before."""
    hang = sh('trap "" TERM; while :; do sleep 0.05; done')
    main = 'ignore("TERM"); say("up"); wait()'
    lines = (f"ExecStart={acting(tmp_path, main)}", f"ExecStop={hang}", f"ExecStopPost={hang}", "TimeoutStopSec=200ms")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_line("up")
        assert supervisor.end() == 0
        states = [line.rpartition(" ")[2] for line in supervisor.log if "timeout in state" in line]
        assert states == ["stop", "stop-sigterm", "stop-post", "final-sigterm"]


@pytest.mark.parametrize("hangs", ["ExecStop", "ExecStopPost"])
def test_whoever_is_in_a_hurry_does_not_wait_for_commands(hangs: str, tmp_path: Path) -> None:
    hang = sh('trap "" TERM; echo hanging $$; while :; do sleep 0.05; done')
    with kept(tmp_path, "ExecStart=/bin/sleep 1000", f"{hangs}={hang}", "TimeoutStopSec=infinity") as supervisor:
        supervisor.wait_log("is running")
        supervisor.process.send_signal(signal.SIGTERM)
        (pid,) = pids(supervisor, "hanging")
        assert supervisor.end() == 0
        assert not alive(pid)


def test_a_service_that_is_being_started_is_ended_in_a_hurry_too(tmp_path: Path) -> None:
    hang = sh('trap "" TERM; echo hanging $$; while :; do sleep 0.05; done')
    lines = (f"ExecStartPre={hang}", "ExecStart=/bin/true", "TimeoutStopSec=infinity")
    with kept(tmp_path, *lines) as supervisor:
        (pid,) = pids(supervisor, "hanging")
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.wait_log("SIGTERM: stopping")
        assert supervisor.end() == 0
        assert not alive(pid)


def test_a_main_process_that_is_suspended_is_ended_after_its_stop_command(tmp_path: Path) -> None:
    status, words = outcome(tmp_path, f"ExecStart={sh('kill -STOP $$')}", "RuntimeMaxSec=200ms", "ExecStop=/bin/echo stop", POST)
    assert (status != 0, words) == (True, ["stop", "post [timeout] [killed] [TERM]"])
