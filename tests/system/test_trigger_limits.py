"""How often a socket may start its service (TriggerLimit…=, which fails or pauses it), how often it is looked at (PollLimit…=),
and what becomes of clients that wait.

No test measures time: where something must not happen in a window, the window is an hour, and something else that happens
after it shows that it has not.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import sleep

import pytest

from tests.lab import PROBE, Supervisor, answer, ask, children, connect, eventually, free_port, refuses, started, write_units

STARTED = ".service: started"
ENDLESS = "[Unit]\nStartLimitIntervalSec=0\n"
NEVER = f"{ENDLESS}[Service]\nExecStart=/bin/true"
"""Never accepts, and may be started as often as one likes."""
ONE_EACH = f"{ENDLESS}[Service]\nExecStart={PROBE} answer=1"
"""Serves one client and ends."""
HOLD = "[Service]\nStandardInput=socket\nExecStart=/bin/cat"
"""Echoes, and keeps its connection as long as the client does."""
PAUSE = "[X-Sockact]\nTriggerLimitAction=pause"


def starts(supervisor: Supervisor) -> int:
    return sum(STARTED in line for line in supervisor.log)


def unit(folder: Path, lines: str, service: str, extra: str = "") -> Path:
    """A unit on the UNIX socket `node`."""
    name = "one@.service" if "Accept=yes" in lines else "one.service"
    files = {"one.socket": f"[Socket]\nListenStream={folder}/node\n{lines}\n{extra}", name: service}
    return write_units(folder, files)[0]


def echoes(client: socket.socket) -> bool:
    """Whether the connection is served; False when it was closed instead."""
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except (BrokenPipeError, ConnectionResetError):
        return False


def reset(client: socket.socket) -> bool:
    """Wait until the connection is cut off."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def waits(client: socket.socket) -> bool:
    """Whether nobody has closed the connection or said something on it."""
    return not select.select([client], [], [], 0)[0]


# --- the trigger limit


@pytest.mark.parametrize("burst", [1, 3])
def test_a_service_that_never_accepts_is_started_as_often_as_the_limit_allows_and_then_the_socket_fails(
    burst: int, tmp_path: Path
) -> None:
    lines = f"TriggerLimitIntervalSec=1h\nTriggerLimitBurst={burst}"
    with started(unit(tmp_path, lines, NEVER), status=1) as supervisor:
        with connect(f"{tmp_path}/node") as client:
            assert reset(client)
        assert supervisor.wait() == 1
    assert starts(supervisor) == burst
    assert sum(f"TriggerLimitBurst= allows ({burst} in 3600 s)" in line for line in supervisor.log) == 1
    assert refuses(f"{tmp_path}/node")


def test_without_any_limit_a_service_that_never_accepts_is_started_again_and_again_and_can_be_stopped(tmp_path: Path) -> None:
    with started(unit(tmp_path, "TriggerLimitIntervalSec=0", NEVER)) as supervisor, connect(f"{tmp_path}/node"):
        supervisor.wait_log(STARTED, count=60)
        assert supervisor.end() == 0


def test_a_limit_of_zero_activations_is_none(tmp_path: Path) -> None:
    lines = "TriggerLimitIntervalSec=1h\nTriggerLimitBurst=0"
    with started(unit(tmp_path, lines, NEVER)) as supervisor, connect(f"{tmp_path}/node"):
        supervisor.wait_log(STARTED, count=30)


def test_the_trigger_limit_counts_all_ports_of_a_unit_together(tmp_path: Path) -> None:
    port = free_port()
    lines = f"ListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=1h\nTriggerLimitBurst=2"
    with started(unit(tmp_path, lines, ONE_EACH), status=1) as supervisor:
        ask(f"{tmp_path}/node")
        supervisor.wait_log("ended: exit status 0")
        ask(("127.0.0.1", port))
        supervisor.wait_log("ended: exit status 0", count=2)
        with connect(f"{tmp_path}/node") as client:
            assert reset(client)
        assert supervisor.wait() == 1
    assert refuses(("127.0.0.1", port))


