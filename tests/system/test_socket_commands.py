"""The commands of a socket unit: ExecStartPre=, ExecStartPost=, ExecStopPre=, ExecStopPost=, and what TimeoutSec= does to them.

Commands say a word into the log, which shows the order of things.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab import (
    PATIENCE,
    PROBE,
    Address,
    Supervisor,
    alive,
    answer,
    ask,
    command,
    connect,
    descendants,
    eventually,
    free_port,
    in_shell,
    refused,
    refuses,
    started,
    write_units,
)

SERVICE = f"[Service]\nExecStart={PROBE} answer"
ALL = ["ExecStartPre", "ExecStartPost", "ExecStopPre", "ExecStopPost"]
WORDS = dict(zip(ALL, ("start-pre", "start-post", "stop-pre", "stop-post"), strict=True))
SAY_ALL = tuple(f"{key}=/bin/echo {word}" for key, word in WORDS.items())
QUICK = "TimeoutSec=200ms"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as somebody else")


def unit(folder: Path, *lines: str, name: str = "one", service: str = SERVICE, extra: str = "") -> Path:
    """A unit on a UNIX socket `node` (or one of its name)."""
    node = f"ListenStream={folder}/{'node' if name == 'one' else name}"
    files = {f"{name}.socket": "\n".join(["[Socket]", node, *lines, extra]), f"{name}.service": service}
    return write_units(folder, files)[0]


@contextmanager
def starting(*units: Path, prefix: Sequence[str] = ()) -> Iterator[Supervisor]:
    """`sockact start`, not waited for; nothing of it is left afterwards."""
    supervisor = Supervisor([*prefix, *command(*units)])
    born = set[int]()
    try:
        yield supervisor
    finally:
        born |= descendants(supervisor.pid) | pids_said(supervisor.log)
        supervisor.process.kill()
        for pid in born:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        supervisor.wait()


def pids_said(log: Sequence[str]) -> set[int]:
    """The processes of `stubborn`, `leaving` and `hang`; who is left behind may be nobody's child."""
    found = set[int]()
    for line in log:
        word, _, pid = line.partition(" ")
        if word in ("stubborn", "left", "hang") and pid.isdigit():
            found.add(int(pid))
    return found


def said(log: Sequence[str] | str, *others: str) -> list[str]:
    """The words of commands in their order; of other lines the given part that they contain."""
    lines = log.splitlines() if isinstance(log, str) else log
    found = []
    for line in lines:
        words = [other for other in others if other in line]
        found += words or ([line] if line.replace("-", "").replace(" ", "").isalnum() else [])
    return found


