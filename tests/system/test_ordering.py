"""Dependencies between the units that were given, with real services: who is started with whom, who waits for whom, who ends with
whom, and who is called at the end of another."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.lab import PROBE, SERVICES, Supervisor, alive, ask, connect, eventually, started, write_units
from tests.services import sh, supervised

NOTIFY = f"{sys.executable} -I -S {SERVICES}/notify.py"
TRUE, FALSE = "Type=oneshot\nExecStart=/bin/true", "Type=oneshot\nExecStart=/bin/false"
STAYS = "ExecStart=/bin/sleep 1000"
UP = "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true"


def service(lines: str, dependencies: str = "") -> str:
    return f"[Unit]\n{dependencies}\n[Service]\n{lines}\n"


def socket(folder: Path, name: str, lines: str = "") -> str:
    """A socket unit, which has its service known and not started."""
    return f"[Unit]\n{lines}\n[Socket]\nListenStream={folder}/{name}\n"


def gated(folder: Path, name: str, status: int = 0) -> str:
    """A oneshot service that ends when somebody opens its gate."""
    os.mkfifo(folder / name)
    return f"Type=oneshot\nExecStart={sh(f'read x <{folder}/{name}; exit {status}')}"


def open_gate(path: Path) -> None:
    path.write_text("\n")


def outcome(folder: Path, files: Mapping[str, str], *arguments: str) -> tuple[int, list[str]]:
    """Run these units until all have ended: the exit status, and the log."""
    with supervised(*write_units(folder, files), arguments=arguments) as supervisor:
        status = supervisor.wait()
    assert not any("internal error" in line or "Traceback" in line for line in supervisor.log), supervisor.log
    return status, supervisor.log


def where(log: Sequence[str], text: str) -> int:
    """Where a text comes first in the log; nowhere is behind everything."""
    return next((index for index, line in enumerate(log) if text in line), len(log))


def follow(log: Sequence[str], *texts: str) -> bool:
    """Whether all of these are in the log, one after the other."""
    places = [where(log, text) for text in texts]
    return places == sorted(set(places)) and places[-1] < len(log)


def runs(supervisor: Supervisor, name: str) -> bool:
    return any(line.startswith(f"{name}.service: started") for line in supervisor.log)


def pid_of(supervisor: Supervisor, name: str) -> int:
    return int(supervisor.wait_log(f"{name}.service: started, pid")[-1].split("pid ")[1].split(",")[0])


# --- the order of starting


PATIENT = "TriggerLimitIntervalSec=0\n"
"""For a socket whose service cannot start yet, and which is triggered again and again until it can."""


@pytest.mark.parametrize("given", [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")])
@pytest.mark.parametrize(
    "lines",
    [
        {"a": "", "b": "After=a.service", "c": "After=b.service"},
        {"a": "Before=b.service", "b": "Before=c.service", "c": ""},
        {"a": "Before=b.service", "b": "", "c": "After=b.service a.service"},
    ],
)
def test_who_comes_after_waits_whatever_the_order_of_the_command_line(
    lines: dict[str, str], given: tuple[str, ...], tmp_path: Path
) -> None:
    files = {f"{name}.service": service(f"Type=oneshot\nExecStart={sh('sleep 0.02')}", lines[name]) for name in given}
    status, log = outcome(tmp_path, files)
    assert status == 0
    texts = [f"{name}.service: {what}" for name in "abc" for what in ("started", "ended")]
    assert follow(log, *texts), log


def test_a_notify_service_is_waited_for_until_it_is_ready(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    files = {
        "b.service": service(STAYS, "After=a.service"),
        "a.service": service(f"Type=notify\nExecStart={NOTIFY} say:loading read:{tmp_path}/gate READY=1 wait"),
    }
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("loading")
        assert not runs(supervisor, "b")
        open_gate(tmp_path / "gate")
        supervisor.wait_log("b.service: started")
        assert follow(supervisor.log, "a.service: ready", "b.service: started")


def test_a_oneshot_service_is_waited_for_until_it_has_ended(tmp_path: Path) -> None:
    files = {"b.service": service(STAYS, "After=a.service"), "a.service": service(gated(tmp_path, "gate"))}
    with started(*write_units(tmp_path, files)) as supervisor:
        pid_of(supervisor, "a")
        assert not runs(supervisor, "b")
        open_gate(tmp_path / "gate")
        supervisor.wait_log("b.service: started")
        assert follow(supervisor.log, "a.service: ended", "b.service: started")


def test_a_simple_service_is_waited_for_until_it_is_forked_and_no_longer(tmp_path: Path) -> None:
    files = {"b.service": service(STAYS, "After=a.service"), "a.service": service(STAYS)}
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("b.service: started")
        assert follow(supervisor.log, "a.service: started", "b.service: started")


def test_the_commands_before_and_behind_the_start_are_waited_for(tmp_path: Path) -> None:
    text = f"ExecStartPre={sh('sleep 0.05; echo before a')}\n{STAYS}\nExecStartPost={sh('sleep 0.05; echo behind a')}"
    files = {"b.service": service(STAYS, "After=a.service"), "a.service": service(text)}
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("b.service: started")
        assert follow(supervisor.log, "before a", "a.service: started", "behind a", "b.service: started")


def test_an_order_alone_does_not_mind_a_failure(tmp_path: Path) -> None:
    status, log = outcome(tmp_path, {"b.service": service(TRUE, "After=a.service"), "a.service": service(FALSE)})
    assert status == 1
    assert follow(log, "a.service: warning: ended: exit status 1", "b.service: started")


def test_a_service_whose_condition_does_not_hold_keeps_nobody(tmp_path: Path) -> None:
    files = {
        "b.service": service(TRUE, "Requires=a.service\nAfter=a.service"),
        "a.service": service(STAYS, "ConditionPathExists=/no/such"),
    }
    status, log = outcome(tmp_path, files)
    assert status == 0
    assert follow(log, "a.service: not started", "b.service: started")


def test_an_order_after_what_was_not_given_is_no_order(tmp_path: Path) -> None:
    status, log = outcome(tmp_path, {"a.service": service(TRUE, "After=network.target none.service\nWants=none.service")})
    assert status == 0
    assert follow(log, "a.service: started", "a.service: ended")


@pytest.mark.parametrize(
    "lines",
    [
        {"a": "After=b.service", "b": "After=a.service"},
        {"a": "After=c.service", "b": "After=a.service", "c": "After=b.service"},
        {"a": "Requires=b.service\nAfter=b.service", "b": "Requires=a.service\nAfter=a.service"},
        {"a": "Before=a.service b.service", "b": "Before=a.service"},
    ],
)
def test_nobody_hangs_in_a_circle(lines: dict[str, str], tmp_path: Path) -> None:
    files = {f"{name}.service": service(STAYS, text) for name, text in lines.items()}
    with started(*write_units(tmp_path, files)) as supervisor:
        for name in lines:
            supervisor.wait_log(f"{name}.service: started")


def test_an_order_by_an_alias_counts(tmp_path: Path) -> None:
    files = {
        "b.service": service(TRUE, "After=other.service"),
        "a.socket": f"[Socket]\nListenStream={tmp_path}/a\nService=other.service\n",
        "a.service": service(gated(tmp_path, "gate")),
    }
    b, a_socket, _ = write_units(tmp_path, files)
    (tmp_path / "other.service").symlink_to("a.service")
    with started(b, a_socket, arguments=["--now"]) as supervisor:
        pid_of(supervisor, "a")
        assert not runs(supervisor, "b")
        open_gate(tmp_path / "gate")
        supervisor.wait_log("b.service: started")


def test_a_thousand_services_in_a_row_are_started_and_stopped_in_their_order(tmp_path: Path) -> None:
    """More than Python's stack is deep; none of them runs a process until it is stopped."""
    count = 1100
    files = {
        f"s{number}.service": service(
            "Type=oneshot\nRemainAfterExit=yes\nExecStop=/bin/true",
            f"Requires=s{number + 1}.service\nAfter=s{number + 1}.service" if number + 1 < count else "",
        )
        for number in range(count)
    }
    write_units(tmp_path, {**files, "s0.socket": socket(tmp_path, "node")})
    with started(tmp_path / "s0.socket", *(tmp_path / name for name in files)) as supervisor:
        assert follow(supervisor.log, "ready: 1 socket, 1100 services")


