"""A finished sweep as a task: the configurations whose whole curves it recorded."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuner.errors import SimulationError
from tuner.metric import Goal
from tuner.records import FailureReason, TrialRecord, TrialState
from tuner.results.results import Results
from tuner.spec.domains import Choice
from tuner.spec.space import SearchSpace

# With fewer configurations there is nothing to search.
_FEWEST = 20


class RecordedSweep:
    """Each trial that ran to its full length or diverged is a row; grids are searched like other choices.

    Attributes:
        best, middle: the best and the median of the curves' best values.

    Raises `SimulationError` for a sweep with too few of them.
    """

    def __init__(self, results: Results) -> None:
        self.metrics = results.spec.metrics[:1]
        self.space = SearchSpace(
            tuple(
                replace(parameter, domain=replace(parameter.domain, grid=False))
                if isinstance(parameter.domain, Choice)
                else parameter
                for parameter in results.spec.parameters.parameters
            )
        )
        # If a rule changed a configuration during training, its curve belongs to none.
        known = [trial for trial in results.trials if trial.curve and not trial.changes]
        completed = [trial for trial in known if trial.state is TrialState.COMPLETED]
        self.max_step = max((len(trial.curve) for trial in completed), default=0)
        whole = [trial for trial in completed if len(trial.curve) == self.max_step]
        if len(whole) < _FEWEST:
            raise SimulationError(
                f"{results.place}: {len(whole)} of its {len(results.trials)} trials ran to their full length of "
                f"{self.max_step} reports, but a simulation needs {_FEWEST} (better: some hundred): "
                "record a sweep with `method: random` and no `early_terminate`."
            )
        diverged = [trial for trial in known if trial.reason is FailureReason.NAN]
        by_key = {_key(trial.params): trial for trial in reversed([*whole, *diverged])}
        self._curves = {key: _values(trial) for key, trial in by_key.items()}
        self.rows = [trial.params for trial in by_key.values()]
        goal = self.metrics[0].goal
        reached = [trial.curve[step] for trial in whole if (step := trial.best_step(goal)) is not None]
        self.best = max(reached) if goal is Goal.MAXIMIZE else min(reached)
        self.middle = statistics.median(reached)

    def values(self, params: Mapping[str, Any], steps: range) -> list[float]:
        """The values at steps; each report counts as one step, whatever its number."""
        curve = self._curves[_key(params)]
        return [curve[step - 1] if step <= len(curve) else math.nan for step in steps]


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _values(trial: TrialRecord) -> list[float]:
    return [trial.curve[step] for step in sorted(trial.curve)]
