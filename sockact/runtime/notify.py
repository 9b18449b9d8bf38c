"""sd_notify(3): one datagram socket for all services, opened when the first service needs it.

The kernel vouches for the sender. Descriptors that come along are closed unless somebody keeps them: that is also what a
sender waits for who asked for a barrier (BARRIER=1).
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sockact.runtime.kernel import Kernel
    from sockact.runtime.loop import Loop


BATCH = 1024
"""Messages delivered at a stretch: more than the socket queues, and no more, however fast somebody sends."""


class Message(Record):
    """What a service said: pid and user of the sender, the assignments, the first of each name, all lines, and descriptors."""

    pid: int
    uid: int
    said: dict[str, str]
    lines: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()

    def says(self, name: str) -> bool:
        return f"{name}=1" in self.lines

    def number(self, name: str) -> int | None:
        """The number it says, if it is one."""
        text = self.said.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def parse(data: bytes, pid: int, uid: int = 0, descriptors: tuple[int, ...] = ()) -> Message:
    """Split a datagram into its NAME=VALUE lines; what is no assignment says nothing."""
    lines = tuple(data.decode(errors="replace").split("\n"))
    said: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if equals:
            said.setdefault(name, value)
    return Message(pid, uid, said, lines, descriptors)


class Notifications:
    """The receiving end of NOTIFY_SOCKET. Whoever takes a message tells which of its descriptors are kept;
    `settle` has it answered before the next one is read."""

    def __init__(
        self, kernel: Kernel, loop: Loop, deliver: Callable[[Message], Collection[int]], settle: Callable[[], None]
    ) -> None:
        self.kernel = kernel
        self.loop = loop
        self.deliver = deliver
        self.settle = settle
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
            try:
                received = self.kernel.receive(self._fd)
            except OSError:
                return  # out of memory at this moment; the messages wait
            if received is None:
                return
            message = parse(*received)
            kept = self.deliver(message)
            for fd in message.descriptors:
                if fd not in kept:
                    self.kernel.close(fd)
            self.settle()
