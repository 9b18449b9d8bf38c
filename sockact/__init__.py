"""sockact: systemd's socket activation, without systemd.

How it works, in the order in which things happen (each package says more):

    cli        EDGE  reads the command line; the only place that prints
    runtime    EDGE  search finds the unit files …
    unit       PURE  … syntax, values and the directive table make typed units of them, verify finds what is wrong
    net        PURE  addresses, protocols, and the plan of system calls for each socket
    runtime    EDGE  listeners carry the plan out; the loop waits; the supervisor turns what happens into events
    lifecycle  PURE  the tables of the socket's and the service's states answer with effects; child plans a process
    runtime    EDGE  spawn carries the child plan out; kernel is every system call there is
    consumer         what a service needs: `listen_fds()`, also for those that use nothing else of sockact

The pure packages never import the edge, and make no system call. A test holds them to it.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from sockact.consumer import ListenFD, listen_fds

__version__ = "0.1.0"
__all__ = ["ListenFD", "listen_fds"]


def __getattr__(name: str) -> object:
    """The consumer's interface, imported when it is used: a supervisor has no need of it."""
    if name in __all__:
        from sockact import consumer

        return getattr(consumer, name)
    raise AttributeError(f"module 'sockact' has no attribute {name!r}")
