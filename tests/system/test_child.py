"""What a service's process is made of: descriptors, signals, session, environment, identity, streams; and which step failed.

Most services are started with `--now`, so that what the process says of itself is in the log without a client. There are two
executors of a child plan, in C and in Python; both have to pass all of this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sockact.runtime.native import Executor
from sockact.runtime.spawn import EXECUTOR_VARIABLE
from tests.lab import (
    PATIENCE,
    PROBE,
    Supervisor,
    ask,
    command,
    connect,
    eventually,
    free_port,
    in_shell,
    refused,
    started,
    write_units,
)
from tests.services import OWN

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a service as somebody else")
NOBODY = "65534"


def unusable(executor: str) -> str:
    """Why this executor cannot be tried here."""
    if executor == "fork":
        return ""
    try:
        Executor([])
    except OSError as error:
        return f"the C executor was not built (make, with a C compiler): {error}"
    return ""


@pytest.fixture(params=["vfork", "fork"], autouse=True)
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := unusable(request.param):
        pytest.skip(reason)
    monkeypatch.setenv(EXECUTOR_VARIABLE, request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unlike tmp_path open to all users."""
    with tempfile.TemporaryDirectory(prefix="sockact-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def running(
    folder: Path,
    *lines: str,
    arguments: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    cwd: Path | None = None,
) -> AbstractContextManager[Supervisor]:
    """A service with a FIFO, which keeps the supervisor running whatever becomes of the service."""
    files = {"one.socket": f"[Socket]\nListenFIFO={folder}/fifo", "one.service": "[Service]\n" + "\n".join(lines)}
    unit = write_units(folder, files)[0]
    return started(unit, arguments=["--now", *arguments], environment=environment, prefix=prefix, cwd=cwd)


def run(folder: Path, *lines: str, **how: dict[str, str]) -> list[str]:
    """What a service that ends by itself has put into the log."""
    with running(folder, *lines, environment=how.get("environment")) as supervisor:
        supervisor.wait_log("one.service: ended: exit status 0")
        return [line for line in supervisor.log if ": " not in line]


# --- descriptors


def test_a_service_has_its_standard_streams_and_what_it_is_handed_and_nothing_else(folder: Path) -> None:
    with running(folder, f"ExecStart={PROBE} say descriptors") as supervisor:
        (report,) = supervisor.reports()
    assert sorted(report["descriptors"]) == ["0", "1", "2", "3"]
    assert report["descriptors"]["0"] == "/dev/null"
    assert report["descriptors"]["1"] == report["descriptors"]["2"], "both are the log"
    assert report["descriptors"]["3"] == f"{folder}/fifo"


def test_descriptors_that_the_supervisor_was_started_with_are_not_passed_on(folder: Path) -> None:
    prefix = in_shell("exec 3</etc/passwd 4</etc/group 5</dev/null 9</etc/hostname")
    with running(folder, f"ExecStart={PROBE} say descriptors", prefix=prefix) as supervisor:
        (report,) = supervisor.reports()
    assert sorted(report["descriptors"]) == ["0", "1", "2", "3"]
    assert report["descriptors"]["3"] == f"{folder}/fifo"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_a_supervisor_whose_own_streams_are_closed_starts_services_with_all_three(closed: str, folder: Path) -> None:
    prefix = in_shell(f"exec {closed}")
    with running(folder, f"ExecStart={PROBE} say descriptors", "StandardOutput=journal", prefix=prefix) as supervisor:
        (report,) = supervisor.reports()
    assert sorted(report["descriptors"]) == ["0", "1", "2", "3"]
    assert report["descriptors"]["3"] == f"{folder}/fifo"


def test_a_supervisor_without_any_stream_still_serves(folder: Path) -> None:
    """Its log goes nowhere; that it is ready can be seen by a file that a service of its own removes."""
    port, signpost = free_port(), folder / "signpost"
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}",
        "one.service": f"[Service]\nExecStart={PROBE} answer",
        "two.service": f"[Service]\nExecStart=/bin/rm {signpost}",
    }
    signpost.touch()
    unit, _, other = write_units(folder, files)
    with subprocess.Popen([*in_shell("exec <&- >&- 2>&-"), *command(unit, other)]) as supervisor:
        try:
            eventually(lambda: not signpost.exists() or supervisor.poll() is not None, "the supervisor is ready")
            assert supervisor.poll() is None, "the supervisor ended"
            assert ask(("127.0.0.1", port))["got"] == "hello"
        finally:
            supervisor.terminate()
        assert supervisor.wait(PATIENCE) == 0


