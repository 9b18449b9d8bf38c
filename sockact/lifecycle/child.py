"""The child plan: everything that makes a service's process what it is, as data.

`runtime.spawn` carries it out and decides nothing: it opens, looks up and reads what is named here, and leaves to the child
a handful of system calls and its own pid, which nobody can know before.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record
from sockact.unit import words
from sockact.unit.diagnostics import Invalid
from sockact.unit.values import Command, is_variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockact.unit.load import ServiceUnit
    from sockact.unit.values import MaybePath, Stream

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OWN_VARIABLES = (
    *("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"),
    *("REMOTE_ADDR", "REMOTE_PORT", "SO_COOKIE", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "MAINPID"),
)
"""What the supervisor itself may have been told, and must never pass on as if it were meant for the service."""


BLANKS = " \t\r"


class Source(Record):
    """Where a standard stream comes from: a descriptor of the supervisor, a file opened in the given way, or whatever
    another standard stream became."""

    fd: int = -1
    path: str = ""
    how: str = ""
    follows: int = -1


CONNECTION = Source(fd=-2)
"""The first descriptor that is handed over."""
NULL = Source(path="/dev/null", how="null")


class ChildPlan(Record):
    """One process to be. Environments are applied in the order of the fields; `handed` wins, because it states facts."""

    command: Command
    base: dict[str, str]
    own: tuple[tuple[str, str], ...]
    files: tuple[MaybePath, ...]
    handed: dict[str, str]
    descriptors: tuple[int, ...]
    placed: int
    """How many descriptors are placed from 3 on; an inetd-style service has its one descriptor as standard input instead."""
    non_blocking: bool
    streams: tuple[Source, Source, Source]
    user: str | None
    group: str | None
    directory: MaybePath | None


def plan(
    unit: ServiceUnit,
    index: int,
    descriptors: tuple[tuple[int, str], ...],
    base: Mapping[str, str],
    handed: Mapping[str, str],
) -> ChildPlan:
    """The plan for the `index`-th command of a service that gets these descriptors (and their names)."""
    service, command = unit.service, unit.service.exec_start[index]
    inetd = service.standard_input.kind == "socket"
    facts = dict(handed)
    if descriptors and not inetd:
        names = ":".join(name for _, name in descriptors)
        facts |= {"LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": names}
    privileged = "+" in command.prefixes or "!" in command.prefixes
    return ChildPlan(
        command,
        dict(base),
        service.environment,
        service.environment_file,
        facts,
        tuple(fd for fd, _ in descriptors),
        0 if inetd else len(descriptors),
        service.non_blocking and not inetd,
        _streams(service.standard_input, service.standard_output, service.standard_error),
        None if privileged else service.user,
        None if privileged else service.group,
        service.working_directory,
    )


def _streams(stdin: Stream, stdout: Stream, stderr: Stream) -> tuple[Source, Source, Source]:
    """Standard streams, set up in the order 0, 1, 2: whoever inherits follows one before."""
    plain = {"null": NULL, "socket": CONNECTION, "journal": Source(fd=2)}
    # Without an input to follow, "inherit" is the supervisor's own standard output, as under a user manager of systemd.
    follow = {1: Source(fd=1) if stdin.kind == "null" else Source(follows=0), 2: Source(follows=1)}
    first = plain.get(stdin.kind) or Source(path=stdin.path, how="read")
    second, third = (
        plain.get(s.kind) or (follow[fd] if s.kind == "inherit" else Source(path=s.path, how=s.kind))
        for fd, s in ((1, stdout), (2, stderr))
    )
    return first, second, third


def base_environment(environment: Mapping[str, str], clean: bool) -> dict[str, str]:
    """What every service starts from: the supervisor's environment less what was said to the supervisor, or nothing but PATH."""
    if clean:
        return {"PATH": SEARCH_PATH}
    return {"PATH": SEARCH_PATH} | {name: value for name, value in environment.items() if name not in OWN_VARIABLES}


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