# --- the order of stopping


@pytest.mark.parametrize("given", [("a", "b", "c"), ("c", "a", "b")])
def test_who_came_after_is_stopped_before(given: tuple[str, ...], tmp_path: Path) -> None:
    lines = {"a": "", "b": "After=a.service", "c": "After=b.service"}
    files = {
        f"{name}.service": service(f"ExecStart=/bin/sleep 1000\nExecStopPost={sh('sleep 0.05')}", lines[name]) for name in given
    }
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("c.service: started")
        assert supervisor.end() == 0
        assert follow(supervisor.log, *(f"{name}.service: ended" for name in "cba")), supervisor.log


def test_who_has_no_order_is_stopped_at_the_same_time(tmp_path: Path) -> None:
    """Each waits for the other to be asked, too; one after the other would take until the timeout."""
    script = (
        'trap "touch {0}; until test -e {1}; do sleep 0.01; done; exit 0" TERM; echo {2} listens; while :; do sleep 0.01; done'
    )
    names = {"a": "b", "b": "a"}
    files = {
        f"{one}.service": service(
            f"TimeoutStopSec=1h\nExecStart={sh(script.format(tmp_path / one, tmp_path / other, one))}", "After=z.service"
        )
        for one, other in names.items()
    }
    with started(*write_units(tmp_path, {**files, "z.service": service(STAYS)})) as supervisor:
        supervisor.wait_log(" listens", 2)
        assert supervisor.end() == 0
        assert where(supervisor.log, "z.service: ended") > max(where(supervisor.log, f"{name}.service: ended") for name in names)


