"""One trial in this process, without Ray: what `tuner try` does."""

import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuner.context import Trial, seed_everything
from tuner.errors import SpecError, StopTrial
from tuner.spec import SweepSpec
from tuner.trial import Report


def try_once(
    spec: SweepSpec,
    train: Callable[[Trial], None],
    chosen: Mapping[str, Any],
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Run one trial with the chosen parameters, the rest sampled; its files go to a temporary folder.

    `seed` is the trial's: with that of a trial of a sweep, and its parameters, the same happens again.

    Raises `SpecError` for parameters that the sweep does not have; errors of the training loop pass through.
    """
    space = spec.parameters
    problems = space.problems_of(chosen)
    if problems:
        raise SpecError([f"--set: {problem}" for problem in problems])
    params = space.complete(chosen, random.Random(seed))
    say(", ".join(f"{name}={value}" for name, value in params.items()))

    def tell(report: Report) -> None:
        values = "  ".join(f"{name} {value:.5g}" for name, value in report.metrics.items())
        say(f"step {report.step:>4}  {report.time_s:7.1f} s  {values}")

    with tempfile.TemporaryDirectory(prefix="tuner-try-") as folder:
        seed_everything(seed)
        trial = Trial(
            params,
            number=0,
            seed=seed,
            dir=Path(folder),
            metrics=spec.metrics,
            deliver=tell,
        )
        try:
            train(trial)
        except StopTrial as stop:
            say(f"ended: {stop}")
