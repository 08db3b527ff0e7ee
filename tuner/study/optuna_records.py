"""Converts Optuna's trials to our records."""

import math
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from tuner.methods.attributes import OUTCOME
from tuner.methods.optuna_space import from_optuna
from tuner.records import FailureReason, TrialRecord, TrialState
from tuner.spec.domains import Constant
from tuner.spec.space import SearchSpace

# The attribute with the configurations that a rule gave a trial.
CHANGES = "tuner:changes"

# Optuna's names for our states; a stopped trial differs from a pruned one by its outcome.
TO_OPTUNA = {
    TrialState.PENDING: OptunaState.WAITING,
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.COMPLETED: OptunaState.COMPLETE,
    TrialState.STOPPED: OptunaState.PRUNED,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}
_FROM_OPTUNA = {theirs: own for own, theirs in TO_OPTUNA.items()}


def read_params(trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for parameter in space.parameters:
        if not space.is_active(parameter, params):
            continue
        if isinstance(parameter.domain, Constant):
            params[parameter.name] = parameter.domain.value
        elif parameter.name in trial.params:
            params[parameter.name] = from_optuna(parameter.domain, trial.params[parameter.name])
    return params


def read_record(trial: FrozenTrial, space: SearchSpace) -> TrialRecord:
    outcome = trial.user_attrs.get(OUTCOME, {})
    is_final = trial.state.is_finished()
    last_step = outcome.get("last_step") if is_final else None
    curve = {
        step: value
        for step, value in sorted(trial.intermediate_values.items())
        if last_step is None or step <= last_step
    }
    values = trial.values if trial.state is OptunaState.COMPLETE and trial.values is not None else []
    changes = tuple((after, params) for after, params in trial.user_attrs.get(CHANGES, ()))
    return TrialRecord(
        number=trial.number,
        state=TrialState(outcome["state"]) if is_final and outcome else _FROM_OPTUNA[trial.state],
        params=changes[-1][1] if changes else read_params(trial, space),
        changes=changes,
        curve={step: math.nan if value is None else value for step, value in curve.items()},
        values=tuple(values),
        reason=FailureReason(outcome["reason"]) if is_final and outcome.get("reason") else None,
        message=outcome.get("message", "") if is_final else "",
        duration_s=outcome.get("duration_s", 0.0),
        gpu_s=outcome.get("gpu_s", 0.0),
        ended_at_s=outcome.get("ended_at_s", 0.0),
    )