def test_a_second_request_waits_for_no_order(tmp_path: Path) -> None:
    deaf = f"TimeoutStopSec=infinity\nExecStart={sh('trap : TERM; echo deaf; while :; do sleep 0.02; done')}"
    files = {"a.service": service(STAYS), "b.service": service(deaf, "After=a.service")}
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("deaf")
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.wait_log("SIGTERM: stopping")
        assert alive(pid_of(supervisor, "a"))
        assert supervisor.end() == 0
        assert where(supervisor.log, "SIGTERM: stopping at once") < where(supervisor.log, "a.service: ended")


@pytest.mark.parametrize("requests", [1, 2])
def test_who_still_waits_when_all_are_stopped_is_never_started(requests: int, tmp_path: Path) -> None:
    files = {"b.service": service(STAYS, "After=a.service"), "a.service": service(gated(tmp_path, "gate"))}
    with started(*write_units(tmp_path, files)) as supervisor:
        pid_of(supervisor, "a")
        for _ in range(requests):
            supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.wait() == 0
        assert not runs(supervisor, "b")


# --- who needs whom


def test_traffic_starts_whom_the_service_needs_before_it(tmp_path: Path) -> None:
    files = {
        "web.socket": socket(tmp_path, "web"),
        "web.service": service(f"ExecStart={PROBE} answer", "Requires=db.service\nAfter=db.service\nWants=log.service"),
        "db.socket": socket(tmp_path, "db"),
        "db.service": service(f"Type=notify\nExecStart={NOTIFY} READY=1 wait"),
        "log.socket": socket(tmp_path, "log"),
        "log.service": service(STAYS),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2], units[4]) as supervisor:
        assert not any("started, pid" in line for line in supervisor.log)
        assert ask(f"{tmp_path}/web")["got"] == "hello"
        assert follow(supervisor.log, "db.service: ready", "web.service: started")
        assert runs(supervisor, "log")


def test_a_client_waits_while_the_service_does(tmp_path: Path) -> None:
    files = {
        "web.socket": socket(tmp_path, "web"),
        "web.service": service(f"ExecStart={PROBE} answer=1", "Requires=db.service\nAfter=db.service"),
        "db.service": service(gated(tmp_path, "gate")),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2]) as supervisor:
        pid_of(supervisor, "db")
        with connect(f"{tmp_path}/web") as client:
            client.sendall(b"hello\n")
            open_gate(tmp_path / "gate")
            assert b'"got": "hello"' in client.recv(65536)


@pytest.mark.parametrize("key", ["Requires", "BindsTo"])
def test_without_whom_it_needs_it_is_not_started_and_its_socket_listens_on(key: str, tmp_path: Path) -> None:
    """The second connection comes to a database that is mended."""
    files = {
        "web.socket": socket(tmp_path, "web"),
        "web.service": service(f"ExecStart={PROBE} answer=1", f"{key}=db.service\nAfter=db.service"),
        "db.socket": socket(tmp_path, "db"),
        "db.service": service(f"Type=oneshot\nRemainAfterExit=yes\nExecStart={sh(f'test -e {tmp_path}/mended')}"),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2]) as supervisor, connect(f"{tmp_path}/web") as client:
        client.sendall(b"hello\n")
        supervisor.wait_log("web.service: error: not started: db.service, which it needs, has failed")
        (tmp_path / "mended").touch()
        assert b'"got": "hello"' in client.recv(65536)


