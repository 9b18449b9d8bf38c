"""The child plan: everything that makes a service's process what it is, as data.

`runtime.spawn` carries it out and decides nothing: it opens, looks up and reads what is named here, and leaves to the child
a handful of system calls and its own pid, which nobody can know before.
"""

from __future__ import annotations

from sockact.net import linux
from sockact.record import TYPE_CHECKING, Record
from sockact.unit import words
from sockact.unit.commands import TERMINALS, Command, is_variable
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives.execution import ExecutionSection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockact.unit.commands import MaybePath, Stream
    from sockact.unit.places import Credential, Directory, OpenFile

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OWN_VARIABLES = (
    *("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"),
    *("REMOTE_ADDR", "REMOTE_PORT", "SO_COOKIE", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "DEBUG_INVOCATION"),
    *("MAINPID", "MAINPIDFDID", "MANAGERPID", "MANAGERPIDFDID", "PIDFILE", "FDSTORE"),
    *("CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY"),
    *("CONFIGURATION_DIRECTORY", "SYSTEMD_EXEC_PID"),
)
"""What the supervisor itself may have been told, and must never pass on as if it were meant for the service."""


BLANKS = " \t\r"
SIGPIPE = linux.SIGNALS["PIPE"]


class Source(Record):
    """Where a standard stream comes from: a descriptor of the supervisor, a file opened in the given way, or whatever
    another standard stream became."""

    fd: int = -1
    path: str = ""
    how: str = ""
    follows: int = -1


CONNECTION = Source(fd=-2)
"""The first descriptor that is handed over."""
MISSING = Source(fd=-3)
"""A descriptor of a name that none of those handed over has."""
NULL = Source(path="/dev/null", how="null")
LOG = Source(fd=2)
"""The supervisor's standard error."""


class Setting(Record):
    """One thing that is set between fork and exec; the numbers, path and data are those of the system call `op`."""

    op: str
    numbers: tuple[int, ...]
    path: str
    data: bytes
    name: str
    status: int


class Control(Record):
    """An attribute of a control group (cgroups(7); Documentation/admin-guide/cgroup-v2.rst). `share` is in ten-thousandths of
    what the machine has, where the directive says a percentage; else it is 0."""

    key: str
    controller: str
    file: str
    text: str
    share: int = 0


class Place(Record):
    """Directories of one kind: the first word of their variable, and the exit status for when they cannot be made."""

    kind: str
    directories: tuple[Directory, ...]
    mode: int
    status: int


class Terminal(Record):
    """A terminal, whether the command gets it, and how it is prepared."""

    path: str
    used: bool
    reset: bool
    hang_up: bool
    size: tuple[int | None, int | None]


class Extras(Record):
    """What most commands do not ask for."""

    login: bool | None = None
    owner: tuple[str | None, str | None] = (None, None)
    """User and group of the unit, which its directories belong to even if the command keeps its privileges."""
    supplementary: tuple[str, ...] = ()
    dynamic: bool = False
    passed: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    search: str = ""
    root: str = ""
    before: tuple[Setting, ...] = ()
    """What is set before the user changes, and what after it."""
    after: tuple[Setting, ...] = ()
    places: tuple[Place, ...] = ()
    credentials: tuple[tuple[Credential, ...], tuple[Credential, ...], tuple[Credential, ...]] = ((), (), ())
    """Those to load, those to import, and those given in the unit."""
    open_files: tuple[OpenFile, ...] = ()
    terminal: Terminal | None = None
    data: bytes = b""
    controls: tuple[Control, ...] = ()
    """What is set of the unit's control group, where it has one."""


PLAIN = Extras()
USUAL = frozenset(
    {
        *("environment", "environment_file", "user", "group", "working_directory", "umask", "ignore_sigpipe"),
        *("standard_input", "standard_output", "standard_error", "syslog_identifier", "kill_signal", "kill_mode"),
    }
)
"""The fields of ExecutionSection that every plan reads."""
ASKING = frozenset({"open_file", *(field.name for field, _ in ExecutionSection.rows())}) - USUAL
"""The fields of a section that ask for extras where they are given."""


