"""The domains of parameters: `Float`, `Int`, `Choice` and `Constant`.

Each is checked when built and raises `SpecError`. Its sentences start with the file's key (`min`), so that the reader
of a file only has to prepend the parameter's path.
"""

import datetime
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from tuner.errors import SpecError
from tuner.spec.fields import Field, is_number, listed, quoted, word

# A grid does not enumerate a range with more values.
MAX_GRID_VALUES = 10_000
# The range of the numbers that methods' and networks' arrays hold.
MIN_INT, MAX_INT = -(2**63), 2**63 - 1


class Shape(NamedTuple):
    """What a `distribution` means for a range."""

    log: bool = False
    whole: bool = False
    quantised: bool = False


# The distributions of a range by name. The names are W&B's, except `int_log_uniform`.
RANGES = {
    "uniform": Shape(),
    "int_uniform": Shape(whole=True),
    "log_uniform_values": Shape(log=True),
    "int_log_uniform": Shape(log=True, whole=True),
    "q_uniform": Shape(quantised=True),
    "q_log_uniform_values": Shape(log=True, quantised=True),
}

# The ways to give a parameter's values, with the distributions that fit.
FORMS = {
    "value": ("constant",),
    "values": ("categorical",),
    "grid": ("categorical",),
    "min": tuple(RANGES),
}
DISTRIBUTIONS = (*RANGES, "constant", "categorical")

PARAMETER = {
    "value": Field("any", "the one value of this parameter"),
    "values": Field("array", "the values to choose among"),
    "grid": Field("array", "the values to try one by one, whatever the method"),
    "min": Field("number", "the lowest value of a range"),
    "max": Field("number", "the highest value of a range"),
    "distribution": Field("string", "how the values of a range are spread", choices=DISTRIBUTIONS),
    "q": Field("number", "the step of a q_ distribution, 1 by default: min, min + q, min + 2q, ...", above=0),
    "when": Field("object", "the values of other parameters with which this one exists; a value or a list for each"),
}
WHOLE = Field("integer", "a whole number")


@dataclass(frozen=True)
class Float:
    """A range of floats, both ends included; with `step` only low, low + step, ... up to high."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_range(PARAMETER["min"], self.low, self.high, self.log, self.step)
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    def sample(self, rng: random.Random) -> float:
        if self.step is not None and not self.log:
            return self._at(rng.randrange(self.count()))
        if not self.log:
            return rng.uniform(self.low, self.high)
        return self.nearest(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def contains(self, value: Any) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        return self.step is None or abs(self.nearest(value) - value) <= 1e-9 * self.step

    def nearest(self, value: float) -> float:
        """The value of this domain that is nearest to a number."""
        inside = min(max(value, self.low), self.high)
        if self.step is None:
            return inside
        return self._at(min(round((inside - self.low) / self.step), self.count() - 1))

    def grid_values(self) -> Sequence[float] | None:
        """All values, or None if they can't be listed."""
        if self.step is None or self.count() > MAX_GRID_VALUES:
            return None
        return [self._at(index) for index in range(self.count())]

    def describe(self) -> str:
        return f"a number from {number(self.low)} to {number(self.high)}{_in_steps(self.step)}"

    def to_dict(self) -> dict[str, Any]:
        return _range_to_dict(self.low, self.high, Shape(self.log, quantised=self.step is not None), self.step)

    def count(self) -> int:
        return int((self._decimal(self.high) - self._decimal(self.low)) / self._decimal(self.step)) + 1

    def _at(self, index: int) -> float:
        # In decimals, so that 0.1 + 2 * 0.1 is 0.3.
        return float(self._decimal(self.low) + index * self._decimal(self.step))

    @staticmethod
    def _decimal(value: float | None) -> Decimal:
        return Decimal(repr(value))