@pytest.mark.parametrize(("line", "expected"), [("NonBlocking=yes", True), ("NonBlocking=no", False), ("", False)])
def test_non_blocking_sets_or_clears_the_flag_of_all_descriptors_handed_over(line: str, expected: bool, folder: Path) -> None:
    listens = "\n".join([f"ListenStream={folder}/a", f"ListenDatagram={folder}/b", f"ListenFIFO={folder}/c"])
    files = {"one.socket": f"[Socket]\n{listens}", "one.service": f"[Service]\nExecStart={PROBE} say non_blocking\n{line}"}
    with started(write_units(folder, files)[0], arguments=["--now"]) as supervisor:
        assert supervisor.reports()[0]["non_blocking"] == [expected] * 3


# --- signals and sessions


def signal_sets(supervisor: Supervisor) -> dict[str, int]:
    lines = supervisor.wait_log("Sig", count=5)
    return {name: int(mask, 16) & ~THREADS for name, _, mask in (line.partition(":\t") for line in lines) if name in MASKS}


MASKS = {"SigBlk", "SigIgn", "SigCgt"}
SIGPIPE = 1 << signal.SIGPIPE - 1
"""Which is ignored unless IgnoreSIGPIPE= says otherwise, as under systemd."""
THREADS = 0b11 << 31
"""Signals 32 and 33 are glibc's own, which lets nobody set them; its posix_spawn(3), by which make(1) starts, ignores them."""


@pytest.mark.parametrize("script", ["", "trap '' HUP INT QUIT TERM PIPE USR1 CHLD"])
def test_all_signals_but_sigpipe_have_their_defaults_and_none_is_blocked_whatever_the_supervisor_came_with(
    script: str, folder: Path
) -> None:
    with running(folder, "ExecStart=/bin/cat /proc/self/status", prefix=in_shell(script)) as supervisor:
        assert signal_sets(supervisor) == dict.fromkeys(MASKS, 0) | {"SigIgn": SIGPIPE}


