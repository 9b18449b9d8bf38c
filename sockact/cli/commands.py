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
from sockact.unit.gather import UnitSet, gather, sample_name
from sockact.unit.verify import verify as verify_units

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

UNITS = click.argument("units", metavar="UNIT...", nargs=-1, required=True)


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
    current directory, and in the folders of SOCKACT_UNIT_PATH.
    """


def _flags(table: tuple[options.Flag, ...]) -> Decorator:
    """Click options from the table that the plain reader uses."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for flag in reversed(table):
            command = click.option(*flag.spellings, flag.field, is_flag=True, help=flag.help)(command)
        return command

    return decorate


@cli.command()
@UNITS
@_flags(options.START_FLAGS)
def start(units: tuple[str, ...], **flags: bool) -> int:
    """Listen, start services on demand, and supervise them.

    Stays in the foreground. SIGTERM or SIGINT stops the services and exits with 0; a second one does not wait for them.
    When every unit has failed, the exit status is that of the failing service.
    """
    from sockact.cli.start import start as run_start

    return run_start(options.Start(units, **flags))


@cli.command()
@UNITS
@click.option("--strict", is_flag=True, help="Let warnings and notes fail, too.")
@click.option("--offline", is_flag=True, help="Leave out what is true of this machine only, such as a missing program.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print.")
def verify(units: tuple[str, ...], strict: bool, offline: bool, form: str) -> int:
    """Say what is wrong with units, and with the units they need.

    The exit status is 0 without errors, 1 with errors.
    """
    loaded = _gather(units)
    found = verify_units(loaded, None if offline else host.Survey())
    names = [*loaded.sockets, *loaded.services, *dict.fromkeys(template.name for template in loaded.templates.values())]
    if form == "json":
        _print_json({"diagnostics": [diagnostic.as_json() for diagnostic in found], "units": names})
    else:
        output.tell(found)
        click.echo(_verdict(found, names))
    return 1 if (found if strict else diagnostics.errors(found)) else 0


def _verdict(found: list[diagnostics.Diagnostic], names: list[str]) -> str:
    severities = [diagnostic.severity for diagnostic in found]
    counts = [(severities.count(kind), kind) for kind in (diagnostics.ERROR, diagnostics.WARNING, diagnostics.NOTE)]
    said = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for count, kind in counts if count)
    return f"{', '.join(names) or 'no unit'}: {said or 'nothing to complain about'}"


@cli.command()
@click.argument("unit", metavar="UNIT")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plan", "with_plan", is_flag=True, help="Print the system calls that start would make, in order.")
def show(unit: str, as_json: bool, with_plan: bool) -> int:
    """Print what was understood of a unit: addresses, protocols, and all settings with their defaults."""
    from sockact.cli import describe

    loaded = _gather((unit,), companions=False)
    found = verify_units(loaded, None)
    broken = bool(diagnostics.errors(found))
    output.tell(found, diagnostics.ERROR if as_json else diagnostics.WARNING)
    for name in loaded.requested if not broken else ():
        shown = loaded.sockets.get(name) or loaded.services[name]
        description = describe.describe(shown, with_plan)
        if as_json:
            _print_json(description)
        else:
            click.echo(describe.as_text(description))
    return 1 if broken else 0


def _gather(units: tuple[str, ...], companions: bool = True) -> UnitSet:
    """Load units to be looked at; a template under the name of an instance, for it makes no sense without one."""
    named = [sample_name(unit) for unit in units]
    return gather(named, search.finder(named).find, host.here(), companions)


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2))
