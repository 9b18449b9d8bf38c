"""listen_fds(): the rules of sd_listen_fds(3), with real descriptors in real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import sockact
from tests.lab import free_port

ROOT = Path(sockact.__file__).resolve().parent.parent
SERVICE = """
import json, os, sys
from sockact import listen_fds
if os.environ.get("LISTEN_PID") == "own":
    os.environ["LISTEN_PID"] = str(os.getpid())
if os.environ.get("LISTEN_PIDFDID") == "own":
    os.environ["LISTEN_PIDFDID"] = str(os.fstat(os.pidfd_open(os.getpid())).st_ino)
try:
    found = listen_fds(unset="unset" in sys.argv)
    said = {"found": [[f.fd, f.name, f.is_socket] for f in found], "inherited": [os.get_inheritable(f.fd) for f in found]}
    sockets = [f.socket() for f in found if f.is_socket]
    said["sockets"] = [[s.family.name, s.type.name, s.proto] for s in sockets]
except (ValueError, OSError) as error:
    said = {"error": type(error).__name__, "message": str(error)}
said["left"] = sorted(name for name in os.environ if name.startswith("LISTEN_"))
print(json.dumps(said), flush=True)
os._exit(0)
"""


def serve(variables: Mapping[str, str], *descriptors: int, arguments: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a service says that was given these variables, and these descriptors from 3 on; `own` stands for its own numbers."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    placed = [os.dup(fd) for fd in descriptors]
    high = [move_up(fd) for fd in placed]
    script = "".join(f"exec {3 + index}<&{fd} {fd}<&-; " for index, fd in enumerate(high))
    command = ["bash", "-c", script + 'exec "$0" "$@"', sys.executable, "-c", SERVICE, *arguments]
    try:
        done = subprocess.run(command, env=environment, pass_fds=high, capture_output=True, text=True, check=True, timeout=30)
    finally:
        for fd in high:
            os.close(fd)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def move_up(fd: int) -> int:
    """The same descriptor, well above those that are handed over."""
    import fcntl

    above = fcntl.fcntl(fd, fcntl.F_DUPFD, 50)
    os.close(fd)
    return above


def handed(count: int, **more: str) -> dict[str, str]:
    return {"LISTEN_PID": "own", "LISTEN_FDS": str(count), **more}


def test_sockets_come_typed_named_and_closed_on_exec() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        reader, writer = os.pipe()
        said = serve(handed(3, LISTEN_FDNAMES="http:log:control"), tcp.fileno(), log.fileno(), reader)
        os.close(reader)
        os.close(writer)
    assert said["found"] == [[3, "http", True], [4, "log", True], [5, "control", False]]
    assert said["inherited"] == [False] * 3
    assert said["sockets"] == [["AF_INET", "SOCK_STREAM", 6], ["AF_UNIX", "SOCK_DGRAM", 0]]
    assert said["left"] == ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID"]


def test_a_multipath_socket_is_recognised() -> None:
    try:
        mptcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262)
    except OSError as error:
        pytest.skip(f"this kernel has no Multipath TCP: {error}")
    with mptcp:
        assert serve(handed(1), mptcp.fileno())["sockets"] == [["AF_INET6", "SOCK_STREAM", 262]]


def test_without_names_all_are_unknown() -> None:
    with open(os.devnull) as file:
        assert [name for _, name, _ in serve(handed(2), file.fileno(), file.fileno())["found"]] == ["unknown", "unknown"]


@pytest.mark.parametrize(
    ("names", "count", "expected"), [("a:b", 2, ["a", "b"]), ("", 1, [""]), (":", 2, ["", ""]), ("a::b", 3, ["a", "", "b"])]
)
def test_empty_names_are_names(names: str, count: int, expected: list[str]) -> None:
    with open(os.devnull) as file:
        said = serve(handed(count, LISTEN_FDNAMES=names), *([file.fileno()] * count))
    assert [name for _, name, _ in said["found"]] == expected


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "own"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "junk"},
        handed(1, LISTEN_PIDFDID="1"),
    ],
    ids=["nothing", "no pid", "no count", "another process", "broken, for another process", "another process of the same pid"],
)
def test_what_is_not_meant_for_this_process_yields_nothing(variables: dict[str, str]) -> None:
    with open(os.devnull) as file:
        assert serve(variables, file.fileno())["found"] == []


def test_the_id_of_the_own_pidfd_is_recognised() -> None:
    with open(os.devnull) as file:
        assert len(serve(handed(1, LISTEN_PIDFDID="own"), file.fileno())["found"]) == 1


@pytest.mark.parametrize(
    "variables",
    [
        {"LISTEN_PID": "junk", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "junk"},
        {"LISTEN_PID": "", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "junk"},
        {"LISTEN_PID": "own", "LISTEN_FDS": ""},
        {"LISTEN_PID": "own", "LISTEN_FDS": "0"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "-1"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "2147483647"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "99999999999999999999"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "1.0"},
        handed(1, LISTEN_FDNAMES="a:b"),
        handed(2, LISTEN_FDNAMES="a"),
        handed(2, LISTEN_FDNAMES=""),
        handed(1, LISTEN_PIDFDID="junk"),
    ],
    ids=str,
)
def test_variables_that_make_no_sense_are_an_error_that_names_them(variables: dict[str, str]) -> None:
    with open(os.devnull) as file:
        said = serve(variables, file.fileno(), file.fileno())
    assert said.get("error") == "ValueError"
    assert "LISTEN_" in said["message"]


def test_a_descriptor_that_is_not_there_is_an_error() -> None:
    with open(os.devnull) as file:
        assert serve(handed(40), file.fileno())["error"] == "OSError"


@pytest.mark.parametrize(
    "variables",
    [
        handed(1, LISTEN_FDNAMES="a", LISTEN_PIDFDID="own"),
        {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "LISTEN_PIDFDID": "5"},
        handed(5, LISTEN_FDNAMES="a", LISTEN_PIDFDID="own"),
        {"LISTEN_PID": "junk"},
        {"LISTEN_FDNAMES": "a"},
    ],
    ids=["all well", "another process", "wrong number of names", "broken", "alone"],
)
def test_the_variables_are_removed_on_request_whatever_they_say(variables: dict[str, str]) -> None:
    with open(os.devnull) as file:
        assert serve(variables, file.fileno(), arguments=("unset",))["left"] == []


def test_what_is_no_socket_cannot_be_taken_for_one() -> None:
    from sockact.consumer import ListenFD

    with open(os.devnull) as file:
        received = ListenFD(file.fileno(), "x")
        assert not received.is_socket
        with pytest.raises(OSError, match="socket"):
            received.socket()
