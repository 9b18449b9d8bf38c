"""What units have to do with each other (systemd.unit(5)): who is started with whom, who waits for whom, who ends with whom.

Between the units that sockact was given; a name that nobody has is left out. Sockets are all there before the first service
starts, so that what is said of them is about their failure only.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sockact.unit.directives.unit import UnitSection
    from sockact.unit.gather import UnitSet
    from sockact.unit.load import ServiceUnit, SocketUnit

    Relation = dict[str, set[str]]
    Named = Callable[[UnitSection], tuple[str, ...]]


class Dependencies:
    """Relations by the name of the unit: `waits["a"]` are those after which a starts."""

    def __init__(self, units: UnitSet) -> None:
        self._units = units
        self.waits, _ = waiting(units)
        self.requisite = self._relation(lambda unit: unit.requisite)
        self.needs = self._relation(lambda unit: (*unit.requires, *unit.binds_to))
        self.pulls = self._relation(lambda unit: (*unit.requires, *unit.binds_to, *unit.wants, *unit.upholds))
        self.upheld_by = _turned(self._relation(lambda unit: unit.upholds))
        self.conflicts = self._relation(lambda unit: unit.conflicts)
        _merge(self.conflicts, _turned(self.conflicts))
        self.bound = self._relation(lambda unit: unit.binds_to)
        self.ends_with = _turned(self.bound)
        """Who ends whenever this one has."""
        taken_along = self._relation(lambda unit: (*unit.part_of, *unit.requires, *unit.binds_to, *unit.stop_propagated_from))
        self.stops_with = _turned(taken_along)
        """Who is stopped when this one is."""
        _merge(self.stops_with, self._relation(lambda unit: unit.propagates_stop_to))
        self.waited_for = _turned(self.waits)
        self.on_failure = self._relation(lambda unit: unit.on_failure)
        self.on_success = self._relation(lambda unit: unit.on_success)
        self._calls = self._relation(lambda unit: (*unit.on_failure, *unit.on_success))

    def first(self, names: Iterable[str]) -> list[str]:
        """Those of them to begin with: who is there for the end of another waits to be called. Of those who call each other in a
        circle, and whom nobody else would ever call, the first one begins."""
        wanted = list(dict.fromkeys(names))
        called = set[str]().union(*self._calls.values())
        uncalled = [name for name in wanted if name not in called]
        reached = _reachable(self._calls, {*self._units.sockets, *self._units.feeds, *uncalled})
        found = list[str]()
        for name in wanted:
            if name not in called or name not in reached:
                found.append(name)
                reached |= _reachable(self._calls, {name})
        return found

    def _relation(self, named: Named) -> Relation:
        return _relation({**self._units.sockets, **self._units.services}, self._units.aliases, named)


def waiting(units: UnitSet) -> tuple[Relation, list[list[str]]]:
    """Which services a service waits for, by its own word or by theirs; and the circles in which somebody would wait for
    himself, each from who does not wait round to him again."""
    found = _relation(units.services, units.aliases, lambda unit: unit.after)
    _merge(found, _turned(_relation(units.services, units.aliases, lambda unit: unit.before)))
    return _without_circles(found)


def _relation(units: Mapping[str, SocketUnit | ServiceUnit], aliases: Mapping[str, str], named: Named) -> Relation:
    """The units that are here, of those that each unit names."""
    found: Relation = {}
    for name, unit in units.items():
        asked = named(unit.unit)
        if asked and (known := ({aliases.get(other, other) for other in asked} & units.keys()) - {name}):
            found[name] = known
    return found


def _turned(relation: Relation) -> Relation:
    """The same relation, looked at from the other side."""
    found: Relation = {}
    for name, others in relation.items():
        for other in others:
            found.setdefault(other, set()).add(name)
    return found


def _reachable(relation: Relation, names: set[str]) -> set[str]:
    """These, and all to whom the relation leads from them."""
    found, ahead = set(names), list(names)
    for name in ahead:
        new = relation.get(name, set()) - found
        found |= new
        ahead += new
    return found


def _merge(relation: Relation, more: Relation) -> None:
    for name, others in more.items():
        relation.setdefault(name, set()).update(others)


def _without_circles(waits: Relation) -> tuple[Relation, list[list[str]]]:
    """The relation less what would have somebody wait for himself, and the circles that there were: what is met first stays."""
    kept: Relation = {}
    circles: list[list[str]] = []
    for name in waits:
        ways = {other: _way(kept, other, name) for other in sorted(waits[name])}
        kept[name] = {other for other, way in ways.items() if not way}
        circles += [[name, *way] for way in ways.values() if way]
    return kept, circles


def _way(relation: Relation, start: str, end: str) -> list[str]:
    """The shortest way from one to the other, both included; empty if there is none."""
    reached = {start: ""}
    ahead = [start]
    for name in ahead:
        if name == end:
            break
        new = [other for other in sorted(relation.get(name, ())) if other not in reached]
        reached |= dict.fromkeys(new, name)
        ahead += new
    way = [end] if end in reached else []
    while way and way[0] != start:
        way.insert(0, reached[way[0]])
    return way
