"""The commands, by click. What they print is for people on standard error, for programs on standard output."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from sockact import __version__
from sockact.cli import options, output
from sockact.record import TYPE_CHECKING
from sockact.runtime import host, search
from sockact.unit import diagnostics
from sockact.unit.gather import Source, UnitSet, gather, sample_name
from sockact.unit.verify import verify as verify_units

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from click.shell_completion import CompletionItem

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

UNITS = click.argument("units", metavar="UNIT...", nargs=-1, required=True)
FORMATS = click.Choice(["text", "json", "github"])


def run(arguments: list[str]) -> int:
    """Run click without its own exit, so that the status is ours to return."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal without the letters for a name gets it escaped, not a failure.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result = cli.main(arguments, "sockact", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OSError as error:
        # Standard output failed; what is still in its buffer must not fail once more at exit.
        sys.stdout = None
        if isinstance(error, BrokenPipeError):
            return 141
        output.say(f"sockact: cannot write: {error.strerror}")
        return 1
    return result if isinstance(result, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="sockact %(version)s")
def cli() -> None:
    """systemd's socket activation, without systemd.

    A UNIT is a .socket or .service file, by path or by name. Names are looked for beside the units given by path, in the
    current directory, in the folders of SOCKACT_UNIT_PATH, in /etc/sockact and /run/sockact, and with --system-units also in
    those of systemd.
    """