def test_accept_yes_TriggerLimitBurst_3_5_clients_3_served_4th_EOF_5th_RST_socket_failed(  # noqa: N802 - the row of the table
    tmp_path: Path,
) -> None:
    lines = "Accept=yes\nTriggerLimitIntervalSec=1h\nTriggerLimitBurst=3"
    with started(unit(tmp_path, lines, HOLD), status=1) as supervisor:
        with ExitStack() as stack:
            # All five are in the backlog before the first is accepted.
            os.kill(supervisor.pid, signal.SIGSTOP)
            clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(5)]
            os.kill(supervisor.pid, signal.SIGCONT)
            assert [echoes(client) for client in clients] == [True, True, True, False, False]
            supervisor.wait_log("TriggerLimitBurst")
            eventually(lambda: refuses(f"{tmp_path}/node"), "the socket is closed")
            assert [echoes(client) for client in clients[:3]] == [True] * 3, "they continue to run"
        assert supervisor.wait() == 1


def test_connections_that_are_refused_count_for_the_trigger_limit(tmp_path: Path) -> None:
    """A flood of clients above MaxConnections= ends, too."""
    lines = "Accept=yes\nMaxConnections=1\nTriggerLimitIntervalSec=1h\nTriggerLimitBurst=10"
    with started(unit(tmp_path, lines, HOLD), status=1) as supervisor:
        with connect(f"{tmp_path}/node") as served:
            assert echoes(served)
            for _ in range(10):
                with connect(f"{tmp_path}/node") as excess:
                    assert reset(excess)
            supervisor.wait_log("TriggerLimitBurst")
            assert echoes(served)
        assert supervisor.wait() == 1


# --- the trigger limit pauses


def test_a_socket_that_pauses_starts_nothing_and_takes_no_traffic_until_the_window_ends(tmp_path: Path) -> None:
    lines = "TriggerLimitIntervalSec=1h\nTriggerLimitBurst=3"
    with started(unit(tmp_path, lines, NEVER, PAUSE)) as supervisor, connect(f"{tmp_path}/node") as client:
        supervisor.wait_log("paused")
        with connect(f"{tmp_path}/node") as another:
            assert waits(client)
            assert waits(another)
        eventually(lambda: sleeps(supervisor.pid), "a pause is no busy loop")
        assert supervisor.end() == 0
    assert starts(supervisor) == 3
    assert sum("paused" in line for line in supervisor.log) == 1


def sleeps(pid: int) -> bool:
    """Whether the process does nothing at all for a while in which a busy one would do much."""
    before = switches(pid)
    sleep(0.2)
    return switches(pid) == before


def switches(pid: int) -> list[str]:
    return [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "ctxt_switches" in line]


def test_a_socket_that_paused_resumes_by_itself_and_again_and_again(tmp_path: Path) -> None:
    """Each round is as many starts as the limit allows: no more, which would be a busy loop, and no less."""
    lines = "TriggerLimitIntervalSec=500ms\nTriggerLimitBurst=2"
    with started(unit(tmp_path, lines, NEVER, PAUSE)) as supervisor, connect(f"{tmp_path}/node"):
        supervisor.wait_log("paused", count=3)
        words = [word for line in supervisor.log for word in re.findall("started|paused", line)]
        assert supervisor.end() == 0
    rounds = " ".join(words).split("paused")
    assert max(len(one.split()) for one in rounds) <= 2


def test_clients_that_wait_during_a_pause_are_served_when_it_ends_and_none_is_lost(tmp_path: Path) -> None:
    lines = "TriggerLimitIntervalSec=2s\nTriggerLimitBurst=2"
    with started(unit(tmp_path, lines, ONE_EACH, PAUSE)) as supervisor, ExitStack() as stack:
        clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(5)]
        for number, client in enumerate(clients):
            client.sendall(f"{number}\n".encode())
        assert [answer(client)["got"] for client in clients] == [*"01234"]
        assert supervisor.end() == 0
    assert starts(supervisor) == 5


