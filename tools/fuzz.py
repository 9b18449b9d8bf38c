#!/usr/bin/env python3
"""Feeds unit files that nobody would write to everything pure that reads them, guided by coverage (atheris, libFuzzer).

    tools/fuzz.py --minutes 10      sets itself up in .cache/, runs, and says what raised

The seeds are the examples and rejects of the directive table and the files of tests/cases; the dictionary holds their keys. The
exit status is 1 if something raised, or if a diagnostic points outside of its file; the smallest input that does it is
kept in .cache/fuzz/findings, and tried again by the next run. `examine` is what an input has to survive: the tests use it, too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from decimal import Decimal
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from sockact.cli.describe import as_text, describe
from sockact.lifecycle import child
from sockact.net.addresses import Listen, Unix
from sockact.record import Record
from sockact.unit.commands import COMMANDS
from sockact.unit.conditions import QUESTIONS, Condition
from sockact.unit.diagnostics import Diagnostic, Span, errors, render
from sockact.unit.directives import Field, Row, Section
from sockact.unit.directives.execution import ExecutionSection
from sockact.unit.gather import Host, Source, UnitSet, gather
from sockact.unit.load import BODIES, ServiceUnit, SocketUnit, load
from sockact.unit.specifiers import split_name
from sockact.unit.syntax import parse
from sockact.unit.verify import verify

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "fuzz"
FINDINGS = CACHE / "findings"
VENV = ROOT / ".cache" / "fuzz-venv"
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3")
"""Those atheris has wheels for, before whatever there is."""

NAMES = ("web.socket", "web.service", "web@.service", "web.socket.d/10.conf", "web.service.d/10.conf")
"""What the parts of an input are, in their order; the last two are drop-ins."""
SEPARATOR = b"\x1e"
SERVICE = b"[Service]\nExecStart=/bin/true\n"
SOCKET = b"[Socket]\nListenStream=@%n\n"
SECTIONS: tuple[type[Section], ...] = tuple(dict.fromkeys(section for _, sections in BODIES.values() for section in sections))
VARIABLES = {"PORT": "80", "NAME": "/x", "EMPTY": "", "ODD": "${PORT}%n\udcff ", "LONG": "@" + "x" * 106}
FACTS: dict[str, Callable[[], str]] = {letter: lambda: "%fact" for letter in "tSCLETVhsUGuglHqvabmowWAM"} | {"B": lambda: ""}
HOST = Host(FACTS, True, "/units", VARIABLES)
"""A host of which every specifier is a percent sign and more, because whatever is expanded may hold one; all but one, which is
empty, as that of a system without a build number."""


NOT_APPLIED = "SA008"
"""Said of what is kept in spite of that: a condition that is not tested, and enough where one is."""


class BrokenPromiseError(Exception):
    """Nothing raised, and still the answer is not what was promised: in general, and here."""

    def __init__(self, promise: str, detail: object) -> None:
        super().__init__(promise, detail)
        self.promise = promise

    def __str__(self) -> str:
        return f"{self.promise}: {self.args[1]}"


# What an input has to survive


def examine(data: bytes) -> None:
    """Read an input as a family of unit files; one without separators also as a service, and as an instance of a template.
    Raises if anything in between does, or is not true."""
    parts = data.split(SEPARATOR)[: len(NAMES)]
    _examine_family(dict(zip(NAMES, parts, strict=False)), "web.socket")
    if len(parts) == 1:
        _examine_family({"web.service": data}, "web.service")
        _examine_family({"web@.socket": data}, "web@a-b\\x25.socket")
        child.environment_file(data.decode(errors="surrogateescape"))


def _examine_family(files: dict[str, bytes], request: str) -> None:
    units = gather([request], lambda name: _find(files, name), HOST)
    offline = verify(units, None)
    for found in dict.fromkeys((*offline, *verify(units, LOST, portable=True))):
        _examine_diagnostic(found, files)
    if not errors(offline):
        _examine_units(units)


def _find(files: dict[str, bytes], name: str) -> Source | Diagnostic:
    """A unit that was not given is sound, unless its name says that there is none."""
    if name.startswith("no"):
        return Diagnostic("SA030", f"{name} is nowhere", file=name)
    prefix, instance, kind = split_name(name)
    file = f"{prefix}@.{kind}" if instance else name
    drop_ins = tuple((part, data) for part, data in files.items() if part.startswith(f"{name}.d/"))
    return Source(name, file, files.get(file, SERVICE if kind == "service" else SOCKET), drop_ins)


class Lost:
    """A machine on which nothing is as a unit wants it, so that every rule that asks one has something to say: whatever the
    question, the answer is no."""

    def __getattr__(self, question: str) -> Callable[..., str]:
        return lambda *about: f"no {question} {about}"

    def setting(self, name: str) -> int:
        return 1 if name.endswith("only") else 1 << 16


LOST: Any = Lost()


def _examine_diagnostic(found: Diagnostic, files: dict[str, bytes]) -> None:
    """It can be printed, on a terminal and as JSON, and points into its file."""
    text = render(found)
    text.encode()
    json.dumps(found.as_json()).encode()
    if not all(c.isprintable() or c in "\t\n" for c in text):
        raise BrokenPromiseError(f"{found.code} with control characters", text)
    if found.span and found.span.file in files:
        _examine_span(found, found.span, lines_of(files[found.span.file]))


def _examine_span(found: Diagnostic, span: Span, lines: list[str]) -> None:
    if not 1 <= span.line <= len(lines):
        raise BrokenPromiseError(f"{found.code} on a line that does not exist", found)
    line = lines[span.line - 1]
    if not 1 <= span.column <= len(line) + 1:
        raise BrokenPromiseError(f"{found.code} beside its line", found)
    if not span.column < span.end_column <= max(len(line) + 1, span.column + 1):
        raise BrokenPromiseError(f"{found.code} ends outside of its line", found)
    if span.source != line[: len(span.source)]:
        raise BrokenPromiseError(f"{found.code} quotes another line", found)


def lines_of(data: bytes) -> list[str]:
    """The lines of a unit file as an editor counts them: ended by LF, CRLF or CR. What is no UTF-8 counts as one character a
    mistake, as in what a diagnostic quotes."""
    text = data.decode(errors="replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _examine_units(units: UnitSet) -> None:
    """What is free of errors can be shown, planned, started, and written down again."""
    loaded: list[SocketUnit | ServiceUnit] = [*units.sockets.values(), *units.services.values()]
    for unit in loaded:
        shown = describe(unit, with_plan=True)
        as_text(shown)
        json.dumps(shown)
        reread(unit)
    loaded += [template.instance("web@7-127.0.0.1:80-127.0.0.2:9.service")[0] for template in units.templates.values()]
    for listen in (listen for unit in units.sockets.values() for listen in unit.socket.listen if listen.address.family):
        _ = listen.address.wire
    for section in (section for unit in loaded for section in unit.sections if isinstance(section, ExecutionSection)):
        for command in (command for field, row in section.rows() if row.kind is COMMANDS for command in section.value(field)):
            child.plan(section, command, ((3, "web"),), {}, {}, non_blocking=True)
            child.expand(command, dict(section.environment))


# A unit, written as text again


def reread(unit: SocketUnit | ServiceUnit) -> None:
    """What is understood of a unit, written as a unit file and read again, is the same."""
    text = written(unit)
    if any("\udc80" <= character <= "\udcff" for character in text):
        return  # a path that is no UTF-8 came in by a variable; a unit file cannot hold it
    again, said = load(parse(text.encode(), unit.file), unit.name, unit.file, HOST.context(unit.name, unit.file))
    refused = [found for found in said if found.scope != "portable" and found.code != NOT_APPLIED]
    if refused:
        raise BrokenPromiseError(f"written again {refused[0].message.partition('=')[0]} is refused", f"{refused[0]} in {text!r}")
    if meaning(again) != meaning(unit):
        raise BrokenPromiseError("written again it means something else", f"{meaning(unit)} → {meaning(again)}")
    if written(again) != text:
        raise BrokenPromiseError("written again and again it changes", f"{text!r} → {written(again)!r}")


def meaning(unit: SocketUnit | ServiceUnit) -> dict[str, dict[str, Any]]:
    """The values that were given, by section and field; without those that say nothing (an empty name or list is the default),
    and without where in its line a command stood."""
    return {
        section.title: {
            name: tuple(placeless(each) for each in value) if isinstance(value, tuple) else value
            for name, value in section.given.items()
            if value not in ("", ())
        }
        for section in unit.sections
    }


def placeless(value: object) -> object:
    """A command remembers where in its line it stood; nothing else depends on the layout."""
    return value.replace(start=0) if isinstance(value, Record) and "start" in value.fields else value


def written(unit: SocketUnit | ServiceUnit) -> str:
    """The unit as a unit file with one line a value: what `sockact show` prints, or `SPELLED` where that is not meant to be read.

    The default of a field is not written, so that the file says what the unit said.
    """
    lines: list[str] = []
    expands = any(section.given.get("expand") for section in unit.sections)
    for section in unit.sections:
        lines.append(f"[{section.title}]")
        for field in dict.fromkeys(field for field, _ in section.rows()):
            value = section.given.get(field.name, "")
            for each in value if field.rows[0].kind.appends else [value] if value not in ("", ()) else []:
                row = row_of(field, each)
                text = spelled(row, each)
                literal = text.replace("${", LITERAL) if expands and isinstance(each, Listen) else text
                lines.append(f"{row.key}={closed(literal)}")
    return "\n".join([*lines, ""])


def row_of(field: Field, value: object) -> Row:
    """The row to write a value with, of those that feed the field: for addresses that of their kind, for conditions that of
    what they test."""
    if isinstance(value, Listen):
        return next(row for row in field.rows if _kind_of(row) == value.kind)
    if isinstance(value, Condition):
        return next(row for row in field.rows if row.key == value.text.partition("=")[0])
    return next((row for row in field.rows if row.kind.name in SPELLED), field.rows[0])


LITERAL = "${_:-$}{"
"""What stands for `${` where variables are replaced: a dollar sign as the default of a variable that is not set."""


def _kind_of(row: Row) -> str:
    """The kind of socket that a row of the list of addresses makes, by its own example."""
    context = HOST.context("web.socket", "web.socket")
    return str(row.kind.read(row.examples[0], context)[0].kind) if row.examples else ""


def closed(text: str) -> str:
    """A value that stays as it is at both ends. Blanks there go unless they stand beside something, such as a specifier that
    expands to nothing; a backslash at the end joins the next line unless a blank stands behind it, which goes."""
    if text != text.strip(" \t"):
        return f"%B{text}%B"
    return text + " " if (len(text) - len(text.rstrip("\\"))) % 2 else text


def spelled(row: Row, value: Any) -> str:
    """One value as text that reads as this value. A `%` that came out of a specifier, or of `%%`, is doubled again."""
    spell = SPELLED.get("condition" if isinstance(value, Condition) else row.kind.name)
    if spell:
        return spell(value)
    shown = row.kind.show((value,))[0] if row.kind.appends else row.kind.show(value)
    shown = shown.address if isinstance(shown, Listen) else shown
    text = ("no", "yes")[shown] if isinstance(shown, bool) else str(shown)
    return text if row.kind.name in PERCENTAGES else _percent(text)


PERCENTAGES = ("memory", "some memory", "tasks", "processor time")
"""Kinds of values that have a `%` of their own, and no specifiers."""


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _address(listen: Listen) -> str:
    address = listen.address
    return _percent(address.name if isinstance(address, Unix) else str(address))


def _condition(condition: Condition) -> str:
    """What stands behind the key; what a specifier brought in front of the parameter, or behind it, is held there by one that is
    empty. One that is not applied is kept as it was written."""
    flags, text = "|" * condition.triggering + "!" * condition.negated, condition.parameter
    if condition.kind not in QUESTIONS:
        return flags + text
    return flags + "%B" * text.startswith((" ", "\t", "|", "!")) + _percent(text) + "%B" * text.endswith((" ", "\t"))


def _seconds(value: float) -> str:
    return "infinity" if value == inf else f"{Decimal(repr(value)):f}"


def _variable(pair: tuple[str, str]) -> str:
    return _quoted("=".join(pair))


def _quoted(value: object) -> str:
    return f'"{_escaped(str(value).encode(errors="surrogateescape"))}"'


def _escaped(data: bytes) -> str:
    return "".join(chr(byte) if byte in PLAIN else f"\\x{byte:02x}" for byte in data).replace("%", "%%")


PLAIN = {byte for byte in range(32, 127) if chr(byte) not in "\"'\\"}


def _opened(file: Any) -> str:
    path, name = (re.sub(r"([\\:])", r"\\\1", text) for text in (file.path, file.name))
    return _percent(str(file.replace(path=path, name=name)))


def _credential(credential: Any) -> str:
    given: bytes | None = credential.given
    return _percent(str(credential)) if given is None else f"{credential.name}:{_escaped(given)}"


def _capabilities(some: Any) -> str:
    words = " ".join(str(number) for number in range(64) if some.mask >> number & 1)
    return f"~{words}" if some.inverted else words


SPELLED: dict[str, Callable[[Any], str]] = {
    "address": _address,  # shown as systemd prints it, with octal escapes in UNIX names; unit files have no escapes there
    "time": _seconds,  # shown as a number of JSON, which may have an exponent; time spans have none
    "timeout": _seconds,
    "interval": _seconds,
    "condition": _condition,  # shown as a whole line, with its key
    "command": lambda command: str(command.source),  # shown as it was written, with the specifiers it was written with
    "variables": _variable,  # shown as NAME=VALUE without the quotes
    "paths": _quoted,  # shown without the quotes
    "names and values": _quoted,
    "accounts": _quoted,
    "directories": _quoted,
    "opened file": _opened,  # shown without the backslashes before the colons of its path
    "credential": _credential,  # shown without escapes
    "data": lambda data: b64encode(data).decode(),  # shown as the text that it hopefully is
    "bits": str,  # these and the next are shown as what all their lines come to
    "mappings": "{:x}".format,
    "processors": str,
    "capabilities": _capabilities,
}
"""Kinds of which the shown form is for people, and how their values are written instead."""


# The run

SEEDS = (
    b"[X-Sockact]\nExpand=yes\n[Socket]\nListenStream=${PORT}\nListenStream=${NONE:-127.0.0.1}:${PORT}\nListenFIFO=${NAME}\n",
    b"[Socket]\nListenStream=127.0.0.1:8000-8003%%lo\nListenStream=[::1]:1-2\nListenDatagram=5000-5001\n",
    b"[Socket]\nListenStream=/x\nAccept=yes\x1e\x1e[Service]\nExecStart=/bin/%i $A ${B} $$ a${A}b\nEnvironment=A=1 'B=2 %I'\n",
    b"[Service]\nExecStart=@-:+/bin/sh sh -c 'a \\x41\\101\\u00e9 ' \\; \"b c\" ${A}$${B}\nExecStart=:/x $A\nType=oneshot\n",
    b"[Service]\nExecStart=|/x\nExecStart=/y \\x00\nKillSignal=RTMAX-2\nSockets=a.socket b@1.socket nope.socket\n",
    b"[Socket]\nListenStream=1\nService=no.service\n",
    b"[Socket]\nListenStream=1\nService=web@\\x2d-1.service\x1e\x1e[Service]\nExecStart=/%I/%j/%f\nSockets=web@2.socket\n",
    b"\xef\xbb\xbf[Socket]\r\nListenStream=1\r\x1e[Service]\nExecStart=/x\x1e\x1e[Socket]\nListenStream=\n\x1e[Service]\nExecStart=\n",
)
"""What neither examples nor cases have."""


def seeds() -> Iterator[bytes]:
    """Small inputs that between them use everything the table knows, and the files of the cases."""
    yield b"[Socket]\nListenStream=8080\n"
    for section in SECTIONS:
        for _, row in section.rows():
            for text in (*row.examples, *row.rejects):
                start = SERVICE if section.title == "Service" else SOCKET
                yield start + f"[{section.title}]\n{row.key}={text}\n".encode()
    examples = {section: [f"{row.key}={row.examples[0]}" for _, row in section.rows() if row.examples] for section in SECTIONS}
    for section, lines in examples.items():
        yield "\n".join([f"[{section.title}]", *lines, ""]).encode()
    yield from SEEDS
    for case in sorted((ROOT / "tests" / "cases").iterdir()):
        files = {path.name: path.read_bytes() for path in sorted(case.rglob("*")) if path.is_file() and path.suffix != ".json"}
        yield from files.values()
        if len(files) > 1:
            yield SEPARATOR.join(files.get(name, SERVICE) for name in NAMES[:3])
    for path in sorted((ROOT / "units").glob("*.s*")):
        yield path.read_bytes()


WORDS = r"""
%% %i %n %f %B \x41 \u00e9 \101 \; ' " $A ${A} ${PORT} ${NONE:- 1-3 -1 0x 0. 18446744073709551616 1us 0.5h infinity
/var/run/ /../ [::]: [fe80::1]:1%%lo vsock: no.socket a.socket web@1.service
"""


def dictionary() -> Iterator[str]:
    """Words worth putting into an input: headers, keys, examples, and what the syntax is made of."""
    words = {f"[{section.title}]\n" for section in SECTIONS} | {"[Install]\n"}
    words |= {"\\\n", "=\n", "\n#", "\n;", "\r\n", " ; ", "\ufeff", "é", "\u2028", "\x1e"}
    words |= set(WORDS.split())
    for section in SECTIONS:
        words |= {f"{key}=" for key in (*section.table, *section.moved)}
        words |= {f"{row.key}={text}\n" for _, row in section.rows() for text in row.examples}
        words |= {text for _, row in section.rows() for text in (*row.examples, *row.rejects) if text}
        words |= {f"{key}=" for key in list(section.known)[:3]}
    for word in sorted(words):
        yield '"' + "".join(chr(b) if b in PLAIN else f"\\x{b:02x}" for b in word.encode()) + '"'


def work(atheris: Any, arguments: list[str]) -> None:
    """What runs in the interpreter with atheris: libFuzzer, with an `examine` that writes down what raised and goes on."""
    known: dict[str, int] = {}

    def one(data: bytes) -> None:
        try:
            examine(data)
        except Exception as error:
            signature = sign(error)
            if len(data) < known.get(signature, 1 << 30):
                known[signature] = len(data)
                keep(signature, data)

    atheris.Setup(["fuzz", *arguments], one)
    atheris.Fuzz()


def sign(error: Exception) -> str:
    """What makes two failures one: the exception, and where in our code it came up."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}sockact{os.sep}" in frame.filename]
    frame = ours[-1] if ours else traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.name}"
    return error.promise if isinstance(error, BrokenPromiseError) else f"{type(error).__name__} in {place}"


