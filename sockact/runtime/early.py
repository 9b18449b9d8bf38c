"""What cannot wait until all of sockact is loaded: system calls that come before `kernel` is there."""

from __future__ import annotations

import os


def keep_signals() -> None:
    """The kernel drops what process 1 does not handle yet, unless it is blocked (signal(7)): a request to stop that comes while
    we are starting must not be lost. Elsewhere the default is right: it ends us."""
    if os.getpid() == 1:
        import signal

        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP))
