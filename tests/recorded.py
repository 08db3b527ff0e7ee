"""Run folders of sweeps that seem to have been run: no trial was trained."""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import ACCURACY, report
from tuner import Sweep
from tuner.records import FailureReason, TrialState
from tuner.run_folder.trial_files import TrialFiles, trial_dir
from tuner.spec.space import SearchSpace
from tuner.spec.sweep_spec import SweepSpec
from tuner.study.study import Study

SPACE = {
    "optimizer": {"values": ["sgd", "adam"]},
    "momentum": {"min": 0.0, "max": 1.0, "when": {"optimizer": "sgd"}},
    "lr": {"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"},
    "epochs": {"value": 3},
}
NUM_WHOLE = 30
METRIC = {"name": "accuracy", "goal": "maximize"}


def spec(start_from: list[Path] = [], **keys: Any) -> SweepSpec:  # noqa: B006 - nobody changes it
    data = {"trainable": "tests.loops:ends", "metric": METRIC, "parameters": SPACE, "run_cap": 9}
    return SweepSpec.from_dict({**data, "start_from": [str(path) for path in start_from], **keys})


def ran(path: Path, trials: list[tuple[Mapping[str, Any], list[float]]], **keys: Any) -> Path:
    """A run folder of trials with these configurations and curves; one without a curve has failed."""
    path.parent.mkdir(exist_ok=True)
    described = spec(start_with=[params for params, _ in trials], **keys)
    Sweep("tests.loops:ends", **{k: v for k, v in described.to_dict().items() if k != "trainable"})._create(
        path, path, path.name
    )
    study = Study(path, path.name, None, (ACCURACY,), described.parameters, write=True)
    for _, values in trials:
        asked = study.ask("random", 0, described.start_with)
        assert asked is not None
        reports = [report(step, value) for step, value in enumerate(values, start=1)]
        TrialFiles(trial_dir(path, asked.number)).append(reports)
        study.report(asked.number, reports)
        if not values:
            study.tell(asked.number, TrialState.FAILED, reason=FailureReason.OOM)
        elif len(values) < 3:
            study.tell(asked.number, TrialState.PRUNED, last_step=len(values))
        else:
            study.tell(asked.number, TrialState.COMPLETED, values=[max(values)], last_step=len(values))
    study.close()
    return path


def quality(params: Any) -> float:
    """Best for sgd with a momentum of 0.9 and a learning rate of 0.1."""
    off = abs(math.log10(params["lr"]) + 1) / 4 + abs(params.get("momentum", 0.0) - 0.9)
    return 0.95 - off / 2


def whole_sweep(path: Path) -> Path:
    """Of `NUM_WHOLE` + 1 trials that ran whole, and two that were stopped early."""
    rng = random.Random(0)
    space = SearchSpace.from_dict(SPACE)
    sampled = [space.sample(rng) for _ in range(NUM_WHOLE + 3)]
    curves = [[quality(params) * share for share in (0.6, 0.9, 1.0)] for params in sampled]
    return ran(
        path,
        [
            (params, curve[: 1 if index < 2 else 3])
            for index, (params, curve) in enumerate(zip(sampled, curves, strict=True))
        ],
    )
