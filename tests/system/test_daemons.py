"""Real Debian daemons, started by `sockact start` from real unit files, answer their own clients.

A row of DAEMONS is a daemon: what it needs, its files, what of them a test has to change, its client. The files are Debian's own
where the package ships them, and read as an administrator would write them where it does not; `changes` is therefore the whole
difference between the machine and the test: ports, paths, nothing else.

An answer alone would not prove activation, for a daemon may as well have opened a port itself. So the kernel is asked too:
exactly one socket listens on the address, it was there before the daemon, the daemon holds it, and the daemon listens nowhere
else.
"""

from __future__ import annotations

import http.client
import os
import pwd
import re
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.lab import PATIENCE, free_port, started, write_units

FILES = Path(__file__).parent / "daemons"
DEBIAN = Path("/lib/systemd/system")
GREETING = "Hello from a file\n"

IPPROTO_MPTCP = 262
SOL_MPTCP = 284
MPTCP_INFO = 1

Client = Callable[[str], str]
"""Takes the address, `127.0.0.1:4711` or `/path`, and returns the answer."""

Preparation = Callable[[Path], AbstractContextManager[Mapping[str, str]]]
"""Makes in the folder what the daemon serves, for as long as it serves; yields what `changes` may name besides the address."""


# --- clients


def http_get(path: str) -> Client:
    def get(address: str) -> str:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    return get


def run(*command: str) -> Client:
    def output(address: str) -> str:
        arguments = [word.format(address=address) for word in command]
        return subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE).stdout

    return output


# --- preparations


@contextmanager
def nothing(folder: Path) -> Iterator[Mapping[str, str]]:
    yield {}


@contextmanager
def tang_keys(folder: Path) -> Iterator[Mapping[str, str]]:
    keys = folder / "keys"
    keys.mkdir()
    run("/usr/libexec/tangd-keygen", str(keys))("")
    yield {}


@contextmanager
def git_repository(folder: Path) -> Iterator[Mapping[str, str]]:
    """A tagged blob is a ref to list, and unlike a commit needs no author."""
    git = partial(run, "/usr/bin/git", f"--git-dir={folder}/project.git")
    git("init", "--quiet", "--bare")("")
    blob = git("hash-object", "-w", f"{folder}/index.html")("").strip()
    git("update-ref", "refs/tags/greeting", blob)("")
    yield {}


@contextmanager
def web_server(folder: Path) -> Iterator[Mapping[str, str]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"backend": f"127.0.0.1:{server.server_port}"}
        server.shutdown()


