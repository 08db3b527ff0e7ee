"""`SearchSpace`: samples, checks and enumerates the parameters of a sweep and the conditions between them."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tuner.errors import SpecError
from tuner.spec.conditions import (
    ROOT,
    Conditions,
    circle_problems,
    condition_problems,
    dependency_order,
    format_when,
    parse_when,
    sound_conditions,
)
from tuner.spec.domains import MAX_GRID_VALUES, Choice, Constant, Domain, Float, as_primitive, same
from tuner.spec.fields import listed, quoted, unknown, without_numpy
from tuner.spec.parameter_syntax import looks_sampled, parse_domain

# The longest name that a study's database holds.
MAX_PARAMETER_NAME = 500


@dataclass(frozen=True)
class Parameter:
    """A named domain. `when` maps other parameters' names to the values with which this one exists."""

    name: str
    domain: Domain
    when: Conditions = field(default_factory=dict, hash=False)

    @property
    def is_grid(self) -> bool:
        return isinstance(self.domain, Choice) and self.domain.grid

    @property
    def is_sampled(self) -> bool:
        return not self.is_grid and not isinstance(self.domain, Constant)

    def to_dict(self) -> dict[str, Any]:
        when = {name: list(values) for name, values in self.when.items()}
        return self.domain.to_dict() | ({"when": when} if when else {})


