"""Holds sockact against every .socket file of Debian 12: what it says of them, and what a real systemd parses from them.

python tools/debian_sockets.py             fetch, compare, print a table; exit status 1 when anything differs
python tools/debian_sockets.py --update    and write what systemd parsed to tests/data/debian-sockets.json

Needs root, apt, and systemd 252 or later (nothing of it is started on this machine: it boots in namespaces of its own, from a
file system in memory). Packages are downloaded and never installed. Units are other people's text: it stays in the cache, what
is kept are facts.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "debian-sockets"
FACTS = ROOT / "tests" / "data" / "debian-sockets.json"
SUITE = "bookworm"
LARGEST = 60_000_000
"""Bytes of a package that is worth the download."""
SAMPLE = "sample"
"""The instance under which templates are compared."""
PROGRAMS = Path("/usr/lib/systemd/systemd"), Path("/usr/bin/systemctl")

Values = dict[str, list[str]]
"""What systemctl(1) shows of a unit: a property may have several lines."""


# The archive


APT = """
Dir::State::Lists "{cache}/lists";
Dir::Cache "{cache}";
Dir::Etc::SourceList "{cache}/sources.list";
Dir::Etc::SourceParts "-";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
Acquire::IndexTargets::deb::Contents-deb {{
  MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)"; ShortDescription "Contents"; Description "Contents"; KeepCompressed "true";
}};
"""
"""Indices of our own, so that those of this machine stay as they are."""
UNIT_PATH = r"(usr/)?lib/systemd/(system|user)/([^/ ]+\.(socket|service))"
UNIT_FILE = re.compile(rf"\./{UNIT_PATH}(\.d/[^/]+\.conf)?")


@dataclass(frozen=True)
class Deb:
    """A package of the archive, and the file it was downloaded to."""

    package: str
    version: str
    file: Path
    size: int


class Archive:
    """Debian's archive by the mirror that apt knows."""

    def __init__(self, refresh: bool) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "apt.conf").write_text(APT.format(cache=CACHE))
        self.environment = {**os.environ, "APT_CONFIG": str(CACHE / "apt.conf"), "LC_ALL": "C.UTF-8"}
        (CACHE / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (CACHE / "packages").mkdir(exist_ok=True)
        lists = list((CACHE / "lists").glob("*Contents*"))
        if refresh or not lists:
            (CACHE / "sources.list").write_text(self._sources())
            self._run("apt-get", "-qq", "update")
        self.providers = self._providers()

    def _run(self, *command: str, cwd: Path = CACHE) -> str:
        return subprocess.run(command, env=self.environment, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout

    @staticmethod
    def _sources() -> str:
        listed = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]
        known = subprocess.run(listed, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")
        mirrors = [line.split()[0] for line in known if line.endswith(f"/ {SUITE}")]
        mirror = mirrors[0] if mirrors else "http://deb.debian.org/debian/"
        return f"deb {mirror} {SUITE} main contrib non-free non-free-firmware\n"

    def _providers(self) -> dict[str, str]:
        """The package that ships a unit file, by `system/NAME` or `user/NAME`."""
        found = {}
        for index in sorted((CACHE / "lists").glob("*Contents*")):
            search = ("grep", "-aE", rf"^{UNIT_PATH}\s")
            with subprocess.Popen(("/usr/lib/apt/apt-helper", "cat-file", index), stdout=subprocess.PIPE) as unpack:
                lines = subprocess.run(search, stdin=unpack.stdout, stdout=subprocess.PIPE, text=True, check=False).stdout
            for line in lines.splitlines():
                path, packages = line.split()
                folder, name = path.split("/")[-2:]
                found[f"{folder}/{name}"] = packages.split(",")[0].rpartition("/")[2]
        return found

    def download(self, packages: Sequence[str]) -> tuple[list[Deb], list[Deb]]:
        """The packages, downloaded unless they are here already; and those that are too large."""
        listed = self._run("apt-get", "-qq", "download", "--print-uris", *packages) if packages else ""
        debs = [self._deb(*line.split()[1:3]) for line in listed.splitlines()]
        wanted = [deb for deb in debs if deb.size <= LARGEST]
        missing = [deb for deb in wanted if not deb.file.exists() or deb.file.stat().st_size != deb.size]
        if missing:
            print(f"downloading {len(missing)} packages, {sum(deb.size for deb in missing) / 1e6:.0f} MB", file=sys.stderr)
            self._run("apt-get", "-qq", "download", *(deb.package for deb in missing), cwd=CACHE / "packages")
        return wanted, [deb for deb in debs if deb.size > LARGEST]

    @staticmethod
    def _deb(name: str, size: str) -> Deb:
        package, version, _ = name.split("_")
        return Deb(package, version.replace("%3a", ":"), CACHE / "packages" / name, int(size))


def extract(debs: Sequence[Deb], folder: Path) -> dict[str, Deb]:
    """Write the unit files and drop-ins of packages to `folder`/system and `folder`/user; and who they are from."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        origins = zip(debs, pool.map(lambda deb: _extract(deb.file, folder), debs), strict=True)
        return {name: deb for deb, names in origins for name in names}


def _extract(deb: Path, folder: Path) -> list[str]:
    found = []
    unpack = subprocess.Popen(("dpkg-deb", "--fsys-tarfile", deb), stdout=subprocess.PIPE)
    with unpack, tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
        for member in tar:
            path = UNIT_FILE.fullmatch(member.name)
            if path and (member.isfile() or member.issym()):
                name = f"{path[2]}/{path[3]}{path[5] or ''}"
                _write(folder / name, member, tar.extractfile(member) if member.isfile() else None)
                found.append(name)
    if unpack.returncode:
        raise OSError(f"dpkg-deb cannot read {deb.name}")
    return found


def _write(target: Path, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    """A file, or a link: to /dev/null, which masks the unit, or to another name in the same folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if content:
        target.write_bytes(content.read())
    else:
        target.symlink_to(member.linkname if member.linkname == os.devnull else Path(member.linkname).name)


# systemd


BOOT = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
cd "$1"
mkdir usr etc proc sys dev run tmp var root units old
mount --bind /usr usr
mount -o remount,bind,ro usr
for name in bin sbin lib lib32 lib64 libx32; do [ ! -L "/$name" ] || cp -P "/$name" .; done
cp /etc/ld.so.cache /etc/passwd /etc/group /etc/nsswitch.conf etc
echo 00000000000000000000000000000001 >etc/machine-id
cp -a "$2/." units
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
touch dev/console
mount --bind "$3" dev/console
mount -t tmpfs tmpfs run
pivot_root . old
umount -l /old
exec env -i PATH=/usr/sbin:/usr/bin container=probe SYSTEMD_UNIT_PATH=/units \
  /usr/lib/systemd/systemd --system --unit=probe.target --log-target=console --show-status=no </dev/null
"""
"""Makes a root in memory around this machine's /usr, and becomes systemd. The console is a terminal: systemd logs to no other."""
NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
PATIENCE = 30.0
PLAIN = {"probe-plain.socket": "ListenStream=/run/probe", "probe-accepting.socket": "ListenStream=/run/accepting\nAccept=yes"}
"""Sockets that say nothing but where they listen: what is shown of them are the defaults."""


class Systemd:
    """A system manager that was booted with a folder of units, and sees no others."""

    def __init__(self, pid: int, log: list[bytes]) -> None:
        self.pid = pid
        self.log = log

    def systemctl(self, *arguments: str) -> str:
        enter = ("nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", "--", "systemctl")
        return subprocess.run((*enter, *arguments), capture_output=True, text=True, check=False).stdout

    def show(self, names: Sequence[str]) -> list[Values]:
        """All properties of units, in the order asked for."""
        units = self.systemctl("show", "--all", "--", *names).removesuffix("\n").split("\n\n") if names else []
        assert len(units) == len(names)
        return [_properties(unit) for unit in units]

    def complaints(self) -> dict[str, list[str]]:
        """What systemd logged about unit files, by file."""
        found: dict[str, list[str]] = {}
        for line in b"".join(self.log).decode(errors="replace").splitlines():
            about = re.match(r"/units/([^:]+):(.*)", line.strip())
            if about:
                found.setdefault(about[1], []).append(about[2].strip())
        return found


def _properties(text: str) -> Values:
    values: Values = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        values.setdefault(name, []).append(value)
    return values


@contextmanager
def booted(units: Path) -> Iterator[Systemd]:
    """Boot systemd with the units of a folder; whatever happens, nothing of it stays."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    hierarchies = [place for _, place, kind, *_ in mounts if kind == "cgroup2"]
    if not hierarchies:
        raise OSError("systemd needs a cgroup2 file system, and none is mounted")
    group = Path(hierarchies[0]) / f"debian-sockets-{os.getpid()}"
    terminal, console = pty.openpty()
    log: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="debian-sockets-") as root:
        group.mkdir()
        join = 'echo $$ >"$0"/cgroup.procs; exec "$@"'
        stage = ("sh", "-c", BOOT, "boot", root, str(units), os.ttyname(console))
        unshare = ("unshare", *NAMESPACES, "--fork", "--kill-child", "--", *stage)
        outer = subprocess.Popen(("sh", "-c", join, str(group), *unshare), start_new_session=True)
        reader = threading.Thread(target=_copy, args=(terminal, log))
        reader.start()
        try:
            yield _ready(outer, log)
        finally:
            outer.kill()  # with it goes its child, process 1 of the namespace, and with that everything in it
            outer.wait()
            os.close(console)
            reader.join()
            os.close(terminal)
            _remove(group)


def _copy(terminal: int, log: list[bytes]) -> None:
    """Read until the last one who has the other side open is gone."""
    while True:
        try:
            log.append(os.read(terminal, 4096))
        except OSError:
            return


def _ready(outer: subprocess.Popen[bytes], log: list[bytes]) -> Systemd:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and outer.poll() is None:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
            systemd = Systemd(int(children[0]), log)
            if systemd.systemctl("is-active", "probe.target") == "active\n":
                return systemd
        time.sleep(0.02)
    raise OSError(f"systemd does not come up: {b''.join(log).decode(errors='replace')}")


def _remove(group: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while group.exists():
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            _try_to_remove(folder)
        _try_to_remove(group)
        if time.monotonic() > deadline:
            raise OSError(f"cannot remove the control group {group}")


def _try_to_remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        time.sleep(0.02)  # its last process is still on its way out


# What systemd shows, in the words of unit files


KINDS = {
    "Stream": "ListenStream",
    "Datagram": "ListenDatagram",
    "SequentialPacket": "ListenSequentialPacket",
    "FIFO": "ListenFIFO",
    "Special": "ListenSpecial",
    "Netlink": "ListenNetlink",
    "MessageQueue": "ListenMessageQueue",
    "USBFunction": "ListenUSBFunction",
}
SAME_NAME = """
BindIPv6Only Backlog BindToDevice SocketUser SocketGroup SocketMode DirectoryMode Accept FlushPending Writable KeepAlive
KeepAliveProbes NoDelay Priority ReceiveBuffer SendBuffer IPTOS IPTTL PipeSize FreeBind Transparent Broadcast PassCredentials
PassSecurity PassPacketInfo Timestamping RemoveOnStop Symlinks Mark MaxConnections MaxConnectionsPerSource
MessageQueueMaxMessages MessageQueueMessageSize TCPCongestion ReusePort SmackLabel SmackLabelIPIn SmackLabelIPOut
SELinuxContextFromNet FileDescriptorName SocketProtocol TriggerLimitBurst ExecStartPre ExecStartPost ExecStopPre ExecStopPost
Description StartLimitBurst"""
DIRECTIVES = {
    **{name: name for name in SAME_NAME.split()},
    "TimeoutUSec": "TimeoutSec",
    "KeepAliveTimeUSec": "KeepAliveTimeSec",
    "KeepAliveIntervalUSec": "KeepAliveIntervalSec",
    "DeferAcceptUSec": "DeferAcceptSec",
    "TriggerLimitIntervalUSec": "TriggerLimitIntervalSec",
    "StartLimitIntervalUSec": "StartLimitIntervalSec",
    "Triggers": "Service",
}
"""The directives by the names of systemd's properties."""
NO_SETTING = """
Listen Id Names Following Requires Requisite Wants BindsTo PartOf Upholds RequiredBy RequisiteOf WantedBy BoundBy UpheldBy
ConsistsOf Conflicts ConflictedBy Before After OnSuccess OnSuccessOf OnFailure OnFailureOf TriggeredBy PropagatesReloadTo
ReloadPropagatedFrom PropagatesStopTo StopPropagatedFrom JoinsNamespaceOf SliceOf RequiresMountsFor Documentation FragmentPath
SourcePath DropInPaths UnitFileState UnitFilePreset DefaultDependencies IgnoreOnIsolate StopWhenUnneeded Slice"""
"""Properties that name the unit, place it among others, or tell about its file."""


@dataclass(frozen=True)
class Parsed:
    """What somebody understood of a socket: where it listens, and the settings that are not the default."""

    listen: tuple[tuple[str, str], ...]
    settings: Mapping[str, Any]


def parsed_by_systemd(shown: Values, plain: Values) -> Parsed:
    """Listens and settings of a socket from its properties and those of one that has the defaults."""
    listen = [_listen(line) for line in shown["Listen"]]
    names = [name for name in shown if name not in NO_SETTING.split() and shown[name] != plain.get(name)]
    settings = {DIRECTIVES.get(name, f"{name} (property)"): _setting(name, shown[name]) for name in ("Accept", *names)}
    unit = shown["Id"][0]
    defaults = {"FileDescriptorName": unit, "Description": unit, "Service": unit.replace(".socket", ".service"), "Accept": "no"}
    return Parsed(tuple(listen), {key: value for key, value in settings.items() if value not in (defaults.get(key), "")})


def _listen(line: str) -> tuple[str, str]:
    address, _, kind = line.rpartition(" ")
    return KINDS[kind.strip("()")], address


def _setting(name: str, lines: list[str]) -> str | list[str]:
    """The value as a unit file spells it; commands are a list, in which nothing is left of quotes."""
    if not name.startswith("Exec"):
        return lines[0]
    commands = [re.search(r"argv\[\]=(.*?) ; ignore_errors=(yes|no) ;", line) for line in lines]
    return [("-" if command[2] == "yes" else "") + command[1] for command in commands if command]


# What sockact shows


SPANS = {
    "y": 31557600.0,
    "month": 2629800.0,
    "w": 604800.0,
    "d": 86400.0,
    "h": 3600.0,
    "min": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
}
SPECIFIERS = {"%": "%", "t": "/run", "i": SAMPLE, "I": SAMPLE, "h": "/root", "u": "root", "U": "0"}


@dataclass
class Report:
    """What sockact said of a socket and the units it needs, and what it shows of the socket alone."""

    findings: list[dict[str, Any]]
    shown: dict[str, Any] | None
    failure: str = ""


def sockact(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "sockact", *arguments)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SOCKACT_UNIT_PATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def look(name: str, folder: Path) -> Report:
    verified = sockact("verify", "--offline", "--portable", "--format", "json", name, folder=folder)
    shown = sockact("show", "--json", name, folder=folder)
    try:
        findings = json.loads(verified.stdout)["diagnostics"]
    except ValueError:
        return Report([], None, verified.stderr.strip() or "sockact verify printed no JSON")
    return Report(findings, json.loads(shown.stdout) if shown.returncode == 0 else None, shown.stderr.strip())


DEPENDENCIES = frozenset(
    ["After", "Before", "Requires", "Requisite", "Wants", "BindsTo", "PartOf", "Upholds", "Conflicts", "OnFailure", "OnSuccess"]
)


def parsed_by_sockact(shown: dict[str, Any], plain: dict[str, Any]) -> Parsed:
    kinds = {kind.lower(): key for kind, key in KINDS.items()} | {"seqpacket": "ListenSequentialPacket"}
    listen = [(kinds.get(one["kind"], one["kind"]), one["address"]) for one in shown["listen"]]
    unit, settings = shown["unit"], shown["settings"]
    defaults = {
        **plain["settings"],
        "Service": None if settings["Accept"] else unit.replace(".socket", ".service"),
        "Accept": False,
    }
    defaults["FileDescriptorName"] = "connection" if settings["Accept"] else unit
    # Whom a unit depends on is not compared: systemd adds dependencies of its own.
    own = {key: value for key, value in settings.items() if value != defaults.get(key) and key not in DEPENDENCIES}
    return Parsed(tuple(listen), own)


def same(key: str, theirs: str | list[str], ours: Any) -> bool:
    """Whether sockact's JSON value means what systemd shows."""
    if isinstance(ours, bool):
        return theirs == ("yes" if ours else "no")
    if isinstance(ours, list):
        return ours == theirs.split() if isinstance(theirs, str) else [_unquoted(command) for command in ours] == theirs
    if key.endswith("Sec") and isinstance(theirs, str) and isinstance(ours, int | float):
        return abs(_seconds(theirs) - ours) < 1e-6
    return str(ours) == theirs


def _unquoted(command: str) -> str:
    """A command line of a unit file as systemctl(1) prints it: specifiers expanded, without quotes."""
    bare = command.lstrip("-@:+!")
    expanded = re.sub("%(.)", lambda specifier: SPECIFIERS.get(specifier[1], specifier[0]), " ".join(shlex.split(bare)))
    return ("-" if "-" in command[: len(command) - len(bare)] else "") + expanded


def _seconds(text: str) -> float:
    if text == "infinity":
        return float("inf")
    return sum(float(number) * SPANS[unit] for number, unit in re.findall(r"([\d.]+)\s*([a-z]+)", text)) or float(text)


# The comparison


@dataclass
class Row:
    """One socket file, and everything that was found out about it."""

    file: str
    deb: Deb
    unit: str
    service: str
    systemd: Parsed
    sockact: Parsed | None
    complaints: list[str]
    """What systemd says of the socket and its service."""
    notes: set[tuple[str, str]] = field(default_factory=set)
    """Directives that sockact says it does not apply, by the type of unit they are in."""
    remarks: list[str] = field(default_factory=list)
    """What else it notes."""
    excused: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def compare(row: Row, report: Report, absent: bool) -> None:
    """Fill in the findings and the differences of a row."""
    for finding in report.findings:
        place = Path(finding["file"]).name
        said = f"{finding['severity']}[{finding['code']}] {place}:{finding['line'] or ''}: {finding['message']}"
        if finding["code"] == "SA008":
            row.notes.add((place.rpartition(".")[2], finding["message"].partition("=")[0]))
        elif finding["severity"] == "note":
            row.remarks.append(said)
        elif finding["code"] == "SA032" and absent:
            row.excused.append(f"{row.service} is in no package of the archive")
        elif finding["code"] == "SA011" and "'dbus' is not applied" in finding["message"]:
            row.excused.append(f"{place} is of Type=dbus, which sockact refuses: it watches no message bus")
        else:
            row.differences.append(said)
    if row.sockact is None:
        row.differences.append(f"sockact show fails: {report.failure.splitlines()[0] if report.failure else 'without a word'}")
    else:
        row.differences += _differences(row.systemd, row.sockact, {key for kind, key in row.notes if kind == "socket"})


def _differences(systemd: Parsed, sockact: Parsed, notes: set[str]) -> Iterator[str]:
    if systemd.listen != sockact.listen:
        yield f"Listen: systemd has {_listed(systemd)}, sockact {_listed(sockact)}"
    for key, theirs in systemd.settings.items():
        if key in sockact.settings:
            if not same(key, theirs, sockact.settings[key]):
                yield f"{key}: systemd has {theirs}, sockact {sockact.settings[key]}"
        elif key not in notes:
            yield f"{key}: systemd has {theirs}, sockact the default, and does not say that it does not apply it"
    for key in sockact.settings.keys() - systemd.settings.keys():
        yield f"{key}: sockact has {sockact.settings[key]}, systemd the default"


def _listed(parsed: Parsed) -> str:
    return ", ".join(f"{key}={address}" for key, address in parsed.listen) or "nothing"


def needed(folder: Path) -> list[str]:
    """The services that the sockets of a folder start, as systemd sees it."""
    prepare(folder)
    units = [instance(path.name) for path in sorted(folder.glob("*.socket"))]
    with booted(folder) as systemd:
        return [service_of(unit, shown) for unit, shown in zip(units, systemd.show(units), strict=True)]


def prepare(folder: Path) -> None:
    (folder / "probe.target").write_text("[Unit]\nDefaultDependencies=no\n")
    for name, text in PLAIN.items():
        (folder / name).write_text(f"[Socket]\n{text}\n")


def examine(folder: Path, origins: Mapping[str, Deb], archive: Archive) -> list[Row]:
    """Compare the sockets of one folder, system or user."""
    files = [path.name for path in sorted(folder.glob("*.socket")) if path.name not in PLAIN]
    units = [instance(file) for file in files]
    with booted(folder) as systemd:
        plain, accepting, *shown = systemd.show([*PLAIN, *units])
        services = [service_of(unit, values) for unit, values in zip(units, shown, strict=True)]
        systemd.show(services)
    complaints = systemd.complaints()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        defaults, *reports = pool.map(lambda names: [look(name, folder) for name in names], [list(PLAIN), *([u] for u in units)])
    rows = []
    for file, unit, service, values, [report] in zip(files, units, services, shown, reports, strict=True):
        accepts = values["Accept"] == ["yes"]
        default = defaults[accepts].shown
        assert default, defaults[accepts].failure
        theirs = parsed_by_systemd(values, accepting if accepts else plain)
        ours = parsed_by_sockact(report.shown, default) if report.shown else None
        said = [f"{name}:{text}" for name in (file, template(service)) for text in complaints.get(name, ())]
        row = Row(f"{folder.name}/{file}", origins[f"{folder.name}/{file}"], unit, service, theirs, ours, said)
        if values["LoadState"] != ["loaded"]:
            row.differences.append(f"systemd does not load it: {values['LoadError'][0]}")
        compare(row, report, provider(archive, folder.name, service) is None)
        rows.append(row)
    return rows


def instance(file: str) -> str:
    return file.replace("@.", f"@{SAMPLE}.")


def template(unit: str) -> str:
    """The file an instance comes from."""
    return re.sub(r"@.+\.", "@.", unit)


def provider(archive: Archive, scope: str, service: str) -> str | None:
    """The package with the file of a service, or with that of its template."""
    return archive.providers.get(f"{scope}/{service}") or archive.providers.get(f"{scope}/{template(service)}")


def service_of(unit: str, shown: Values) -> str:
    """The service a socket starts, or an instance of the template of which it makes one for each connection."""
    if shown["Accept"] == ["yes"]:
        return f"{unit.removesuffix('.socket').partition('@')[0]}@{SAMPLE}.service"
    return shown["Triggers"][0]


# The directives in use


ASSIGNMENT = re.compile(r"\s*([A-Za-z0-9]+)\s*=")


def directives(text: str) -> Iterator[tuple[str, str]]:
    """Section and key of every assignment of a unit file (systemd.syntax(7))."""
    section, continued = "", False
    for line in text.splitlines():
        if line.lstrip().startswith(("#", ";")):
            continue  # also between continued lines
        header = re.fullmatch(r"\[(.+)\]\s*", line)
        assignment = ASSIGNMENT.match(line)
        if not continued and header:
            section = header[1]
        elif not continued and assignment and not section.startswith("X-"):
            yield section, assignment[1]
        continued = line.endswith("\\")


def in_use(rows: Sequence[Row], units: Path) -> dict[str, list[str]]:
    """The directives in the files of the sockets and their services, by section, but for those systemd says it ignores."""
    found: dict[str, set[str]] = {}
    for row in rows:
        scope, _, file = row.file.partition("/")
        ignored = {key for said in row.complaints for key in re.findall(r"Unknown (?:key|key name) '(\w+)'", said)}
        for path in (units / scope / file, units / scope / template(row.service)):
            text = path.read_text(errors="replace") if path.is_file() else ""
            for section, key in directives(text):
                if key not in ignored:
                    found.setdefault(section, set()).add(key)
    return {section: sorted(keys) for section, keys in sorted(found.items())}


# What is printed, and what is kept


def facts(rows: Sequence[Row], units: Path) -> dict[str, Any]:
    version = subprocess.run((PROGRAMS[1], "--version"), stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]
    return {
        "about": f"What {version} parses from the socket units of Debian 12; written by tools/debian_sockets.py --update",
        "instance": SAMPLE,
        "directives": {section: " ".join(keys) for section, keys in in_use(rows, units).items()},
        "sockets": [_fact(row) for row in rows],
    }


def as_text(found: dict[str, Any]) -> str:
    """JSON with a line for each socket, so that a difference between two versions can be read."""
    sockets = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in found["sockets"])
    rest = json.dumps(found | {"sockets": []}, indent=1, ensure_ascii=False)
    return rest.replace('"sockets": []', f'"sockets": [\n  {sockets}\n ]') + "\n"


def _fact(row: Row) -> dict[str, Any]:
    return {
        "file": row.file,
        "package": row.deb.package,
        "version": row.deb.version,
        "listen": [list(one) for one in row.systemd.listen],
        "settings": kept(row.systemd),
    }


def kept(parsed: Parsed) -> dict[str, Any]:
    """The settings that are facts, and not somebody's words."""
    return {key: value for key, value in sorted(parsed.settings.items()) if key != "Description" and not key.startswith("Exec")}


def table(rows: Sequence[Row]) -> str:
    lines: list[tuple[str, ...]] = [("file", "package", "listens", "settings", "result")]
    for row in rows:
        counts = (len(row.systemd.listen), len(row.systemd.settings.keys() - {"Description"}))
        result = f"DIFFERENT: {len(row.differences)}" if row.differences else "; ".join(["same", *row.excused])
        lines.append((row.file, row.deb.package, *map(str, counts), result))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join("  ".join([*map(str.ljust, line, widths), line[4]]) for line in lines)


def details(rows: Sequence[Row]) -> Iterator[str]:
    """What differs, and what is not a difference and yet worth knowing."""
    for row in rows:
        if row.differences:
            yield f"\n{row.file} ({row.deb.package} {row.deb.version})"
            yield from (f"  {difference}" for difference in row.differences)
    for kind in ("socket", "service"):
        counted = Counter(key for row in rows for file, key in row.notes if file == kind)
        notes = ", ".join(f"{key} {count}" for key, count in sorted(counted.items()))
        yield f"\nnot applied in .{kind} files, and said so: {notes}"
    remarks = sorted({remark for row in rows for remark in row.remarks})
    yield "\n".join(["\nother notes:", *(remarks or ["none"])])
    complaints = sorted({complaint for row in rows for complaint in row.complaints})
    yield "\n".join(["\nwhat systemd itself complains about:", *(complaints or ["nothing"])])


def summary(rows: Sequence[Row]) -> str:
    settings = sum(len(row.systemd.settings.keys() - {"Description"}) for row in rows)
    unapplied = sorted(key for row in rows if row.sockact for key in row.systemd.settings.keys() - row.sockact.settings.keys())
    addresses = sum(len(row.systemd.listen) for row in rows)
    different = sum(bool(row.differences) for row in rows)
    packages = len({row.deb.package for row in rows})
    return f"""
{len(rows)} sockets of {packages} packages, {sum(bool(row.excused) for row in rows)} of them excused
{addresses} addresses, {settings} settings that are not the default; not applied: {", ".join(unapplied) or "none of them"}
{len(rows) - different} are the same, {different} differ"""


def fetch(archive: Archive, units: Path) -> dict[str, Deb]:
    """Put every socket unit into a folder, with its service, from whatever package that comes."""
    sockets = {package for name, package in archive.providers.items() if name.endswith(".socket")}
    debs, large = archive.download(sorted(sockets))
    for deb in large:
        print(f"skipped: {deb.package} has {deb.size / 1e6:.0f} MB", file=sys.stderr)
    origins = extract(debs, units)
    wanted = {f"{scope}/{service}" for scope in ("system", "user") for service in needed(units / scope)}
    missing = {provider(archive, *name.split("/")) for name in wanted if name not in origins} - {None} - sockets
    more, _ = archive.download(sorted(filter(None, missing)))
    extra = extract(more, units)
    return extra | origins


def run(refresh: bool) -> tuple[list[Row], dict[str, Any]]:
    archive = Archive(refresh)
    with tempfile.TemporaryDirectory(prefix="debian-sockets-units-") as folder:
        units = Path(folder)
        origins = fetch(archive, units)
        rows = [row for scope in ("system", "user") for row in examine(units / scope, origins, archive)]
        return rows, facts(rows, units)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the facts that the tests use")
    parser.add_argument("--refresh", action="store_true", help="fetch the indices of the archive anew")
    asked = parser.parse_args()
    absent = [str(program) for program in PROGRAMS if not program.exists()]
    if os.getuid() or absent:
        sys.exit(f"debian_sockets: needs root, and systemd: {', '.join(absent) or 'not root'}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("debian_sockets: terminated"))  # an exception, so that every `finally` runs
    try:
        rows, found = run(asked.refresh)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"debian_sockets: {error}")
    print(table(rows), *details(rows), summary(rows), sep="\n")
    if asked.update:
        FACTS.write_text(as_text(found))
    sys.exit(any(row.differences for row in rows))


if __name__ == "__main__":
    main()