def test_without_an_order_the_failure_of_whom_it_needs_is_no_hindrance(tmp_path: Path) -> None:
    status, log = outcome(tmp_path, {"b.service": service(TRUE, "Requires=a.service"), "a.service": service(FALSE)})
    assert status == 1
    assert follow(log, "b.service: started", "b.service: ended: exit status 0")


@pytest.mark.parametrize("given", [("a", "b", "c"), ("c", "b", "a")])
def test_a_failure_goes_up_the_whole_chain(given: tuple[str, ...], tmp_path: Path) -> None:
    lines = {"a": FALSE, "b": TRUE, "c": TRUE}
    needs = {"a": "", "b": "Requires=a.service\nAfter=a.service", "c": "Requires=b.service\nAfter=b.service"}
    status, log = outcome(tmp_path, {f"{name}.service": service(lines[name], needs[name]) for name in given})
    assert status == 1
    assert follow(log, "b.service: error: not started: a.service", "c.service: error: not started: b.service")
    assert not any("b.service: started" in line or "c.service: started" in line for line in log)


def test_a_wish_that_fails_is_no_hindrance(tmp_path: Path) -> None:
    files = {"b.service": service(TRUE, "Wants=a.service none.service\nAfter=a.service"), "a.service": service(FALSE)}
    _, log = outcome(tmp_path, files)
    assert follow(log, "a.service: warning: ended", "b.service: started")


def second_time_lucky(folder: Path, mode: str) -> str:
    script = f"test -e {folder}/second && exec {NOTIFY} READY=1 wait; touch {folder}/second; exit 1"
    again = f"Restart=on-failure\nRestartSec=20ms\nRestartMode={mode}"
    return service(f"Type=notify\nNotifyAccess=all\n{again}\nExecStart={sh(script)}")


def test_one_that_is_restarted_until_it_works_is_waited_for_if_nobody_is_told(tmp_path: Path) -> None:
    needs = "Requires=a.service\nAfter=a.service"
    files = {"b.service": service(STAYS, needs), "a.service": second_time_lucky(tmp_path, "direct")}
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("b.service: started")
        assert follow(supervisor.log, "a.service: restarting", "a.service: ready", "b.service: started")


@pytest.mark.parametrize("mode", ["normal", "debug"])
def test_one_that_has_failed_has_failed_though_it_is_restarted(mode: str, tmp_path: Path) -> None:
    files = {
        "b.service": service(STAYS, "Requires=a.service\nAfter=a.service"),
        "c.service": service(STAYS, "Wants=a.service\nAfter=a.service"),
        "a.service": second_time_lucky(tmp_path, mode),
    }
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("a.service: ready")
        supervisor.wait_log("c.service: started")
        assert follow(supervisor.log, "b.service: error: not started: a.service", "a.service: ready")
        assert not runs(supervisor, "b")


@pytest.mark.parametrize(("mode", "stays"), [("normal", False), ("direct", True), ("debug", False)])
def test_who_is_bound_to_one_that_is_restarted_stops_unless_nobody_is_told(mode: str, stays: bool, tmp_path: Path) -> None:
    files = {
        "a.service": service(f"{STAYS}\nRestart=always\nRestartSec=10ms\nRestartMode={mode}"),
        "b.service": service(STAYS, "BindsTo=a.service\nAfter=a.service"),
    }
    with started(*write_units(tmp_path, files)) as supervisor:
        line = supervisor.wait_log("a.service: started, pid")[0]
        pid_of(supervisor, "b")
        os.kill(int(line.rpartition(" ")[2]), signal.SIGKILL)
        supervisor.wait_log("a.service: started, pid", 2)
        if not stays:
            supervisor.wait_log("b.service: ended")
        assert any("b.service: stopping with a.service" in line for line in supervisor.log) is not stays


@pytest.mark.parametrize("given", [("a", "b"), ("b", "a")])
def test_a_requisite_that_is_being_started_is_there(given: tuple[str, ...], tmp_path: Path) -> None:
    files = {"b": service(TRUE, "Requisite=a.service\nAfter=a.service"), "a": service(UP)}
    with started(*write_units(tmp_path, {f"{name}.service": files[name] for name in given})) as supervisor:
        supervisor.wait_log("b.service: ended: exit status 0")


