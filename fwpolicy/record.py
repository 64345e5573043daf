"""Frozen, slotted records: what a frozen dataclass gives, at a quarter of its start-up cost.

`import dataclasses` adds 12 ms of CPU to a 9 ms interpreter start, and each frozen, slotted
dataclass another 0.7 ms (Python 3.11; bench/startup.py prints it again); `fwpolicy check` of
a one-rule policy would spend most of its time there. A record has no inheritance, no
converters and no mutable fields, so one generated `__new__` is all it needs. To mypy it is
a frozen dataclass (PEP 681), and `match` sees its fields in order.
"""

from __future__ import annotations

from _operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, NoReturn, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_: object) -> Callable[[T], T]:
        return lambda decorator: decorator


def _refuse(self: object, *_: object) -> NoReturn:
    raise AttributeError(f"{type(self).__name__} is frozen")


def _eq(self: Any, other: object) -> bool:
    if self is other:
        return True
    values: Callable[[object], object] = self._values
    return values(self) == values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash((type(self).__name__, self._values(self)))


def _no_values(_: object) -> tuple[()]:
    return ()


def _repr(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
    return f"{type(self).__name__}({fields})"


# By the number of fields.
_CODES: dict[int, CodeType] = {}
# types.FunctionType, without the import.
_Function: Any = type(_refuse)


def _code(count: int) -> CodeType:
    """The code of a `__new__` for so many fields, `_0` and so on: to rename them is a twentieth of compiling.

    It fills an object of a class with the same slots that is not frozen, and makes that one of `cls`: half
    the time of passing by `__setattr__` for each field.
    """
    if count not in _CODES:
        fields = [f"_{number}" for number in range(count)]
        body = "".join(f" self.{field} = {field}\n" for field in fields)
        scope: dict[str, Any] = {}
        # A number is all that varies in this text.
        head = f"def __new__({', '.join(['cls', *fields])}):\n self = draft()\n"
        exec(f"{head}{body} self.__class__ = cls\n return self", scope)  # noqa: S102
        _CODES[count] = scope["__new__"].__code__
    return _CODES[count]


def _compile_new(cls: type) -> None:
    """Give `cls` its `__new__`."""
    names: tuple[str, ...] = cls.__slots__  # type: ignore[attr-defined]
    called = {f"_{number}": name for number, name in enumerate(names)}
    code = _code(len(names))
    code = code.replace(
        co_varnames=tuple([called.get(word, word) for word in code.co_varnames]),
        co_names=tuple([called.get(word, word) for word in code.co_names]),
    )
    scope = {"draft": type(cls.__name__, cls.__bases__, {"__slots__": names})}
    defaults = tuple(cls._defaults.values())  # type: ignore[attr-defined]
    cls.__new__ = _Function(code, scope, "__new__", defaults)  # type: ignore[method-assign]


def _first_new(cls: Any, *args: object, **kwargs: object) -> object:
    """Compiled at the first use: most runs use few of the records that they import."""
    _compile_new(cls)
    return cls.__new__(cls, *args, **kwargs)


@dataclass_transform(frozen_default=True, eq_default=True)
def record(cls: type[T]) -> type[T]:
    """Class decorator: the annotated names become the fields of an immutable, hashable record."""
    fields = tuple(cls.__dict__.get("__annotations__", ()))  # noqa: RUF063 (inspect is what costs)
    defaults = {name: cls.__dict__[name] for name in fields if name in cls.__dict__}
    hidden = {*fields, "__dict__", "__weakref__"}
    namespace = {name: value for name, value in cls.__dict__.items() if name not in hidden}
    namespace |= {
        "__slots__": fields,
        "__match_args__": fields,
        "__new__": _first_new,
        "_defaults": defaults,
        # In one call, which binds no self: a tuple, or the value of an only field.
        "_values": attrgetter(*fields) if fields else staticmethod(_no_values),
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__eq__": _eq,
        "__hash__": _hash,
        "__repr__": _repr,
    }
    if not fields:
        number = hash(cls.__name__)
        namespace["__hash__"] = lambda _: number
    return type(cls.__name__, cls.__bases__, namespace)


def replace(instance: T, **changes: object) -> T:
    """A copy of the record `instance` with `changes`; TypeError for a name that is no field."""
    for name in instance.__slots__:  # type: ignore[attr-defined]
        if name not in changes:
            changes[name] = getattr(instance, name)
    return type(instance)(**changes)


def assert_never(value: NoReturn) -> NoReturn:
    """mypy's proof that a union is exhausted (`typing.assert_never` without importing typing)."""
    raise AssertionError(f"not handled: {value!r}")
