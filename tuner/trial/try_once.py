"""`tuner try`: runs one trial in this process, without Ray."""

import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tuner.errors import NotFinite, SpecError, StopTrial
from tuner.records import Report
from tuner.spec.domains import Constant
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.trainable import parameters_of
from tuner.trial.call import call
from tuner.trial.devices import best_device
from tuner.trial.seeds import seed_everything
from tuner.trial.trial import Trial


def try_once(
    spec: SweepSpec,
    train: Callable[[Trial], None],
    chosen: Mapping[str, Any],
    seed: int,
    say: Callable[[str], None],
) -> bool:
    """Run one trial with the chosen parameters, the others sampled; its files go to a temporary folder.

    Returns whether it would count as completed in a sweep. `seed` is the trial's: the seed and the parameters of a
    sweep's trial repeat that trial.

    Raises `SpecError` for parameters that the sweep does not have; errors of the training loop pass through.
    """
    problems = problems_of_chosen(spec, train, chosen)
    if problems:
        raise SpecError(problems)
    sampled = {parameter.name for parameter in spec.parameters.parameters} - _constants(spec)
    overrides = {name: value for name, value in chosen.items() if name not in sampled}
    params = spec.parameters.complete(chosen, random.Random(seed)) | overrides
    say(", ".join(f"{name}={value}" for name, value in params.items()))

    num_reports = 0

    def tell(report: Report, stop: StopTrial | None) -> None:
        nonlocal num_reports
        num_reports += 1
        if report.advice:
            say(report.advice)
        values = "  ".join(f"{name} {value:.5g}" for name, value in report.metrics.items())
        say(f"step {report.step:>4}  {report.time_s:7.1f} s  {values}")

    with tempfile.TemporaryDirectory(prefix="tuner-try-") as folder:
        torch.set_num_threads(max(1, int(spec.resources.cpu)))
        seed_everything(seed)
        trial = Trial(
            params,
            number=0,
            seed=seed,
            dir=Path(folder),
            metrics=spec.metrics,
            deliver=tell,
            device=best_device() if spec.resources.gpu else torch.device("cpu"),
        )
        try:
            call(train, trial)
        except StopTrial as stop:
            say(f"ended: {stop}")
        else:
            say(f"ended after {num_reports} reports" if num_reports else "ended without a single trial.report")
        return num_reports > 0 and not isinstance(trial.stop, NotFinite)


def problems_of_chosen(spec: SweepSpec, train: Callable[[Trial], None], chosen: Mapping[str, Any]) -> list[str]:
    """Report what is wrong with the parameters for one trial; each sentence starts with a parameter's name.

    A constant may be set too, since a few epochs are enough to try a loop, and so may parameters that the trainable
    declares.
    """
    constants = _constants(spec)
    varied = {name: value for name, value in chosen.items() if name not in constants}
    return spec.parameters.problems_of(varied, parameters_of(train))


def _constants(spec: SweepSpec) -> set[str]:
    return {parameter.name for parameter in spec.parameters.parameters if isinstance(parameter.domain, Constant)}
