"""Frozen, slotted records: what a frozen dataclass gives, at a quarter of its start-up cost.

`import dataclasses` adds 12 ms of CPU to a 9 ms interpreter start, and each frozen, slotted
dataclass another 0.7 ms (Python 3.11; bench/startup.py prints it again); `fwpolicy check` of
a one-rule policy would spend most of its time there. A record has no inheritance, no
converters and no mutable fields, so one generated `__init__` is all it needs. To mypy it is
a frozen dataclass (PEP 681), and `match` sees its fields in order.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_: object) -> Callable[[T], T]:
        return lambda decorator: decorator


def _refuse(self: object, *_: object) -> NoReturn:
    raise AttributeError(f"{type(self).__name__} is frozen")


def _values(self: Any) -> tuple[object, ...]:
    return tuple([getattr(self, name) for name in self.__slots__])


def _eq(self: object, other: object) -> bool:
    if self is other:
        return True
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: object) -> int:
    return hash((type(self).__name__, *_values(self)))


def _repr(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
    return f"{type(self).__name__}({fields})"


def _compile_init(cls: type) -> None:
    """Give `cls` its `__init__`: as fast as a handwritten one."""
    names = cls.__slots__  # type: ignore[attr-defined]
    defaults = cls._defaults  # type: ignore[attr-defined]
    parameters = "".join(f", {name}=_{name}" if name in defaults else f", {name}" for name in names)
    body = "".join(f"\n _set(self, {name!r}, {name})" for name in names) or "\n pass"
    scope: dict[str, Any] = {f"_{name}": value for name, value in defaults.items()}
    scope["_set"] = object.__setattr__
    # The names are class attributes of this source tree, never input.
    exec(f"def __init__(self{parameters}):{body}", scope)  # noqa: S102
    cls.__init__ = scope["__init__"]  # type: ignore[misc]


def _first_init(self: Any, *args: object, **kwargs: object) -> None:
    """Compiled at the first use: most runs use few of the records that they import."""
    _compile_init(type(self))
    self.__init__(*args, **kwargs)


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
        "__init__": _first_init,
        "_defaults": defaults,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__eq__": _eq,
        "__hash__": _hash,
        "__repr__": _repr,
    }
    return type(cls.__name__, cls.__bases__, namespace)


def replace(instance: T, **changes: object) -> T:
    """A copy of the record `instance` with `changes`; TypeError for a name that is no field."""
    values: dict[str, object] = {name: getattr(instance, name) for name in instance.__slots__}  # type: ignore[attr-defined]
    return type(instance)(**(values | changes))


def assert_never(value: NoReturn) -> NoReturn:
    """mypy's proof that a union is exhausted (`typing.assert_never` without importing typing)."""
    raise AssertionError(f"not handled: {value!r}")
