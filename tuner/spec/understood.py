"""How a sweep file was understood: a line for each parameter, and hints at valid values that are probably mistakes."""

import math
from collections.abc import Mapping
from typing import Any

from tuner.spec.conditions import format_when
from tuner.spec.domains import Choice, Constant, Domain, Float, Int
from tuner.spec.space import Parameter, SearchSpace
from tuner.spec.sweep_spec import SweepSpec

# Larger spaces are not counted one by one.
_MAX_COUNTED = 100_000
_BOOLS = ("yes", "no", "on", "off")


def describe(spec: SweepSpec) -> list[str]:
    """Describe each parameter, as `lr: a number from 0.0001 to 1, logarithmic`, and the size of the whole space."""
    space = spec.parameters.as_grid() if spec.method == "grid" else spec.parameters
    return [*(f"{item.name}: {_parameter(item)}" for item in space.parameters), f"in all: {_size(space)}"]


def hints(data: Any) -> list[str]:
    """Report values that are probably not meant so; each sentence begins with its place in the file.

    Args:
        data: the values of a valid sweep file.
    """
    parameters: Mapping[str, Any] = data.get("parameters", {})
    found = []
    for name, node in parameters.items():
        if isinstance(node, Mapping):
            if (node.get("min"), node.get("max")) == (0, 1) and _are_ints(node) and "distribution" not in node:
                found.append(
                    f"parameters.{name} is 0 or 1, since whole bounds make a range of whole numbers: write 1.0 "
                    "for all numbers between, or {values: [0, 1]} to confirm it."
                )
            given = [node.get("value"), *node.get("values", ()), *node.get("grid", ())]
        else:
            given = [node]
        texts = dict.fromkeys(value for value in given if isinstance(value, str))
        found += [f"parameters.{name}: {hint}" for text in texts if (hint := _hint_at_text(text))]
    return found


def _are_ints(node: Mapping[str, Any]) -> bool:
    return type(node["min"]) is int and type(node["max"]) is int


def _hint_at_text(text: str) -> str:
    word = text.strip()
    if word == "None":
        return f"{text} is a text here; write null for None."
    if word.lower() in _BOOLS:
        value = "true" if word.lower() in ("yes", "on") else "false"
        return f"{text} is a text here, as in YAML 1.2; write {value} for a truth value."
    try:
        number = float(word)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return f"{text} is a text here, which float() reads; parameters are finite numbers."
    return f"'{text}' is a text here; write it without quotes for a number."


def _parameter(parameter: Parameter) -> str:
    domain = parameter.domain
    if isinstance(domain, Constant):
        said = f"always {domain.describe()}"
    else:
        count = _count(domain)
        said = domain.describe()
        said += ", logarithmic" if isinstance(domain, Float | Int) and domain.log else ""
        said += "" if count is None else f" ({count:,} values)" if count > 1 else " (1 value)"
        said += ", each in turn" if isinstance(domain, Choice) and domain.grid else ""
    return f"{said}; only when {format_when(parameter.when)}" if parameter.when else said


def _count(domain: Domain) -> int | None:
    """The number of values; None if infinite."""
    if isinstance(domain, Float | Int):
        return None if isinstance(domain, Float) and domain.step is None else domain.count()
    return len(domain.values) if isinstance(domain, Choice) else 1


def _size(space: SearchSpace) -> str:
    counts = [_count(parameter.domain) for parameter in space.parameters]
    product = math.prod(count for count in counts if count is not None)
    is_conditional = any(parameter.when for parameter in space.parameters)
    if space.is_finite and is_conditional and product <= _MAX_COUNTED:
        product, is_conditional = len(space.grid_cells()), False
    number = f"{'at most ' * is_conditional}{product:,}"
    if None not in counts:
        return f"{number} configuration{'s' * (product != 1)}"
    return "infinitely many configurations" + (f", {number} combinations of what can be counted" if product > 1 else "")