def test_a_paused_socket_with_accept_yes_refuses_nobody_and_serves_all_later(tmp_path: Path) -> None:
    lines = "Accept=yes\nTriggerLimitIntervalSec=1s\nTriggerLimitBurst=2"
    with started(unit(tmp_path, lines, HOLD, PAUSE)) as supervisor, ExitStack() as stack:
        os.kill(supervisor.pid, signal.SIGSTOP)
        clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(7)]
        os.kill(supervisor.pid, signal.SIGCONT)
        supervisor.wait_log("paused")
        assert [echoes(client) for client in clients] == [True] * 7
        assert supervisor.end() == 0


def test_a_paused_socket_with_accept_yes_accepts_no_more_than_the_limit_says(tmp_path: Path) -> None:
    """What is accepted can be served only; so the pause has to begin when the burst is used up, not one later."""
    lines = "Accept=yes\nTriggerLimitIntervalSec=1h\nTriggerLimitBurst=2"
    with started(unit(tmp_path, lines, HOLD, PAUSE)) as supervisor, ExitStack() as stack:
        clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(4)]
        supervisor.wait_log("paused")
        assert echoes(clients[0])
        assert echoes(clients[1])
        assert supervisor.end() == 0
    assert starts(supervisor) == 2


def test_a_paused_socket_leaves_the_others_alone(tmp_path: Path) -> None:
    files = {
        "good.socket": f"[Socket]\nListenStream={tmp_path}/good",
        "good.service": f"[Service]\nExecStart={PROBE} answer",
    }
    good = write_units(tmp_path, files)[0]
    paused = unit(tmp_path, "TriggerLimitIntervalSec=1h\nTriggerLimitBurst=1", NEVER, PAUSE)
    with started(paused, good) as supervisor, connect(f"{tmp_path}/node"):
        supervisor.wait_log("paused")
        assert ask(f"{tmp_path}/good")["got"] == "hello"


def test_a_paused_socket_whose_service_is_started_by_another_one_is_served(tmp_path: Path) -> None:
    files = {
        "one.socket": f"[Socket]\nListenStream={tmp_path}/one\nService=pool.service\nTriggerLimitBurst=1\n"
        f"TriggerLimitIntervalSec=1h\n{PAUSE}",
        "two.socket": f"[Socket]\nListenStream={tmp_path}/two\nService=pool.service",
        "pool.service": f"{ENDLESS}[Service]\nExecStart={PROBE} answer=2",
    }
    one, two, _ = write_units(tmp_path, files)
    with started(one, two) as supervisor:
        ask(f"{tmp_path}/one")
        ask(f"{tmp_path}/one")
        supervisor.wait_log("ended: exit status 0")
        with connect(f"{tmp_path}/one") as waiting:
            supervisor.wait_log("paused")
            waiting.sendall(b"waiting\n")
            assert waits(waiting)
            with connect(f"{tmp_path}/two") as other:
                other.sendall(b"other\n")
                assert answer(other)["got"] == "other"
            assert answer(waiting)["got"] == "waiting"


def test_a_service_that_fails_for_good_fails_its_paused_socket_too(tmp_path: Path) -> None:
    service = "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n[Service]\nExecStart=/bin/true"
    lines = "TriggerLimitIntervalSec=300ms\nTriggerLimitBurst=1"
    with started(unit(tmp_path, lines, service, PAUSE), status=1) as supervisor:
        with connect(f"{tmp_path}/node") as client:
            assert reset(client)
        assert supervisor.wait() == 1
    assert starts(supervisor) == 2


# --- the poll limit