def test_a_requisite_is_not_started_and_without_it_the_service_is_not_either(tmp_path: Path) -> None:
    files = {
        "a.socket": socket(tmp_path, "a"),
        "a.service": service(STAYS),
        "b.socket": f"{socket(tmp_path, 'b')}{PATIENT}",
        "b.service": service(f"ExecStart={PROBE} answer=1", "Requisite=a.service\nAfter=a.service"),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2]) as supervisor, connect(f"{tmp_path}/b") as client:
        client.sendall(b"hello\n")
        supervisor.wait_log("b.service: error: not started: a.service")
        assert not runs(supervisor, "a")
        connect(f"{tmp_path}/a").close()
        assert b'"got": "hello"' in client.recv(65536), "with the requisite there, the socket that listened on starts it"


def test_a_failed_requisite_goes_up_the_chain(tmp_path: Path) -> None:
    files = {
        "c.service": service(TRUE, "Requires=b.service\nAfter=b.service"),
        "b.service": service(TRUE, "Requisite=a.service\nAfter=a.service"),
        "a.socket": socket(tmp_path, "a"),
        "a.service": service(STAYS),
    }
    units = write_units(tmp_path, files)
    with started(*units[:3]) as supervisor:
        supervisor.wait_log("c.service: error: not started: b.service")
        assert not runs(supervisor, "b")
        assert not runs(supervisor, "c")


def test_a_container_whose_only_service_is_not_started_does_not_end_well(tmp_path: Path) -> None:
    """An assertion is a failure of the start; `systemctl start` says so, too."""
    status, log = outcome(tmp_path, {"a.service": service(TRUE, "AssertPathExists=/no/such")})
    assert follow(log, "a.service: error: not started")
    assert status == 1


# --- who ends with whom


def test_one_that_is_bound_ends_with_the_other_however_that_ends(tmp_path: Path) -> None:
    files = {"a.service": service(STAYS), "b.service": service(STAYS, "BindsTo=a.service\nAfter=a.service")}
    with started(*write_units(tmp_path, files), status=0) as supervisor:
        b = pid_of(supervisor, "b")
        os.kill(pid_of(supervisor, "a"), signal.SIGTERM)
        assert supervisor.wait() == 0
        assert not alive(b)
        assert follow(supervisor.log, "a.service: ended", "b.service: stopping with a.service", "b.service: ended")


def test_one_that_is_bound_to_what_does_not_stay_is_not_started(tmp_path: Path) -> None:
    """Together with After= the other has to be active (systemd.unit(5), BindsTo=)."""
    files = {"a.service": service(TRUE), "b.service": service(STAYS, "BindsTo=a.service\nAfter=a.service")}
    _, log = outcome(tmp_path, files)
    assert follow(log, "a.service: ended", "b.service: error: not started")
    assert not any("b.service: started" in line for line in log)


@pytest.mark.parametrize("key", ["Requires", "Wants", "PartOf"])
def test_others_do_not_mind_when_the_other_ends_by_itself(key: str, tmp_path: Path) -> None:
    files = {"a.service": service(STAYS), "b.service": service(STAYS, f"{key}=a.service\nAfter=a.service")}
    with started(*write_units(tmp_path, files)) as supervisor:
        b = pid_of(supervisor, "b")
        os.kill(pid_of(supervisor, "a"), signal.SIGTERM)
        supervisor.wait_log("a.service: ended")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log("SIGHUP: reloading")
        assert alive(b)


@pytest.mark.parametrize("key", ["Requires", "PartOf", "BindsTo"])
def test_who_needs_another_or_is_part_of_it_is_stopped_with_it(key: str, tmp_path: Path) -> None:
    """Another one that conflicts with it is what stops it."""
    files = {
        "a.service": service(STAYS),
        "b.service": service(STAYS, f"{key}=a.service\nAfter=a.service"),
        "c.socket": socket(tmp_path, "c"),
        "c.service": service(STAYS, "Conflicts=a.service"),
    }
    units = write_units(tmp_path, files)
    with started(*units[:3]) as supervisor:
        pids = [pid_of(supervisor, name) for name in "ab"]
        connect(f"{tmp_path}/c").close()
        supervisor.wait_log("c.service: started")
        eventually(lambda: not any(map(alive, pids)), "both are stopped")
        supervisor.wait_log("b.service: stopping with a.service")