def test_signals_that_were_blocked_when_the_supervisor_started_are_not_in_its_services(folder: Path) -> None:
    prefix = ["/usr/bin/env", "--block-signal=USR1,TERM,INT,CHLD", "--ignore-signal=RTMIN+3"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this env(1) has no --block-signal")
    with running(folder, "ExecStart=/bin/cat /proc/self/status", prefix=prefix) as supervisor:
        assert signal_sets(supervisor) == dict.fromkeys(MASKS, 0) | {"SigIgn": SIGPIPE}


def test_a_supervisor_started_by_nohup_survives_the_hang_up(folder: Path) -> None:
    with running(folder, f"ExecStart={PROBE} say", prefix=in_shell("trap '' HUP")) as supervisor:
        (report,) = supervisor.reports()
        supervisor.process.send_signal(signal.SIGHUP)
        # What the kernel tells of this comes after the signal above: when it is in the log, the other one is dealt with.
        os.kill(report["pid"], signal.SIGUSR1)
        supervisor.wait_log("one.service: warning: ended: killed by SIGUSR1")
        assert not any("SIGHUP" in line for line in supervisor.log)


def test_a_service_leads_a_session_and_a_process_group_of_its_own(folder: Path) -> None:
    with running(folder, f"ExecStart={PROBE} say session") as supervisor:
        (report,) = supervisor.reports()
        pid = report["pid"]
        assert report["session"] == {"pid": pid, "parent": supervisor.pid, "group": pid, "session": pid}


# --- environment


def test_the_environment_of_the_supervisor_is_passed_on(folder: Path) -> None:
    outer = {"TEST_OUTER": "kept", "TEST_BOTH": "outer", "PATH": os.environ["PATH"]}
    with running(folder, f"ExecStart={PROBE} say activation environment", "Environment=TEST_BOTH=own", environment=outer) as one:
        found = one.reports()[0]["environment"]
    assert {name: found.get(name) for name in ("TEST_OUTER", "TEST_BOTH", "PATH")} == {**outer, "TEST_BOTH": "own"}


def test_a_clean_environment_has_nothing_but_what_systemd_would_set(folder: Path) -> None:
    lines = ["ExecStart=/usr/bin/env", "Environment=OWN=1"]
    with running(folder, *lines, arguments=["--clean-environment"], environment={"TEST_OUTER": "x"}) as supervisor:
        supervisor.wait_log("ended: exit status 0")
        found = dict(line.split("=", 1) for line in supervisor.log if "=" in line and not line.startswith(OWN))
    assert set(found) == {"PATH", "OWN", "INVOCATION_ID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
    assert "/usr/bin" in found["PATH"].split(":")


def test_what_was_meant_for_the_supervisor_is_not_passed_on_as_if_meant_for_the_service(folder: Path) -> None:
    outer = {"LISTEN_PID": "1", "LISTEN_FDS": "5", "LISTEN_FDNAMES": "a:b", "NOTIFY_SOCKET": "/run/outer", "REMOTE_ADDR": "::"}
    (unit,) = write_units(folder, {"one.service": f"[Service]\nExecStart={PROBE} say activation"})
    with started(unit, environment=outer) as supervisor:
        assert supervisor.reports()[0]["activation"] == {}


def test_environment_files_are_read_at_each_start_and_win_over_environment(folder: Path) -> None:
    settings = folder / "settings"
    settings.write_text(
        '# comment\n; comment\nA=file\nB=\'single $A\'\nC="double \\" quote"\n\nD=con\\\ntinued\nnot a variable\n'
    )
    lines = ["Type=oneshot", "Environment=A=unit E=unit", f"EnvironmentFile={settings}", f"EnvironmentFile=-{folder}/missing"]
    found = run(folder, *lines, "ExecStart=/usr/bin/env")
    wanted = {"A=file", "B=single $A", 'C=double " quote', "D=continued", "E=unit"}
    assert wanted <= set(found)


def test_a_missing_environment_file_fails_the_start_and_says_so(folder: Path) -> None:
    with running(folder, f"EnvironmentFile={folder}/missing", "ExecStart=/bin/true") as supervisor:
        assert "ENOENT" in supervisor.wait_log("reading the environment failed")[0]
        supervisor.wait_log("ended: exit status")


def test_an_environment_file_that_never_ends_does_not_hang_the_supervisor(folder: Path) -> None:
    """A FIFO without a writer: whatever becomes of the service, the supervisor gets ready, and stops when asked to."""
    os.mkfifo(folder / "settings")
    with running(folder, f"EnvironmentFile={folder}/settings", "ExecStart=/bin/sleep 1000") as supervisor:
        assert supervisor.end() == 0


EXPANSIONS = {
    "$ONE ${ONE}": "[1][1]",
    "$TWO ${TWO} a${TWO}b": "[two][words][two words][atwo wordsb]",
    "$NONE ${NONE} x${NONE}y": "[][xy]",
    "$$ONE $${ONE}": "[$ONE][${ONE}]",
    "'$ONE' \"${ONE}\"": "[1][1]",
    "%%n %n": "[%n][one.service]",
    "a$ONE": "[a$ONE]",
}


@pytest.mark.parametrize("words", EXPANSIONS)
def test_variables_in_the_command_are_expanded_as_systemd_does(words: str, folder: Path) -> None:
    lines = ["Environment=ONE=1 'TWO=two words'", rf"ExecStart=/usr/bin/printf '[%%s]\n' {words}"]
    assert "".join(run(folder, *lines)) == EXPANSIONS[words]


def test_a_colon_in_front_of_the_command_keeps_variables_as_they_are(folder: Path) -> None:
    assert "$ONE ${ONE}" in run(folder, "Environment=ONE=1", "ExecStart=:/bin/echo $ONE ${ONE}")


def test_variables_may_come_from_an_environment_file_and_from_the_activation(folder: Path) -> None:
    (folder / "settings").write_text("GREETING=hello\n")
    found = run(folder, f"EnvironmentFile={folder}/settings", "ExecStart=/bin/echo ${GREETING} ${LISTEN_FDNAMES}")
    assert "hello one.socket" in found


# --- identity and directory


@root_only
def test_a_service_runs_as_its_user_with_the_groups_and_the_login_environment_of_that_user(folder: Path) -> None:
    script = "id -u; id -g; id -G; echo $$HOME,$$USER,$$LOGNAME,$$SHELL"
    found = run(folder, "User=nobody", f"ExecStart=/bin/sh -c '{script}'", environment={"HOME": "/root", "USER": "root"})
    assert found[:3] == [NOBODY, NOBODY, NOBODY]
    assert found[3].startswith("/nonexistent,nobody,nobody,/")


@root_only
def test_a_group_of_its_own_replaces_the_group_of_the_user(folder: Path) -> None:
    found = run(folder, "User=nobody", "Group=daemon", "ExecStart=/bin/sh -c 'id -un; id -gn'")
    assert found == ["nobody", "daemon"]


@root_only
def test_a_group_alone_leaves_the_user_as_it_is(folder: Path) -> None:
    assert run(folder, "Group=daemon", "ExecStart=/bin/sh -c 'id -u; id -gn'") == ["0", "daemon"]


@root_only
def test_a_service_of_another_user_cannot_become_root_again(folder: Path) -> None:
    found = run(folder, "User=nobody", "ExecStart=/bin/grep -E ^[UG]id: /proc/self/status")
    assert found == [f"{name}:" + f"\t{NOBODY}" * 4 for name in ("Uid", "Gid")]


@root_only
@pytest.mark.parametrize("prefix", ["+", "!"])
def test_a_privileged_command_stays_what_the_supervisor_is(prefix: str, folder: Path) -> None:
    assert run(folder, "User=nobody", f"ExecStart={prefix}/bin/sh -c 'id -u'") == ["0"]


@root_only
def test_a_socket_that_only_root_may_open_serves_a_user_without_privileges(folder: Path) -> None:
    node = folder / "private"
    files = {
        "one.socket": f"[Socket]\nAccept=yes\nListenStream={node}\nSocketMode=0600",
        "one@.service": "[Service]\nUser=nobody\nStandardInput=socket\nExecStart=/bin/sh -c 'id -un'",
    }
    with started(write_units(folder, files)[0]), connect(str(node)) as client:
        assert client.makefile().read() == "nobody\n"


@pytest.mark.parametrize(("line", "expected"), [("", "/"), ("WorkingDirectory={folder}", "{folder}")])
def test_a_service_runs_in_its_directory_and_without_one_in_the_root(line: str, expected: str, folder: Path) -> None:
    found = run(folder, line.format(folder=folder), "ExecStart=/bin/pwd")
    assert found == [expected.format(folder=folder)]


@root_only
def test_a_tilde_is_the_home_of_the_user(folder: Path) -> None:
    assert run(folder, "User=daemon", "WorkingDirectory=~", "ExecStart=/bin/pwd") == [os.path.expanduser("~daemon")]


def test_a_directory_with_a_dash_may_be_missing(folder: Path) -> None:
    """Where systemd runs it: as if none were given."""
    assert run(folder, f"WorkingDirectory=-{folder}/missing", "ExecStart=/bin/pwd") == ["/"]


# --- standard streams


def test_standard_input_is_empty_unless_something_else_is_said(folder: Path) -> None:
    assert run(folder, "ExecStart=/bin/sh -c 'cat; echo end'") == ["end"]


def test_standard_input_can_be_a_file(folder: Path) -> None:
    (folder / "input").write_text("from a file\n")
    assert run(folder, f"StandardInput=file:{folder}/input", "StandardOutput=journal", "ExecStart=/bin/cat") == ["from a file"]


@pytest.mark.parametrize(("kind", "expected"), [("file", "new\nthree\n"), ("append", "one\nthree\nnew\n"), ("truncate", "new\n")])
def test_standard_output_into_a_file_overwrites_appends_or_truncates(kind: str, expected: str, folder: Path) -> None:
    output = folder / "output"
    output.write_text("one\nthree\n")
    assert run(folder, f"StandardOutput={kind}:{output}", "ExecStart=/bin/echo new") == []
    assert output.read_text() == expected


def test_a_missing_output_file_is_created(folder: Path) -> None:
    assert run(folder, f"StandardOutput=append:{folder}/new", "ExecStart=/bin/echo text") == []
    assert (folder / "new").read_text() == "text\n"


def test_standard_error_goes_where_standard_output_goes_unless_something_else_is_said(folder: Path) -> None:
    script = "echo out; echo err >&2"
    run(folder, f"StandardOutput=truncate:{folder}/both", f"ExecStart=/bin/sh -c '{script}'")
    assert (folder / "both").read_text() == "out\nerr\n"
    found = run(folder, f"StandardError=truncate:{folder}/errors", f"ExecStart=/bin/sh -c '{script}'")
    assert (found, (folder / "errors").read_text()) == (["out"], "err\n")


def test_standard_output_null_is_silent(folder: Path) -> None:
    assert run(folder, "StandardOutput=null", "ExecStart=/bin/sh -c 'echo out; echo err >&2'") == []


# --- which step failed: where traffic started the service, it is tried until the start limit is hit


def failed_step(supervisor: Supervisor, step: str, status: int) -> None:
    line, *_ = supervisor.wait_log(f"{step} failed")
    assert line.startswith("one.service: error: ")
    supervisor.wait_log(f"exit status {status}")


def test_a_program_that_vanished_is_reported_as_203(folder: Path) -> None:
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    files = {"one.socket": f"[Socket]\nListenFIFO={folder}/fifo", "one.service": f"[Service]\nExecStart={program}"}
    with started(write_units(folder, files)[0], status=203) as supervisor:
        program.unlink()
        (folder / "fifo").write_text("go\n")
        failed_step(supervisor, "executing the program", 203)
        assert any(str(program) in line and "ENOENT" in line for line in supervisor.log)
        assert supervisor.wait() == 203


@pytest.mark.parametrize(("text", "errno"), [("#!/no/such/interpreter\n", "ENOENT"), ("no program", "ENOEXEC")])
def test_a_file_that_is_no_program_is_reported_as_203(text: str, errno: str, folder: Path) -> None:
    program = folder / "program"
    program.write_text(text)
    program.chmod(0o755)
    with running(folder, f"ExecStart={program}") as supervisor:
        failed_step(supervisor, "executing the program", 203)
        assert any(errno in line for line in supervisor.log)


def test_a_working_directory_that_vanished_is_reported_as_200(folder: Path) -> None:
    directory = folder / "directory"
    directory.mkdir()
    files = {
        "one.socket": f"[Socket]\nListenFIFO={folder}/fifo",
        "one.service": f"[Service]\nWorkingDirectory={directory}\nExecStart=/bin/true",
    }
    with started(write_units(folder, files)[0], status=200) as supervisor:
        directory.rmdir()
        (folder / "fifo").write_text("go\n")
        failed_step(supervisor, "changing to the working directory", 200)
        assert supervisor.wait() == 200


@root_only
@pytest.mark.parametrize("line", ["User=nobody", "Group=daemon"])
def test_a_user_or_group_that_the_supervisor_may_not_become_is_reported_as_216(line: str, folder: Path) -> None:
    prefix = ["/usr/bin/setpriv", "--bounding-set=-setgid,-setuid"]
    with running(folder, line, "ExecStart=/bin/true", prefix=prefix) as supervisor:
        failed_step(supervisor, "changing to the user or group", 216)
        assert any("EPERM" in line for line in supervisor.log)


@root_only
@pytest.mark.skipif(
    subprocess.run(["/usr/bin/unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="unshare(1) makes no mount namespace here (in a chroot or a container it may not)",
)
@pytest.mark.parametrize(("step", "file", "status"), [("user", "passwd", 217), ("group", "group", 216)])
def test_a_user_who_vanished_is_reported_as_217_and_a_group_as_216(step: str, file: str, status: int, folder: Path) -> None:
    """In a mount namespace of its own, whose passwd(5) and group(5) nobody else sees."""
    entry = {"passwd": "fleeting:x:4711:65534::/:/bin/sh\n", "group": "fleeting:x:4711:\n"}[file]
    table = folder / file
    table.write_text(Path(f"/etc/{file}").read_text() + entry)
    script = f"mount --bind {table} /etc/{file} || exit 77"
    files = {
        "one.socket": f"[Socket]\nListenFIFO={folder}/fifo",
        "one.service": f"[Service]\n{step.title()}=fleeting\nExecStart=/bin/true",
    }
    prefix = ["/usr/bin/unshare", "--mount", *in_shell(script)]
    with started(write_units(folder, files)[0], prefix=prefix, status=status) as supervisor:
        table.write_text(Path(f"/etc/{file}").read_text())
        (folder / "fifo").write_text("go\n")
        failed_step(supervisor, f"finding the {step}", status)
        assert any("no such account" in line for line in supervisor.log)
        assert supervisor.wait() == status


def test_standard_output_that_cannot_be_opened_is_reported_as_209(folder: Path) -> None:
    with running(folder, f"StandardOutput=append:{folder}/missing/log", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, "opening standard output", 209)


def test_an_unknown_user_is_found_when_loading(folder: Path) -> None:
    files = {
        "one.socket": f"[Socket]\nListenFIFO={folder}/fifo",
        "one.service": "[Service]\nUser=no-such-user\nExecStart=/bin/true",
    }
    assert "no-such-user" in refused(write_units(folder, files)[0])
    assert not (folder / "fifo").exists()


def test_a_service_that_may_not_be_executed_is_found_when_loading(folder: Path) -> None:
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    files = {"one.socket": f"[Socket]\nListenFIFO={folder}/fifo", "one.service": f"[Service]\nExecStart={program}"}
    assert str(program) in refused(write_units(folder, files)[0])
    assert not (folder / "fifo").exists()