# --- the table


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A daemon; `files[0]` is the socket unit, and relative paths are below `daemons/`."""

    name: str
    needs: Mapping[str, str]
    files: tuple[Path, ...]
    changes: Mapping[str, str]
    client: Client
    answer: str
    listen: str = "127.0.0.1:{port}"
    user: str | None = None
    prepare: Preparation = field(default=nothing)


LIGHTTPD = Daemon(
    name="lighttpd",
    needs={"/usr/sbin/lighttpd": "lighttpd"},
    files=(Path("lighttpd/lighttpd.socket"), DEBIAN / "lighttpd.service", Path("lighttpd/lighttpd.conf")),
    changes={
        "ListenStream=80": "ListenStream={address}",
        "/etc/lighttpd/lighttpd.conf": "{folder}/lighttpd.conf",
        "/var/www/html": "{folder}",
    },
    client=http_get("/index.html"),
    answer=GREETING,
)

DAEMONS = (
    LIGHTTPD,
    Daemon(
        name="gunicorn",
        needs={"/usr/bin/gunicorn": "gunicorn"},
        files=(Path("gunicorn/gunicorn.socket"), Path("gunicorn/gunicorn.service"), Path("gunicorn/app.py")),
        changes={"ListenStream=8000": "ListenStream={address}", "/srv/app": "{folder}"},
        client=http_get("/"),
        answer="Hello from gunicorn",
    ),
    Daemon(
        name="nbdkit",
        needs={"/usr/bin/nbdkit": "nbdkit", "/usr/bin/nbdcopy": "libnbd-bin"},
        files=(Path("nbdkit/nbdkit.socket"), Path("nbdkit/nbdkit.service")),
        changes={"ListenStream=/run/nbdkit.sock": "ListenStream={address}", "/path/to/serve": "{folder}/index.html"},
        client=run("/usr/bin/nbdcopy", "nbd+unix:///?socket={address}", "-"),
        answer=GREETING,
        listen="{folder}/nbdkit.sock",
    ),
    Daemon(
        name="dbus",
        needs={
            str(DEBIAN / "dbus.service"): "dbus",
            str(DEBIAN / "dbus.socket"): "dbus-system-bus-common",
            "/usr/bin/dbus-daemon": "dbus-daemon",
            "/usr/bin/dbus-send": "dbus-bin",
        },
        files=(DEBIAN / "dbus.socket", DEBIAN / "dbus.service", Path("dbus/bus.conf")),
        changes={
            "ListenStream=/run/dbus/system_bus_socket": "ListenStream={address}",
            "dbus-daemon --system ": "dbus-daemon --config-file={folder}/bus.conf ",
        },
        client=run(
            *("/usr/bin/dbus-send", "--bus=unix:path={address}", "--print-reply", "--dest=org.freedesktop.DBus"),
            *("/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.DBus"),
        ),
        answer="boolean true",
        listen="{folder}/bus",
    ),
    Daemon(
        name="systemd-socket-proxyd",
        needs={"/lib/systemd/systemd-socket-proxyd": "systemd"},
        files=(Path("proxyd/proxy.socket"), Path("proxyd/proxy.service")),
        changes={"ListenStream=80": "ListenStream={address}", "127.0.0.1:8080": "{backend}"},
        client=http_get("/index.html"),
        answer=GREETING,
        prepare=web_server,
    ),
)

INETD_DAEMONS = (
    Daemon(
        name="tang",
        needs={"/usr/libexec/tangd": "tang-common", str(DEBIAN / "tangd.socket"): "tang"},
        files=(DEBIAN / "tangd.socket", DEBIAN / "tangd@.service"),
        changes={"ListenStream=80": "ListenStream={address}", "/var/lib/tang": "{folder}/keys"},
        client=http_get("/adv"),
        answer='"payload"',
        user="_tang",
        prepare=tang_keys,
    ),
    Daemon(
        name="busybox httpd",
        needs={"/bin/busybox": "busybox"},
        files=(Path("busybox/httpd.socket"), Path("busybox/httpd@.service")),
        changes={"ListenStream=80": "ListenStream={address}", "/var/www/html": "{folder}"},
        client=http_get("/index.html"),
        answer=GREETING,
    ),
    Daemon(
        name="git daemon",
        needs={"/usr/bin/git": "git"},
        files=(Path("git-daemon/git-daemon.socket"), Path("git-daemon/git-daemon@.service")),
        changes={"ListenStream=9418": "ListenStream={address}", "/srv/git": "{folder}"},
        client=run("/usr/bin/git", "ls-remote", "git://{address}/project.git"),
        answer="refs/tags/greeting",
        prepare=git_repository,
    ),
)


def each(daemons: tuple[Daemon, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("daemon", [pytest.param(daemon, id=daemon.name) for daemon in daemons])


# --- a daemon's files


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unlike tmp_path open to all users, for a daemon may run as its own, and short enough for a UNIX socket's address."""
    with tempfile.TemporaryDirectory(prefix="sockact-") as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "index.html").write_text(GREETING)
        yield path


def require(daemon: Daemon) -> None:
    for path, package in daemon.needs.items():
        if not Path(path).exists():
            pytest.skip(f"{path} is missing (apt-get install {package})")
    if daemon.user is not None and os.geteuid() != 0:
        pytest.skip(f"{daemon.name} runs as the user {daemon.user}, and only root can start it so")


@contextmanager
def installed(daemon: Daemon, folder: Path) -> Iterator[tuple[Path, str]]:
    """The daemon's files, changed and in the folder; yields the socket unit and the address it listens on."""
    require(daemon)
    address = daemon.listen.format(port=free_port(), folder=folder)
    texts = {file.name: (FILES / file).read_text() for file in daemon.files}
    for old in daemon.changes:
        assert any(old in text for text in texts.values()), f"no file of {daemon.name} says {old!r} any more"
    with daemon.prepare(folder) as values:
        changes = {old: new.format(address=address, folder=folder, **values) for old, new in daemon.changes.items()}
        unit, *_ = write_units(folder, {name: changed(text, changes) for name, text in texts.items()})
        yield unit, address


def changed(text: str, changes: Mapping[str, str]) -> str:
    """All changes in one pass, so that none can touch what another has put in."""
    return re.sub("|".join(map(re.escape, changes)), lambda found: changes[found[0]], text)


