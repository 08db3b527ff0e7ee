"""One trial of a trainable in this process, as `tuner try` runs it, with a place to interrupt it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tuner.errors import NotFinite, StopTrial
from tuner.metric import Goal, Metric
from tuner.records import Report
from tuner.trial.group import Group
from tuner.trial.seeds import seed_everything
from tuner.trial.trial import Trial

ACCURACY = Metric("val_accuracy", Goal.MAXIMIZE)


def run_trial(
    train: Callable[[Trial], None],
    folder: Path,
    params: dict[str, Any],
    *,
    metric: Metric = ACCURACY,
    stop_after: int = 0,
    restore_from: Path | None = None,
    seed: int = 3,
    device: str = "cpu",
    group: Group | None = None,
) -> list[Report]:
    """The reports of a trial, ended at step `stop_after` as a driver would end it."""
    folder.mkdir(parents=True, exist_ok=True)
    reports: list[Report] = []

    def deliver(report: Report, stop: StopTrial | None) -> None:
        reports.append(report)
        if report.step == stop_after:
            raise StopTrial

    seed_everything(seed)
    trial = Trial(
        params,
        number=0,
        seed=seed,
        dir=folder,
        metrics=(metric,),
        deliver=deliver,
        restore_from=restore_from,
        device=torch.device(device),
        group=group,
    )
    try:
        train(trial)
    except NotFinite:
        raise
    except StopTrial:
        assert reports[-1].step == stop_after
    return reports


def metrics_of(reports: Sequence[Report]) -> list[dict[str, float]]:
    return [dict(report.metrics) for report in reports]
