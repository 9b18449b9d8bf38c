"""Frozen records: typed, compared by value, and free at start-up.

`dataclasses` would be the obvious choice, and costs more to import than the rest of `sockact start` together (it pulls in
`inspect`, `ast`, `tokenize` …) plus the compilation of every class. A record needs none of that: its fields are its
annotations, its defaults are its class attributes. Type checkers see a frozen dataclass (PEP 681).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, NoReturn, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """Base of all frozen records; fields are inherited, then added in the order of their annotations."""

    fields: ClassVar[tuple[str, ...]] = ()
    names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        annotations = cls.__dict__.get("__annotations__", {})  # noqa: RUF063 - inspect costs more than we do
        own = tuple(name for name, kind in annotations.items() if not kind.startswith("ClassVar"))
        if taken := {"fields", "names"} & set(own):
            raise TypeError(f"{cls.__name__}: the name '{taken.pop()}' is taken")
        cls.fields = tuple(dict.fromkeys((*cls.fields, *own)))
        cls.names = frozenset(cls.fields)

    def __init__(self, *values: Any, **named: Any) -> None:
        state = self.__dict__
        state.update(zip(self.fields, values, strict=False))
        state.update(named)
        if len(state) != len(values) + len(named) or not named.keys() <= self.names:
            raise TypeError(self._misfit(values, named))
        if len(state) < len(self.fields):
            self._fill_in(state)

    def _misfit(self, values: tuple[Any, ...], named: dict[str, Any]) -> str:
        twice = named.keys() & set(self.fields[: len(values)])
        if twice:
            return f"{type(self).__name__} got {', '.join(twice)} twice"
        if len(values) > len(self.fields):
            return f"{type(self).__name__} has {len(self.fields)} fields, not {len(values)}"
        return f"{type(self).__name__} has fields {', '.join(self.fields)}, not {', '.join(named)}"

    def _fill_in(self, state: dict[str, Any]) -> None:
        """Take defaults from the class, and into the instance: a default that is a function must not become a method."""
        for name in self.fields:
            if name not in state:
                if not hasattr(type(self), name):
                    raise TypeError(f"{type(self).__name__} needs {name}=")
                state[name] = getattr(type(self), name)

    def values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.fields)

    def replace(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        return type(self)(**{**dict(zip(self.fields, self.values(), strict=True)), **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Record) and other.values() == self.values()

    def __hash__(self) -> int:
        return hash((type(self), self.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.fields)})"


def assert_never(value: NoReturn) -> NoReturn:
    """What type checkers prove unreachable: a `match` that forgot a case."""
    raise AssertionError(f"not handled: {value!r}")