class ChildPlan(Record):
    """One process to be. Environments are applied in the order of the fields; `handed` wins, because it states facts."""

    command: Command
    base: dict[str, str]
    own: tuple[tuple[str, str], ...]
    files: tuple[MaybePath, ...]
    handed: dict[str, str]
    descriptors: tuple[int, ...]
    sockets: int
    """How many of them, the first ones, are sockets of ours, to which NonBlocking= applies."""
    placed: int
    """How many descriptors are placed from 3 on; an inetd-style service has its one descriptor as standard input instead."""
    non_blocking: bool
    streams: tuple[Source, Source, Source]
    user: str | None
    group: str | None
    directory: MaybePath | None
    umask: int = 0o022
    ignored: tuple[int, ...] = (SIGPIPE,)
    """Signals that the command ignores until it says otherwise."""
    extras: Extras = PLAIN


def plan(
    section: ExecutionSection,
    command: Command,
    descriptors: tuple[tuple[int, str], ...],
    base: Mapping[str, str],
    handed: Mapping[str, str],
    *,
    non_blocking: bool,
    stored: tuple[tuple[int, str], ...] = (),
) -> ChildPlan:
    """The plan for a command of a unit, that gets these sockets (and their names), and behind them what it stored with us."""
    inetd = section.standard_input.kind == "socket"
    facts = dict(handed)
    all_ = descriptors if inetd else (*descriptors, *stored)
    if all_ and not inetd:
        facts |= {"LISTEN_FDS": str(len(all_)), "LISTEN_FDNAMES": ":".join(name for _, name in all_)}
    # A dynamic user is nobody that could be looked up.
    as_we_are = command.is_privileged or section.dynamic_user
    return ChildPlan(
        command,
        dict(base),
        section.environment,
        section.environment_file,
        facts,
        tuple(fd for fd, _ in all_),
        len(descriptors),
        0 if inetd else len(all_),
        non_blocking and not inetd,
        _streams(section, command, all_),
        None if as_we_are else section.user,
        None if as_we_are else section.group,
        section.working_directory,
        section.umask,
        (SIGPIPE,) if section.ignore_sigpipe else (),
        _extras(section, command),
    )


def _extras(section: ExecutionSection, command: Command) -> Extras:
    """What the command asks for beyond what most do."""
    streams = (section.standard_input, section.standard_output, section.standard_error)
    if ASKING.isdisjoint(section.given) and not any(stream.kind in TERMINALS for stream in streams):
        return PLAIN
    from sockact.lifecycle.extras import extras

    return extras(section, command, not command.is_privileged and (bool(section.user) or section.dynamic_user))


def _streams(
    section: ExecutionSection, command: Command, descriptors: tuple[tuple[int, str], ...]
) -> tuple[Source, Source, Source]:
    """Standard streams, set up in the order 0, 1, 2: whoever inherits, or leads to the same file, follows one before."""
    stdin, stdout, stderr = section.standard_input, section.standard_output, section.standard_error
    name = section.syslog_identifier or command.program.rpartition("/")[2]
    # Without an input to follow, "inherit" is the supervisor's own standard output, as under a user manager of systemd.
    follow = Source(fd=1) if stdin.kind in ("null", "data") else Source(follows=0)
    first = _source(stdin, 0, section, descriptors, name)
    second = follow if stdout.kind == "inherit" else _source(stdout, 1, section, descriptors, name)
    if stdin.kind == "file" and stdin.path in (stdout.path, stderr.path):
        first = first.replace(how="both")
        second = Source(follows=0) if stdout == stdin else second
    if stderr.kind == "inherit" or (stderr.path and stderr == stdout):
        return first, second, Source(follows=1)
    if stderr == stdin and stdin.kind == "file":
        return first, second, Source(follows=0)
    return first, second, _source(stderr, 2, section, descriptors, name)


WELL_KNOWN = {
    "null": NULL,
    "socket": CONNECTION,
    "data": Source(how="data"),
    "kmsg": Source(fd=2, path="/dev/kmsg", how="kmsg"),
}
STREAM_NAMES = ("stdin", "stdout", "stderr")
STREAM_FIELDS = ("standard_input", "standard_output", "standard_error")


