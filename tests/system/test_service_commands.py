"""The commands of a service: conditions, before and after the start, to stop, after the end; their order, failures, variables.

What is claimed here was compared with systemd 252.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lab import alive, eventually, refused, started, write_units
from tests.services import POST, acting, kept, outcome, said, sh, supervised, text

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a service as somebody else")

READY = """
    say("main")
    tell("READY=1")
    wait()
"""


def commands(kind: str, *words: str) -> str:
    return "\n".join(f"{kind}=/bin/echo {word}" for word in words)


STOP = commands("ExecStop", "stop")
MAIN = "ExecStart=/bin/echo main"


# --- order


def test_all_commands_run_one_after_the_other_in_the_order_of_their_kinds(tmp_path: Path) -> None:
    lines = (
        commands("ExecStopPost", "stop-post 1", "stop-post 2"),
        commands("ExecStop", "stop 1", "stop 2"),
        commands("ExecStartPost", "post 1", "post 2"),
        commands("ExecStartPre", "pre 1", "pre 2"),
        commands("ExecCondition", "condition 1", "condition 2"),
        f"Type=notify\nExecStart={acting(tmp_path, READY)}",
    )
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        assert supervisor.end() == 0
        assert said(supervisor) == [
            *("condition 1", "condition 2", "pre 1", "pre 2", "main", "post 1", "post 2"),
            *("stop 1", "stop 2", "stop-post 1", "stop-post 2"),
        ]


def test_several_commands_may_stand_in_one_line(tmp_path: Path) -> None:
    lines = ("Type=oneshot", "ExecStartPre=/bin/echo a ; /bin/echo b", "ExecStart=/bin/echo c ; /bin/echo d")
    assert outcome(tmp_path, *lines) == (0, ["a", "b", "c", "d"])


def test_an_empty_line_forgets_the_commands_before_it(tmp_path: Path) -> None:
    lines = ("Type=oneshot", "ExecStartPre=/bin/echo a", "ExecStartPre=", "ExecStartPre=/bin/echo b", MAIN)
    assert outcome(tmp_path, *lines) == (0, ["b", "main"])


def test_a_oneshot_service_has_started_when_its_commands_have_ended(tmp_path: Path) -> None:
    lines = ("Type=oneshot", MAIN, "ExecStart=/bin/echo more", "ExecStartPost=/bin/echo post", STOP, POST)
    assert outcome(tmp_path, *lines) == (0, ["main", "more", "post", "stop", "post [success] [exited] [0]"])


@pytest.mark.parametrize("kind", ["simple", "exec", "idle"])
def test_commands_after_the_start_and_before_the_end_know_the_main_process(kind: str, tmp_path: Path) -> None:
    lines = (
        *(f"Type={kind}", "ExecStart=/bin/sleep 1000"),
        *("ExecStartPost=/bin/echo post ${MAINPID}", "ExecStop=/bin/echo stop $MAINPID", "ExecStopPost=/bin/echo end ${MAINPID}"),
    )
    with kept(tmp_path, *lines) as supervisor:
        pid = supervisor.wait_log("started, pid ")[0].rpartition(" ")[2]
        supervisor.wait_log("is running")
        assert supervisor.end() == 0
        assert said(supervisor) == [f"post {pid}", f"stop {pid}", "end "]


def test_all_commands_of_a_start_have_the_same_invocation_id_and_each_start_has_another(tmp_path: Path) -> None:
    name = sh("echo $INVOCATION_ID")
    lines = [f"{kind}={name}" for kind in ("ExecCondition", "ExecStartPre", "ExecStart", "ExecStop", "ExecStopPost")]
    status, ids = outcome(tmp_path, *lines, "Restart=always", "RestartSec=0", unit="StartLimitBurst=2")
    assert status == 1
    assert [ids.count(one) for one in dict.fromkeys(ids)] == [5, 5]
    assert all(len(one) == 32 for one in ids)


def test_only_the_main_process_gets_the_sockets(tmp_path: Path) -> None:
    look = sh("echo $0 ${LISTEN_FDS:-none}; ls -l /proc/self/fd | grep -c fifo || true")
    with kept(tmp_path, f"ExecStartPre={look}", "ExecStart=/bin/sleep 1000", f"ExecStartPost={look}") as supervisor:
        supervisor.wait_log("is running")
        assert said(supervisor) == ["/bin/sh none", "0"] * 2


# --- conditions

CONDITIONS = {
    "exit 0": (0, "success"),
    "exit 1": (0, "exec-condition"),
    "exit 254": (0, "exec-condition"),
    "exit 255": (255, "exit-code"),
    "kill -KILL $$": (137, "signal"),
    "kill -TERM $$": (143, "signal"),
}


@pytest.mark.parametrize("script", CONDITIONS)
def test_a_condition_lets_start_or_skips_without_a_failure_or_fails(script: str, tmp_path: Path) -> None:
    status, result = CONDITIONS[script]
    lines = (f"ExecCondition={sh(script)}", "ExecStartPre=/bin/echo pre", "Type=oneshot", MAIN, STOP, POST)
    found = outcome(tmp_path, *lines)
    if result == "success":
        assert found == (0, ["pre", "main", "stop", "post [success] [exited] [0]"])
    else:
        assert found == (status, [f"post [{result}] [] []"])


@pytest.mark.parametrize(
    ("condition", "more"),
    [
        (f"-{sh('exit 3')}", ""),
        (f"-{sh('exit 255')}", ""),
        (f"-{sh('kill -KILL $$')}", ""),
        (sh("exit 3"), "SuccessExitStatus=3"),
    ],
)
def test_a_condition_that_may_fail_lets_start(condition: str, more: str, tmp_path: Path) -> None:
    assert outcome(tmp_path, f"ExecCondition={condition}", "Type=oneshot", MAIN, more) == (0, ["main"])


def test_all_conditions_have_to_hold_and_the_first_that_does_not_is_the_last_one_asked(tmp_path: Path) -> None:
    asked = [f"ExecCondition={sh(f'echo {number}; exit {status}')}" for number, status in enumerate((0, 1, 0))]
    assert outcome(tmp_path, *asked, MAIN) == (0, ["0", "1"])


def test_a_condition_that_takes_too_long_is_a_failure(tmp_path: Path) -> None:
    lines = ("ExecCondition=/bin/sleep 1000", "TimeoutStartSec=100ms", MAIN, POST)
    status, words = outcome(tmp_path, *lines)
    assert (status != 0, words) == (True, ["post [timeout] [] []"])


def test_restart_does_not_ask_a_condition_again(tmp_path: Path) -> None:
    lines = (f"ExecCondition={sh('echo asked; exit 1')}", "Restart=always", "RestartSec=0", MAIN)
    assert outcome(tmp_path, *lines) == (0, ["asked"])


# --- before and after the start


@pytest.mark.parametrize(
    ("script", "status", "result"),
    [
        ("exit 3", 3, "exit-code"),
        ("kill -KILL $$", 137, "signal"),
        ("kill -TERM $$", 143, "signal"),
        ("kill -HUP $$", 129, "signal"),
    ],
)
def test_a_command_before_the_start_that_fails_is_the_end_of_it(script: str, status: int, result: str, tmp_path: Path) -> None:
    lines = (f"ExecStartPre={sh(script)}", "ExecStartPre=/bin/echo pre", MAIN, "ExecStartPost=/bin/echo post", STOP, POST)
    assert outcome(tmp_path, *lines) == (status, [f"post [{result}] [] []"])


@pytest.mark.parametrize(
    ("command", "more"),
    [(f"-{sh('exit 3')}", ""), (f"-{sh('kill -KILL $$')}", ""), (sh("exit 3"), "SuccessExitStatus=3")],
)
@pytest.mark.parametrize("kind", ["ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost"])
def test_a_command_that_may_fail_is_followed_by_the_next(kind: str, command: str, more: str, tmp_path: Path) -> None:
    lines = ("Type=oneshot", f"{kind}={command}", f"{kind}=/bin/echo next", MAIN, more)
    status, words = outcome(tmp_path, *lines)
    assert (status, sorted(words)) == (0, ["main", "next"])


def test_a_command_before_the_start_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    lines = (f"ExecStartPre={sh('echo $$; exec sleep 1000')}", "TimeoutStartSec=200ms", MAIN, STOP, POST)
    status, (pid, *words) = outcome(tmp_path, *lines)
    assert (status != 0, words) == (True, ["post [timeout] [] []"])
    assert not alive(int(pid))


def test_each_command_before_the_start_has_its_own_time(tmp_path: Path) -> None:
    """More than one time all together; nothing here depends on how much."""
    lines = (*["ExecStartPre=/bin/sleep 0.4"] * 3, "TimeoutStartSec=1s", "Type=oneshot", MAIN)
    assert outcome(tmp_path, *lines) == (0, ["main"])


@pytest.mark.parametrize(("script", "result"), [("exit 3", "exit-code"), ("kill -TERM $$", "signal"), ("sleep 1000", "timeout")])
def test_a_command_after_the_start_that_fails_ends_the_service_without_its_stop_commands(
    script: str, result: str, tmp_path: Path
) -> None:
    lines = ("ExecStart=/bin/sleep 1000", f"ExecStartPost={sh(script)}", "ExecStartPost=/bin/echo more", STOP, POST)
    status, words = outcome(tmp_path, *lines, "TimeoutStartSec=200ms")
    assert (status != 0, words) == (True, [f"post [{result}] [killed] [TERM]"])


def test_a_main_process_that_fails_while_commands_after_the_start_run_is_noticed_when_they_have(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    lines = (
        *(f"ExecStart={sh('exit 3')}", f"ExecStartPost={sh(f'read x <{gate}; echo after')}", "RemainAfterExit=yes", STOP, POST),
    )
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        supervisor.wait_log("ended: exit status 3")
        gate.write_text("\n")
        assert supervisor.wait() == 3
        assert said(supervisor) == ["after", "post [exit-code] [exited] [3]"]


def test_a_request_to_stop_during_a_command_before_the_start_starts_nothing_any_more(tmp_path: Path) -> None:
    with kept(tmp_path, f"ExecStartPre={sh('echo pre; exec sleep 1000')}", MAIN, STOP, POST) as supervisor:
        supervisor.wait_log("pre")
        assert supervisor.end() == 0
        assert next(line for line in said(supervisor) if line != "pre").startswith("post [")
        assert "main" not in said(supervisor)
        assert "stop" not in said(supervisor)


def test_a_program_that_cannot_be_executed_has_not_started_with_type_exec(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program")
    program.chmod(0o755)
    lines = ("Type=exec", f"ExecStart={program}", "ExecStartPost=/bin/echo post", STOP, POST)
    assert outcome(tmp_path, *lines) == (203, ["post [exit-code] [exited] [203]"])


# --- oneshot


def test_a_oneshot_service_that_remains_is_up_until_it_is_stopped(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": text("Type=oneshot", "RemainAfterExit=yes", MAIN, STOP, POST)})
    with supervised(unit) as supervisor:
        supervisor.wait_log("ended: exit status 0")
        assert supervisor.end() == 0
        assert said(supervisor) == ["main", "stop", "post [success] [exited] [0]"]


@pytest.mark.parametrize("kind", ["simple", "oneshot", "exec"])
def test_a_service_that_failed_does_not_remain(kind: str, tmp_path: Path) -> None:
    lines = (f"Type={kind}", "RemainAfterExit=yes", f"ExecStart={sh('exit 3')}", STOP, POST)
    assert outcome(tmp_path, *lines) == (3, ["post [exit-code] [exited] [3]"])


def test_a_oneshot_service_may_have_nothing_to_start(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": text("Type=oneshot", "RemainAfterExit=yes", STOP)})
    with started(unit) as supervisor:
        assert supervisor.end() == 0
        assert said(supervisor) == ["stop"]


@pytest.mark.parametrize("policy", ["always", "on-success"])
def test_a_oneshot_service_cannot_be_restarted_after_its_success(policy: str, tmp_path: Path) -> None:
    """systemd refuses the unit: it would run for ever."""
    (unit,) = write_units(tmp_path, {"one.service": text("Type=oneshot", f"Restart={policy}", MAIN)})
    assert "Restart=" in refused(unit)


@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("HUP", 129), ("INT", 130), ("PIPE", 141)])
def test_a_oneshot_service_killed_by_a_signal_has_failed_whichever_it_is(name: str, status: int, tmp_path: Path) -> None:
    """A daemon may die of SIGTERM; a command that was to do something has not done it."""
    lines = ("Type=oneshot", "IgnoreSIGPIPE=no", f"ExecStart={sh(f'kill -{name} $$')}", "ExecStart=/bin/echo next", POST)
    assert outcome(tmp_path, *lines) == (status, [f"post [signal] [killed] [{name}]"])


# --- to stop


def test_the_stop_commands_may_end_the_main_process_themselves(tmp_path: Path) -> None:
    main = 'on("USR1", lambda: (say("asked"), sys.exit(0))); on("TERM", lambda: say("signalled")); say("up"); wait()'
    stop = sh("kill -USR1 $MAINPID; while kill -0 $MAINPID 2>/dev/null; do sleep 0.02; done; echo stopped")
    with kept(tmp_path, f"ExecStart={acting(tmp_path, main)}", f"ExecStop={stop}", POST) as supervisor:
        supervisor.wait_line("up")
        assert supervisor.end() == 0
        assert said(supervisor) == ["up", "asked", "stopped", "post [success] [exited] [0]"]


def test_who_survives_the_stop_commands_is_signalled(tmp_path: Path) -> None:
    with kept(tmp_path, "ExecStart=/bin/sleep 1000", STOP, POST) as supervisor:
        supervisor.wait_log("is running")
        assert supervisor.end() == 0
        assert said(supervisor) == ["stop", "post [success] [killed] [TERM]"]


def test_a_stop_command_that_fails_is_the_last_one_and_a_failure_of_the_service(tmp_path: Path) -> None:
    lines = ("ExecStart=/bin/sleep 1000", f"ExecStop={sh('echo stop; exit 4')}", "ExecStop=/bin/echo more", POST)
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        assert supervisor.end() == 0
        assert said(supervisor) == ["stop", "post [exit-code] [killed] [TERM]"]


def test_a_stop_command_that_hangs_is_killed_after_the_time_to_stop_and_so_is_the_rest(tmp_path: Path) -> None:
    stop = sh('trap "" TERM; echo $$; while :; do sleep 0.05; done')
    main = 'ignore("TERM"); say(os.getpid()); wait()'
    lines = (f"ExecStart={acting(tmp_path, main)}", f"ExecStop={stop}", POST, "TimeoutStopSec=200ms")
    with kept(tmp_path, *lines) as supervisor:
        eventually(lambda: said(supervisor), "it is up")
        assert supervisor.end() == 0
        first, second, post = said(supervisor)
        assert post == "post [timeout] [killed] [KILL]"
        assert not alive(int(first))
        assert not alive(int(second))


def test_the_stop_commands_run_also_when_the_service_has_ended_well_by_itself(tmp_path: Path) -> None:
    stop = sh("echo stop ${MAINPID:-nobody} $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS")
    lines = (f"ExecStart={sh('exit 0')}", f"ExecStop={stop}", POST)
    assert outcome(tmp_path, *lines) == (0, ["stop nobody success exited 0", "post [success] [exited] [0]"])


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -KILL $$", 137)])
def test_the_stop_commands_do_not_run_when_the_service_has_failed(script: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    found, words = outcome(tmp_path, f"ExecStart={sh(script)}", STOP, POST)
    assert found == status
    assert "stop" not in words


def test_a_service_that_said_that_it_stops_needs_no_stop_command(tmp_path: Path) -> None:
    main = 'tell("READY=1"); barrier(); tell("STOPPING=1"); barrier()'
    lines = ("Type=notify", f"ExecStart={acting(tmp_path, main)}", STOP, POST)
    assert outcome(tmp_path, *lines) == (0, ["post [success] [exited] [0]"])


def test_what_is_left_of_a_service_that_ended_well_hears_the_kill_signal_after_the_stop_commands(tmp_path: Path) -> None:
    child = 'on("TERM", lambda: (say("child heard"), os._exit(0))); (folder / "up").touch(); wait()'
    main = f"fork(lambda: exec({child!r}))\nwhile not (folder / 'up').exists(): time.sleep(0.01)"
    lines = (f"ExecStart={acting(tmp_path, main)}", STOP)
    assert outcome(tmp_path, *lines) == (0, ["stop", "child heard"])


# --- after the end

ENDS = {
    "exit 0": (0, "[success] [exited] [0]"),
    "exit 3": (3, "[exit-code] [exited] [3]"),
    "kill -KILL $$": (137, "[signal] [killed] [KILL]"),
    "kill -USR1 $$": (138, "[signal] [killed] [USR1]"),
    "kill -TERM $$": (0, "[success] [killed] [TERM]"),
    "kill -HUP $$": (0, "[success] [killed] [HUP]"),
    "kill -INT $$": (0, "[success] [killed] [INT]"),
}


@pytest.mark.parametrize("script", ENDS)
def test_the_commands_after_the_end_learn_how_it_was(script: str, tmp_path: Path) -> None:
    status, words = ENDS[script]
    assert outcome(tmp_path, f"ExecStart={sh(script)}", POST) == (status, [f"post {words}"])


def test_a_core_dump_is_an_end_of_its_own(tmp_path: Path) -> None:
    """Where there is one to be had; else it is a signal as others are."""
    lines = ("LimitCORE=infinity", f"WorkingDirectory={tmp_path}", f"ExecStart={sh('kill -SEGV $$')}", POST)
    status, words = outcome(tmp_path, *lines)
    assert status == 128 + signal.SIGSEGV
    assert words in (["post [core-dump] [dumped] [SEGV]"], ["post [signal] [killed] [SEGV]"])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["Type=notify", "ExecStart=/bin/sleep 1000", "TimeoutStartSec=100ms"], "[timeout] [killed] [TERM]"),
        (["Type=notify", "ExecStart=/bin/true"], "[protocol] [exited] [0]"),
        (["Type=notify", f"ExecStart={sh('exit 3')}", "SuccessExitStatus=3"], "[protocol] [exited] [3]"),
        (["Type=notify", f"ExecStart=-{sh('exit 3')}"], "[protocol] [exited] [3]"),
        (["ExecStart=/bin/sleep 1000", "RuntimeMaxSec=100ms"], "[timeout] [killed] [TERM]"),
        (["ExecStart=/bin/sleep 1000", "ExecStartPost=/bin/false"], "[exit-code] [killed] [TERM]"),
        ([f"ExecStart=-{sh('exit 3')}"], "[success] [exited] [3]"),
        ([f"ExecStart={sh('exit 3')}", "SuccessExitStatus=3"], "[success] [exited] [3]"),
        ([f"ExecStart={sh('kill -USR1 $$')}", "SuccessExitStatus=SIGUSR1"], "[success] [killed] [USR1]"),
    ],
)
def test_the_first_thing_that_went_wrong_is_the_result(lines: list[str], words: str, tmp_path: Path) -> None:
    status, found = outcome(tmp_path, *lines, POST)
    assert found == [f"post {words}"]
    assert (status == 0) == ("success" in words)


def test_a_service_that_was_stopped_has_not_failed_unless_it_had_to_be_killed(tmp_path: Path) -> None:
    main = 'ignore("TERM"); say("up"); wait()'
    with kept(tmp_path, f"ExecStart={acting(tmp_path, main)}", POST, "TimeoutStopSec=100ms") as supervisor:
        supervisor.wait_line("up")
        assert supervisor.end() == 0
        assert said(supervisor) == ["up", "post [timeout] [killed] [KILL]"]


def test_a_command_after_the_end_that_fails_is_the_last_one_and_a_failure_of_the_service(tmp_path: Path) -> None:
    status, words = outcome(tmp_path, MAIN, f"ExecStopPost={sh('echo post; exit 4')}", "ExecStopPost=/bin/echo more")
    assert (status != 0, words) == (True, ["main", "post"])


def test_a_command_after_the_end_that_hangs_is_killed_after_the_time_to_stop(tmp_path: Path) -> None:
    hang = sh('trap "" TERM; echo $$; while :; do sleep 0.05; done')
    status, (pid,) = outcome(tmp_path, "ExecStart=/bin/true", f"ExecStopPost={hang}", "TimeoutStopSec=200ms")
    assert status != 0
    assert not alive(int(pid))


# --- prefixes and variables

ZERO = "-c 'echo $$(head -c 4 /proc/$$$$/cmdline)'"
PREFIXED = {
    f"@/bin/sh zero {ZERO}": "zero",
    f"-@/bin/sh zero {ZERO}": "zero",
    f"@-/bin/sh zero {ZERO}": "zero",
    "/bin/echo $TWO ${TWO}": "two words two words",
    ":/bin/echo $TWO ${TWO} $$": "$TWO ${TWO} $$",
    "-:/bin/echo $TWO": "$TWO",
    ":@/bin/echo zero $TWO": "$TWO",
    "/bin/echo '$TWO' \"${TWO}\" $$TWO x$TWO": "two words two words $TWO x$TWO",
    "/bin/echo [${NONE}] $NONE end": "[] end",
    "/bin/echo 100%% %n": "100% one.service",
}


@pytest.mark.parametrize("kind", ["ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecStop", "ExecStopPost"])
@pytest.mark.parametrize("line", PREFIXED)
def test_prefixes_and_variables_mean_the_same_in_every_command(line: str, kind: str, tmp_path: Path) -> None:
    start = "" if kind == "ExecStart" else "ExecStart=/bin/true"
    lines = ("Type=oneshot", "Environment='TWO=two words'", start, f"{kind}={line}")
    assert outcome(tmp_path, *lines) == (0, [PREFIXED[line]])


@root_only
@pytest.mark.parametrize(("prefix", "user"), [("", "65534"), ("+", "0"), ("!", "0"), ("!!", "65534"), ("-+", "0"), ("+-", "0")])
@pytest.mark.parametrize("kind", ["ExecStartPre", "ExecStopPost"])
def test_commands_run_as_the_user_of_the_service_unless_a_prefix_keeps_the_privileges(
    kind: str, prefix: str, user: str, tmp_path: Path
) -> None:
    lines = ("Type=oneshot", "User=nobody", "ExecStart=/bin/true", f"{kind}={prefix}/bin/sh -c 'id -u'")
    assert outcome(tmp_path, *lines) == (0, [user])


def test_variables_of_the_end_are_there_as_words_too(tmp_path: Path) -> None:
    lines = (f"ExecStart={sh('exit 3')}", "ExecStopPost=/bin/echo ${SERVICE_RESULT}/${EXIT_CODE}/$EXIT_STATUS $EXIT_STATUS")
    assert outcome(tmp_path, *lines) == (3, ["exit-code/exited/$EXIT_STATUS 3"])
