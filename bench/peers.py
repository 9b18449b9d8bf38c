"""Who is compared: one row a peer, and how each is told to listen.

Every peer serves the same static C program (`service.c`), is told not to look up names, and has its limits on connections
raised or switched off, because limits are not what is measured.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent
AT_ONCE = 512
"""Connections each peer may serve at the same time, and its backlog: more than the client ever makes."""


@dataclass(frozen=True)
class Ground:
    """Where a peer is started: a folder of its own for unit files, the service to activate, the port to listen on."""

    folder: Path
    service: Path
    port: int

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


Command = Callable[[Ground], Sequence[str]]


@dataclass(frozen=True)
class Peer:
    """One supervisor: where its program is, who provides it, and its command line for each way to activate."""

    name: str
    program: str
    provided_by: str
    for_all: Command | None
    """Accept=no: one service for all connections, given the listening socket."""

    for_each: Command
    """Accept=yes: one service process for each connection, given as its standard input and output."""


def find(program: str) -> str | None:
    """A program beside this Python, so that a venv's sockact is compared with the venv's interpreter, or else on PATH."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin"]
    return shutil.which(program, path=os.pathsep.join(places))


def located(program: str) -> str:
    """`find` for a peer that is known to be there."""
    path = find(program)
    assert path is not None
    return path


WEB_SOCKET = """\
[Socket]
ListenStream=127.0.0.1:{port}
TriggerLimitIntervalSec=0
PollLimitIntervalSec=0
"""
WEB_SERVICE = """\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart={service}
"""
ECHO_SOCKET = """\
[Socket]
ListenStream=127.0.0.1:{port}
Accept=yes
Backlog={at_once}
MaxConnections={at_once}
TriggerLimitIntervalSec=0
PollLimitIntervalSec=0
"""
ECHO_SERVICE = """\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart={service} inetd
StandardInput=socket
"""


def sockact_for_all(ground: Ground) -> Sequence[str]:
    ground.write("web.service", WEB_SERVICE.format(service=ground.service))
    unit = ground.write("web.socket", WEB_SOCKET.format(port=ground.port))
    return [located("sockact"), "start", "-q", unit]


def sockact_for_each(ground: Ground) -> Sequence[str]:
    ground.write("echo@.service", ECHO_SERVICE.format(service=ground.service))
    unit = ground.write("echo.socket", ECHO_SOCKET.format(port=ground.port, at_once=AT_ONCE))
    return [located("sockact"), "start", "-q", unit]


def socket_activate_for_all(ground: Ground) -> Sequence[str]:
    return [located("systemd-socket-activate"), "-l", f"127.0.0.1:{ground.port}", str(ground.service)]


def socket_activate_for_each(ground: Ground) -> Sequence[str]:
    program = located("systemd-socket-activate")
    return [program, "-a", "--inetd", "-l", f"127.0.0.1:{ground.port}", str(ground.service), "inetd"]


XINETD_CONF = """\
service bench
{{
    type           = UNLISTED
    socket_type    = stream
    protocol       = tcp
    wait           = no
    user           = {user}
    bind           = 127.0.0.1
    port           = {port}
    server         = {service}
    server_args    = inetd
    flags          = NOLIBWRAP
    instances      = UNLIMITED
    per_source     = UNLIMITED
    cps            = 1000000 1
    log_type       = FILE {log}
    log_on_success =
    log_on_failure =
}}
"""


def xinetd_for_each(ground: Ground) -> Sequence[str]:
    log = ground.folder / "xinetd.log"
    user = pwd.getpwuid(os.getuid()).pw_name
    text = XINETD_CONF.format(user=user, port=ground.port, service=ground.service, log=log)
    pid_file = ground.folder / "xinetd.pid"
    return [located("xinetd"), "-dontfork", "-pidfile", str(pid_file), "-f", ground.write("xinetd.conf", text)]


def tcpserver_for_each(ground: Ground) -> Sequence[str]:
    limits = [f"-c{AT_ONCE}", f"-b{AT_ONCE}"]
    return [located("tcpserver"), "-HR", "-l0", *limits, "127.0.0.1", str(ground.port), str(ground.service), "inetd"]


PEERS = (
    Peer(
        name="sockact",
        program="sockact",
        provided_by="pip install -e . in the venv whose Python runs this",
        for_all=sockact_for_all,
        for_each=sockact_for_each,
    ),
    Peer(
        name="systemd-socket-activate",
        program="systemd-socket-activate",
        provided_by="Debian package systemd",
        for_all=socket_activate_for_all,
        for_each=socket_activate_for_each,
    ),
    Peer(
        name="xinetd",
        program="xinetd",
        provided_by="Debian package xinetd",
        for_all=None,
        for_each=xinetd_for_each,
    ),
    Peer(
        name="tcpserver",
        program="tcpserver",
        provided_by="Debian package ucspi-tcp",
        for_all=None,
        for_each=tcpserver_for_each,
    ),
)


def build(name: str, folder: Path) -> Path:
    """Compile one of the C programs beside this file: static, so that no dynamic loader is in the measured time."""
    program = folder / name
    command = ["cc", "-O2", "-static", "-pthread", "-o", str(program), str(SOURCES / f"{name}.c")]
    subprocess.run(command, check=True)
    return program
