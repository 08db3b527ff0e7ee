"""The one door to what is private of Optuna: each entry says what it is for, and what replaces it when it is gone.

`tests/methods/test_optuna_compat.py` lists all that is used here, and names what a version of Optuna lacks.
"""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

# Optuna's system attribute of a trial that was enqueued: the values that it has to have.
_FIXED_PARAMS = "fixed_params"
# Begins the system attributes of a trial that Optuna's CMA-ES keeps its state in. Gone: a search space that was revised
# is not for `cmaes`.
CMAES_STATE = "cma:"


def ask_value(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Ask for a parameter's value. Gone: `suggest_float`, `suggest_int`, `suggest_categorical`, by the distribution."""
    return trial._suggest(name, distribution)


def fixed_params(trial: FrozenTrial) -> Mapping[str, Any]:
    """The values that a trial was enqueued with. Gone: they are not chosen around, and Optuna puts them in place."""
    found: Mapping[str, Any] = trial.system_attrs.get(_FIXED_PARAMS, {})
    return found


def set_system_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: str) -> None:
    """Keep something with a trial while it is asked for, that users do not see. Gone: a user attribute."""
    study._storage.set_trial_system_attr(trial_id(trial), name, value)


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """Of a trial in its storage. Gone: `storage.get_trial_id_from_study_id_trial_number`, which may ask a database."""
    return trial._trial_id


def study_id(study: optuna.Study) -> int:
    """Of a study in its storage. Gone: `storage.get_study_id_from_name(study.study_name)`, which may ask a database."""
    return study._study_id