@contextmanager
def polled(folder: Path, lines: str, service: str = HOLD, *, number: int) -> Iterator[tuple[Supervisor, list[socket.socket]]]:
    """A supervisor with Accept=yes and so many clients, who were all there before it looked; and another port, `other`."""
    lines = f"Accept=yes\nListenStream={folder}/other\nTriggerLimitIntervalSec=0\nMaxConnections=1000\n{lines}"
    with started(unit(folder, lines, service)) as supervisor, ExitStack() as stack:
        os.kill(supervisor.pid, signal.SIGSTOP)
        clients = [stack.enter_context(connect(f"{folder}/node")) for _ in range(number)]
        os.kill(supervisor.pid, signal.SIGCONT)
        yield supervisor, clients


def test_accept_yes_PollLimit_2_per_3_s_5_clients_accepted_2_then_2_more_then_1_none_refused(  # noqa: N802 - the row of the table
    tmp_path: Path,
) -> None:
    with polled(tmp_path, "PollLimitIntervalSec=3s\nPollLimitBurst=2", number=5) as (supervisor, clients):
        assert [echoes(client) for client in clients] == [True] * 5
        assert supervisor.end() == 0
    assert starts(supervisor) == 5


def test_beyond_the_poll_limit_connections_wait_and_are_not_refused(tmp_path: Path) -> None:
    with polled(tmp_path, "PollLimitIntervalSec=1h\nPollLimitBurst=2", number=5) as (supervisor, clients):
        assert [echoes(client) for client in clients[:2]] == [True, True]
        eventually(lambda: sleeps(supervisor.pid), "resting is no busy loop")
        with connect(f"{tmp_path}/other") as one, connect(f"{tmp_path}/other") as two, connect(f"{tmp_path}/other") as three:
            assert [echoes(one), echoes(two)] == [True, True], "each port has a limit of its own"
            assert [waits(client) for client in (*clients[2:], three)] == [True] * 4
        assert supervisor.end() == 0
    assert starts(supervisor) == 4


@pytest.mark.parametrize("lines", ["PollLimitIntervalSec=1h\nPollLimitBurst=0", "PollLimitIntervalSec=0\nPollLimitBurst=2"])
def test_a_zero_switches_the_poll_limit_off(lines: str, tmp_path: Path) -> None:
    with polled(tmp_path, lines, number=20) as (_, clients):
        assert [echoes(client) for client in clients] == [True] * 20


def test_with_accept_yes_a_port_is_looked_at_150_times_by_default(tmp_path: Path) -> None:
    service = "[Service]\nStandardInput=socket\nExecStart=/bin/true"
    with polled(tmp_path, "PollLimitIntervalSec=1h", service, number=160) as (supervisor, clients):
        supervisor.wait_log(STARTED, count=150)
        assert all(map(reset, clients[:150]))
        eventually(lambda: sleeps(supervisor.pid), "nothing more is to be done")
        assert all(map(waits, clients[150:]))
        assert supervisor.end() == 0
    assert starts(supervisor) == 150


def test_more_clients_than_the_default_poll_limit_are_all_served_in_the_end(tmp_path: Path) -> None:
    service = "[Service]\nStandardInput=socket\nExecStart=/bin/echo hello"
    with polled(tmp_path, "", service, number=170) as (_, clients):
        assert [client.recv(6) for client in clients] == [b"hello\n"] * 170


def test_without_accept_a_port_is_looked_at_afresh_when_the_service_has_ended(tmp_path: Path) -> None:
    lines = "PollLimitIntervalSec=1h\nPollLimitBurst=1\nTriggerLimitIntervalSec=0"
    with started(unit(tmp_path, lines, ONE_EACH)) as supervisor, ExitStack() as stack:
        clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(4)]
        for client in clients:
            client.sendall(b"hello\n")
        assert len({answer(client)["pid"] for client in clients}) == 4
        assert supervisor.end() == 0


