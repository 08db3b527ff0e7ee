"""The parameters of a trial, checked: each task names its own, this reads them. Knows nothing of any task."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The numbers that a parameter may be; an open end is itself not allowed."""

    low: float
    high: float = math.inf
    is_open: tuple[bool, bool] = (False, False)

    def __contains__(self, value: float) -> bool:
        open_low, open_high = self.is_open
        above = value > self.low if open_low else value >= self.low
        below = value < self.high if open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        open_low, open_high = self.is_open
        low = f"above {self.low}" if open_low else f"of at least {self.low}"
        high = f" and below {self.high}" if open_high else f" and at most {self.high}"
        return low + (high if math.isfinite(self.high) else "")


SHARE = Range(0, 1, (False, True))
POSITIVE = Range(0, is_open=(True, False))

# Parameters that name files.
_TRAINED_FROM = ("dataset", "validation_dataset", "test_dataset", "teacher", "weights")

YES_OR_NO = (False, True)

# What a parameter may be: numbers of a range, one of some choices, or what a check lets pass (it raises ValueError).
Allowed = Range | Sequence[str] | Sequence[bool] | Callable[[str], object]


def read_settings(kind: type[T], params: Mapping[str, Any], allowed: Mapping[str, Allowed]) -> T:
    """The dataclass `kind` with the parameters in their own types; those left out have its defaults.

    Numbers of a field that may be None may be None. Raises ValueError that names all wrong parameters.

    Args:
        allowed: for each field of `kind`.
    """
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]  # T is a dataclass
    values, problems = {}, []
    for name, value in params.items():
        try:
            if name not in allowed:
                raise ValueError(f"parameter {name!r} is unknown; known are {', '.join(types)}")
            values[name] = _checked(name, value, allowed[name], types[name])
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return kind(**values)


def without_files(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a model that is used without what it was trained from, which need not be at hand."""
    return {name: value for name, value in params.items() if name not in _TRAINED_FROM}


def _checked(name: str, value: Any, allowed: Allowed, kind: Any) -> Any:
    """The value of a parameter in its own type; raises ValueError that says what is allowed."""
    if isinstance(allowed, Range):
        return _number(name, value, allowed, kind)
    if callable(allowed):
        try:
            allowed(str(value))
        except ValueError as error:
            raise error if str(error).startswith(f"{name} ") else ValueError(f"{name}: {error}") from error
        return str(value)
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in allowed):
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}; got {value!r}")
    return value


def _number(name: str, value: Any, allowed: Range, kind: Any) -> int | float | None:
    if value is None and type(None) in get_args(kind):
        return None
    is_whole = kind is int or int in get_args(kind)
    what = "a whole number" if is_whole else "a number"
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or value not in allowed or (is_whole and int(value) != value):
        raise ValueError(f"{name} must be {what} {allowed}; got {value!r}")
    return int(value) if is_whole else float(value)
