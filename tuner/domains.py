"""The domains of parameters, `Float`, `Int`, `Choice` and `Constant`: sample, contains, to and from the file.

Each is checked when built and raises `SpecError`, whose sentences start with the file's key (`min`): a
reader of a file only puts the parameter's path before them. Knows nothing of other parameters.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from tuner.errors import SpecError
from tuner.fields import Field, is_number, listed, shown, unknown_keys

# A range with more values is not enumerated for a grid.
MAX_GRID_VALUES = 10_000


class Shape(NamedTuple):
    """What a `distribution` says about a range."""

    log: bool = False
    whole: bool = False
    quantised: bool = False


# The distributions of a range by name; the names are W&B's, `int_log_uniform` is ours.
RANGES = {
    "uniform": Shape(),
    "int_uniform": Shape(whole=True),
    "log_uniform_values": Shape(log=True),
    "int_log_uniform": Shape(log=True, whole=True),
    "q_uniform": Shape(quantised=True),
    "q_log_uniform_values": Shape(log=True, quantised=True),
}

# How a parameter gives its values, and the distributions that fit.
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
    "q": Field("number", "the step of a q_ distribution, 1 if left out: min, min + q, min + 2q, ...", above=0),
    "when": Field("object", "other parameters' values with which this one exists; a value or a list for each"),
}
_WHOLE = Field("integer", "a whole number")


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
            return self._at(rng.randrange(self._count()))
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
        return self._at(min(round((inside - self.low) / self.step), self._count() - 1))

    def grid_values(self) -> Sequence[float] | None:
        """All values, None where they can't be listed."""
        if self.step is None or self._count() > MAX_GRID_VALUES:
            return None
        return [self._at(index) for index in range(self._count())]

    def describe(self) -> str:
        return f"a number from {_number(self.low)} to {_number(self.high)}{_in_steps(self.step)}"

    def to_dict(self) -> dict[str, Any]:
        return _range_to_dict(self.low, self.high, Shape(self.log, quantised=self.step is not None), self.step)

    def _count(self) -> int:
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
        _check_range(_WHOLE, self.low, self.high, self.log, self.step)
        for key in ("low", "high", "step"):
            object.__setattr__(self, key, int(getattr(self, key)))

    def sample(self, rng: random.Random) -> int:
        if not self.log:
            return self._at(rng.randrange(self._count()))
        return self.nearest(math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5))))

    def contains(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value in self._range()

    def nearest(self, value: float) -> int:
        """The value of this domain that is nearest to a number."""
        index = round((value - self.low) / self.step)
        return self._at(min(max(index, 0), self._count() - 1))

    def grid_values(self) -> Sequence[int] | None:
        """All values, None where they are too many to be listed."""
        return self._range() if self._count() <= MAX_GRID_VALUES else None

    def describe(self) -> str:
        steps = _in_steps(self.step if self.step > 1 else None)
        return f"a whole number from {self.low} to {self.high}{steps}"

    def to_dict(self) -> dict[str, Any]:
        quantised = self.step > 1
        shape = Shape(self.log, whole=not quantised, quantised=quantised)
        return _range_to_dict(self.low, self.high, shape, self.step if quantised else None)

    def _range(self) -> range:
        return range(self.low, self.high + 1, self.step)

    def _count(self) -> int:
        # Not len(range), which refuses more than sys.maxsize.
        return (self.high - self.low) // self.step + 1

    def _at(self, index: int) -> int:
        return self.low + index * self.step


@dataclass(frozen=True)
class Choice:
    """One of some plain values; with `grid` they are tried one by one, whatever the method."""

    values: tuple[Any, ...]
    grid: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        key = self._key
        if not self.values:
            raise SpecError([f"{key} is empty: give at least one value."])
        problems = [_not_plain(key, value) for value in self.values if not is_plain(value)]
        twice = _twice([value for value in self.values if is_plain(value)])
        problems += [f"{key} holds {shown(value)} more than once: remove the duplicate." for value in twice]
        if problems:
            raise SpecError(problems)

    def sample(self, rng: random.Random) -> Any:
        return rng.choice(self.values)

    def contains(self, value: Any) -> bool:
        return any(same(value, other) for other in self.values)

    def describe(self) -> str:
        return f"one of {listed(self.values)}"

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
            raise SpecError([_not_plain("value", self.value)])

    def sample(self, rng: random.Random) -> Any:
        return self.value

    def contains(self, value: Any) -> bool:
        return same(value, self.value)

    def describe(self) -> str:
        return shown(self.value)

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value}


Domain = Float | Int | Choice | Constant


def same(a: Any, b: Any) -> bool:
    """Equality in which true is not 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def is_plain(value: Any) -> bool:
    """Whether a file gives it back as it is: null, true, text, finite numbers, lists and mappings of them."""
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, str) or (type(value) in (int, float) and is_number(value))


def parse_domain(where: str, node: Any) -> tuple[Domain | None, list[str]]:
    """A parameter of the file (its `when` aside), None with problems; `where` is its path in the file."""
    if not isinstance(node, Mapping):
        return _parse_bare(where, node)
    problems = unknown_keys(where, node, PARAMETER)
    forms = _forms(node)
    if len(forms) != 1:
        problems.append(_form_problem(where, forms))
        return None, problems
    problems += _distribution_problems(where, node, forms[0])
    try:
        domain = _build(node, forms[0])
    except SpecError as error:
        return None, problems + [f"{where}.{problem}" for problem in error.problems]
    return (None if problems else domain), problems


def looks_sampled(node: Any) -> bool | None:
    """Whether a parameter of the file, which may be wrong, is one that is sampled; None where that can't be told."""
    forms = set(_forms(node)) if isinstance(node, Mapping) else set()
    if forms == {"min"} and node.get("min") == node.get("max"):
        return None  # it may be meant as a constant
    if forms and forms <= {"min", "values"}:
        return True
    return False if forms and forms <= {"value", "grid"} else None