def test_who_only_wants_another_is_not_stopped_with_it(tmp_path: Path) -> None:
    files = {
        "a.service": service(STAYS),
        "b.service": service(STAYS, "Wants=a.service\nAfter=a.service"),
        "c.socket": socket(tmp_path, "c"),
        "c.service": service(STAYS, "Conflicts=a.service"),
    }
    units = write_units(tmp_path, files)
    with started(*units[:3]) as supervisor:
        b = pid_of(supervisor, "b")
        connect(f"{tmp_path}/c").close()
        supervisor.wait_log("c.service: started")
        assert alive(b)


def test_a_service_that_is_bound_to_a_socket_ends_with_it(tmp_path: Path) -> None:
    files = {
        "a.socket": f"{socket(tmp_path, 'a')}TriggerLimitBurst=1\n",
        "a.service": service(TRUE),
        "b.service": service(STAYS, "BindsTo=a.socket"),
    }
    a, _, b = write_units(tmp_path, files)
    with started(a, b, status=1) as supervisor:
        pid = pid_of(supervisor, "b")
        connect(f"{tmp_path}/a").close()  # nobody takes it: each end of the service is followed by the next start
        supervisor.wait_log("a.socket: error: failed")
        supervisor.wait_log("b.service: stopping with a.socket")
        assert supervisor.wait() == 1
        assert not alive(pid)


# --- conflicts


def test_who_starts_stops_whom_it_conflicts_with_and_waits_for_the_end(tmp_path: Path) -> None:
    slow = sh('trap "sleep 0.1; echo a has ended; exit 0" TERM; echo a listens; while :; do sleep 0.01; done')
    files = {
        "a.service": service(f"Restart=always\nExecStart={slow}"),
        "b.socket": socket(tmp_path, "b"),
        "b.service": service(f"ExecStart={PROBE} answer=1", "Conflicts=a.service"),
    }
    a, b, _ = write_units(tmp_path, files)
    with started(a, b) as supervisor:
        supervisor.wait_log("a listens")
        assert ask(f"{tmp_path}/b")["got"] == "hello"
        assert follow(supervisor.log, "a has ended", "b.service: started")
        assert not any("restarting" in line for line in supervisor.log), "it was stopped, and does not come back"


def test_a_conflict_works_from_either_side(tmp_path: Path) -> None:
    files = {
        "a.socket": socket(tmp_path, "a"),
        "a.service": service(f"ExecStart={PROBE} answer"),
        "b.socket": socket(tmp_path, "b"),
        "b.service": service(f"ExecStart={PROBE} answer", "Conflicts=a.service"),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2]) as supervisor:
        for name in "abab":
            assert ask(f"{tmp_path}/{name}")["got"] == "hello"
        assert supervisor.end() == 0
        assert sum("service: started" in line for line in supervisor.log) == 4


def test_of_two_that_conflict_one_is_started_and_nothing_goes_wrong(tmp_path: Path) -> None:
    files = {"a.service": service(STAYS, "Conflicts=b.service"), "b.service": service(STAYS)}
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("conflicts")
        assert runs(supervisor, "a") != runs(supervisor, "b")
        assert not any("internal error" in line for line in supervisor.log)


def test_who_needs_one_that_cannot_be_started_for_a_conflict_is_not_started_either(tmp_path: Path) -> None:
    files = {
        "a.service": service(STAYS, "Conflicts=c.service"),
        "b.service": service(STAYS, "Requires=c.service\nAfter=c.service"),
        "c.socket": socket(tmp_path, "c"),
        "c.service": service(STAYS),
    }
    units = write_units(tmp_path, files)
    with started(*units[:3]) as supervisor:
        supervisor.wait_log("c.service: error: not started")
        supervisor.wait_log("a.service: started")
        assert not runs(supervisor, "b")


def test_nobody_waits_for_one_that_is_stopped_while_it_waits_itself(tmp_path: Path) -> None:
    """b is stopped for the sake of d before its time has come: c, which comes after b, has nobody to wait for any more."""
    files = {
        "a.service": service(gated(tmp_path, "gate")),
        "b.service": service(STAYS, "After=a.service"),
        "c.service": service(STAYS, "After=b.service"),
        "d.socket": socket(tmp_path, "d"),
        "d.service": service(STAYS, "Conflicts=b.service"),
    }
    units = write_units(tmp_path, files)
    with started(*units[:4]) as supervisor:
        pid_of(supervisor, "a")
        connect(f"{tmp_path}/d").close()
        supervisor.wait_log("d.service: started")
        supervisor.wait_log("c.service: started")
        assert not runs(supervisor, "b")
        open_gate(tmp_path / "gate")