@dataclass(frozen=True)
class SearchSpace:
    """The parameters of a sweep, each after those in its `when`, otherwise in the given order."""

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        by_name = {parameter.name: parameter for parameter in self.parameters}
        whens = {name: parameter.when for name, parameter in by_name.items()}
        problems = condition_problems(whens, {name: item.domain for name, item in by_name.items()})
        order, circles = dependency_order(whens)
        problems += circle_problems(circles)
        if len(by_name) < len(self.parameters):
            names = listed([parameter.name for parameter in self.parameters])
            problems.append(f"{ROOT} names a parameter more than once: {names}; rename one.")
        if problems:
            raise SpecError(problems)
        object.__setattr__(self, "parameters", tuple(by_name[name] for name in order))

    @classmethod
    def from_dict(cls, mapping: Any) -> "SearchSpace":
        """Read the `parameters` of a sweep file. Raises `SpecError` with all problems at once."""
        draft, problems = SpaceDraft.read(mapping)
        if problems:
            raise SpecError(problems)
        return draft.space

    def to_dict(self) -> dict[str, Any]:
        """Return the `parameters` of a sweep file, which `from_dict` reads back as an equal space."""
        return {parameter.name: parameter.to_dict() for parameter in self.parameters}

    def sample(self, rng: random.Random) -> dict[str, Any]:
        """Draw a configuration, each parameter independently; parameters that do not apply are absent."""
        return self.complete({}, rng)

    def complete(self, chosen: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        """Complete chosen values to a configuration by sampling; parameters that do not apply are absent."""
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            name = parameter.name
            if self.is_active(parameter, params):
                params[name] = chosen[name] if name in chosen else parameter.domain.sample(rng)
        return params

    def varied(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration without the constants."""
        constants = {parameter.name for parameter in self.parameters if isinstance(parameter.domain, Constant)}
        return {name: value for name, value in params.items() if name not in constants}

    def is_active(self, parameter: Parameter, params: Mapping[str, Any]) -> bool:
        """Whether all of a parameter's conditions hold; a condition on an absent parent does not."""
        return all(
            name in params and any(same(params[name], value) for value in allowed)
            for name, allowed in parameter.when.items()
        )

    def problems_of(self, params: Mapping[str, Any], unchecked: Collection[str] = ()) -> list[str]:
        """Report what is wrong with a user's configuration; each sentence starts with a parameter's name.

        A missing parameter is not a problem: it will be sampled.

        Args:
            unchecked: names of further parameters, whose values are not checked.
        """
        known = [*(parameter.name for parameter in self.parameters), *unchecked]
        problems = [unknown(name, name, known, "parameter") for name in params if name not in known]
        settled: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in params:
                settled[parameter.name] = params[parameter.name]
                problems += self._problems_of_one(parameter, settled)
            elif isinstance(parameter.domain, Constant) and self.is_active(parameter, settled):
                settled[parameter.name] = parameter.domain.value
        return problems

    def grid_cells(self) -> list[dict[str, Any]]:
        """All combinations of the grid parameters; parameters that do not apply are absent. `[{}]` without a grid.

        A grid parameter that depends on a sampled one is left out; `SpaceDraft.hanging_grids` names it.
        """
        cells: list[dict[str, Any]] = [{}]
        for parameter in self.parameters:
            if not parameter.is_sampled:
                cells = [longer for cell in cells for longer in self._extended(cell, parameter)]
        grid = {parameter.name for parameter in self.parameters if parameter.is_grid}
        return [{name: value for name, value in cell.items() if name in grid} for cell in cells]

    def next_cell(self, tried: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """The first of the grid's cells with the fewest of these configurations; None if all are tried."""
        cells = self.grid_cells()
        names = {name for cell in cells for name in cell}
        counts = Counter(
            as_primitive({name: value for name, value in params.items() if name in names}) for params in tried
        )
        cell = min(cells, key=lambda one: counts[as_primitive(one)])
        return None if self.is_finite and counts[as_primitive(cell)] else cell

    def as_grid(self) -> "SearchSpace":
        """This space for method grid: every choice, and every range that can be listed, becomes a grid.

        Raises `SpecError` that names each range that can't be listed.
        """
        domains = {parameter.name: _as_grid(parameter.domain) for parameter in self.parameters}
        problems = [
            f"{ROOT}.{parameter.name} is {_unlisted(parameter.domain)}, and method grid needs a finite list: "
            "give `values`, or `distribution: q_uniform` with `q`."
            for parameter in self.parameters
            if domains[parameter.name] is None
        ]
        if problems:
            raise SpecError(problems)
        grid = ((parameter, domains[parameter.name]) for parameter in self.parameters)
        return SearchSpace(tuple(Parameter(old.name, domain, old.when) for old, domain in grid if domain))

    @property
    def is_finite(self) -> bool:
        """Whether nothing is sampled, so that `grid_cells` is the whole space."""
        return not any(parameter.is_sampled for parameter in self.parameters)

    def _problems_of_one(self, parameter: Parameter, params: Mapping[str, Any]) -> list[str]:
        name, value = parameter.name, params[parameter.name]
        if not parameter.domain.contains(value):
            return [f"{name} must be {parameter.domain.describe()}; got {quoted(value)}."]
        if not self.is_active(parameter, params):
            return [f"{name} exists only when {format_when(parameter.when)}: set that as well, or remove {name}."]
        return []

    def _extended(self, cell: dict[str, Any], parameter: Parameter) -> list[dict[str, Any]]:
        if not self.is_active(parameter, cell):
            return [cell]
        if isinstance(parameter.domain, Choice):
            return [{**cell, parameter.name: value} for value in parameter.domain.values]
        return [{**cell, parameter.name: parameter.domain.to_dict()["value"]}]


def _as_grid(domain: Domain) -> Domain | None:
    if isinstance(domain, Constant):
        return domain
    values = domain.values if isinstance(domain, Choice) else domain.grid_values()
    return None if values is None else Choice(tuple(values), grid=True)


def _unlisted(domain: Domain) -> str:
    if isinstance(domain, Float) and domain.step is None:
        return "a continuous range"
    return f"a range of more than {MAX_GRID_VALUES} values"


@dataclass(frozen=True)
class SpaceDraft:
    """The valid `parameters` of a sweep file, so that other checks can run although some are wrong.

    Attributes:
        space: the valid ones. A condition that is wrong, or on a wrong parameter, is left out: it counts as holding.
        parents: the names in each parameter's `when`, valid or not.
        wrong: the wrong ones, with whether they are sampled; None if that is unclear.
    """

    space: SearchSpace
    parents: Mapping[str, Collection[str]]
    wrong: Mapping[str, bool | None] = field(default_factory=dict)

    @classmethod
    def of(cls, space: SearchSpace) -> Self:
        return cls(space, {parameter.name: list(parameter.when) for parameter in space.parameters})

    @classmethod
    def read(cls, mapping: Any) -> tuple[Self, list[str]]:
        """Read the `parameters` of a sweep file, and all their problems."""
        mapping = without_numpy(mapping)
        if not isinstance(mapping, Mapping) or not mapping:
            given = "an empty mapping" if mapping == {} else quoted(mapping)
            return cls(SearchSpace(()), {}), [f"{ROOT} must map at least one name to its values; got {given}."]
        domains: dict[str, Domain | None] = {}
        whens: dict[str, Conditions] = {}
        problems: list[str] = []
        for name, node in mapping.items():
            path = f"{ROOT}.{name}"
            domains[name], found = parse_domain(path, node)
            whens[name], in_when = parse_when(f"{path}.when", node.get("when", {}) if isinstance(node, Mapping) else {})
            problems += found + in_when
            if not isinstance(name, str) or not name:
                domains[name] = None
                problems.append(f"{path} must have a text as its name; got {quoted(name)}: put it in quotes.")
            elif len(name) > MAX_PARAMETER_NAME:
                domains[name] = None
                problems.append(
                    f"{path[:40]}... has a name of {len(name)} characters, of {MAX_PARAMETER_NAME} at most: shorten it."
                )
        circles = dependency_order(whens)[1]
        problems += condition_problems(whens, domains) + circle_problems(circles)
        right = {name: domain for name, domain in domains.items() if domain is not None}
        sound = sound_conditions(whens, right, circles)
        space = SearchSpace(tuple(Parameter(name, domain, sound[name]) for name, domain in right.items()))
        wrong = {name: looks_sampled(mapping[name]) for name in domains if name not in right}
        return cls(space, {name: list(when) for name, when in whens.items()}, wrong), problems

    @property
    def is_sampled(self) -> bool | None:
        """Whether any parameter is sampled; None if that depends on a wrong one."""
        if any(parameter.is_sampled for parameter in self.space.parameters) or True in self.wrong.values():
            return True
        return None if None in self.wrong.values() else False

    def problems_of(self, params: Mapping[str, Any]) -> list[str]:
        """Report what is wrong with a user's configuration, leaving out what depends on wrong parameters."""
        return self.space.problems_of(params, self.wrong)

    def hanging_grids(self) -> list[str]:
        """Report grid parameters that depend on a sampled one, so that they can't be crossed with others."""
        sampled = {name for name, is_sampled in self.wrong.items() if is_sampled}
        sampled.update(parameter.name for parameter in self.space.parameters if parameter.is_sampled)
        grids = [parameter.name for parameter in self.space.parameters if parameter.is_grid]

        def roots(name: str, seen: tuple[str, ...]) -> set[str]:
            # A dependency on another grid is reported for that grid.
            parents = [p for p in self.parents.get(name, ()) if p not in seen and p not in grids]
            beyond = [roots(p, (*seen, p)) for p in parents if p not in sampled]
            return sampled.intersection(parents).union(*beyond)

        found = {name: listed(sorted(roots(name, (name,)))) for name in grids}
        return [
            f"{ROOT}.{name}.grid depends on {parents}, which is sampled: "
            f"make {parents} a grid as well, or give `values` in place of `grid`."
            for name, parents in found.items()
            if parents
        ]
