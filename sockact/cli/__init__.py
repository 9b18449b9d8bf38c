"""EDGE: the command line, and the only place that prints.

`sockact start` is what a container waits for: its plain form is read without click, whose import takes as long as all the
rest of the start. Both readers go by the same table of options, and a test holds them together.
"""

from __future__ import annotations

import gc
import sys

from sockact.cli import options


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    plain = options.read_plain(arguments)
    try:
        if plain is not None:
            from sockact.runtime.early import keep_signals

            keep_signals()
            gc.disable()  # what is made while starting stays; looking for garbage in it takes a tenth of the start
            from sockact.cli.start import start

            return start(plain)
        from sockact.cli.commands import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130  # before the supervisor took over the signals