def test_the_poll_limit_does_not_protect_from_the_trigger_limit_without_accept(tmp_path: Path) -> None:
    lines = "PollLimitIntervalSec=1h\nPollLimitBurst=2\nTriggerLimitIntervalSec=1h\nTriggerLimitBurst=6"
    with started(unit(tmp_path, lines, NEVER), status=1) as supervisor:
        with connect(f"{tmp_path}/node") as client:
            assert reset(client)
        assert supervisor.wait() == 1
    assert starts(supervisor) == 6


def test_after_a_pause_the_poll_limit_starts_afresh(tmp_path: Path) -> None:
    """One look more than the trigger limit allows; after the pause the look that this has left would be too few."""
    lines = f"Accept=yes\nPollLimitIntervalSec=1h\nPollLimitBurst=3\nTriggerLimitIntervalSec=500ms\nTriggerLimitBurst=2\n{PAUSE}"
    with started(unit(tmp_path, lines, HOLD)) as supervisor, ExitStack() as stack:
        os.kill(supervisor.pid, signal.SIGSTOP)
        clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(6)]
        os.kill(supervisor.pid, signal.SIGCONT)
        assert [echoes(client) for client in clients] == [True] * 6


# --- out of descriptors


def descriptors(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()]


def limit_descriptors(pid: int, soft: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


@contextmanager
def out_of_descriptors(supervisor: Supervisor) -> Iterator[None]:
    """The supervisor cannot accept anything for now."""
    before = resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE)[0]
    limit_descriptors(supervisor.pid, max(descriptors(supervisor.pid)) + 1)
    yield
    limit_descriptors(supervisor.pid, before)


def test_without_a_free_descriptor_a_connection_waits_until_there_is_one(tmp_path: Path) -> None:
    with started(unit(tmp_path, "Accept=yes", HOLD)) as supervisor:
        with out_of_descriptors(supervisor):
            client = connect(f"{tmp_path}/node")
            supervisor.wait_log("cannot accept", count=2)
        with client:
            assert echoes(client)


def test_the_poll_limit_holds_after_descriptors_had_run_out(tmp_path: Path) -> None:
    lines = "Accept=yes\nPollLimitIntervalSec=1h\nPollLimitBurst=3\nTriggerLimitIntervalSec=0"
    with started(unit(tmp_path, lines, HOLD)) as supervisor, ExitStack() as stack:
        with out_of_descriptors(supervisor):
            clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(8)]
            supervisor.wait_log("cannot accept")
        assert echoes(clients[0])
        eventually(lambda: sleeps(supervisor.pid), "nothing more is to be done")
        assert supervisor.end() == 0
    assert starts(supervisor) <= 3


def test_with_few_descriptors_who_cannot_be_served_waits_or_is_named_in_the_log(tmp_path: Path) -> None:
    """Of each connection the supervisor keeps a descriptor where the service may restart."""
    service = "[Service]\nStandardInput=socket\nRestart=on-failure\nExecStart=/bin/cat"
    with started(unit(tmp_path, "Accept=yes", service)) as supervisor, ExitStack() as stack:
        limit_descriptors(supervisor.pid, max(descriptors(supervisor.pid)) + 8)
        clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(12)]
        eventually(lambda: sleeps(supervisor.pid), "it has done what it can for now")
        lost = 0
        for client in clients:
            lost += not echoes(client)
            client.close()
        assert supervisor.end() == 0
    assert sum("error: " in line or "warning: " in line for line in supervisor.log) >= lost


# --- pending connections: the other rows of the reference's table (5.3)


