"""State machines as tables of rows; `step` looks the row up and decides nothing else.

A row says: in this state, at this event, if this holds, go there and have that done. The first match wins. Every pair of
state and event is either in a row or listed as impossible, so that nothing happens by omission; a test walks all pairs.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class Row(Record):
    """`to` is None when the state stays. `state` and `event` may be several, for rows that differ in nothing else."""

    state: object
    event: object
    to: object = None
    effects: tuple[object, ...] = ()
    guard: Callable[..., bool] | None = None


class Machine:
    """A closed table. `impossible` names the pairs that cannot occur, with the reason as the value."""

    def __init__(self, rows: Iterable[Row], impossible: dict[tuple[Any, Any], str]) -> None:
        self.impossible = impossible
        self.table: dict[tuple[Any, Any], list[Row]] = {}
        for row in rows:
            for state in row.state if isinstance(row.state, tuple) else (row.state,):
                for event in row.event if isinstance(row.event, tuple) else (row.event,):
                    self.table.setdefault((state, event), []).append(row)

    def step(self, state: Any, event: Any, find: Callable[[], Any]) -> tuple[Any, tuple[Any, ...]]:
        """The state after the event, and the effects to carry out; LookupError for a pair that cannot occur. Most pairs have
        one row: the facts are found out for a guard only."""
        facts = None
        for row in self.table.get((state, event), ()):
            if row.guard is not None and facts is None:
                facts = find()
            if row.guard is None or row.guard(facts):
                return (state if row.to is None else row.to), row.effects
        raise LookupError(f"{event} in {state}: {self.impossible.get((state, event), 'no row decides this')}")