def keep(signature: str, data: bytes) -> Path:
    FINDINGS.mkdir(parents=True, exist_ok=True)
    path = FINDINGS / sha256(signature.encode()).hexdigest()[:12]
    path.write_bytes(data)
    return path


def failure(data: bytes) -> Exception | None:
    try:
        examine(data)
    except Exception as error:
        return error
    return None


def smallest(data: bytes, signature: str, patience: float = 30.0) -> bytes:
    """The input without whatever is not needed to fail in the same way: pieces are cut out, large ones first."""
    deadline = time.monotonic() + patience
    size = len(data)
    while size:
        position = 0
        while position < len(data) and time.monotonic() < deadline:
            shorter = data[:position] + data[position + size :]
            error = failure(shorter)
            if error and sign(error) == signature:
                data = shorter
            else:
                position += size
        size //= 2
    return data


def set_up() -> str:
    """The interpreter of a virtual environment with atheris in it, which is made if it is not there."""
    python = str(VENV / "bin" / "python")
    if VENV.exists() and not subprocess.run([python, "-c", "import atheris"], capture_output=True, check=False).returncode:
        return python
    for base in PYTHONS:
        try:
            subprocess.run([base, "-m", "venv", "--clear", str(VENV)], check=True, capture_output=True)
            subprocess.run([python, "-m", "pip", "--quiet", "install", "--only-binary", ":all:", "atheris"], check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            continue
        return python
    sys.exit(f"fuzz: atheris cannot be installed for any of {', '.join(PYTHONS)}")


BOOTSTRAP = """\
import sys, atheris
with atheris.instrument_imports(include=["sockact"]):
    from tools import fuzz
fuzz.work(atheris, sys.argv[1:])
"""


def run(minutes: float, seed: int) -> int:
    """Fuzz for so long; libFuzzer's own exit status, which is not 0 when an input hung, ate the memory or killed Python."""
    python = set_up()
    for folder in ("corpus", "seeds", "findings"):
        (CACHE / folder).mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()):
        (CACHE / "seeds" / f"{number:04}").write_bytes(data)
    (CACHE / "dictionary").write_text("\n".join([*dictionary(), ""]))
    options = {
        **{"max_total_time": round(minutes * 60), "timeout": 10, "report_slow_units": 10, "rss_limit_mb": 2048, "max_len": 4096},
        **{"dict": CACHE / "dictionary", "artifact_prefix": f"{FINDINGS}/", "print_final_stats": 1, "seed": seed},
    }
    command = [python, "-c", BOOTSTRAP, *(f"-{name}={value}" for name, value in options.items())]
    folders = [str(CACHE / "corpus"), str(CACHE / "seeds"), str(FINDINGS)]
    with open(CACHE / "log", "w") as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run([*command, *folders], cwd=CACHE, env=environment, stderr=log, stdout=log, check=False).returncode


