"""Resumes a sweep in another space than it began with.

All trials must lie in the new space and mean the same there. They are then copied into a study of another name in the
same storage, as if they came from the new space, so that every method accepts them: Optuna's samplers refuse a
parameter whose choices have changed, and forget one whose range has. The first study is left as it was.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from tuner.errors import SpecError
from tuner.methods.optuna_compat import CMAES_STATE
from tuner.methods.optuna_space import distribution, distributions, to_optuna
from tuner.run_folder.folder import adopt, has_trials, mark_of_run
from tuner.run_folder.place import Place
from tuner.run_folder.provenance import PROVENANCE
from tuner.run_folder.trial_files import SPEC_FILE, write_atomic
from tuner.spec.domains import Choice, Constant, Float, Int, same
from tuner.spec.fields import quoted
from tuner.spec.file import read_spec
from tuner.spec.space import Parameter, SearchSpace
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.yaml_text import to_yaml
from tuner.study.study import Study

_KINDS = {
    CategoricalDistribution: "a list of values",
    IntDistribution: "a range of whole numbers",
    FloatDistribution: "a range of numbers",
}
_SCALES = {True: "a logarithmic", False: "a plain"}


def open_study(
    folder: Path,
    place: Place,
    spec: SweepSpec,
    space: SearchSpace,
    storage: str | None,
    earlier: Sequence[Sequence[FrozenTrial]],
    tell: Callable[[str], None],
) -> Study:
    """Open the study of a run folder for writing, in the sweep's present space.

    Raises `SpecError` if the space has changed and its trials can't be kept.

    Args:
        place: the user's name for the folder.
        space: of `spec`, as the study takes it.
        storage, earlier: as for `Study`.
        tell: called with a sentence on what is new.
    """
    origin, identity, is_begun = read_spec(folder)[1], mark_of_run(folder).identity, has_trials(folder)

    def opened(name: str) -> Study:
        return Study(
            folder,
            name,
            storage,
            spec.metrics,
            space,
            write=True,
            earlier=earlier,
            identity=identity,
            must_exist=is_begun,
        )

    study = opened(origin["study"])
    trials, before = study.frozen(), study.space_before()
    if trials and _differs(trials, before, space):
        if problems := _problems(trials, before, space):
            study.close()
            raise SpecError([f"parameters.{problem}: {_way_out(place)}" for problem in problems])
        name = _next_name(origin["study"])
        study.copy_to(name, [_moved(trial, distributions(space)) for trial in trials])
        study.close()
        write_atomic(folder / SPEC_FILE, to_yaml({**spec.to_dict(), PROVENANCE: {**origin, "study": name}}))
        study = opened(name)
        tell(f"{place} continues with other parameters than before; all of its {len(trials)} trials fit them")
    study.keep_space()
    if adopt(folder):
        tell(f"{place} was made by a version that did not mark run folders; it is marked now")
    return study


def _way_out(place: Place) -> str:
    return (
        f"change it back in {place / SPEC_FILE} to resume, or start another sweep that learns from this one, with "
        f"start_from: [{place}]."
    )


def _differs(trials: Sequence[FrozenTrial], before: SearchSpace | None, space: SearchSpace) -> bool:
    wanted = distributions(space)
    are_others = any(one != wanted.get(name) for trial in trials for name, one in trial.distributions.items())
    return are_others or (before is not None and _by_name(before) != _by_name(space))


def _by_name(space: SearchSpace) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in space.parameters}


def _problems(trials: Sequence[FrozenTrial], before: SearchSpace | None, space: SearchSpace) -> list[str]:
    new, old = _by_name(space), _by_name(before) if before else {}
    tried: dict[str, BaseDistribution] = {}
    for trial in trials:
        tried |= trial.distributions
    known = set(old) or set(tried)
    gone = [f"{name} is gone" for name in sorted(known - set(new))]
    # A study of a version that did not keep spaces has no constants.
    added = [f"{name} is new" for name in sorted(set(new) - known) if old or not isinstance(new[name].domain, Constant)]
    if gone or added:
        return gone + added
    problems = []
    for name, parameter in new.items():
        earlier = old.get(name)
        if earlier and dict(earlier.when) != dict(parameter.when):
            problems.append(f"{name} has another `when`")
        if isinstance(parameter.domain, Constant) or (earlier and isinstance(earlier.domain, Constant)):
            if earlier and earlier.domain != parameter.domain:
                problems.append(f"{name} was {earlier.domain.describe()} and is {parameter.domain.describe()}")
        elif name in tried:
            values = [trial.params[name] for trial in trials if name in trial.params]
            if earlier and isinstance(earlier.domain, Float | Int):
                values = [earlier.domain.nearest(value) for value in values]
            problems += _domain_problems(name, tried[name], parameter.domain, values)
    return problems


def _domain_problems(
    name: str, before: BaseDistribution, domain: Float | Int | Choice, values: Sequence[Any]
) -> list[str]:
    now = distribution(domain)
    if type(before) is not type(now):
        return [f"{name} was {_KINDS[type(before)]} and is {_KINDS[type(now)]}"]
    if (was_log := getattr(before, "log", False)) != (is_log := getattr(now, "log", False)):
        return [f"{name} had {_SCALES[was_log]} scale and has {_SCALES[is_log]} one"]
    lost = [value for value in values if not _holds(domain, value)]
    return [f"{name} was {quoted(lost[0])} in a trial, which is no longer allowed"] if lost else []


def _holds(domain: Float | Int | Choice, value: Any) -> bool:
    if isinstance(domain, Choice):
        return any(same(to_optuna(domain, one), value) for one in domain.values)
    return domain.contains(value)


def _moved(trial: FrozenTrial, wanted: Mapping[str, BaseDistribution]) -> FrozenTrial:
    moved = copy.deepcopy(trial)
    moved.distributions = {name: wanted[name] for name in trial.distributions}
    # What CMA-ES keeps at a trial is the state of a search within the old bounds.
    for key in [key for key in moved.system_attrs if key.startswith(CMAES_STATE)]:
        del moved.system_attrs[key]
    return moved


def _next_name(name: str) -> str:
    """`digits-7f3a` becomes `digits-7f3a+1`, and that `digits-7f3a+2`."""
    first, plus, count = name.rpartition("+")
    return f"{first}+{int(count) + 1}" if plus and count.isdecimal() else f"{name}+1"
