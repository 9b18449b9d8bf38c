"""Starts daemons of Debian 12 from the units their packages ship, and writes down which start.

python tools/debian_daemons.py                all; writes tests/daemons/results.md; exit status 1 if fewer than 30 start
python tools/debian_daemons.py ssh.socket     some; prints what happened, and writes nothing

Needs root, apt and unshare(1). Nothing is installed on this machine: packages are downloaded to .cache, and each daemon is
installed, started, given traffic and stopped in namespaces of its own, without a network, on a copy of this machine's root in
memory. Where the shipped units are not enough, tests/daemons has a drop-in; its first line says why.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "debian-daemons"
DROP_INS = ROOT / "tests" / "daemons"
TABLE = DROP_INS / "results.md"
SOCKACT = ROOT / ".venv" / "bin" / "sockact"
WANTED = 30
WORKERS = 4
"""Daemons at a time: they wait more than they work."""
READY, RUNNING, ANSWER, STEADY, STOPPING, ALL = 20.0, 40.0, 3.0, 2.0, 100.0, 400.0
"""Seconds to wait: until sockets listen, a service runs, it answers, it has stayed, it has ended; for one daemon in all."""


@dataclass(frozen=True)
class Daemon:
    """A unit of a package; what a client says to it, and what else has to be there."""

    unit: str
    package: str
    say: bytes = b""
    port: int = 0
    """Where a service without a socket unit listens."""
    more: tuple[str, ...] = ()
    """Further packages, or units."""
    wants: str = ""
    """What it needs and does not have here, where that is known."""


HTTP = b"GET / HTTP/1.0\r\n\r\n"
LINE = b"\r\n"
JOURNAL = ("systemd-journald-dev-log.socket", "systemd-journald.socket")
"""For those that do not live without syslog(3)."""
DAEMONS = (
    Daemon("acpid.socket", "acpid"),
    Daemon("apache2.service", "apache2", HTTP, 80),
    Daemon("approx.socket", "approx", HTTP),
    Daemon("apt-cacher-ng.service", "apt-cacher-ng", HTTP, 3142),
    Daemon("atftpd.socket", "atftpd", b"\0\1none\0octet\0"),
    Daemon("avahi-daemon.socket", "avahi-daemon", b"HELP\n", more=("dbus.socket", "dbus", "dbus-system-bus-common")),
    Daemon("beanstalkd.socket", "beanstalkd", b"stats\r\n"),
    Daemon(
        "chasquid-smtp.socket",
        "chasquid",
        more=("chasquid-submission.socket", "chasquid-submission_tls.socket", *JOURNAL, "openssl"),
    ),
    Daemon("chrony.service", "chrony"),
    Daemon("cni-dhcp.socket", "containernetworking-plugins"),
    Daemon(
        "cockpit.socket", "cockpit-ws", HTTP, more=("cockpit-wsinstance-http.socket", "cockpit-wsinstance-https-factory.socket")
    ),
    Daemon("cron.service", "cron"),
    Daemon("csync2.socket", "csync2", LINE),
    Daemon("cups.socket", "cups-daemon", HTTP),
    Daemon("dbus.socket", "dbus-system-bus-common", b"\0AUTH EXTERNAL 30\r\n", more=("dbus",)),
    Daemon("dicod.socket", "dicod"),
    Daemon("dm-event.socket", "dmeventd"),
    Daemon("dnsmasq.service", "dnsmasq", port=53),
    Daemon("dovecot.socket", "dovecot-imapd", more=("openssl",)),
    Daemon("epmd.socket", "erlang-base", b"\0\1n"),
    Daemon("fcgiwrap.socket", "fcgiwrap"),
    Daemon("gophernicus.socket", "gophernicus", LINE, more=JOURNAL),
    Daemon("gpsd.socket", "gpsd"),
    Daemon("greylistd.socket", "greylistd", b"--grey 10.0.0.1"),
    Daemon("haproxy.service", "haproxy"),
    Daemon("hddemux.socket", "hddemux", HTTP),
    Daemon("ibacm.socket", "ibacm", wants="an RDMA subsystem in the kernel"),
    Daemon("inn.socket", "inn", more=JOURNAL),
    Daemon("iscsid.socket", "open-iscsi", wants="an iSCSI subsystem in the kernel"),
    Daemon("json2file-go.socket", "json2file-go", HTTP, wants="a list of folders, which the package does not bring"),
    Daemon("knxd.socket", "knxd", wants="a network that carries multicast"),
    Daemon("lbcd.socket", "lbcd", b"\0\3\0\0\0\1\0\0"),
    Daemon("leafnode.socket", "leafnode"),
    Daemon("lighttpd.service", "lighttpd", HTTP, 80),
    Daemon("lircd.socket", "lirc", b"VERSION\n"),
    Daemon("lldpad.socket", "lldpad"),
    Daemon("lvm2-lvmpolld.socket", "lvm2", b'request = "hello"\n\n##\n'),
    Daemon("mariadb.socket", "mariadb-server"),
    Daemon("memcached.service", "memcached", b"version\r\n", 11211),
    Daemon("micro-httpd.socket", "micro-httpd", HTTP),
    Daemon("monopd.socket", "monopd"),
    Daemon("mosquitto.service", "mosquitto", b"\x10\x0c\0\4MQTT\4\2\0\0\0\0", 1883),
    Daemon("mpd.socket", "mpd"),
    Daemon("multipathd.socket", "multipath-tools", wants="the device mapper in the kernel"),
    Daemon("munin-node-c.socket", "munin-node-c"),
    Daemon("nginx.service", "nginx-light", HTTP, 80),
    Daemon("nsca-ng-server.socket", "nsca-ng-server", LINE),
    Daemon("nyancat-server.socket", "nyancat-server"),
    Daemon("oidentd.socket", "oidentd", b"1, 1\r\n"),
    Daemon("onak.socket", "onak"),
    Daemon("owserver.socket", "owserver"),
    Daemon("pcscd.socket", "pcscd"),
    Daemon("pgbouncer.socket", "pgbouncer", b"\0\0\0\x08\x04\xd2\x16\x2f"),
    Daemon("podman.socket", "podman", b"GET /_ping HTTP/1.0\r\n\r\n"),
    Daemon("proftpd.socket", "proftpd-core", more=JOURNAL),
    Daemon("rbldnsd.socket", "rbldnsd", wants="zones, which the package does not bring"),
    Daemon("redis-server.service", "redis-server", b"PING\r\n", 6379),
    Daemon("rpcbind.socket", "rpcbind"),
    Daemon("rsync.service", "rsync", port=873),
    Daemon("saned.socket", "sane-utils"),
    Daemon("snmptrapd.socket", "snmptrapd", b"trap"),
    Daemon("spice-vdagentd.socket", "spice-vdagent"),
    Daemon("ssh.socket", "openssh-server"),
    Daemon("sssd-kcm.socket", "sssd-kcm"),
    Daemon("systemd-journal-gatewayd.socket", "systemd-journal-remote", HTTP),
    Daemon("systemd-journal-remote.socket", "systemd-journal-remote", HTTP),
    Daemon("systemd-journald.socket", "systemd", more=JOURNAL[:1]),
    Daemon(
        "systemd-udevd-control.socket",
        "udev",
        more=("systemd-udevd-kernel.socket",),
        wants="/sys to be writable, which it is not in these namespaces",
    ),
    Daemon("systemd-userdbd.socket", "systemd-userdbd"),
    Daemon("tangd.socket", "tang", b"GET /adv HTTP/1.0\r\n\r\n"),
    Daemon("targetclid.socket", "targetcli-fb", LINE, wants="/proc/modules, and the target subsystem in the kernel"),
    Daemon("tinysshd.socket", "tinysshd"),
    Daemon("triggerhappy.socket", "triggerhappy"),
    Daemon("unbound.service", "unbound", port=53, more=("dns-root-data",)),
    Daemon("uucp.socket", "uucp"),
    Daemon("uuidd.socket", "uuid-runtime", b"\0"),
    Daemon("virtlogd.socket", "libvirt-daemon-system"),
    Daemon("vsftpd.service", "vsftpd", port=21),
    Daemon("yaskkserv.socket", "yaskkserv", b"2"),
)


@dataclass
class Result:
    """What became of a daemon."""

    unit: str
    package: str
    version: str = ""
    started: bool = False
    why: str = ""
    answered: bool = False
    drop_ins: list[str] = field(default_factory=list)
    unapplied: list[str] = field(default_factory=list)
    """Keys that sockact says it does not apply."""
    log: list[str] = field(default_factory=list)


def units_of(daemon: Daemon) -> list[str]:
    return [daemon.unit, *(name for name in daemon.more if name.endswith((".socket", ".service")))]


def packages_of(daemon: Daemon) -> list[str]:
    return [daemon.package, *(name for name in daemon.more if name not in units_of(daemon))]


# Outside: packages, and a root for each daemon


APT = """
Dir::State::Lists "{cache}/lists";
Dir::Cache "{cache}";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Dpkg::Options {{ "--force-confold"; "--force-unsafe-io"; }};
"""
NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc")
STAGE = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay root
cd root
rm -f .dockerenv
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup || :
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for name in null zero full random urandom tty; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
ln -s /proc/self/fd dev/fd
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/lock
mount -t tmpfs -o mode=1777 tmpfs tmp
printf '#!/bin/sh\\nexit 101\\n' >usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
mkdir -p etc/systemd/system
[ ! -d "$4" ] || cp -r "$4/." etc/systemd/system
hostname debian
printf '127.0.0.1 localhost\\n127.0.1.1 debian.localdomain debian\\n::1 localhost\\n' >etc/hosts
ip link set lo up
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 APT_CONFIG="$5" \
  DEBIAN_FRONTEND=noninteractive "$2" "$3" --inside "$6"
"""
"""Makes a root in memory above this machine's, and goes on in it as process 1."""