def _source(stream: Stream, index: int, section: ExecutionSection, descriptors: tuple[tuple[int, str], ...], name: str) -> Source:
    """Where one stream leads that follows none. The journal is the supervisor's standard error, unless the unit asks for it."""
    kind = "read" if stream.kind == "file" and index == 0 else "tty" if stream.kind in TERMINALS else stream.kind
    if kind == "journal":
        return Source(fd=2, path=name, how="journal") if STREAM_FIELDS[index] in section.given else LOG
    if kind == "fd":
        wanted = stream.path or STREAM_NAMES[index]
        return next((Source(fd=fd) for fd, known in descriptors if known == wanted), MISSING)
    return WELL_KNOWN.get(kind) or Source(path=section.tty_path if kind == "tty" else stream.path, how=kind)


def base_environment(environment: Mapping[str, str], clean: bool) -> dict[str, str]:
    """What every service starts from: the supervisor's environment less what was said to the supervisor, or nothing but PATH."""
    if clean:
        return {"PATH": SEARCH_PATH}
    return {"PATH": SEARCH_PATH} | {name: value for name, value in environment.items() if name not in OWN_VARIABLES}


def finished(environment: dict[str, str], plan: ChildPlan, opened: tuple[str, ...]) -> dict[str, str]:
    """The environment with the names of files that were opened, and without what UnsetEnvironment= names."""
    if opened:
        names = filter(None, (environment.get("LISTEN_FDNAMES"), *opened))
        environment |= {"LISTEN_FDS": str(plan.placed + len(opened)), "LISTEN_FDNAMES": ":".join(names)}
    return {
        name: value
        for name, value in environment.items()
        if name not in plan.extras.unset and f"{name}={value}" not in plan.extras.unset
    }


def expand(command: Command, environment: Mapping[str, str]) -> list[str]:
    """`argv` with variables replaced: `${NAME}` anywhere as text, `$NAME` as a whole word split at blanks, `$$` a dollar sign
    (systemd.service(5), "Command lines"). Unset variables are empty."""
    if ":" in command.prefixes:
        return [command.argv0, *command.arguments]
    argv = [command.argv0]
    for word in command.arguments:
        if word.startswith("$") and is_variable(word[1:]):
            argv += _divided(environment.get(word[1:], ""))
        else:
            argv.append(_substitute(word, environment))
    return argv


def _divided(value: str) -> list[str]:
    """The words of a variable, where its quotes allow; a value whose quotes do not match is split at its blanks."""
    split = words.split(value)
    return value.split() if isinstance(split, Invalid) else [word.text for word in split]


def _substitute(word: str, environment: Mapping[str, str]) -> str:
    head, *parts = word.split("$")
    out, skip = head, False
    for index, part in enumerate(parts):
        if skip:
            out, skip = out + part, False
        elif part == "" and index + 1 < len(parts):
            out, skip = out + "$", True
        elif part.startswith("{") and "}" in part and is_variable(part[1 : part.index("}")]):
            name, _, rest = part[1:].partition("}")
            out += environment.get(name, "") + rest
        else:
            out += "$" + part
    return out


def environment_file(text: str) -> dict[str, str]:
    """Read an EnvironmentFile=: NAME=VALUE, `#` and `;` comments, quotes as in a shell (also over several lines), `\\` at
    the end of a line continues the value."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        end = text.find("\n", position)
        line = text[position : end if end >= 0 else len(text)]
        name, equals, _ = line.partition("=")
        if equals and is_variable(name.strip()):
            found[name.strip()], position = _shell_value(text, position + len(name) + 1)
        else:
            position += len(line) + 1
    return found


def _shell_value(text: str, position: int) -> tuple[str, int]:
    """The value that starts there, and where the next line does.

    Quotes count where the value starts, and again behind a quoted part; inside a word they are letters. Blanks around the
    value go, unless they are quoted.
    """
    out, kept, quote, inside = "", 0, "", False
    while position < len(text) and (quote or text[position] != "\n"):
        char, after = text[position], text[position + 1 : position + 2]
        if char == "\\" and quote != "'" and after:
            position += 1
            out += "" if after == "\n" else "\\" + after if quote and after not in '"\\`$' else after
            kept, inside = len(out), not quote
        elif char == quote:
            quote, inside = "", False
        elif not quote and not inside and char in "'\"":
            quote = char
        elif quote or inside or char not in BLANKS:
            out += char
            inside = not quote
            kept = kept if inside and char in BLANKS else len(out)
        position += 1
    return out[:kept], position + 1