def report() -> int:
    """Say what raised, each with the smallest input that does it; the number of findings."""
    count = 0
    for path in sorted(FINDINGS.iterdir()):
        data = path.read_bytes()
        error = None if path.name.startswith(KILLERS) else failure(data)
        if error:
            data = smallest(data, sign(error))
            path.write_bytes(data)
            print(f"fuzz: {sign(error)}\n    {failure(data)}\n    input {data!r}\n    kept as {path}")
        elif path.name.startswith(KILLERS):
            print(f"fuzz: {path.name.partition('-')[0]}: see {path}")
        count += bool(error or path.name.startswith(KILLERS))
    return count


KILLERS = ("timeout-", "oom-", "crash-")
"""How libFuzzer calls the inputs that ended its process; they are not tried in ours."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/fuzz.py", description="Fuzz everything that reads unit files.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="libFuzzer's; 0 takes another one each time")
    return parser.parse_args()


def main() -> int:
    asked, began = arguments(), time.monotonic()
    for path in FINDINGS.glob("*"):
        if path.name.startswith(KILLERS) or failure(path.read_bytes()) is None:
            path.unlink()  # what an earlier run found is mended, or will be found again
    status = run(asked.minutes, asked.seed)
    final = [line for line in (CACHE / "log").read_text(errors="replace").splitlines() if line.startswith(("stat::", "Done"))]
    print("\n".join(final))
    if status:
        print(f"fuzz: libFuzzer ended with status {status}; see {CACHE / 'log'}")
    count = report()
    print(f"fuzz: {count or 'no'} finding{'' if count == 1 else 's'} in {(time.monotonic() - began) / 60:.1f} minutes")
    return 1 if count or status else 0


if __name__ == "__main__":
    sys.exit(main())