def script(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def stubborn(folder: Path, name: str = "stubborn") -> Path:
    """A command that says its pid, and ends for SIGKILL only (or after a minute, should a test fail to see to that)."""
    return script(folder, name, "trap '' TERM INT HUP", f"echo {name} $$", "for i in $(seq 1200); do sleep 0.05; done")


def gate(folder: Path, name: str = "gate") -> Path:
    """A FIFO at which a command waits with `read x <`, until something is written into it."""
    os.mkfifo(folder / name)
    return folder / name


def reports(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


# --- the order


def test_commands_run_before_and_after_the_socket_is_there_and_before_and_after_it_is_gone(tmp_path: Path) -> None:
    with started(unit(tmp_path, *SAY_ALL)) as supervisor:
        assert ask(f"{tmp_path}/node")["got"] == "hello"
        assert supervisor.end() == 0
    assert said(supervisor.log, "listening on", "ready: ", "SIGTERM: stopping") == [
        *("start-pre", "listening on", "start-post", "ready: "),
        *("SIGTERM: stopping", "stop-pre", "stop-post"),
    ]


def test_the_node_is_there_for_start_post_and_stop_pre_and_for_no_other(tmp_path: Path) -> None:
    lines = [f"{key}=/bin/sh -c 'test -S {tmp_path}/node && echo {word} yes || echo {word} no'" for key, word in WORDS.items()]
    with started(unit(tmp_path, *lines, "RemoveOnStop=yes")) as supervisor:
        supervisor.end()
    assert said(supervisor.log) == ["start-pre no", "start-post yes", "stop-pre yes", "stop-post no"]


def test_nobody_can_connect_to_the_port_when_stop_post_runs(tmp_path: Path) -> None:
    port, held = free_port(), gate(tmp_path)
    lines = [f"ListenStream=127.0.0.1:{port}", f"ExecStopPost=/bin/sh -c 'echo stop-post; read x < {held}'"]
    with started(unit(tmp_path, *lines)) as supervisor:
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.wait_log("stop-post")
        assert refuses(("127.0.0.1", port))
        held.write_text("\n")
        assert supervisor.wait() == 0


def test_several_commands_of_a_kind_run_one_after_the_other(tmp_path: Path) -> None:
    """The first of each takes longest."""
    lines = []
    for key, word in WORDS.items():
        lines += [f"{key}=/bin/sh -c 'sleep 0.1; echo {word} 1'", f"{key}=/bin/echo {word} 2 ; /bin/echo {word} 3"]
    with started(unit(tmp_path, *lines)) as supervisor:
        supervisor.end()
    assert said(supervisor.log) == [f"{word} {number}" for word in WORDS.values() for number in (1, 2, 3)]


def test_units_are_started_one_after_the_other_each_with_its_commands(tmp_path: Path) -> None:
    units = [
        unit(tmp_path, *(f"{key}=/bin/echo {name} {word}" for key, word in WORDS.items()), name=name) for name in ("one", "two")
    ]
    with started(*units) as supervisor:
        supervisor.end()
    words = said(supervisor.log)
    assert words[:4] == ["one start-pre", "one start-post", "two start-pre", "two start-post"]
    assert {*words[4:]} == {f"{name} {word}" for name in ("one", "two") for word in ("stop-pre", "stop-post")}
    for name in ("one", "two"):
        assert words.index(f"{name} stop-pre") < words.index(f"{name} stop-post")


def test_stop_commands_run_when_the_services_have_ended(tmp_path: Path) -> None:
    slow = script(tmp_path, "slow", "trap 'sleep 0.2; echo service over; exit 0' TERM", "echo up", "while :; do sleep 0.05; done")
    service = f"[Service]\nExecStart={slow}"
    with started(unit(tmp_path, *SAY_ALL, service=service), arguments=["--now"]) as supervisor:
        supervisor.wait_line("up")
        supervisor.end()
    words = said(supervisor.log)
    assert words[words.index("service over") :] == ["service over", "stop-pre", "stop-post"]


def test_stop_commands_run_when_the_socket_failed_by_itself(tmp_path: Path) -> None:
    service = "[Service]\nExecStart=/bin/false"
    with started(unit(tmp_path, *SAY_ALL, service=service), status=1) as supervisor:
        with connect(f"{tmp_path}/node") as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        assert supervisor.wait() == 1
    assert said(supervisor.log)[-2:] == ["stop-pre", "stop-post"]


@pytest.mark.parametrize("kind", ["ListenFIFO={folder}/fifo", "ListenDatagram={folder}/datagrams", "ListenStream=@{folder}"])
def test_commands_run_for_every_kind_of_port(kind: str, tmp_path: Path) -> None:
    with started(unit(tmp_path, kind.format(folder=tmp_path), *SAY_ALL)) as supervisor:
        supervisor.end()
    assert said(supervisor.log) == list(WORDS.values())


def test_links_are_there_for_start_post_and_gone_for_stop_post(tmp_path: Path) -> None:
    check = f"test -S {tmp_path}/link"
    lines = [f"{key}=/bin/sh -c '{check} && echo {word} yes || echo {word} no'" for key, word in WORDS.items()]
    with started(unit(tmp_path, f"Symlinks={tmp_path}/link", "RemoveOnStop=yes", *lines)) as supervisor:
        assert ask(f"{tmp_path}/link")["got"] == "hello"
        supervisor.end()
    assert said(supervisor.log) == ["start-pre no", "start-post yes", "stop-pre yes", "stop-post no"]


# --- traffic waits


def test_no_traffic_is_taken_before_start_post_has_finished(tmp_path: Path) -> None:
    held = gate(tmp_path)
    with starting(unit(tmp_path, f"ExecStartPost=/bin/sh -c 'echo start-post; read x < {held}; echo over'")) as supervisor:
        supervisor.wait_log("start-post")
        with connect(f"{tmp_path}/node") as client:
            client.sendall(b"early\n")
            held.write_text("\n")
            assert answer(client)["got"] == "early"
        assert supervisor.end() == 0
    assert said(supervisor.log, "one.service: started")[:3] == ["start-post", "over", "one.service: started"]


def test_the_service_of_two_sockets_gets_both_although_one_has_traffic_while_the_other_still_runs_its_commands(
    tmp_path: Path,
) -> None:
    held = gate(tmp_path)
    one = unit(tmp_path, "Service=pool.service")
    two = unit(tmp_path, "Service=pool.service", f"ExecStartPre=/bin/sh -c 'echo waits; read x < {held}'", name="two")
    write_units(tmp_path, {"pool.service": f"{SERVICE} activation"})
    with starting(one, two) as supervisor:
        supervisor.wait_log("waits")
        with connect(f"{tmp_path}/node") as early:
            early.sendall(b"early\n")
            # Long enough for a service that is started at once to be there.
            with suppress(AssertionError):
                supervisor.wait_log("pool.service: started", timeout=0.5)
            held.write_text("\n")
            supervisor.wait_log("ready: ")
            with connect(f"{tmp_path}/two") as late:
                late.settimeout(5)
                late.sendall(b"late\n")
                assert answer(late)["activation"]["LISTEN_FDS"] == "2"
            assert answer(early)["got"] == "early"
        assert supervisor.end() == 0


# --- failures


FAILURES = {
    "an exit status": ("/bin/sh -c 'exit 3'", "exit status 3"),
    "SIGKILL": ("/bin/sh -c 'kill -KILL $$$$'", "killed by SIGKILL"),
    "SIGTERM": ("/bin/sh -c 'kill -TERM $$$$'", "killed by SIGTERM"),
    "a program that cannot be executed": ("{folder}/broken", "executing the program failed"),
}
"""A daemon that dies of SIGTERM ended well, a command did not do what it was to do (is_clean_exit() in systemd)."""

failures = pytest.mark.parametrize("failure", FAILURES)


def failing(failure: str, folder: Path) -> tuple[str, str]:
    line, message = FAILURES[failure]
    script(folder, "broken").write_text("#!/no/such/interpreter\n")
    return line.format(folder=folder), message


@failures
def test_when_start_pre_fails_nothing_is_opened_and_no_other_command_runs(failure: str, tmp_path: Path) -> None:
    line, message = failing(failure, tmp_path)
    lines = ["ExecStartPre=/bin/echo first", f"ExecStartPre={line}", "ExecStartPre=/bin/echo third", *SAY_ALL[1:]]
    log = refused(unit(tmp_path, *lines))
    assert said(log, "listening on") == ["first"]
    assert message in log
    assert not (tmp_path / "node").exists()


@failures
def test_when_start_post_fails_the_ports_are_closed_and_the_commands_of_stopping_run(failure: str, tmp_path: Path) -> None:
    port = free_port()
    line, message = failing(failure, tmp_path)
    lines = ["ExecStartPost=/bin/echo first", f"ExecStartPost={line}", "ExecStartPost=/bin/echo third"]
    log = refused(unit(tmp_path, f"ListenStream=127.0.0.1:{port}", SAY_ALL[0], *lines, *SAY_ALL[2:]))
    assert said(log) == ["start-pre", "first", "stop-pre", "stop-post"]
    assert message in log
    assert refuses(("127.0.0.1", port))
    assert not (tmp_path / "node").exists(), "as if it had never been opened"


@failures
def test_what_fails_while_stopping_is_noted_and_the_rest_goes_on(failure: str, tmp_path: Path) -> None:
    line, message = failing(failure, tmp_path)
    lines = [f"ExecStopPre={line}", SAY_ALL[2], SAY_ALL[3], f"ExecStopPost={line}", "ExecStopPost=/bin/echo third"]
    with started(unit(tmp_path, *lines, "RemoveOnStop=yes")) as supervisor:
        assert supervisor.end() == 0
    assert said(supervisor.log) == ["stop-post"], "those that stand behind the one that failed are left out, as by systemd"
    assert len([line for line in supervisor.log if message in line]) == 2
    assert not (tmp_path / "node").exists()


@failures
@pytest.mark.parametrize("key", ALL)
def test_a_command_written_with_a_minus_may_fail(key: str, failure: str, tmp_path: Path) -> None:
    line, _ = failing(failure, tmp_path)
    with started(unit(tmp_path, f"{key}=-{line}", f"{key}=/bin/echo next", *SAY_ALL)) as supervisor:
        assert ask(f"{tmp_path}/node")["got"] == "hello"
        supervisor.end()
    expected = list(WORDS.values())
    expected.insert(expected.index(WORDS[key]), "next")
    assert said(supervisor.log) == expected


@pytest.mark.parametrize("line", ["/no/such/program", "-/no/such/program"])
def test_a_program_that_is_missing_is_found_when_loading_unless_it_may_fail(line: str, tmp_path: Path) -> None:
    one = unit(tmp_path, SAY_ALL[0], f"ExecStopPost={line}")
    if line.startswith("-"):
        with started(one) as supervisor:
            supervisor.end()
    else:
        log = refused(one)
        assert said(log) == []
        assert "SA050" in log


def test_when_a_port_cannot_be_opened_the_commands_of_stopping_run(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        log = refused(unit(tmp_path, f"ListenStream=127.0.0.1:{holder.getsockname()[1]}", *SAY_ALL))
    assert said(log, "EADDRINUSE") == ["start-pre", "EADDRINUSE", "stop-pre", "stop-post"]
    assert not (tmp_path / "node").exists()


def test_the_second_unit_whose_start_pre_fails_closes_the_first_and_ends_its_service(tmp_path: Path) -> None:
    held = gate(tmp_path)
    one = unit(tmp_path, "ExecStopPost=/bin/echo one over")
    two = unit(tmp_path, f"ExecStartPre=/bin/sh -c 'echo waits; read x < {held}; exit 3'", *SAY_ALL[1:], name="two")
    with starting(one, two) as supervisor:
        supervisor.wait_log("waits")
        with connect(f"{tmp_path}/node") as client:
            client.sendall(b"hello\n")
            # It may be served already, or wait until all units are open: either way it is over now.
            with suppress(AssertionError):
                supervisor.wait_log("one.service: started", timeout=0.5)
            held.write_text("\n")
            assert supervisor.wait() == 1
        assert descendants(supervisor.pid) == set()
    assert not (tmp_path / "node").exists()
    assert not (tmp_path / "two").exists()
    assert said(supervisor.log) == ["waits", "one over"]
    pids = [int(line.rpartition(" ")[2]) for line in supervisor.log if "one.service: started, pid " in line]
    assert not any(map(alive, pids))


def test_the_second_unit_whose_start_post_fails_closes_the_first(tmp_path: Path) -> None:
    one, two = unit(tmp_path, *SAY_ALL), unit(tmp_path, "ExecStartPost=/bin/sh -c 'exit 3'", name="two")
    log = refused(one, two)
    assert said(log) == list(WORDS.values())
    assert not (tmp_path / "node").exists()
    assert not (tmp_path / "two").exists()


def test_a_unit_behind_the_one_that_failed_is_not_touched(tmp_path: Path) -> None:
    one, two = unit(tmp_path, "ExecStartPre=/bin/false"), unit(tmp_path, *SAY_ALL, name="two")
    assert said(refused(one, two)) == []
    assert not (tmp_path / "two").exists()


def test_a_command_that_is_killed_from_outside_has_failed(tmp_path: Path) -> None:
    with starting(unit(tmp_path, f"ExecStartPre={stubborn(tmp_path)}", *SAY_ALL[1:])) as supervisor:
        os.kill(int(supervisor.wait_log("stubborn ")[0].split()[1]), signal.SIGKILL)
        assert supervisor.wait() == 1
    assert "stop-post" not in supervisor.log
    assert any("killed by SIGKILL" in line for line in supervisor.log)


# --- time


@pytest.mark.parametrize(("lines", "how"), [((), "SIGTERM"), (("KillSignal=SIGINT",), "SIGINT"), (("KillSignal=9",), "SIGKILL")])
@pytest.mark.parametrize("key", ALL[:2])
def test_a_command_that_takes_too_long_is_killed_and_the_unit_fails(
    key: str, lines: tuple[str, ...], how: str, tmp_path: Path
) -> None:
    log = refused(unit(tmp_path, f"{key}=/bin/sleep 1000", f"{key}=/bin/echo next", QUICK, *lines))
    assert "TimeoutSec=" in log
    assert f"killed by {how}" in log
    assert said(log) == []
    assert not (tmp_path / "node").exists()


@pytest.mark.parametrize("key", ALL[2:])
def test_a_command_of_stopping_that_takes_too_long_is_killed_and_the_rest_goes_on(key: str, tmp_path: Path) -> None:
    with started(unit(tmp_path, f"{key}=/bin/sleep 1000", *SAY_ALL, QUICK, "RemoveOnStop=yes")) as supervisor:
        assert supervisor.end() == 0
    assert said(supervisor.log) == ["start-pre", "start-post", "stop-post" if key == "ExecStopPre" else "stop-pre"]
    assert any("killed by SIGTERM" in line for line in supervisor.log)
    assert not (tmp_path / "node").exists()


@pytest.mark.parametrize("key", ALL)
def test_a_command_that_ignores_the_signal_is_killed_in_the_end(key: str, tmp_path: Path) -> None:
    one = unit(tmp_path, f"{key}={stubborn(tmp_path)}", QUICK)
    if key.startswith("ExecStart"):
        log = refused(one).splitlines()
    else:
        with started(one) as supervisor:
            assert supervisor.end() == 0
        log = supervisor.log
    (pid,) = (int(line.split()[1]) for line in log if line.startswith("stubborn "))
    assert not alive(pid)
    assert any("killed by SIGKILL" in line for line in log)
    assert not any("internal error" in line for line in log)


def test_each_command_has_the_time_for_itself(tmp_path: Path) -> None:
    """Five commands of half the time each."""
    lines = [f"{key}=/bin/sleep 1" for key in ("ExecStartPre", "ExecStartPre", "ExecStartPost", "ExecStartPost")]
    with started(unit(tmp_path, *lines, "TimeoutSec=2s")):
        assert ask(f"{tmp_path}/node")["got"] == "hello"


def test_the_time_is_not_counted_when_no_command_runs(tmp_path: Path) -> None:
    with started(unit(tmp_path, *SAY_ALL, "TimeoutSec=50ms", service="[Service]\nExecStart=/bin/cat")) as supervisor:
        with suppress(AssertionError):
            supervisor.wait_log("TimeoutSec=", timeout=0.3)
        assert supervisor.end() == 0
    assert not any("TimeoutSec=" in line for line in supervisor.log)


@pytest.mark.parametrize("value", ["0", "infinity"])
def test_without_a_limit_a_command_may_take_its_time(value: str, tmp_path: Path) -> None:
    with started(unit(tmp_path, "ExecStartPre=/bin/sleep 0.2", f"TimeoutSec={value}")):
        assert ask(f"{tmp_path}/node")["got"] == "hello"


# --- what commands leave behind


def leaving(folder: Path, *, status: int = 0, ignores: bool = False) -> Path:
    """A command that ends and leaves a process in the background, whose pid it says."""
    trap = "trap '' TERM" if ignores else ":"
    behind = script(folder, "behind", trap, "echo left $$", "for i in $(seq 1200); do sleep 0.05; done")
    return script(folder, "leaving", f"{behind} &", "sleep 0.1", f"exit {status}")


def left(log: Sequence[str]) -> int:
    (pid,) = (int(line.split()[1]) for line in log if line.startswith("left "))
    return pid


@pytest.mark.parametrize("key", ALL)
@pytest.mark.parametrize("ignores", [False, True])
def test_what_a_command_leaves_behind_is_ended_with_the_unit(key: str, ignores: bool, tmp_path: Path) -> None:
    lines = [f"{key}={leaving(tmp_path, ignores=ignores)}", QUICK if ignores else "TimeoutSec=1h"]
    with started(unit(tmp_path, *lines)) as supervisor:
        if key.startswith("ExecStart"):
            supervisor.wait_log("left ")
            assert alive(left(supervisor.log)), "it may be a helper that is to stay"
        assert supervisor.end() == 0
    assert not alive(left(supervisor.log))
    assert not any("internal error" in line for line in supervisor.log)


@pytest.mark.parametrize("key", ALL[:2])
def test_what_a_command_leaves_behind_that_then_fails_is_ended_and_nobody_waits_for_the_timeout(key: str, tmp_path: Path) -> None:
    """The time to wait is longer than this test has patience: the end of what is left has to be noticed."""
    log = refused(unit(tmp_path, f"{key}={leaving(tmp_path, status=3)}", "TimeoutSec=1h"))
    assert not alive(left(log.splitlines()))
    assert not (tmp_path / "node").exists()


def test_what_a_command_leaves_behind_may_end_while_the_unit_is_open(tmp_path: Path) -> None:
    with started(unit(tmp_path, f"ExecStartPost={leaving(tmp_path)}", *SAY_ALL[2:], "TimeoutSec=1h")) as supervisor:
        os.kill(int(supervisor.wait_log("left ")[0].split()[1]), signal.SIGKILL)
        assert ask(f"{tmp_path}/node")["got"] == "hello"
        assert supervisor.end() == 0
    assert said(supervisor.log)[-2:] == ["stop-pre", "stop-post"]


@pytest.mark.parametrize("mode", ["process", "none"])
def test_what_a_command_leaves_behind_is_left_alone_if_the_unit_says_so(mode: str, tmp_path: Path) -> None:
    lines = [f"ExecStartPost={leaving(tmp_path)}", f"KillMode={mode}", "TimeoutSec=1h"]
    with starting(unit(tmp_path, *lines)) as supervisor:
        supervisor.wait_log("ready: ")
        pid = int(supervisor.wait_log("left ")[0].split()[1])
        try:
            supervisor.process.send_signal(signal.SIGTERM)
            # Not wait(): the process that is left has the log open.
            assert supervisor.process.wait(PATIENCE) == 0
            assert alive(pid)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# --- what commands run in


TELL = "/bin/sh -c 'echo \"told $$A in $$(pwd) as $$(id -u):$$(id -g)\"'"


@pytest.mark.parametrize("key", ALL)
def test_a_command_has_the_environment_and_directory_of_the_section(key: str, tmp_path: Path) -> None:
    (tmp_path / "variables").write_text("B=two\n")
    lines = [
        "Environment=A=one C=three",
        f"EnvironmentFile={tmp_path}/variables",
        "WorkingDirectory=/usr",
        f"{key}=/bin/sh -c 'echo $$A $${{B}} ${{C}} in $$(pwd)'",
    ]
    with started(unit(tmp_path, *lines)) as supervisor:
        supervisor.end()
    assert "one two three in /usr" in supervisor.log


def test_by_default_a_command_runs_in_the_root_directory_with_the_environment_of_the_supervisor(tmp_path: Path) -> None:
    with started(unit(tmp_path, f"ExecStartPre={TELL}"), environment={"A": "inherited"}) as supervisor:
        assert f"told inherited in / as {os.getuid()}:{os.getgid()}" in supervisor.log


@root_only
@pytest.mark.parametrize("key", ALL)
def test_a_command_runs_as_the_user_of_the_section_unless_it_is_privileged(key: str, tmp_path: Path) -> None:
    lines = ["User=65534", "Group=65534", "Environment=A=x", f"{key}={TELL}", f"{key}=+{TELL}"]
    with started(unit(tmp_path, *lines)) as supervisor:
        supervisor.end()
    assert [line for line in supervisor.log if line.startswith("told")] == ["told x in / as 65534:65534", "told x in / as 0:0"]


@root_only
def test_the_user_of_the_section_is_not_that_of_the_socket_or_the_service(tmp_path: Path) -> None:
    service = f"[Service]\nExecStart={PROBE} answer environment"
    with started(unit(tmp_path, "User=65534", "Environment=A=x", service=service)):
        assert (tmp_path / "node").stat().st_uid == 0
        assert "A" not in ask(f"{tmp_path}/node")["environment"]


def test_a_command_reads_nothing_and_has_a_session_of_its_own(tmp_path: Path) -> None:
    one = unit(tmp_path, f"ExecStartPre={PROBE} tell descriptors session", "ExecStartPre=/bin/cat")
    with started(one) as supervisor:
        (report,) = supervisor.reports()
    assert sorted(report["descriptors"]) == ["0", "1", "2"]
    assert report["descriptors"]["0"] == "/dev/null"
    assert report["session"]["session"] == report["session"]["group"] == report["pid"]


def test_commands_run_although_the_supervisor_was_started_without_standard_streams(tmp_path: Path) -> None:
    marks = [f"{key}=/bin/sh -c 'echo {word} >> {tmp_path}/marks'" for key, word in WORDS.items()]
    with starting(unit(tmp_path, *marks), prefix=in_shell("exec 0<&- 1>&- 2>&-")) as supervisor:
        eventually((tmp_path / "node").exists, "the socket is there")
        assert ask(f"{tmp_path}/node")["got"] == "hello"
        assert supervisor.end() == 0
    assert (tmp_path / "marks").read_text().split() == list(WORDS.values())


def test_specifiers_and_variables_in_commands_are_replaced(tmp_path: Path) -> None:
    with started(unit(tmp_path, "Environment=A=x", "ExecStartPre=/bin/echo of %n ${A}")) as supervisor:
        assert "of one.socket x" in supervisor.log


# --- descriptors


HANDED = "PassFileDescriptorsToExec=yes"
TOLD = f"{PROBE} tell activation sockets descriptors"


def test_commands_get_the_sockets_when_they_are_to_all_but_start_pre(tmp_path: Path) -> None:
    port = free_port()
    lines = [f"ListenStream=127.0.0.1:{port}", HANDED, *(f"{key}={TOLD}" for key in ALL)]
    with started(unit(tmp_path, *lines)) as supervisor:
        supervisor.end()
        first, *others = supervisor.reports(4)
    assert (first["activation"], first["sockets"], sorted(first["descriptors"])) == ({}, [], ["0", "1", "2"])
    for report in others:
        assert report["activation"] == {
            "LISTEN_PID": str(report["pid"]),
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "one.socket:one.socket",
        }
        assert [one["address"] for one in report["sockets"]] == [f"{tmp_path}/node", ["127.0.0.1", port]]
        assert [one["listens"] for one in report["sockets"]] == [True, True]
        assert sorted(report["descriptors"]) == ["0", "1", "2", "3", "4"]


def test_commands_get_no_sockets_unless_they_are_to(tmp_path: Path) -> None:
    with started(unit(tmp_path, *(f"{key}={TOLD}" for key in ALL))) as supervisor:
        supervisor.end()
        for report in supervisor.reports(4):
            assert (report["activation"], sorted(report["descriptors"])) == ({}, ["0", "1", "2"])


def test_what_the_supervisor_was_handed_itself_is_not_passed_on_to_commands(tmp_path: Path) -> None:
    given = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x", "NOTIFY_SOCKET": "@nobody"}
    with started(unit(tmp_path, *(f"{key}={TOLD}" for key in ALL)), environment=given) as supervisor:
        supervisor.end()
        assert [report["activation"] for report in supervisor.reports(4)] == [{}] * 4


@pytest.mark.parametrize(("line", "name"), [("", "connection"), ("FileDescriptorName=caller", "caller")])
def test_with_accept_yes_commands_get_the_listening_socket_under_the_name_of_its_connections(
    line: str, name: str, tmp_path: Path
) -> None:
    """They must leave it as the supervisor needs it, who accepts: non-blocking."""
    lines = ["Accept=yes", HANDED, line, *(f"{key}={TOLD} non_blocking" for key in ALL[1:])]
    one = unit(tmp_path, *lines)
    write_units(tmp_path, {"one@.service": SERVICE})
    with started(one) as supervisor:
        assert ask(f"{tmp_path}/node")["got"] == "hello"
        supervisor.end()
        for report in supervisor.reports(3):
            assert report["activation"]["LISTEN_FDNAMES"] == name
            assert [found["listens"] for found in report["sockets"]] == [True]
            assert report["non_blocking"] == [True]


def test_start_post_can_serve_the_first_client_by_itself(tmp_path: Path) -> None:
    """The descriptors work: what it accepts the service does not see."""
    with starting(unit(tmp_path, HANDED, f"ExecStartPost={PROBE} answer=1")) as supervisor:
        supervisor.wait_log("listening on")
        by_command = ask(f"{tmp_path}/node", text="first")
        assert by_command["fd"] == 3
        supervisor.wait_log("ready: ")
        assert "one.service: started" not in "\n".join(supervisor.log)
        by_service = ask(f"{tmp_path}/node", text="second")
        assert supervisor.end() == 0
    assert by_command["pid"] != by_service["pid"]


def test_stop_post_has_the_sockets_although_the_supervisor_has_closed_them(tmp_path: Path) -> None:
    port = free_port()
    address: Address = ("127.0.0.1", port)
    lines = [HANDED, f"ListenStream=127.0.0.1:{port}", f"ExecStopPost={PROBE} answer=1", "RemoveOnStop=yes"]
    with started(unit(tmp_path, *lines)) as supervisor:
        before = sockets_of(supervisor.pid)
        supervisor.process.send_signal(signal.SIGTERM)
        eventually(lambda: len(sockets_of(supervisor.pid)) == len(before) - 2, "both are closed by the supervisor")
        eventually(lambda: not (tmp_path / "node").exists(), "the node is removed")
        assert ask(address)["fd"] == 4
        assert supervisor.wait() == 0
    assert refuses(address)


def sockets_of(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(path))
    return [one for one in found if one.startswith("socket:")]


def test_the_first_command_of_stop_post_has_the_sockets_and_those_behind_it_have_none(tmp_path: Path) -> None:
    """They are closed when the first one runs, as under systemd."""
    with started(unit(tmp_path, HANDED, f"ExecStopPost={TOLD}", f"ExecStopPost={TOLD}")) as supervisor:
        supervisor.end()
        assert [len(report["sockets"]) for report in supervisor.reports(2)] == [1, 0]


def test_after_a_failure_to_open_there_is_nothing_to_hand_over(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    found = reports(refused(unit(tmp_path, HANDED, f"ExecStopPre={TOLD}", f"ExecStopPost={TOLD}")))
    assert [(one["activation"], one["sockets"]) for one in found] == [({}, [])] * 2


@root_only
def test_a_command_of_another_user_gets_the_sockets_too(tmp_path: Path) -> None:
    line = "ExecStartPost=/bin/sh -c 'echo $$(id -u) $$LISTEN_FDS $$(readlink /proc/self/fd/3)'"
    with started(unit(tmp_path, HANDED, "User=65534", line)) as supervisor:
        supervisor.wait_log("65534 1 socket:")


# --- the request to stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_during_start_pre_ends_it_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    hang = script(tmp_path, "hang", "echo hang $$", "exec sleep 1000")
    with starting(unit(tmp_path, f"ExecStartPre={hang}", "ExecStartPre=/bin/echo next", *SAY_ALL[1:])) as supervisor:
        pid = int(supervisor.wait_log("hang ")[0].split()[1])
        assert supervisor.end(number) == 0
        assert not alive(pid)
        assert said(supervisor.log)[1:] == ["stop-post"]
    assert not (tmp_path / "node").exists()


def test_a_request_to_stop_during_start_post_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    hang = script(tmp_path, "hang", "echo hang $$", "exec sleep 1000")
    with starting(unit(tmp_path, f"ExecStartPost={hang}", "ExecStartPost=/bin/echo next", *SAY_ALL[2:])) as supervisor:
        pid = int(supervisor.wait_log("hang ")[0].split()[1])
        assert supervisor.end() == 0
        assert not alive(pid)
        assert said(supervisor.log)[-1] == "stop-post"
        assert "next" not in supervisor.log
    assert not (tmp_path / "node").exists()


@pytest.mark.parametrize("key", ALL)
def test_a_second_request_kills_the_command_at_once(key: str, tmp_path: Path) -> None:
    with starting(unit(tmp_path, f"{key}={stubborn(tmp_path)}", "TimeoutSec=infinity")) as supervisor:
        if key.startswith("ExecStop"):
            supervisor.wait_log("ready: ")
            supervisor.process.send_signal(signal.SIGTERM)
        pid = int(supervisor.wait_log("stubborn ")[0].split()[1])
        if key.startswith("ExecStart"):
            supervisor.process.send_signal(signal.SIGTERM)
        supervisor.wait_log("SIGTERM: stopping")
        assert alive(pid)
        assert supervisor.end() == 0
        assert not alive(pid)
    assert any("killed by SIGKILL" in line for line in supervisor.log)


def test_a_request_to_stop_during_the_commands_of_the_second_unit_closes_the_first(tmp_path: Path) -> None:
    one = unit(tmp_path, *SAY_ALL)
    two = unit(tmp_path, "ExecStartPre=/bin/sh -c 'echo hang; exec sleep 1000'", name="two")
    with starting(one, two) as supervisor:
        supervisor.wait_log("hang")
        assert supervisor.end() == 0
    assert said(supervisor.log, "listening on")[:4] == ["start-pre", "listening on", "start-post", "hang"]
    assert said(supervisor.log)[-2:] == ["stop-pre", "stop-post"]
    assert not (tmp_path / "two").exists()
    assert not (tmp_path / "node").exists()


def test_a_request_to_stop_while_the_socket_that_failed_runs_its_commands_is_answered(tmp_path: Path) -> None:
    held = gate(tmp_path)
    lines = [f"ExecStopPre=/bin/sh -c 'echo stop-pre; read x < {held}'", SAY_ALL[3]]
    with starting(unit(tmp_path, *lines, service="[Service]\nExecStart=/bin/false")) as supervisor:
        supervisor.wait_log("ready: ")
        with connect(f"{tmp_path}/node"):
            supervisor.wait_log("stop-pre")
            supervisor.process.send_signal(signal.SIGTERM)
            supervisor.wait_log("SIGTERM: stopping")
            held.write_text("\n")
            assert supervisor.wait(PATIENCE) == 0
    assert "stop-post" in supervisor.log


# --- many


def test_fifty_sockets_of_one_unit_are_handed_over_in_their_order(tmp_path: Path) -> None:
    nodes = [f"{tmp_path}/n{number}" for number in range(50)]
    lines = [HANDED, *(f"ListenStream={node}" for node in nodes), f"ExecStartPost={TOLD}", f"ExecStopPost={TOLD}"]
    with started(unit(tmp_path, *lines)) as supervisor:
        supervisor.end()
        for report in supervisor.reports(2):
            assert [one["address"] for one in report["sockets"]] == [f"{tmp_path}/node", *nodes]


def test_hundreds_of_sockets_are_handed_over_with_the_usual_limit_of_descriptors(tmp_path: Path) -> None:
    lines = [HANDED, *(f"ListenStream=@{tmp_path}/{number}" for number in range(600))]
    one = unit(tmp_path, *lines, f"ExecStartPost={PROBE} tell activation")
    with started(one, prefix=in_shell("ulimit -Sn 1024")) as supervisor:
        assert supervisor.reports()[0]["activation"]["LISTEN_FDS"] == "601"
        assert ask(f"@{tmp_path}/599")["fd"] == 603
