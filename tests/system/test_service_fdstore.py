"""sd_notify(3): stored descriptors (FDSTORE=1), who may speak (NotifyAccess=), MAINPID=, barriers, floods."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab import SERVICES, Supervisor, alive, eventually, write_units
from tests.services import POST, acting, kept, said, sh, supervised, text

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a service as somebody else")
HANDED = "show(handed=handed())"


def twice(folder: Path, first: str, *lines: str, most: int = 16, then: str = "wait()") -> tuple[str, ...]:
    """A service that stores something at its first start, and ends; at the second one it shows what it was handed."""
    body = f"if first_time():\n    {first}\n    barrier()\n    sys.exit(1)\nshow(handed=handed())\n{then}"
    restart = ("Restart=on-failure", "RestartSec=0")
    return ("NotifyAccess=main", f"FileDescriptorStoreMax={most}", f"ExecStart={acting(folder, body)}", *restart, *lines)


def handed(folder: Path, first: str, *lines: str, most: int = 16) -> list[tuple[str, str]]:
    """What the second start was handed, less the socket."""
    with kept(folder, *twice(folder, first, *lines, most=most)) as supervisor:
        return names_of(supervisor)


def names_of(supervisor: Supervisor) -> list[tuple[str, str]]:
    report: dict[str, Any] = supervisor.reports()[0]
    first, *others = report["handed"]
    assert first[0] == "one.socket"
    return [(name, what.partition(":")[0]) for name, what in others]


FILE = 'os.open("/etc/passwd", os.O_RDONLY)'
PIPE = "os.pipe()"


# --- the store


def test_a_stored_descriptor_comes_back_behind_the_sockets_with_its_name(tmp_path: Path) -> None:
    assert handed(tmp_path, f'store("mine", {FILE})') == [("mine", "/etc/passwd")]


def test_the_one_stored_last_comes_back_first(tmp_path: Path) -> None:
    first = '[store(name, os.open(f"/etc/{name}", os.O_RDONLY)) for name in ("passwd", "group", "hosts")]'
    assert handed(tmp_path, first) == [("hosts", "/etc/hosts"), ("group", "/etc/group"), ("passwd", "/etc/passwd")]


def test_several_descriptors_may_come_in_one_message(tmp_path: Path) -> None:
    first = 'store("many", os.open("/etc/passwd", os.O_RDONLY), os.open("/etc/group", os.O_RDONLY))'
    assert sorted(handed(tmp_path, first)) == [("many", "/etc/group"), ("many", "/etc/passwd")]


def test_without_a_name_it_is_called_stored(tmp_path: Path) -> None:
    assert handed(tmp_path, f'tell("FDSTORE=1", fds=[{FILE}])') == [("stored", "/etc/passwd")]


@pytest.mark.parametrize("name", ["a:b", "ä", "a\\x7f", "x" * 256])
def test_a_name_that_cannot_be_passed_on_is_replaced(name: str, tmp_path: Path) -> None:
    assert handed(tmp_path, f'store("{name}", {FILE})') == [("stored", "/etc/passwd")]


def test_what_is_stored_works_when_it_comes_back(tmp_path: Path) -> None:
    first = 'fd = os.memfd_create("memory"); os.write(fd, b"what was before"); store("memory", fd)'
    then = "os.lseek(4, 0, 0); say(os.read(4, 100).decode()); wait()"
    with kept(tmp_path, *twice(tmp_path, first, then=then)) as supervisor:
        supervisor.wait_log("what was before")


def test_a_connection_survives_the_service_that_stored_it(tmp_path: Path) -> None:
    path = tmp_path / "listener"
    first = 's = socket.socket(socket.AF_UNIX); s.bind(str(folder / "listener")); s.listen(); store("listener", s.fileno())'
    then = 's = socket.socket(fileno=4); say("listens"); c, _ = s.accept(); c.sendall(b"served"); c.close(); wait()'
    with kept(tmp_path, *twice(tmp_path, first, then=then)) as supervisor:
        supervisor.wait_log("listens")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert client.recv(10) == b"served"


def test_the_same_file_is_stored_only_once(tmp_path: Path) -> None:
    assert handed(tmp_path, f'fd = {FILE}; [store("mine", fd, os.dup(fd)) for _ in range(3)]') == [("mine", "/etc/passwd")]


def test_no_more_are_stored_than_may_be(tmp_path: Path) -> None:
    first = "[store(str(number), os.memfd_create(str(number))) for number in range(5)]"
    with kept(tmp_path, *twice(tmp_path, first, most=2)) as supervisor:
        assert [name for name, _ in names_of(supervisor)] == ["1", "0"]
        supervisor.wait_log("FileDescriptorStoreMax=2")


def test_nothing_is_stored_without_leave(tmp_path: Path) -> None:
    assert handed(tmp_path, f'store("mine", {FILE})', most=0) == []


def test_a_service_that_may_store_is_heard_without_saying_so_in_the_unit(tmp_path: Path) -> None:
    assert handed(tmp_path, f'store("mine", {FILE})', "NotifyAccess=") == [("mine", "/etc/passwd")]


def test_a_service_that_may_store_is_told_how_much(tmp_path: Path) -> None:
    with kept(tmp_path, "FileDescriptorStoreMax=7", f"ExecStart={sh('echo store $FDSTORE; exec sleep 1000')}") as supervisor:
        supervisor.wait_log("store 7")


@pytest.mark.parametrize("what", [FILE, f"{PIPE}[0]", "os.eventfd(0)", 'os.memfd_create("m")', 'os.open("/", os.O_RDONLY)'])
def test_what_was_stored_can_be_removed_by_its_name(what: str, tmp_path: Path) -> None:
    first = (
        f'ends = [{PIPE}]; store("gone", {what}); store("kept", os.memfd_create("kept")); tell("FDSTOREREMOVE=1", "FDNAME=gone")'
    )
    with kept(tmp_path, *twice(tmp_path, first)) as supervisor:
        assert [name for name, _ in names_of(supervisor)] == ["kept"]
        assert not any("internal error" in line for line in supervisor.log)


def test_removing_what_is_not_there_is_harmless(tmp_path: Path) -> None:
    first = f'store("mine", {FILE}); tell("FDSTOREREMOVE=1", "FDNAME=other"); tell("FDSTOREREMOVE=1")'
    assert handed(tmp_path, first) == [("mine", "/etc/passwd")]


def test_a_descriptor_whose_other_end_is_gone_is_forgotten(tmp_path: Path) -> None:
    first = 'r, w = os.pipe(); store("dead", r); barrier(); os.close(w); time.sleep(0.3)'
    assert handed(tmp_path, first) == []


def test_a_descriptor_that_is_not_to_be_polled_is_kept_whatever_becomes_of_its_other_end(tmp_path: Path) -> None:
    first = 'r, w = os.pipe(); tell("FDSTORE=1", "FDNAME=dead", "FDPOLL=0", fds=[r]); barrier(); os.close(w); time.sleep(0.3)'
    assert handed(tmp_path, first) == [("dead", "pipe")]


def test_descriptors_that_nobody_stores_are_closed(tmp_path: Path) -> None:
    body = 'r, w = os.pipe(); tell("STATUS=here", fds=[w]); os.close(w); say("closed", os.read(r, 1)); wait()'
    with kept(tmp_path, "NotifyAccess=main", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        supervisor.wait_log("closed b''")


def test_stored_descriptors_are_closed_when_the_service_is_over(tmp_path: Path) -> None:
    """So that who waits at their other end learns it."""
    path = tmp_path / "fifo-stored"
    os.mkfifo(path)
    body = f'fd = os.open("{path}", os.O_WRONLY); tell("FDSTORE=1", "FDPOLL=0", fds=[fd]); barrier()'
    lines = ("NotifyAccess=main", "FileDescriptorStoreMax=1", f"ExecStart={acting(tmp_path, body)}")
    with kept(tmp_path, *lines) as supervisor, path.open("rb") as reader:
        assert reader.read() == b""
        supervisor.wait_log("ended: exit status 0")
        assert not any("internal error" in line for line in supervisor.log)


@pytest.mark.parametrize(("line", "expected"), [("yes", ["mine"]), ("restart", []), ("no", [])])
def test_how_long_the_store_lasts_can_be_chosen(line: str, expected: list[str], tmp_path: Path) -> None:
    """Over a stop: the second start is that of a client."""
    body = (
        f'first = first_time()\nif first:\n    store("mine", {FILE}); barrier(); sys.exit(0)\n{HANDED}\nos.read(3, 100); wait()'
    )
    lines = ("NotifyAccess=main", "FileDescriptorStoreMax=1", f"FileDescriptorStorePreserve={line}")
    with kept(tmp_path, f"ExecStart={acting(tmp_path, body)}", *lines) as supervisor:
        supervisor.wait_log("ended: exit status 0")
        (tmp_path / "fifo").write_text("start\n")
        assert [name for name, _ in names_of(supervisor)] == expected


@pytest.mark.parametrize(("line", "expected"), [("yes", ["mine"]), ("restart", ["mine"]), ("no", [])])
def test_a_restart_keeps_the_store_unless_it_is_not_to_be_kept_at_all(line: str, expected: list[str], tmp_path: Path) -> None:
    found = handed(tmp_path, f'store("mine", {FILE})', f"FileDescriptorStorePreserve={line}")
    assert [name for name, _ in found] == expected


def test_commands_do_not_get_what_is_stored(tmp_path: Path) -> None:
    look = sh("echo fds ${LISTEN_FDS:-none}")
    lines = twice(tmp_path, f'store("mine", {FILE})', f"ExecStartPre={look}", f"ExecStopPost={look}")
    with kept(tmp_path, *lines) as supervisor:
        names_of(supervisor)
        assert {line for line in said(supervisor) if line.startswith("fds")} == {"fds none"}


def test_three_hundred_descriptors_come_back(tmp_path: Path) -> None:
    """253 is the most that one message carries."""
    first = "\n    ".join(
        [
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))",
            "fds = [os.memfd_create(str(number)) for number in range(300)]",
            'store("many", *fds[:150]); store("many", *fds[150:])',
        ]
    )
    lines = [line.replace("-I -S", "-I") for line in twice(tmp_path, first, most=512)]
    with kept(tmp_path, *lines) as supervisor:
        assert len(names_of(supervisor)) == 300
        assert not any("internal error" in line for line in supervisor.log)


def test_python_systemd_can_store(tmp_path: Path) -> None:
    if importlib.util.find_spec("systemd") is None:
        pytest.skip("python-systemd is not installed (pip install systemd-python)")
    (tmp_path / "by.py").write_text(
        "import os, sys\nfrom systemd import daemon\n"
        f"if not os.path.exists('{tmp_path}/mark'):\n"
        f"    open('{tmp_path}/mark', 'w').close()\n"
        "    daemon.notify('FDSTORE=1\\nFDNAME=by-systemd', fds=[os.memfd_create('m')])\n"
        "    sys.exit(1)\n"
        "print('handed', daemon.listen_fds_with_names(), flush=True)\n"
    )
    lines = ("NotifyAccess=main", "FileDescriptorStoreMax=1", f"ExecStart={sys.executable} {tmp_path}/by.py")
    with kept(tmp_path, *lines, "Restart=on-failure", "RestartSec=0") as supervisor:
        supervisor.wait_log("handed {3: 'one.socket', 4: 'by-systemd'}")


# --- who may speak

SPEAKERS = """
    def speak(who):
        tell(f"STATUS=from {who}"); barrier()
    if first_time():
        speak("main")
        os.waitpid(fork(lambda: speak("child")), 0)
        os.waitpid(fork(lambda: speak("daughter"), session=True), 0)
        daemon(lambda: (speak("daemon"), (folder / "spoke").touch()))
        while not (folder / "spoke").exists():
            time.sleep(0.01)
        say("all have spoken")
        wait()
