"""Conditions between parameters: reads and checks the file's `when`, and sorts parameters by it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.spec.domains import Domain, is_plain
from tuner.spec.fields import quoted, unknown, word

ROOT = "parameters"

# By the name of another parameter, the values with which a parameter exists.
Conditions = Mapping[str, tuple[Any, ...]]


def parse_when(path: str, node: Any) -> tuple[Conditions, list[str]]:
    if not isinstance(node, Mapping):
        return {}, [f"{path} must map other parameters' names to values, as {{optimizer: sgd}}; got {quoted(node)}."]
    when: dict[str, tuple[Any, ...]] = {}
    problems: list[str] = []
    for name, allowed in node.items():
        when[name] = tuple(allowed) if isinstance(allowed, list | tuple) else (allowed,)
        if not when[name]:
            problems.append(f"{path}.{name} is an empty list: give at least one value.")
    return when, problems


def condition_problems(whens: Mapping[str, Conditions], domains: Mapping[Any, Domain | None]) -> list[str]:
    """Report unknown parents, and values that a parent never takes; the domain of a wrong parameter is None."""
    problems: list[str] = []
    for name, when in whens.items():
        for parent, allowed in when.items():
            path = f"{ROOT}.{name}.when.{parent}"
            if parent not in domains:
                problems.append(unknown(path, parent, domains, "parameter"))
            elif (domain := domains[parent]) is not None:
                problems += [
                    f"{path} names {quoted(value)}, but {parent} is {domain.describe()}."
                    for value in allowed
                    if not _takes(domain, value)
                ]
    return problems


def circle_problems(circles: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"{ROOT}.{circle[0]}.when is circular: {' -> '.join([*circle, circle[0]])}; remove one of these conditions."
        for circle in circles
    ]


def sound_conditions(
    whens: Mapping[str, Conditions], domains: Mapping[str, Domain], circles: Sequence[Sequence[str]]
) -> dict[str, Conditions]:
    """The valid conditions between these parameters."""
    in_circle = {name for circle in circles for name in circle}
    return {
        name: {
            parent: allowed
            for parent, allowed in whens[name].items()
            if allowed
            and parent in domains
            and name not in in_circle
            and all(_takes(domains[parent], value) for value in allowed)
        }
        for name in domains
    }


def dependency_order(whens: Mapping[str, Conditions]) -> tuple[list[str], list[Sequence[str]]]:
    """Names with parents first, otherwise as given; and the cycles."""
    order: list[str] = []
    circles: list[Sequence[str]] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circles.append(path[path.index(name) :])
        elif name in whens and name not in order:
            for parent in whens[name]:
                visit(parent, (*path, name))
            order.append(name)

    for name in whens:
        visit(name, ())
    return order, circles


def format_when(when: Conditions) -> str:
    return " and ".join(f"{name} is {' or '.join(map(word, values))}" for name, values in when.items())


def _takes(domain: Domain, value: Any) -> bool:
    return is_plain(value) and domain.contains(value)
