"""What a study has recorded, told again to a scheduler that has just been made: its rungs are those of before."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from tuner.metric import Metric
from tuner.stopping.asking import Asking
from tuner.stopping.halving import RecentHalving
from tuner.stopping.names import metric_key
from tuner.stopping.standin import SchedulerTrial
from tuner.stopping.table import STEP
from tuner.trial import Report, TrialRecord


def _curve(
    record: TrialRecord, metrics: Sequence[Metric], reports: Callable[[int], Iterable[Report]]
) -> Iterable[tuple[int, Mapping[str, float]]]:
    if len(metrics) == 1:
        return ((step, {metrics[0].name: value}) for step, value in record.curve.items())
    names = [metric.name for metric in metrics]
    # What was reported after its last step of the study is not counted.
    counted = (report for report in reports(record.number) if report.step in record.curve)
    return ((report.step, {name: report.metrics[name] for name in names}) for report in counted)


def replay(
    scheduler: TrialScheduler,
    records: Sequence[TrialRecord],
    metrics: Sequence[Metric],
    asking: Asking,
    reports: Callable[[int], Iterable[Report]],
    restore_step: Callable[[TrialRecord], int],
) -> None:
    """Tell the curves of all trials; the decisions are ignored, they were taken long ago.

    Only the rules that compare a trial with finished ones can use it: synchronous ones (hyperband with pauses,
    population based training) look at trials that run, and start anew with those.

    Args:
        reports: those of a trial by its number; asked where there are several metrics, as records hold the first alone.
        restore_step: that a trial which is to go on goes on from. What comes after it the trial will
            report again, and would have a free pass there if it were told now.
    """
    if not isinstance(scheduler, AsyncHyperBandScheduler | MedianStoppingRule | RecentHalving):
        return
    for record in records:
        is_final = record.state.is_final
        # The median rule knows a trial that goes on by its object, and would take it for two.
        if not record.curve or (not is_final and isinstance(scheduler, MedianStoppingRule)):
            continue
        until = max(record.curve) if is_final else restore_step(record)
        trial = SchedulerTrial(f"{record.number:04d}", "TERMINATED")
        result: dict[str, Any] = {}
        scheduler.on_trial_add(None, trial)
        before = 0
        for step, values in _curve(record, metrics, reports):
            if step > until:
                break
            result = {**{metric_key(name): value for name, value in values.items()}, STEP: step}
            if asking(step, before) and all(value == value for value in values.values()):
                scheduler.on_trial_result(None, trial, result)
            before = step
        if is_final:
            scheduler.on_trial_complete(None, trial, result)
