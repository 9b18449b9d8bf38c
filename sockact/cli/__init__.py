"""EDGE: the command line, and the only place that prints.

`sockact start` is what a container waits for: its plain form is read without click, whose import takes as long as all the
rest of the start. Both readers go by the same table of options, and a test holds them together.
"""

from __future__ import annotations

import gc
import os
import sys

from sockact.cli import options


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    plain = options.read_plain(arguments)
    try:
        if plain is not None:
            keep_signals()
            gc.disable()  # what is made while starting stays; looking for garbage in it takes a tenth of the start
            from sockact.cli.start import start

            return start(plain)
        from sockact.cli.commands import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130  # before the supervisor took over the signals


def keep_signals() -> None:
    """The kernel drops what process 1 does not handle yet, unless it is blocked: a request to stop that comes while we are
    starting must not be lost. Elsewhere the default is right: it ends us."""
    if os.getpid() == 1:
        import signal

        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP))
