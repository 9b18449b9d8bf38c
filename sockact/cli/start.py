"""`sockact start`: load, verify, and supervise until told to stop."""

from __future__ import annotations

import gc
import os

from sockact.cli import output
from sockact.lifecycle.child import base_environment
from sockact.record import TYPE_CHECKING
from sockact.runtime import host, search
from sockact.runtime.kernel import Kernel
from sockact.runtime.orders import ALL, FIRST, Orders, read_forwards
from sockact.runtime.supervisor import Supervisor
from sockact.unit.diagnostics import NOTE, WARNING, Diagnostic, errors
from sockact.unit.gather import gather
from sockact.unit.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.cli.options import Start
    from sockact.unit.gather import UnitSet

NOT_APPLIED, LEFT_OUT = ("SA008", "SA061"), "SA009"


def start(asked: Start) -> int:
    """Run the units in the foreground. With any error in them nothing is opened: exit status 1."""
    kernel = Kernel()
    try:
        kernel.tidy_descriptors()
    except OSError as error:
        output.say(f"sockact: error: cannot start: {error.filename}: {error.strerror}")
        return 1
    units = gather(asked.units, search.finder(asked.units, asked.system_units).find, host.here())
    environment = base_environment(os.environ, asked.clean)
    found = verify(units, host.Survey(environment["PATH"]))
    output.tell(found, NOTE if asked.strict else WARNING)
    if found if asked.strict else errors(found):
        return 1
    orders = _orders(asked, units)
    if orders is None:
        return 2
    log = output.logger("debug" if asked.verbose else "warning" if asked.quiet else "info")
    _summarise(found, log)
    try:
        supervisor = Supervisor(kernel, units, environment, log)
    except OSError as error:
        log("error", "sockact", f"cannot start: {error.strerror}")
        return 1
    gc.freeze()
    gc.enable()
    return supervisor.run(orders)


def _orders(asked: Start, units: UnitSet) -> Orders | None:
    """What the options ask for; None after a complaint."""
    try:
        forwards = read_forwards(asked.forward)
    except ValueError as error:
        output.say(f"sockact: error: {error}")
        return None
    wanted = {asked.exit or ALL, *(forward.unit for forward in forwards)} - {"", ALL, FIRST}
    unknown = sorted(wanted - set(units.services))
    if unknown:
        output.say(f"sockact: error: --exit or --forward: no service is named {unknown[0]} here")
        return None
    return Orders(asked.now, asked.exit or ALL, forwards)


def _summarise(found: list[Diagnostic], log: Callable[[str, str, str], None]) -> None:
    """One line a unit for all that is not applied; `sockact verify` tells the reasons."""
    files: dict[str, list[str]] = {}
    for diagnostic in found:
        if diagnostic.code in NOT_APPLIED and diagnostic.span:
            files.setdefault(diagnostic.span.file, []).append(diagnostic.message.split(" ")[0].rstrip(":"))
        elif diagnostic.code == LEFT_OUT and diagnostic.span:
            log("info", os.path.basename(diagnostic.span.file), diagnostic.message)
    for file, keys in files.items():
        log("info", os.path.basename(file), f"not applied: {' '.join(dict.fromkeys(keys))} (see sockact verify)")
