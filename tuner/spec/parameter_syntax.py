"""The syntax of one parameter in a sweep file: turns its node into a domain, or problems."""

from collections.abc import Mapping
from typing import Any

from tuner.errors import SpecError
from tuner.spec.domains import (
    DISTRIBUTIONS,
    FORMS,
    PARAMETER,
    RANGES,
    WHOLE,
    Choice,
    Constant,
    Domain,
    Float,
    Int,
    is_plain,
    not_plain,
    number,
)
from tuner.spec.fields import is_number, listed, quoted, unknown_keys
from tuner.spec.other_tools import name_here


def parse_domain(where: str, node: Any) -> tuple[Domain | None, list[str]]:
    """Parse a parameter of the file, except its `when`; None with problems. `where` is its path in the file."""
    if not isinstance(node, Mapping):
        return _parse_bare(where, node)
    if problem := _foreign_problem(where, node):
        return None, [problem]
    problems = unknown_keys(where, node, PARAMETER)
    forms = _forms(node)
    if len(forms) != 1:
        problems.append(_form_problem(where, forms))
        return None, problems
    if found := _distribution_problems(where, node, forms[0]):
        return None, problems + found  # the allowed bounds depend on it
    try:
        domain = _build(node, forms[0])
    except SpecError as error:
        return None, problems + [f"{where}.{problem}" for problem in error.problems]
    return (None if problems else domain), problems


def _foreign_problem(where: str, node: Mapping[str, Any]) -> str | None:
    """The problem of a distribution that only other tools have; the parameter's other keys can't be checked then."""
    given = node.get("distribution")
    if not isinstance(given, str) or given in DISTRIBUTIONS or name_here(given) != "":
        return None
    mean, deviation = node.get("mu"), node.get("sigma")
    remedy = "give min and max that cover nearly all of it"
    if is_number(mean) and is_number(deviation):
        remedy += ", such as mu - 2 sigma and mu + 2 sigma"
    kinds = [name for name, shape in RANGES.items() if shape.log == ("log" in given) and not shape.whole]
    return f"{where}.distribution is {given}, which is not supported: {remedy}, with one of {listed(kinds)}."


def looks_sampled(node: Any) -> bool | None:
    """Whether a parameter of the file, valid or not, is sampled; None if that is unclear."""
    forms = set(_forms(node)) if isinstance(node, Mapping) else set()
    if forms == {"min"} and node.get("min") == node.get("max"):
        return None  # perhaps a constant
    if forms and forms <= {"min", "values"}:
        return True
    return False if forms and forms <= {"value", "grid"} else None


def _parse_bare(where: str, value: Any) -> tuple[Domain | None, list[str]]:
    if value is None or isinstance(value, list | tuple):
        meant = "{value: null} where none is meant" if value is None else "{values: [...]} to choose among several"
        return None, [f"{where} must be a mapping or one value; got {quoted(value)}: write {meant}."]
    if not is_plain(value):
        return None, [f"{where} {not_plain(value)}"]
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
        bound = WHOLE if whole else PARAMETER["min"]
        found = [bound.problem(key, node[key]) for key in ("min", "max") if key in node]
        raise SpecError(problems + [problem for problem in found if problem])
    step = node.get("q", 1) if shape.quantised else None
    low, high = node["min"], node["max"]
    if "q" not in node and step and is_number(low) and is_number(high) and low < high < low + step:
        raise SpecError([f"q is 1 by default, larger than the range {number(low)} to {number(high)}: give a q."])
    if whole:
        return Int(low, high, shape.log, 1 if step is None else step)
    return Float(low, high, shape.log, step)