def _flags(table: tuple[options.Flag, ...]) -> Decorator:
    """Click options from the table that the plain reader uses."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for flag in reversed(table):
            kind = {"metavar": flag.value, "multiple": flag.several} if flag.value else {"is_flag": True}
            command = click.option(*flag.spellings, flag.field, help=flag.help, **kind)(command)
        return command

    return decorate


@cli.command()
@UNITS
@_flags(options.START_FLAGS)
def start(units: tuple[str, ...], **flags: Any) -> int:
    """Listen, start services on demand, and supervise them.

    Stays in the foreground. SIGTERM or SIGINT stops the services and exits with 0; a second one does not wait for them.
    SIGHUP has the services reload. When every unit has failed, the exit status is that of the failing service.
    """
    from sockact.cli.start import start as run_start

    return run_start(options.Start(units, **flags))


@cli.command()
@UNITS
@click.option("--strict", is_flag=True, help="Let warnings and notes fail, too.")
@click.option("--offline", is_flag=True, help="Leave out what is true of this machine only, such as a missing program.")
@click.option("--portable", is_flag=True, help="Tell what systemd would refuse, too.")
@click.option("--format", "form", type=FORMATS, default="text", show_default=True, help="How to print.")
@_flags(options.SEARCH_FLAGS)
def verify(units: tuple[str, ...], *, strict: bool, offline: bool, portable: bool, form: str, system_units: bool) -> int:
    """Say what is wrong with units, and with the units they need.

    The exit status is 0 without errors, 1 with errors.
    """
    loaded = _gather(units, system_units)
    found = verify_units(loaded, None if offline else host.Survey(), portable)
    names = [*loaded.sockets, *loaded.services, *dict.fromkeys(template.name for template in loaded.templates.values())]
    if form == "json":
        _print_json({"diagnostics": [diagnostic.as_json() for diagnostic in found], "units": names})
    elif form == "github":
        for diagnostic in found:
            click.echo(_workflow_command(diagnostic))
    else:
        output.tell(found)
        click.echo(_verdict(found, names))
    return 1 if (found if strict else diagnostics.errors(found)) else 0


WORKFLOW_COMMANDS = {diagnostics.ERROR: "error", diagnostics.WARNING: "warning", diagnostics.NOTE: "notice"}


def _workflow_command(diagnostic: diagnostics.Diagnostic) -> str:
    """The finding as GitHub Actions wants it, to show it beside the line; without a verdict, for a unit may be named as a
    command would be."""
    span = diagnostic.span
    place: dict[str, object] = {"file": span.file if span else diagnostic.file}
    if span:
        place |= {"line": span.line, "col": span.column, "endColumn": span.end_column}
    properties = {name: value for name, value in {**place, "title": diagnostic.code}.items() if value}
    written = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in properties.items())
    text = diagnostic.message + (f"\nhint: {diagnostic.hint}" if diagnostic.hint else "")
    return f"::{WORKFLOW_COMMANDS[diagnostic.severity]} {written}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    """Text in a workflow command: percent signs and ends of lines by their numbers, in properties also what separates them."""
    return "".join(f"%{ord(c):02X}" if c in f"%\r\n{more}" else c for c in text)


def _verdict(found: list[diagnostics.Diagnostic], names: list[str]) -> str:
    severities = [diagnostic.severity for diagnostic in found]
    counts = [(severities.count(kind), kind) for kind in (diagnostics.ERROR, diagnostics.WARNING, diagnostics.NOTE)]
    said = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for count, kind in counts if count)
    return f"{', '.join(names) or 'no unit'}: {said or 'nothing to complain about'}"


@cli.command()
@click.argument("unit", metavar="UNIT")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plan", "with_plan", is_flag=True, help="Print the system calls that start would make, in order.")
@_flags(options.SEARCH_FLAGS)
def show(unit: str, as_json: bool, with_plan: bool, system_units: bool) -> int:
    """Print what was understood of a unit: what it listens on, what was set and where, and the defaults of all the rest."""
    from sockact.cli import describe

    loaded = _gather((unit,), system_units, companions=False)
    found = verify_units(loaded, None)
    broken = bool(diagnostics.errors(found))
    output.tell(found, diagnostics.ERROR if as_json else diagnostics.WARNING)
    for name in loaded.requested if not broken else ():
        shown = loaded.sockets.get(name) or loaded.services[name]
        description = describe.describe(shown, with_plan, _drop_ins(unit, system_units))
        if as_json:
            _print_json(description)
        else:
            click.echo(describe.as_text(description))
    return 1 if broken else 0


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from sockact.cli import explain

    return [CompletionItem(word, help=about) for word, about in explain.completions(incomplete)]


@cli.command("explain")
@click.argument("words", metavar="[KEY]...", nargs=-1, shell_complete=_complete)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_(words: tuple[str, ...], as_json: bool) -> int:
    """Tell what a directive means, what it does in the kernel and for which protocols, or what a diagnostic is about.

    A KEY is that of a directive (NoDelay, Service.TimeoutSec), or the code of a diagnostic (SA021); upper and lower case do not
    matter. Without any, all directives that are applied are listed.
    """
    from sockact.cli import explain

    unknown = [word for word in words if not explain.is_known(word)]
    known = [word for word in words if word not in unknown]
    if as_json:
        _print_json(explain.as_json(known, everything=not words))
    elif known or not words:
        click.echo(explain.as_text(known, _width()) if words else explain.listing())
    for word in unknown:
        output.say(f"sockact: {explain.unknown(word)}")
    return 1 if unknown else 0


def _width() -> int:
    """Columns to fill with prose: those of the terminal, as long as a line is still read with ease."""
    from shutil import get_terminal_size

    return max(40, min(get_terminal_size().columns, 100))


def _drop_ins(unit: str, system_units: bool) -> tuple[str, ...]:
    """The files that add to a unit that was found. They are looked for once more, because a loaded unit knows only of those
    that set something."""
    name = sample_name(unit)
    source = search.finder([name], system_units).find(name)
    return tuple(file for file, _ in source.drop_ins) if isinstance(source, Source) else ()


def _gather(units: tuple[str, ...], system_units: bool, companions: bool = True) -> UnitSet:
    """Load units to be looked at; a template under the name of an instance, for it makes no sense without one."""
    named = [sample_name(unit) for unit in units]
    return gather(named, search.finder(named, system_units).find, host.here(), companions)


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2))
