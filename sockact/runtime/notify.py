"""sd_notify(3): one datagram socket for all services, opened when the first service needs it.

A message counts for the service whose main process sent it (NotifyAccess=main); the kernel vouches for the sender.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.runtime.kernel import Kernel
    from sockact.runtime.loop import Loop


BATCH = 1024
"""Messages delivered at a stretch: more than the socket queues, and no more, however fast somebody sends."""


class Message(Record):
    """What a service said: the pid of the sender, and the assignments, the last of each name."""

    pid: int
    said: dict[str, str]


def parse(data: bytes, pid: int) -> Message:
    """Split a datagram into its NAME=VALUE lines; what is no assignment says nothing."""
    lines = (line.partition("=") for line in data.decode(errors="replace").split("\n"))
    return Message(pid, {name: value for name, equals, value in lines if equals})


class Notifications:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, kernel: Kernel, loop: Loop, deliver: Callable[[Message], None]) -> None:
        self.kernel = kernel
        self.loop = loop
        self.deliver = deliver
        self._fd = -1
        self._address = ""

    def address(self) -> str:
        """The value for NOTIFY_SOCKET."""
        if self._fd < 0:
            self._fd, self._address = self.kernel.notify_socket()
            self.loop.watch(self._fd, lambda events: self.drain())
        return self._address

    def drain(self) -> None:
        """Deliver what has arrived; also asked for before a process that ended is declared dead, whose last words wait here."""
        for _ in range(BATCH if self._fd >= 0 else 0):
            received = self.kernel.receive(self._fd)
            if received is None:
                return
            self.deliver(parse(*received))