# --- what the kernel knows


def table(name: str) -> list[list[str]]:
    """The rows of /proc/net/NAME, split into words."""
    path = Path("/proc/net", name)
    return [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []


def tcp_sockets(state: str) -> Iterator[tuple[int, int, int]]:
    """Local port, remote port and inode of the TCP sockets, of either family, in this state."""
    for row in table("tcp") + table("tcp6"):
        if row[3] == state:
            yield int(row[1].rpartition(":")[2], 16), int(row[2].rpartition(":")[2], 16), int(row[9])


def listening() -> dict[int, str]:
    """Every listening stream socket: its inode and its port or path."""
    accepting = "00010000"
    streams = {inode: str(port) for port, _, inode in tcp_sockets("0A")}
    return streams | {int(row[6]): row[7] for row in table("unix") if row[3] == accepting and len(row) > 7}


def listeners(address: str) -> set[int]:
    """The inodes of the sockets that listen on the path, or on the port whatever the interface."""
    return {inode for inode, place in listening().items() if place == address.rpartition(":")[2]}


def descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, fresh = set[int](), {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found |= fresh
    return found


def sockets_of(pid: int) -> dict[int, int]:
    """Descriptor and inode of every socket the process holds."""
    found: dict[int, int] = {}
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if match := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())):
                found[int(link.name)] = int(match[1])
    return found


def user_of(pid: int) -> str:
    return pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name


def server_of(connection: socket.socket, supervisor: int) -> int:
    """Wait for the supervisor's descendant that has the other end of the connection as its descriptor 0."""
    ends = connection.getpeername()[1], connection.getsockname()[1]
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        inodes = {inode for *ports, inode in tcp_sockets("01") if tuple(ports) == ends}
        for pid in descendants(supervisor):
            if sockets_of(pid).get(0) in inodes:
                return pid
        sleep(0.05)
    raise AssertionError("no process was given the connection as its descriptor 0")


def speaks_mptcp(address: str) -> bool:
    """Whether a Multipath TCP client meets its like there; only then, and not on a fallback to TCP, MPTCP_INFO can be read."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as client:
        client.connect((host, int(port)))
        try:
            return bool(client.getsockopt(SOL_MPTCP, MPTCP_INFO, 64))
        except OSError:
            return False


# --- the tests


def prove(daemon: Daemon, folder: Path, *further: Callable[[str], bool]) -> None:
    with installed(daemon, folder) as (unit, address):
        with started(unit) as supervisor:
            (given,) = listeners(address)
            assert not descendants(supervisor.pid), "the daemon must wait for its first client"
            assert daemon.answer in daemon.client(address)
            for holds in further:
                assert holds(address)
            assert listeners(address) == {given}
            processes = descendants(supervisor.pid)
            held = {inode for pid in processes for inode in sockets_of(pid).values()}
            assert held & set(listening()) == {given}, "the daemon must hold the socket it was given, and listen nowhere else"
        assert not listeners(address)
        assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()], "no process may be left over"


@each(DAEMONS)
def test_a_daemon_answers_its_client_on_the_socket_it_was_given_and_on_no_other(daemon: Daemon, folder: Path) -> None:
    prove(daemon, folder)


@each(INETD_DAEMONS)
def test_every_connection_becomes_descriptor_0_of_a_daemon_of_its_own(daemon: Daemon, folder: Path) -> None:
    with installed(daemon, folder) as (unit, address), started(unit) as supervisor:
        host, _, port = address.rpartition(":")
        (given,) = listeners(address)
        with socket.create_connection((host, int(port)), PATIENCE) as silent:
            pid = server_of(silent, supervisor.pid)
            assert daemon.answer in daemon.client(address), "a silent client must not keep another one waiting"
            assert given not in sockets_of(pid).values()
            assert daemon.user in {None, user_of(pid)}
        assert listeners(address) == {given}
    assert not Path(f"/proc/{pid}").exists()
    assert not listeners(address)


def test_the_same_daemon_on_multipath_tcp_still_answers_a_plain_tcp_client(folder: Path) -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
    except OSError as error:
        pytest.skip(f"this kernel offers no Multipath TCP (sysctl net.mptcp.enabled): {error}")
    multipath = {"[Socket]": "[Socket]\nSocketProtocol=mptcp"}
    prove(replace(LIGHTTPD, changes={**LIGHTTPD.changes, **multipath}), folder, speaks_mptcp)