def test_service_exits_203_without_accepting_service_start_limit_hit_and_the_queued_client_gets_RST(  # noqa: N802
    tmp_path: Path,
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with started(unit(tmp_path, "", f"[Service]\nExecStart={program}"), status=203) as supervisor:
        with connect(f"{tmp_path}/node") as client:
            assert reset(client)
        assert supervisor.wait() == 203
    assert sum("executing the program failed" in line for line in supervisor.log) == 5
    assert sum("StartLimitBurst" in line for line in supervisor.log) == 1
    assert refuses(f"{tmp_path}/node")


def test_restart_on_failure_RestartSec_200ms_the_socket_does_not_start_it_earlier_5_tries_then_it_fails(  # noqa: N802
    tmp_path: Path,
) -> None:
    service = "[Service]\nRestart=on-failure\nRestartSec=200ms\nExecStart=/bin/false"
    with started(unit(tmp_path, "", service), status=1) as supervisor:
        with connect(f"{tmp_path}/node") as client:
            assert reset(client)
        assert supervisor.wait() == 1
    words = [word for line in supervisor.log for word in re.findall("service: started|restarting in 0.2 s", line)]
    assert words[:9] == ["service: started", "restarting in 0.2 s"] * 4 + ["service: started"]
    assert starts(supervisor) == 5


def test_datagram_left_unread_same_loop_as_stream_service_start_limit_hit(tmp_path: Path) -> None:
    files = {"one.socket": f"[Socket]\nListenDatagram={tmp_path}/node", "one.service": "[Service]\nExecStart=/bin/true"}
    one = write_units(tmp_path, files)[0]
    with started(one, status=1) as supervisor, connect(f"{tmp_path}/node", socket.SOCK_DGRAM) as client:
        client.send(b"unread")
        assert supervisor.wait() == 1
    assert starts(supervisor) == 5
    assert refuses(f"{tmp_path}/node")


def test_service_stopped_while_socket_active_socket_back_to_listening(tmp_path: Path) -> None:
    with started(unit(tmp_path, "", f"[Service]\nExecStart={PROBE} answer")) as supervisor:
        first = ask(f"{tmp_path}/node")["pid"]
        os.kill(first, signal.SIGTERM)
        supervisor.wait_log("ended: killed by SIGTERM")
        eventually(lambda: not children(supervisor.pid), "nobody starts it without traffic")
        assert ask(f"{tmp_path}/node")["pid"] != first


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_hang_up_because_the_service_called_shutdown_on_the_listener_fails_the_socket(kind: int, tmp_path: Path) -> None:
    key = "ListenStream" if kind == socket.SOCK_STREAM else "ListenSequentialPacket"
    program = tmp_path / "shuts.py"
    program.write_text(
        "import socket\nlistener = socket.socket(fileno=3)\nlistener.accept()[0].close()\nlistener.shutdown(socket.SHUT_RDWR)\n"
    )
    service = f"[Service]\nExecStart=/usr/bin/env python3 {program}"
    files = {"one.socket": f"[Socket]\n{key}={tmp_path}/node", "one.service": service}
    with started(write_units(tmp_path, files)[0], status=1) as supervisor:
        with connect(f"{tmp_path}/node", kind) as client:
            assert reset(client)
        assert supervisor.wait() == 1
    assert starts(supervisor) == 1, "no busy loop"
    assert any("no longer readable" in line for line in supervisor.log)


def test_Accept_yes_failed_exec_that_connection_gets_EOF_socket_stays_listening(tmp_path: Path) -> None:  # noqa: N802
    service = "[Service]\nUser=65534\nStandardInput=socket\nWorkingDirectory={}\nExecStart=/bin/cat"
    inner = tmp_path / "inner"
    inner.mkdir()
    with started(unit(tmp_path, "Accept=yes", service.format(inner).replace("User=65534\n", ""))) as supervisor:
        inner.rename(tmp_path / "elsewhere")
        for _ in range(2):
            with connect(f"{tmp_path}/node") as client:
                assert reset(client)
        (tmp_path / "elsewhere").rename(inner)
        with connect(f"{tmp_path}/node") as client:
            assert echoes(client)
        assert supervisor.end() == 0