def test_the_socket_of_one_that_is_stopped_while_it_waits_listens_on(tmp_path: Path) -> None:
    files = {
        "a.service": service(gated(tmp_path, "gate")),
        "b.socket": f"{socket(tmp_path, 'b')}{PATIENT}",
        "b.service": service(f"ExecStart={PROBE} answer", "After=a.service"),
        "d.socket": f"{socket(tmp_path, 'd')}FlushPending=yes\n",
        "d.service": service(STAYS, "Conflicts=b.service"),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[1], units[3], arguments=["-v"]) as supervisor:
        pid_of(supervisor, "a")
        with connect(f"{tmp_path}/b") as client:
            client.sendall(b"hello\n")
            supervisor.wait_log("b.socket: traffic: starting b.service")
            connect(f"{tmp_path}/d").close()
            supervisor.wait_log("d.service: started")
            open_gate(tmp_path / "gate")
            assert b'"got": "hello"' in client.recv(65536)


# --- upheld, called


def test_one_that_is_upheld_comes_back_whenever_it_has_ended(tmp_path: Path) -> None:
    files = {"a.service": service(STAYS, "Upholds=b.service"), "b.service": service(STAYS)}
    with started(*write_units(tmp_path, files)) as supervisor:
        for count in (1, 2, 3):
            line = supervisor.wait_log("b.service: started, pid", count)[count - 1]
            os.kill(int(line.rpartition(" ")[2]), signal.SIGTERM)
        supervisor.wait_log("b.service: started, pid", 4)


def test_one_that_is_upheld_stays_away_when_it_was_stopped(tmp_path: Path) -> None:
    files = {"a.service": service(STAYS, "Upholds=b.service"), "b.service": service(STAYS)}
    with started(*write_units(tmp_path, files)) as supervisor:
        pid_of(supervisor, "b")
        assert supervisor.end() == 0
        assert sum("b.service: started, pid" in line for line in supervisor.log) == 1


@pytest.mark.parametrize("dependencies", ["", "ConditionPathExists=/no/such"])
def test_to_uphold_what_does_not_stay_up_comes_to_an_end(dependencies: str, tmp_path: Path) -> None:
    files = {"a.service": service(STAYS, "Upholds=b.service"), "b.service": service(FALSE, dependencies)}
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("not started" if dependencies else "StartLimitBurst=")
        assert supervisor.end() == 0
        assert sum("b.service: started, pid" in line for line in supervisor.log) <= 5


def test_a_failure_calls_for_help_and_a_good_end_calls_the_next(tmp_path: Path) -> None:
    called = "OnFailure=help.service\nOnSuccess=next.service"
    files = {
        "bad.service": service(FALSE, called),
        "help.socket": socket(tmp_path, "help"),
        "help.service": service(STAYS),
        "next.socket": socket(tmp_path, "next"),
        "next.service": service(STAYS),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[1], units[3]) as supervisor:
        supervisor.wait_log("help.service: called by the failure of bad.service")
        supervisor.wait_log("help.service: started")
        assert not runs(supervisor, "next")
    (tmp_path / "bad.service").write_text(service(TRUE, called))
    with started(units[0], units[1], units[3]) as supervisor:
        supervisor.wait_log("next.service: started")
        assert not runs(supervisor, "help")


def test_the_failure_of_a_socket_calls_for_help_too(tmp_path: Path) -> None:
    files = {
        "a.socket": f"{socket(tmp_path, 'a', 'OnFailure=help.service')}TriggerLimitBurst=1\n",
        "a.service": service(TRUE),
        "help.socket": socket(tmp_path, "help"),
        "help.service": service(STAYS),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2]) as supervisor:
        connect(f"{tmp_path}/a").close()
        supervisor.wait_log("help.service: called by the failure of a.socket")
        supervisor.wait_log("help.service: started")


def test_one_that_lacks_whom_it_needs_calls_for_help(tmp_path: Path) -> None:
    """systemd.unit(5), OnFailure=; a start that fails for its dependencies counts (job_finish_and_invalidate)."""
    files = {
        "a.service": service(FALSE),
        "b.service": service(STAYS, "Requires=a.service\nAfter=a.service\nOnFailure=help.service"),
        "help.socket": socket(tmp_path, "help"),
        "help.service": service(STAYS),
    }
    units = write_units(tmp_path, files)
    with started(*units[:3]) as supervisor:
        supervisor.wait_log("b.service: error: not started")
        supervisor.wait_log("help.service: started")


