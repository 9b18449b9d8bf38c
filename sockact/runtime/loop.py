"""Waits: for descriptors, for deadlines, for signals; and sleeps without a wake-up as long as there is nothing.

One epoll, one heap of deadlines, one pipe into which signals are written. A callback is called for each event; what it
does may watch and unwatch at will.
"""

from __future__ import annotations

import select
from functools import partial
from heapq import heappop, heappush
from itertools import count as numbers

from sockact.lifecycle.limits import Window, count
from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sockact.runtime.kernel import Kernel

READABLE = select.EPOLLIN
BATCH = 64
LONGEST_WAIT = 86400.0
"""Seconds; epoll_wait(2) counts milliseconds in an int, which is over after 24 days. A turn without an event harms nobody."""


NO_LIMIT = (0.0, 0)


class Watch:
    """A descriptor that is watched: whom to call, and how often in which time (PollLimitIntervalSec=, PollLimitBurst=)."""

    def __init__(self, callback: Callable[[int], None], limit: tuple[float, int]) -> None:
        self.callback = callback
        self.limit = limit
        self.window = Window()
        self.rest: Timer | None = None
        """Set while it is left alone. The descriptor is not registered then, for epoll reports errors unasked."""

    def exceeds(self, now: float) -> bool:
        """Count one more event; whether it is one too many."""
        limited, self.window = count(self.window, now, *self.limit)
        return limited


class Timer:
    """A deadline that can be called off."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Events in, callbacks out. `settle` carries out what a callback has caused before the next one is called; `complain`
    is told of an exception in either, which is a bug of ours and must not end the loop."""

    def __init__(self, kernel: Kernel, settle: Callable[[], None], complain: Callable[[Exception], None]) -> None:
        self.kernel = kernel
        self._settle = settle
        self._complain = complain
        self._epoll = kernel.epoll()
        self._watched: dict[int, Watch] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = numbers()

    def watch(
        self, fd: int, callback: Callable[[int], None], limit: tuple[float, int] = NO_LIMIT, events: int = READABLE
    ) -> None:
        """Call back with the epoll events whenever `fd` has something to read, or only (events 0) when its other end is gone;
        within an interval not more often than the limit says: what comes then waits for the interval to end."""
        self._epoll.register(fd, events)
        self._watched[fd] = Watch(callback, limit)

    def unwatch(self, fd: int) -> None:
        """Watch no more; harmless when nobody watched."""
        watch = self._watched.pop(fd, None)
        if watch and watch.rest:
            watch.rest.cancel()
        elif watch:
            self._epoll.unregister(fd)

    def take(self, fd: int, callback: Callable[[int], None], events: int = READABLE) -> int:
        """Watch a descriptor that is of no use unwatched: where that fails, it is closed."""
        try:
            self.watch(fd, callback, events=events)
        except OSError:
            self.kernel.close(fd)
            raise
        return fd

    def close(self, fd: int) -> None:
        """Watch no more, and close."""
        self.unwatch(fd)
        self.kernel.close(fd)

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once, not before `seconds` from now."""
        timer = Timer(self.kernel.now() + seconds, callback)
        heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def signals(self, numbers: Sequence[int], callback: Callable[[int], None]) -> None:
        """Call back with the number of each signal that arrives."""
        reader, writer = self.kernel.pipe()
        self.kernel.set_blocking(reader, False)
        self.kernel.set_blocking(writer, False)

        def read(_: int) -> None:
            for number in dict.fromkeys(self.kernel.read(reader, 4096)):
                self._call(partial(callback, number))

        self.watch(reader, read)
        self.kernel.handle_signals(numbers, writer)

    def turn(self) -> None:
        """Wait for what comes next, and call back."""
        batch = [(fd, events, self._watched.get(fd)) for fd, events in self._epoll.poll(self._patience(), BATCH)]
        for fd, events, watch in batch:
            # An earlier callback of the same batch may have ended the watch, and given the descriptor to another one.
            if watch is not self._watched.get(fd):
                continue
            if watch and watch.limit != NO_LIMIT and watch.exceeds(self.kernel.now()):
                self._rest(fd, watch)
            elif watch:
                self._call(partial(watch.callback, events))
        self._expire()

    def _rest(self, fd: int, watch: Watch) -> None:
        """Leave a descriptor alone until the interval ends."""
        self._epoll.unregister(fd)
        began, (interval, _) = watch.window.began, watch.limit
        watch.rest = self.after(max(0.0, began + interval - self.kernel.now()), partial(self._wake, fd, watch))

    def _wake(self, fd: int, watch: Watch) -> None:
        try:
            self._epoll.register(fd, READABLE)
        except OSError:  # too many are watched at this moment (epoll_ctl(2))
            watch.rest = self.after(1.0, partial(self._wake, fd, watch))
        else:
            watch.rest = None

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
            self._settle()
        except Exception as error:
            self._complain(error)

    def _patience(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heappop(self._timers)
        return min(LONGEST_WAIT, max(0.0, self._timers[0][0] - self.kernel.now())) if self._timers else None

    def _expire(self) -> None:
        now = self.kernel.now() if self._timers else 0.0
        while self._timers and self._timers[0][0] <= now:
            callback = heappop(self._timers)[2].callback
            if callback:
                self._call(callback)
