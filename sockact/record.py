"""Frozen records and enumerations: typed, and free at start-up.

`dataclasses` would be the obvious choice, and costs more to import than the rest of `sockact start` together (it pulls in
`inspect`, `ast`, `tokenize` …) plus the compilation of every class. A record needs none of that: its fields are its
annotations, its defaults are its class attributes. Type checkers see a frozen dataclass (PEP 681).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import Enum as Enum  # noqa: PLC0414 - this is how a name is exported
    from typing import Any, ClassVar, NoReturn, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls

    class _Enumeration(type):
        """What Python's enum does for plain members, in a tenth of the time: the machines have a hundred of them."""

        def __new__(meta, name, bases, body):
            values = {key: value for key, value in body.items() if not key.startswith("_")}
            cls = super().__new__(meta, name, bases, {key: value for key, value in body.items() if key not in values})
            cls.__members__ = {}
            for key, value in values.items():
                member = object.__new__(cls)
                member.name, member.value = key, value
                cls.__members__[key] = member
                setattr(cls, key, member)
            return cls

        def __iter__(cls):
            return iter(cls.__members__.values())

        def __len__(cls):
            return len(cls.__members__)

        def __getitem__(cls, name):
            return cls.__members__[name]

    class Enum(metaclass=_Enumeration):
        def __repr__(self):
            return f"{type(self).__name__}.{self.name}"


@dataclass_transform(frozen_default=True)
class Record:
    """Base of all frozen records; fields are inherited, then added in the order of their annotations."""

    fields: ClassVar[tuple[str, ...]] = ()
    names: ClassVar[frozenset[str]] = frozenset()
    defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        annotations = cls.__dict__.get("__annotations__", {})  # noqa: RUF063 - inspect costs more than we do
        own = tuple(name for name, kind in annotations.items() if not kind.startswith("ClassVar"))
        if taken := {"fields", "names", "defaults"} & set(own):
            raise TypeError(f"{cls.__name__}: the name '{taken.pop()}' is taken")
        cls.fields = tuple(dict.fromkeys((*cls.fields, *own)))
        cls.names = frozenset(cls.fields)
        cls.defaults = {name: getattr(cls, name) for name in cls.fields if hasattr(cls, name)}

    def __init__(self, *values: Any, **named: Any) -> None:
        # Defaults go into the instance, too: one that is a function must not become a method.
        state = self.__dict__
        state.update(self.defaults)
        state.update(zip(self.fields, values, strict=False))
        state.update(named)
        twice = named.keys() & self.fields[: len(values)] if values and named else ()
        if state.keys() != self.names or len(values) > len(self.fields) or twice:
            raise TypeError(self._misfit(values, named))

    def _misfit(self, values: tuple[Any, ...], named: dict[str, Any]) -> str:
        name, fields = type(self).__name__, self.fields
        if twice := named.keys() & set(fields[: len(values)]):
            return f"{name} got {', '.join(twice)} twice"
        if len(values) > len(fields):
            return f"{name} has {len(fields)} fields, not {len(values)}"
        if not named.keys() <= self.names:
            return f"{name} has fields {', '.join(fields)}, not {', '.join(named)}"
        return f"{name} needs {', '.join(f'{field}=' for field in fields if field not in self.__dict__)}"

    def values(self) -> tuple[Any, ...]:
        return tuple(map(self.__dict__.__getitem__, self.fields))

    def replace(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        return type(self)(**{**dict(zip(self.fields, self.values(), strict=True)), **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, Record):
            return False
        # Fast where both are nothing but their fields; one may have a cached property, too.
        return self.__dict__ == other.__dict__ or self.values() == other.values()

    def __hash__(self) -> int:
        return hash((type(self), self.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.fields)})"


def assert_never(value: NoReturn) -> NoReturn:
    """What type checkers prove unreachable: a `match` that forgot a case."""
    raise AssertionError(f"not handled: {value!r}")