@dataclass(frozen=True)
class Int:
    """A range of whole numbers, both ends included; with `step` only low, low + step, ... up to high."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        _check_range(WHOLE, self.low, self.high, self.log, self.step)
        for key in ("low", "high", "step"):
            object.__setattr__(self, key, int(getattr(self, key)))

    def sample(self, rng: random.Random) -> int:
        if not self.log:
            return self._at(rng.randrange(self.count()))
        return self.nearest(math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5))))

    def contains(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value in self._range()

    def nearest(self, value: float) -> int:
        """The value of this domain that is nearest to a number."""
        index = round((value - self.low) / self.step)
        return self._at(min(max(index, 0), self.count() - 1))

    def grid_values(self) -> Sequence[int] | None:
        """All values, or None if there are too many to list."""
        return self._range() if self.count() <= MAX_GRID_VALUES else None

    def describe(self) -> str:
        steps = _in_steps(self.step if self.step > 1 else None)
        return f"a whole number from {self.low} to {self.high}{steps}"

    def to_dict(self) -> dict[str, Any]:
        quantised = self.step > 1
        shape = Shape(self.log, whole=not quantised, quantised=quantised)
        return _range_to_dict(self.low, self.high, shape, self.step if quantised else None)

    def _range(self) -> range:
        return range(self.low, self.high + 1, self.step)

    def count(self) -> int:
        # Not len(range), which refuses more than sys.maxsize.
        return (self.high - self.low) // self.step + 1

    def _at(self, index: int) -> int:
        return self.low + index * self.step


@dataclass(frozen=True)
class Choice:
    """One of several plain values; with `grid` they are tried one by one, whatever the method."""

    values: tuple[Any, ...]
    grid: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        key = self._key
        if not self.values:
            raise SpecError([f"{key} is empty: give at least one value."])
        problems = [f"{key} {not_plain(value)}" for value in self.values if not is_plain(value)]
        problems += _twice(key, [value for value in self.values if is_plain(value)])
        if problems:
            raise SpecError(problems)

    def sample(self, rng: random.Random) -> Any:
        return rng.choice(self.values)

    def contains(self, value: Any) -> bool:
        return any(same(value, other) for other in self.values)

    def describe(self) -> str:
        return f"one of {listed([word(value) for value in self.values])}"

    def to_dict(self) -> dict[str, Any]:
        return {self._key: list(self.values)}

    @property
    def _key(self) -> str:
        return "grid" if self.grid else "values"


@dataclass(frozen=True)
class Constant:
    """One plain value."""

    value: Any

    def __post_init__(self) -> None:
        if not is_plain(self.value):
            raise SpecError([f"value {not_plain(self.value)}"])

    def sample(self, rng: random.Random) -> Any:
        return self.value

    def contains(self, value: Any) -> bool:
        return same(value, self.value)

    def describe(self) -> str:
        return _told(self.value)

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value}


Domain = Float | Int | Choice | Constant


def same(a: Any, b: Any) -> bool:
    """Equality that distinguishes true from 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def as_primitive(value: Any) -> str | int | float | bool | None:
    """A plain value as a study stores it: Optuna has no lists or mappings, and takes true for 1."""
    if isinstance(value, str | int | float | bool | None):
        return value
    return json.dumps(value, sort_keys=True)


def is_plain(value: Any) -> bool:
    """Whether a file preserves the value: null, true, text, finite numbers, lists and mappings of them."""
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) is int:
        return MIN_INT <= value <= MAX_INT
    if type(value) is str:
        return not any("\ud800" <= char <= "\udfff" for char in value)
    return value is None or type(value) is bool or (type(value) is float and is_number(value))


def _check_range(bound: Field, low: Any, high: Any, log: bool, step: Any) -> None:
    found = [bound.problem("min", low), bound.problem("max", high)]
    if step is not None:
        found.append(PARAMETER["q"].problem("q", step) or bound.problem("q", step))
    problems = [problem for problem in found if problem]
    problems += [
        f"{key} {quoted(value)} does not fit in 64 bits: narrow the range, or give floats."
        for key, value in (("min", low), ("max", high))
        if bound is WHOLE and is_number(value) and not MIN_INT <= value <= MAX_INT
    ]
    if is_number(low) and is_number(high):
        # A step is compared with valid bounds only: it may be the default.
        problems += _order_problems(low, high, None if problems else step)
    if log and is_number(low) and low <= 0:
        problems.append(f"min must be above 0 for a logarithmic range; got {number(low)}: raise it, such as 1e-6.")
    if problems:
        raise SpecError(problems)


def _order_problems(low: float, high: float, step: Any) -> list[str]:
    if low > high:
        return [f"min {number(low)} is above max {number(high)}: swap them."]
    if low == high:
        return [f"min and max are both {number(low)}: write {{value: {number(low)}}}, or widen the range."]
    if is_number(step) and step > high - low:
        return [f"q {number(step)} is larger than the range {number(low)} to {number(high)}: give a smaller q."]
    return []


def _range_to_dict(low: float, high: float, shape: Shape, step: float | None) -> dict[str, Any]:
    name = next(name for name, known in RANGES.items() if known == shape)
    node = {"min": low, "max": high, "distribution": name}
    return node if step is None else {**node, "q": step}


def not_plain(value: Any) -> str:
    """The rest of the sentence, after the key, that refuses a value."""
    advice = ""
    if isinstance(value, tuple):
        advice = ": write it as a list"
    elif isinstance(value, datetime.date):
        advice = ": put it in quotes to make it a text"
    elif isinstance(value, str):
        advice = ": it contains half a character"
    elif isinstance(value, int):
        advice = ": numbers have 64 bits; put it in quotes to make it a text"
    elif isinstance(value, float):
        advice = ": put it in quotes to make it a text, which float() reads"
    return f"must be text, finite numbers, true, null, or lists and mappings of them; got {quoted(value)}{advice}."


def _twice(key: str, values: Sequence[Any]) -> list[str]:
    """Report values that a study can't distinguish from earlier ones; linear, since a grid may have thousands."""
    seen: dict[Any, Any] = {}
    problems: list[str] = []
    for value in values:
        stored = as_primitive(value)
        if stored not in seen:
            seen[stored] = value
        elif same(value, other := seen[stored]):
            problems.append(f"{key} holds {_told(value)} more than once: remove the duplicate.")
        else:
            problems.append(
                f"{key} holds {_told(other)} and {_told(value)}, which a study can't tell apart: "
                "remove one, or write another text for it."
            )
    return problems


def _told(value: Any) -> str:
    return "null" if value is None else quoted(value)


def number(value: float) -> str:
    return f"{value:.12g}"


def _in_steps(step: float | None) -> str:
    return "" if step is None else f" in steps of {number(step)}"