def test_nobody_is_called_who_would_outlive_the_stop(tmp_path: Path) -> None:
    bad = sh('trap "exit 3" TERM; echo listens; while :; do sleep 0.01; done')
    files = {
        "a.service": service(f"ExecStart={bad}", "OnFailure=help.service"),
        "help.socket": socket(tmp_path, "help"),
        "help.service": service(STAYS),
    }
    units = write_units(tmp_path, files)
    with started(*units[:2]) as supervisor:
        supervisor.wait_log("listens")
        assert supervisor.end() == 0
        assert not runs(supervisor, "help")


@pytest.mark.parametrize(("mode", "calls"), [("normal", 4), ("direct", 1), ("debug", 4)])
def test_help_is_called_at_each_failure_or_when_nothing_else_helps(mode: str, calls: int, tmp_path: Path) -> None:
    """Three ends, and the start limit: that one may not start again is a failure of its own."""
    limits = "StartLimitBurst=3\nStartLimitIntervalSec=1h\nOnFailure=help.service"
    files = {
        "a.service": service(f"Restart=on-failure\nRestartSec=10ms\nRestartMode={mode}\nExecStart=/bin/false", limits),
        "help.socket": socket(tmp_path, "help"),
        "help.service": service(STAYS),
    }
    units = write_units(tmp_path, files)
    with started(*units[:2]) as supervisor:
        supervisor.wait_log("StartLimitBurst= allows")
        supervisor.wait_log("help.service: called", calls)
        assert sum("a.service: started" in line for line in supervisor.log) == 3
        assert sum("help.service: called" in line for line in supervisor.log) == calls


@pytest.mark.parametrize("arguments", [(), ("--now",)])
def test_who_is_there_for_a_failure_waits_for_it_though_it_is_named(arguments: tuple[str, ...], tmp_path: Path) -> None:
    files = {"help.service": service(TRUE), "a.service": service(gated(tmp_path, "gate", 3), "OnFailure=help.service")}
    with supervised(*write_units(tmp_path, files), arguments=arguments) as supervisor:
        supervisor.wait_log("ready: ")
        assert follow(supervisor.log, "help.service: waits to be called", "a.service: started")
        open_gate(tmp_path / "gate")
        assert supervisor.wait() == 3
        assert follow(supervisor.log, "a.service: warning: ended", "help.service: called by the failure", "help.service: started")


def test_who_is_never_called_is_never_started(tmp_path: Path) -> None:
    files = {"a.service": service(TRUE, "OnFailure=help.service"), "help.service": service(TRUE)}
    status, log = outcome(tmp_path, files)
    assert status == 0
    assert not any("help.service: started" in line for line in log)


def test_who_is_called_and_also_wanted_is_started(tmp_path: Path) -> None:
    files = {"a.service": service(TRUE, "OnFailure=help.service\nWants=help.service"), "help.service": service(TRUE)}
    assert any("help.service: started" in line for line in outcome(tmp_path, files)[1])


def test_who_is_called_learns_why(tmp_path: Path) -> None:
    words = "$MONITOR_UNIT $MONITOR_SERVICE_RESULT $MONITOR_EXIT_CODE $MONITOR_EXIT_STATUS"
    files = {
        "a.service": service(f"ExecStart={sh('echo id $INVOCATION_ID; exit 3')}", "OnFailure=help.service"),
        "help.service": service(
            f"ExecStartPre={sh(f'echo pre {words}')}\nExecStart={sh(f'echo main {words} $MONITOR_INVOCATION_ID')}\n"
            f"ExecStopPost={sh(f'echo post {words}')}"
        ),
    }
    _, log = outcome(tmp_path, files)
    named = next(line for line in log if line.startswith("id ")).split()[1]
    assert [line for line in log if line.startswith(("pre", "main", "post"))] == [
        "pre a.service exit-code exited 3",
        f"main a.service exit-code exited 3 {named}",
        "post",
    ]


def test_who_is_called_brings_whom_he_needs(tmp_path: Path) -> None:
    files = {
        "a.service": service(FALSE, "OnFailure=help.service"),
        "help.socket": socket(tmp_path, "help"),
        "help.service": service(STAYS, "Requires=mail.service\nAfter=mail.service"),
        "mail.socket": socket(tmp_path, "mail"),
        "mail.service": service(UP),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[1], units[3]) as supervisor:
        supervisor.wait_log("help.service: started")
        assert follow(supervisor.log, "help.service: called", "mail.service: started", "help.service: started")
