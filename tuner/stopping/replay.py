"""Replays a study's record to a new scheduler, so that its rungs are as before."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from tuner.engine.ray_compat.schedulers import time_attribute
from tuner.metric import Metric
from tuner.records import Report, TrialRecord
from tuner.stopping.asking import Asking
from tuner.stopping.auto import RecentHalving
from tuner.stopping.names import metric_key
from tuner.stopping.standin import NOBODY, SchedulerTrial
from tuner.stopping.table import STEP, TIME


def _results(
    record: TrialRecord, metrics: Sequence[Metric], reports: Callable[[int], Iterable[Report]], by_time: bool
) -> Iterable[dict[str, float]]:
    """The reports, in the form the scheduler gets them."""
    if len(metrics) == 1 and not by_time:
        return ({metric_key(metrics[0].name): value, STEP: step} for step, value in record.curve.items())
    names = [metric.name for metric in metrics]
    # Reports after the trial's last step in the study are ignored.
    counted = (report for report in reports(record.number) if report.step in record.curve)
    return (
        {**{metric_key(name): report.metrics[name] for name in names}, STEP: report.step, TIME: report.time_s}
        for report in counted
    )


def replay(
    scheduler: TrialScheduler,
    records: Sequence[TrialRecord],
    metrics: Sequence[Metric],
    asking: Asking,
    reports: Callable[[int], Iterable[Report]],
    restore_step: Callable[[TrialRecord], int],
) -> None:
    """Replay the curves of all trials; the scheduler's decisions are ignored, since they were made before.

    Only rules that compare a trial with finished ones can use it: synchronous ones (hyperband with pauses,
    population-based training) look at running trials, and start anew with those.

    Args:
        reports: returns a trial's reports by its number; used with several metrics, since records hold only the
            first, and with schedulers that go by time.
        restore_step: the step that an unfinished trial resumes from. The trial will report later steps again, and
            would pass freely there if they were replayed now.
    """
    if not isinstance(scheduler, AsyncHyperBandScheduler | MedianStoppingRule | RecentHalving):
        return
    by_time = time_attribute(scheduler, STEP) == TIME
    # The median rule judges no ended trial: one that resumes must not count as stopped by later reports.
    is_median = isinstance(scheduler, MedianStoppingRule)
    tell = scheduler.on_trial_complete if is_median else scheduler.on_trial_result
    for record in records:
        is_final = record.state.is_final
        if not record.curve:
            continue
        until = max(record.curve) if is_final else restore_step(record)
        trial = SchedulerTrial(f"{record.number:04d}", "TERMINATED" if is_final else "RUNNING")
        last: Mapping[str, float] = {}
        scheduler.on_trial_add(NOBODY, trial)
        before = 0
        for result in _results(record, metrics, reports, by_time):
            step = int(result[STEP])
            if step > until:
                break
            if all(math.isfinite(result[metric_key(metric.name)]) for metric in metrics):
                last = result
                if asking(step, before):
                    tell(NOBODY, trial, dict(result))
            before = step
        if is_final and last:
            scheduler.on_trial_complete(NOBODY, trial, dict(last))