"""
CONTROL_SPEAKER = 'tell("STATUS=from control"); barrier()'
MAY = {
    "main": {"main"},
    "exec": {"main", "control"},
    "all": {"main", "control", "child", "daughter", "daemon"},
}


@pytest.mark.parametrize("access", MAY)
def test_those_are_heard_who_may_speak(access: str, tmp_path: Path) -> None:
    """A barrier comes back for everybody: the supervisor closes what it is passed."""
    control = acting(tmp_path, CONTROL_SPEAKER, "control")
    post = sh(f'test -z "$NOTIFY_SOCKET" || exec {control}')
    main = acting(tmp_path, SPEAKERS)
    with kept(tmp_path, f"NotifyAccess={access}", f"ExecStart={main}", f"ExecStartPost={post}") as supervisor:
        supervisor.wait_log("all have spoken")
        supervisor.wait_log("is running")
        heard = {line.rpartition(" ")[2] for line in supervisor.log if "one.service: status: from" in line}
        assert heard == MAY[access]


@pytest.mark.parametrize(("access", "found"), [("none", ""), ("main", ""), ("exec", "/"), ("all", "/")])
def test_commands_know_where_to_speak_only_if_they_may(access: str, found: str, tmp_path: Path) -> None:
    look = sh("echo socket [${NOTIFY_SOCKET:+/}]")
    with kept(tmp_path, f"NotifyAccess={access}", f"ExecStartPost={look}", "ExecStart=/bin/sleep 1000") as supervisor:
        supervisor.wait_log(f"socket [{found}]")


def test_a_stranger_who_knows_the_socket_is_not_heard(tmp_path: Path) -> None:
    body = 'say("socket", os.environ["NOTIFY_SOCKET"]); wait()'
    with kept(tmp_path, "Type=notify", "NotifyAccess=all", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        address = supervisor.wait_log("socket ")[-1].split()[-1].replace("@", "\0", 1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(address)
            for _ in range(3):
                channel.send(b"READY=1\nSTATUS=strange\nMAINPID=1\nSTOPPING=1")
        supervisor.wait_log("which may not speak", 3)
        assert not any("status: strange" in line or "is running" in line for line in supervisor.log)


def test_a_service_that_must_be_heard_is_heard_whatever_the_unit_says(tmp_path: Path) -> None:
    body = 'tell("READY=1"); wait()'
    with kept(tmp_path, "Type=notify", "NotifyAccess=none", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        supervisor.wait_log("is running")


def test_one_service_cannot_speak_for_another(tmp_path: Path) -> None:
    one = acting(tmp_path, 'tell("STATUS=one"); say("one said"); wait()', "one")
    two = acting(tmp_path, 'tell("READY=1", "STATUS=two"); wait()', "two")
    files = {
        "one.service": text("Type=notify", "NotifyAccess=all", f"ExecStart={one}"),
        "two.service": text("Type=notify", "NotifyAccess=all", f"ExecStart={two}"),
    }
    with supervised(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("one.service: status: one")
        supervisor.wait_log("two.service: status: two")
        supervisor.wait_log("two.service: is running")
        assert not any("one.service: is running" in line for line in supervisor.log)
        assert supervisor.end() == 0


# --- what is said


def test_a_grandchild_may_become_the_main_process(tmp_path: Path) -> None:
    body = """
        def successor():
            say("successor", os.getpid())
            wait()
        daemon(lambda: (tell(f"MAINPID={os.getpid()}", "READY=1"), successor()))
        wait()
    """
    lines = ("Type=notify", "NotifyAccess=all", f"ExecStart={acting(tmp_path, body)}", "ExecStop=/bin/echo stop $MAINPID", POST)
    with kept(tmp_path, *lines) as supervisor:
        pid = int(supervisor.wait_log("successor ")[-1].split()[1])
        supervisor.wait_log("is running")
        assert supervisor.end() == 0
        assert said(supervisor)[1:] == [f"stop {pid}", "post [success] [killed] [TERM]"]
        assert not alive(pid)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_main_process_may_hand_over_to_a_child_and_end(tmp_path: Path) -> None:
    body = """
        pid = fork(lambda: (say("child", os.getpid()), wait()), session=True)
        tell("READY=1", f"MAINPID={pid}")
        barrier()
    """
    (unit,) = write_units(tmp_path, {"one.service": text("Type=notify", f"ExecStart={acting(tmp_path, body)}", POST)})
    with supervised(unit) as supervisor:
        pid = int(supervisor.wait_log("child ")[-1].split()[1])
        supervisor.wait_log(f"the main process is {pid}")
        supervisor.wait_log("is running")
        assert alive(pid)
        # Of a process whose parent still lives, nobody but that parent is told how it ended.
        eventually(lambda: parent(pid) == supervisor.pid, "its parent has ended")
        os.kill(pid, signal.SIGKILL)
        assert supervisor.wait() == 137
        assert said(supervisor)[1:] == ["post [signal] [killed] [KILL]"]


@pytest.mark.parametrize("number", ["1", "0", "-1", "x", "4194305", "os.getppid()"])
def test_a_main_process_that_cannot_be_is_not_believed(number: str, tmp_path: Path) -> None:
    body = f'tell(f"MAINPID={{{number}}}"); tell("READY=1"); barrier(); wait()'.replace("{x}", "x")
    lines = ("Type=notify", f"ExecStart={acting(tmp_path, body)}", "ExecStop=/bin/echo stop $MAINPID", POST)
    with kept(tmp_path, *lines) as supervisor:
        pid = supervisor.wait_log("started, pid")[0].rpartition(" ")[2]
        supervisor.wait_log("is running")
        assert supervisor.end() == 0
        assert said(supervisor) == [f"stop {pid}", "post [success] [killed] [TERM]"]


@root_only
def test_a_service_without_privileges_cannot_have_a_stranger_ended_by_calling_it_the_main_process(tmp_path: Path) -> None:
    """systemd believes root alone in this."""
    with subprocess.Popen(["/bin/sleep", "1000"]) as stranger, tempfile.TemporaryDirectory(prefix="sockact-") as name:
        try:
            folder = Path(name)
            folder.chmod(0o755)
            body = f'tell("MAINPID={stranger.pid}"); tell("READY=1"); wait()'
            command = acting(folder, body).replace(sys.executable, "/usr/bin/python3")
            (folder / "acting.py").write_text((SERVICES / "acting.py").read_text())
            command = command.replace(f"{SERVICES}/acting.py", f"{folder}/acting.py")
            with kept(folder, "Type=notify", "User=nobody", f"ExecStart={command}") as supervisor:
                supervisor.wait_log("is running")
            assert alive(stranger.pid)
        finally:
            stranger.kill()


def test_a_service_says_what_went_wrong(tmp_path: Path) -> None:
    body = 'tell("STATUS=no luck", "ERRNO=2"); barrier(); sys.exit(1)'
    with kept(tmp_path, "NotifyAccess=main", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        supervisor.wait_log("one.service: status: no luck")
        supervisor.wait_log("errno: 2")


def test_of_two_lines_of_a_name_the_first_one_counts(tmp_path: Path) -> None:
    body = 'tell("STATUS=first", "STATUS=second"); tell("STATUS=third"); wait()'
    with kept(tmp_path, "NotifyAccess=main", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        supervisor.wait_log("status: third")
        assert [line.rpartition(" ")[2] for line in supervisor.log if "status: " in line] == ["first", "third"]


def test_ready_counts_wherever_it_stands_in_a_message(tmp_path: Path) -> None:
    body = 'tell("X=1", "READY=0", "READY=1", "no assignment", ""); wait()'
    with kept(tmp_path, "Type=notify", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        supervisor.wait_log("is running")


def test_a_child_may_say_that_the_service_is_ready_if_all_may_speak(tmp_path: Path) -> None:
    body = 'os.waitpid(fork(lambda: (tell("READY=1"), barrier())), 0); wait()'
    with kept(tmp_path, "Type=notify", "NotifyAccess=all", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        supervisor.wait_log("is running")


def test_python_systemd_is_understood(tmp_path: Path) -> None:
    if importlib.util.find_spec("systemd") is None:
        pytest.skip("python-systemd is not installed (pip install systemd-python)")
    (tmp_path / "by.py").write_text(
        "import os, signal, time\nfrom systemd.daemon import notify\n"
        "def reload(number, frame):\n"
        "    usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000\n"
        "    assert notify(f'RELOADING=1\\nMONOTONIC_USEC={usec}')\n"
        "    assert notify('READY=1\\nSTATUS=as good as new')\n"
        "signal.signal(signal.SIGHUP, reload)\n"
        "assert notify(f'READY=1\\nMAINPID={os.getpid()}\\nWATCHDOG=1\\nERRNO=0')\n"
        "while True:\n    time.sleep(0.2)\n    notify('WATCHDOG=1')\n"
    )
    lines = ("Type=notify-reload", "WatchdogSec=3s", f"ExecStart={sys.executable} {tmp_path}/by.py")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log("status: as good as new")
        supervisor.wait_log("one.service: reloaded")


@pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="there is no systemd-notify(1) here")
@pytest.mark.parametrize("access", ["main", "exec", "all"])
def test_systemd_notify_is_understood(access: str, tmp_path: Path) -> None:
    """It speaks for the shell that called it, and waits until it was heard."""
    if access != "all" and os.geteuid():
        pytest.skip("only root may speak for another process (systemd-notify(1))")
    script = sh("systemd-notify --ready --status=by-the-tool && echo passed; sleep 1000 & wait")
    with kept(tmp_path, "Type=notify", f"NotifyAccess={access}", f"ExecStart={script}") as supervisor:
        supervisor.wait_log("status: by-the-tool")
        supervisor.wait_log("is running")
        eventually(lambda: "passed" in supervisor.log, "the barrier was passed")


def test_stopping_is_heard_also_when_it_follows_ready_at_once(tmp_path: Path) -> None:
    body = 'tell("READY=1"); tell("STOPPING=1"); ignore("TERM"); say("said"); wait()'
    lines = ("Type=notify", f"ExecStart={acting(tmp_path, body)}", "ExecStop=/bin/echo stop", "TimeoutStopSec=200ms", POST)
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        assert supervisor.wait() == 137
        assert said(supervisor) == ["said", "post [timeout] [killed] [KILL]"]


def test_nobody_is_running_again_who_said_that_it_stops(tmp_path: Path) -> None:
    body = 'tell("READY=1"); barrier(); tell("STOPPING=1"); tell("READY=1"); wait()'
    (unit,) = write_units(
        tmp_path, {"one.service": text("Type=notify", f"ExecStart={acting(tmp_path, body)}", "TimeoutStopSec=200ms", POST)}
    )
    with supervised(unit) as supervisor:
        assert supervisor.wait() == 137
        assert said(supervisor) == ["post [timeout] [killed] [KILL]"]


def test_a_flood_of_messages_delays_and_loses_nobody(tmp_path: Path) -> None:
    """Thirty thousand of one service, while another one starts, is served and stops."""
    flood = acting(tmp_path, 'say("floods")\nwhile True:\n    tell("X=1")', "flood")
    other = acting(tmp_path, 'tell("READY=1", "STATUS=through"); wait()', "other")
    files = {
        "one.service": text("NotifyAccess=main", f"ExecStart={flood}"),
        "two.service": text("Type=notify", f"ExecStartPre={sh('sleep 0.3')}", f"ExecStart={other}"),
    }
    with supervised(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("floods")
        supervisor.wait_log("two.service: is running")
        assert supervisor.end() == 0


@pytest.mark.parametrize("size", [4096, 65536, 200000])
def test_a_message_that_is_too_long_does_no_harm(size: int, tmp_path: Path) -> None:
    body = f"""
        try:
            tell("STATUS=" + "x" * {size})
        except OSError:
            pass
        tell("READY=1"); wait()
    """
    with kept(tmp_path, "Type=notify", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        supervisor.wait_log("is running")


@pytest.mark.parametrize("data", ['b"\\xff\\xfe=1"', 'b"\\0"', 'b"READY=1\\0"', 'b"\\n\\n\\n"', 'b"STATUS=\\x1b[31m\\xff"'])
def test_bytes_that_are_no_text_do_no_harm(data: str, tmp_path: Path) -> None:
    body = f"""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
            channel.send({data})
        tell("STATUS=sense"); tell("READY=1"); wait()
    """
    with kept(tmp_path, "Type=notify", f"ExecStart={acting(tmp_path, body)}") as supervisor:
        supervisor.wait_log("status: sense")
        supervisor.wait_log("is running")
        assert not any("\x1b" in line for line in supervisor.log)


def test_who_shuts_the_socket_down_at_its_end_harms_nobody_else(tmp_path: Path) -> None:
    """Also one that removes what it believes to be the socket's file."""
    body = """
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = os.environ["NOTIFY_SOCKET"]
        channel.connect(address.replace("@", "\\0", 1))
        channel.shutdown(socket.SHUT_RDWR)
        try:
            os.unlink(address)
        except OSError:
            pass
        say("done"); wait()
    """
    one, two = acting(tmp_path, body, "one"), acting(tmp_path, 'tell("READY=1"); wait()', "two")
    files = {
        "one.service": text("NotifyAccess=main", f"ExecStart={one}"),
        "two.service": text("Type=notify", f"ExecStartPre={sh('sleep 0.3')}", f"ExecStart={two}"),
    }
    with supervised(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("done")
        supervisor.wait_log("two.service: is running")
        assert supervisor.end() == 0


def test_a_supervisor_that_is_flooded_with_descriptors_has_as_many_as_before(tmp_path: Path) -> None:
    body = """
        for _ in range(300):
            tell("STATUS=here", fds=[0] * 100)
        barrier(); say("done"); wait()
    """
    (unit,) = write_units(tmp_path, {"one.service": text("NotifyAccess=main", f"ExecStart={acting(tmp_path, body)}")})
    with supervised(unit, arguments=["--quiet"]) as supervisor:
        supervisor.wait_log("done")
        eventually(lambda: len(os.listdir(f"/proc/{supervisor.pid}/fd")) < 30, "they are closed")