def apt(*words: str) -> None:
    environment = {**os.environ, "APT_CONFIG": str(CACHE / "apt.conf"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ("apt-get", "-qq", "-y", "-o", "Debug::NoLocking=true", *words),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(done.stderr.strip() or done.stdout.strip())


def prepare(refresh: bool) -> None:
    for folder in ("lists", "archives", "logs"):
        (CACHE / folder / "partial").mkdir(parents=True, exist_ok=True)
    (CACHE / "apt.conf").write_text(APT.format(cache=CACHE))
    if refresh or not list((CACHE / "lists").glob("*Packages*")):
        apt("update")


def examine(daemon: Daemon) -> Result:
    """Install, start and stop a daemon in namespaces of its own."""
    with tempfile.TemporaryDirectory(prefix="root-", dir=CACHE) as folder:
        stage = (
            "bash",
            "-c",
            STAGE,
            "stage",
            folder,
            sys.executable,
            __file__,
            str(DROP_INS),
            str(CACHE / "apt.conf"),
            daemon.unit,
        )
        process = subprocess.Popen(
            ("unshare", *NAMESPACES, *stage), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            said, complaint = process.communicate(timeout=ALL)
        except BaseException as error:
            process.kill()
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                return Result(daemon.unit, daemon.package, why="it took too long")
            raise
    last = said.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        return Result(daemon.unit, daemon.package, why="it could not be tried", log=complaint.splitlines()[-20:])
    return Result(**json.loads(last))


def examined(daemons: Sequence[Daemon], tell: Callable[[Result], None]) -> list[Result]:
    """Download one after another (apt has a lock), and go on with each at once."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = []
        for daemon in daemons:
            try:
                apt("install", "--download-only", *packages_of(daemon))
            except OSError as error:
                lost = Result(daemon.unit, daemon.package, why="the package cannot be had", log=str(error).splitlines())
                futures.append(pool.submit(replace, lost))
            else:
                futures.append(pool.submit(examine, daemon))
            futures[-1].add_done_callback(lambda future: tell(future.result()))
        return [future.result() for future in futures]


# Inside: process 1 of a root of its own


def inside(daemon: Daemon) -> Result:
    result = Result(daemon.unit, daemon.package)
    try:
        apt_inside(daemon)
        result.version = output("dpkg-query", "-W", "-f", "${Version}", daemon.package)
        for command in ("systemd-sysusers", "systemd-tmpfiles --create"):  # as at boot
            subprocess.run(command.split(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        verify(daemon, result)
        start(daemon, result)
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
        result.why = result.why or str(error)
    return result


def output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout


def apt_inside(daemon: Daemon) -> None:
    for package in reversed(packages_of(daemon)):
        command = ("apt-get", "-qq", "-y", "--no-download", "install", package)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise OSError(f"it cannot be installed: {done.stdout.strip().splitlines()[-8:]}")


def verify(daemon: Daemon, result: Result) -> None:
    command = (str(SOCKACT), "verify", "--format=json", "--system-units", *units_of(daemon))
    shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    found = json.loads(shown)
    ours = re.compile(own(daemon))
    notes = [one["message"] for one in found["diagnostics"] if one["code"] == "SA008" and ours.fullmatch(Path(one["file"]).name)]
    result.unapplied = sorted({message.partition("=")[0] for message in notes})
    templates = {re.sub(r"@.+\.", "@.", unit) for unit in found["units"]}
    result.drop_ins = sorted(unit for unit in templates | set(found["units"]) if (DROP_INS / f"{unit}.d").is_dir())
    wrong = [f"{one['code']}: {one['message']}" for one in found["diagnostics"] if one["severity"] != "note"]
    result.log = [f"verify: {one}" for one in wrong]


class Log:
    """What sockact and the daemons say, line by line."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        self.path = path
        self.process = process

    def lines(self) -> list[str]:
        return self.path.read_text(errors="replace").splitlines()

    def wait(self, pattern: str, seconds: float) -> bool:
        """Whether a line comes before the time is over, or before sockact has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            if any(re.search(pattern, line) for line in self.lines()):
                return True
            if ended:
                return False
            time.sleep(0.05)
        return False


FAILED = r"(warning: |error: )?(failed|not started|exited|ended: (?!exit status 0))"


def own(daemon: Daemon) -> str:
    """A pattern for the names of a daemon's units: its service may be one of an instance."""
    command = (str(SOCKACT), "show", "--json", "--system-units", daemon.unit)
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout or "{}")
    stem, at, _ = (shown.get("service") or daemon.unit).removesuffix(".service").partition("@")
    return rf"({re.escape(daemon.unit)}|{re.escape(stem)}{at and '@.*'}\.service)"


def start(daemon: Daemon, result: Result) -> None:
    path = Path("/tmp/sockact.log")
    with path.open("wb") as stream:
        command = (str(SOCKACT), "start", "-v", "--system-units", *units_of(daemon))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, cwd="/")
    log = Log(path, process)
    try:
        attempt(daemon, result, log)
    finally:
        before = len(log.lines())
        end(process, result)
        result.log += [line.replace(str(ROOT), "") for line in log.lines()[-40:]]
        failures = [line for line in log.lines()[:before] if re.search(rf"^{own(daemon)}: {FAILED}", line)]
        result.started = not result.why
        if result.why and failures:
            result.why += f" ({failures[-1]})"


def attempt(daemon: Daemon, result: Result, log: Log) -> None:
    if not log.wait("^sockact: ready", READY):
        errors = [line for line in log.lines() if "error" in line]
        result.why = f"it is refused: {errors[0][errors[0].index('error') :]}" if errors else "it is not ready in time"
        return
    clients = [] if daemon.port else [client for unit in units_of(daemon) for client in knock(unit, daemon.say)]
    if not log.wait(rf"^{own(daemon)}: is running", RUNNING):
        result.why = "its service does not come up"
        return
    if daemon.port:
        clients = [connect(f"127.0.0.1:{daemon.port}", daemon.say)]
    result.answered = any(answers(client) for client in clients if client)
    time.sleep(STEADY)
    one_of_many = result.answered and "@" in own(daemon)  # having answered, an instance may end as it likes
    if not one_of_many and any(re.search(rf"^{own(daemon)}: {FAILED}", line) for line in log.lines()):
        result.why = "its service does not stay"
    elif not result.answered and log.process.poll() is not None:
        result.why = "it has ended"
    for client in clients:
        if client:
            client.close()


def knock(unit: str, say: bytes) -> list[socket.socket | None]:
    """Send traffic to the first address of a socket unit that can be sent to."""
    if not unit.endswith(".socket"):
        return []
    for one in json.loads(output(str(SOCKACT), "show", "--json", "--system-units", unit))["listen"]:
        kind, address = one["kind"].removeprefix("Listen").lower(), one["address"]
        if kind in ("fifo", "special"):
            with open(os.open(address, os.O_RDWR | os.O_NONBLOCK), "wb") as fifo:
                fifo.write(say or b"\n")
            return []
        if kind in KINDS:
            return [connect(address, say, KINDS[kind])]
    return []


KINDS = {
    "stream": socket.SOCK_STREAM,
    "datagram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
    "sequentialpacket": socket.SOCK_SEQPACKET,
}


def connect(address: str, say: bytes, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket | None:
    """A connection over which something was said already."""
    host, _, port = address.rpartition(":")
    unix = address.startswith(("/", "@"))
    family = socket.AF_UNIX if unix else socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    loopback = {"[::]": "::1", "0.0.0.0": "127.0.0.1"}
    client = socket.socket(family, kind)
    client.settimeout(ANSWER)
    try:
        client.connect(address.replace("@", "\0", 1) if unix else (loopback.get(host, host.strip("[]")), int(port)))
        if say or kind != socket.SOCK_STREAM:
            client.send(say or b"\n")
    except OSError:
        client.close()
        return None
    return client


def answers(client: socket.socket) -> bool:
    try:
        return bool(client.recv(1))
    except OSError:
        return False


def end(process: subprocess.Popen[bytes], result: Result) -> None:
    """Stop everything; nothing may be left over."""
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(STOPPING)
    except subprocess.TimeoutExpired:
        result.why = result.why or "it does not stop"
        return
    if status and not result.why:
        result.why = f"sockact ends with {status} when it is stopped"
    left = processes()
    if left and not result.why:
        result.why = f"it leaves processes: {', '.join(left)}"


def processes() -> list[str]:
    """The names of all processes but this one, and but those that have ended already and wait for somebody to ask."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" (")
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, _, state = rest.rpartition(") ")
        if int(pid) != os.getpid() and state[0] not in "ZX":
            found.append(name)
    return sorted(found)


# The table


def outcome(result: Result) -> str:
    if not result.started:
        wants = next((daemon.wants for daemon in DAEMONS if daemon.unit == result.unit), "")
        return f"no: it needs {wants}" if wants else f"no: {result.why}"
    return f"with a drop-in: {'; '.join(reason(unit) for unit in result.drop_ins)}" if result.drop_ins else "as shipped"


def reason(unit: str) -> str:
    """The first line of a drop-in."""
    return "; ".join(path.read_text().splitlines()[0].lstrip("# ") for path in sorted((DROP_INS / f"{unit}.d").glob("*.conf")))


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(results: Sequence[Result]) -> str:
    started = [result for result in results if result.started]
    shipped = [result for result in started if not result.drop_ins]
    lines = [
        "# Debian daemons under sockact",
        "",
        "Written by `tools/debian_daemons.py`: the package is installed in a root of its own, the units are started by",
        "`sockact start --system-units`, sent traffic, and stopped by SIGTERM. A daemon has started when its service runs,",
        "stays, and ends with nothing left over. *Answers*: a client was sent something. The drop-ins are in beside this list.",
        "",
        f"{len(results)} tried, {len(started)} start: {len(shipped)} as shipped, {len(started) - len(shipped)} with a drop-in;"
        f" {len(results) - len(started)} do not. {sum(result.answered for result in started)} of those that start answer.",
        "",
        "| unit | package | version | starts | answers | keys not applied |",
        "|---|---|---|---|---|---|",
    ]
    for one in sorted(results, key=lambda result: result.unit):
        answer = "yes" if one.answered else "-"
        fields = (one.unit, one.package, one.version, outcome(one), answer, ", ".join(one.unapplied) or "-")
        lines.append(f"| {' | '.join(map(cell, fields))} |")
    return "\n".join([*lines, ""])


def tell(result: Result) -> None:
    (CACHE / "logs" / f"{result.unit}.log").write_text("\n".join([*result.log, ""]))
    print(f"{result.unit}: {outcome(result)}{' (answers)' if result.answered else ''}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("units", nargs="*", metavar="UNIT", help="try these only, and write nothing")
    parser.add_argument("--refresh", action="store_true", help="fetch the indices of the archive anew")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    known = {daemon.unit: daemon for daemon in DAEMONS}
    if unknown := set(asked.units) - set(known):
        parser.error(f"not in the table: {', '.join(sorted(unknown))}")
    if asked.inside:
        print(json.dumps(asdict(inside(known[asked.units[0]]))), flush=True)
        return
    if os.getuid():
        sys.exit("debian_daemons: needs root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("debian_daemons: terminated"))  # an exception, so that roots are removed
    prepare(asked.refresh)
    results = examined([known[unit] for unit in asked.units] or DAEMONS, tell)
    if asked.units:
        for result in results:
            print(f"\n{result.unit} {result.version}", *result.log, sep="\n  ")
    else:
        TABLE.write_text(table(results))
    sys.exit(sum(result.started for result in results) < min(WANTED, len(results)))


if __name__ == "__main__":
    main()