def _parse_bare(where: str, value: Any) -> tuple[Domain | None, list[str]]:
    if value is None or not is_plain(value) or isinstance(value, list):
        advice = "write {values: [...]} to choose among several"
        return None, [f"{where} must be a mapping or one value; got {shown(value)}: {advice}."]
    return Constant(value), []


def _forms(node: Mapping[str, Any]) -> list[str]:
    forms = [form for form in ("value", "values", "grid") if form in node]
    return forms + ["min"] * any(key in node for key in ("min", "max", "q"))


def _form_problem(where: str, forms: list[str]) -> str:
    wanted = "value, values, grid, or min with max"
    if not forms:
        return f"{where} gives no values: give one of {wanted}."
    return f"{where} gives {' and '.join(forms)} at once: give only one of {wanted}."


def _distribution_problems(where: str, node: Mapping[str, Any], form: str) -> list[str]:
    given = node.get("distribution")
    if "distribution" not in node or given in FORMS[form]:
        return []
    path = f"{where}.distribution"
    if given in ("log_uniform", "q_log_uniform"):
        return [
            f"{path} is {given}, whose min and max are exponents in W&B: "
            f"write {given}_values, with the values themselves as min and max."
        ]
    if given in DISTRIBUTIONS:
        form = "min and max" if form == "min" else form
        return [f"{path} {given} does not go with {form}: remove the distribution, or change the values."]
    problem = PARAMETER["distribution"].problem(path, given)
    return [problem] if problem else []


def _build(node: Mapping[str, Any], form: str) -> Domain:
    if form == "value":
        return Constant(node["value"])
    if form == "min":
        return _build_range(node)
    if problem := PARAMETER[form].problem(form, node[form]):
        raise SpecError([problem])
    return Choice(tuple(node[form]), grid=form == "grid")


def _build_range(node: Mapping[str, Any]) -> Float | Int:
    bounds = [node[key] for key in ("min", "max", "q") if key in node]
    all_whole = all(type(bound) is int for bound in bounds)
    given = node.get("distribution")
    inferred = RANGES["int_uniform" if all_whole else "uniform"]
    shape = RANGES.get(given, inferred) if isinstance(given, str) else inferred
    whole = shape.whole or (shape.quantised and all_whole)
    problems = [f"{key} is missing: a range needs both min and max." for key in ("min", "max") if key not in node]
    if "q" in node and not shape.quantised:
        problems.append("q needs `distribution: q_uniform` or `q_log_uniform_values`: add it, or remove q.")
    if problems:
        bound = _WHOLE if whole else PARAMETER["min"]
        found = [bound.problem(key, node[key]) for key in ("min", "max") if key in node]
        raise SpecError(problems + [problem for problem in found if problem])
    step = node.get("q", 1) if shape.quantised else None
    low, high = node["min"], node["max"]
    if "q" not in node and step and is_number(low) and is_number(high) and low < high < low + step:
        raise SpecError([f"q is 1 where it is left out, more than from {_number(low)} to {_number(high)}: give a q."])
    if whole:
        return Int(low, high, shape.log, 1 if step is None else step)
    return Float(low, high, shape.log, step)


def _check_range(bound: Field, low: Any, high: Any, log: bool, step: Any) -> None:
    found = [bound.problem("min", low), bound.problem("max", high)]
    if step is not None:
        found.append(PARAMETER["q"].problem("q", step) or bound.problem("q", step))
    problems = [problem for problem in found if problem]
    if is_number(low) and is_number(high):
        # A step is compared with bounds that are right: it may be one that nobody gave.
        problems += _order_problems(low, high, None if problems else step)
    if log and is_number(low) and low <= 0:
        problems.append(f"min must be above 0 for a logarithmic range; got {_number(low)}: raise it, such as 1e-6.")
    if problems:
        raise SpecError(problems)


def _order_problems(low: float, high: float, step: Any) -> list[str]:
    if low > high:
        return [f"min {_number(low)} is above max {_number(high)}: swap them."]
    if low == high:
        return [f"min and max are both {_number(low)}: write {{value: {_number(low)}}}, or widen the range."]
    if is_number(step) and step > high - low:
        return [f"q {_number(step)} is larger than the range {_number(low)} to {_number(high)}: give a smaller q."]
    return []


def _range_to_dict(low: float, high: float, shape: Shape, step: float | None) -> dict[str, Any]:
    name = next(name for name, known in RANGES.items() if known == shape)
    node = {"min": low, "max": high, "distribution": name}
    return node if step is None else {**node, "q": step}


def _not_plain(key: str, value: Any) -> str:
    return f"{key} must be text, finite numbers, true, null, or lists and mappings of them; got {shown(value)}."


def _twice(values: Sequence[Any]) -> list[Any]:
    """The values that are the `same` as one before them; linear, since a grid may hold thousands."""
    seen: set[Any] = set()
    found: list[Any] = []
    for value in values:
        key = (isinstance(value, bool), repr(value) if isinstance(value, list | dict) else value)
        if key in seen:
            found.append(value)
        seen.add(key)
    return found


def _number(value: float) -> str:
    return f"{value:.12g}"


def _in_steps(step: float | None) -> str:
    return "" if step is None else f" in steps of {_number(step)}"
