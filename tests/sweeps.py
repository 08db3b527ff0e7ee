"""Sweeps for tests, on the cluster that the test has started, and what holds after any of them."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.common import Silent
from tuner import Results, Sweep

LR = {"min": 0.01, "max": 0.6, "distribution": "log_uniform_values"}
LOSS = {"name": "loss", "goal": "minimize"}


class Told(Silent):
    """A console that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, text: str, *, is_detail: bool = False) -> None:
        self.events.append(text)


def sweep(train: Any, tmp_path: Path, console: Any = None, **keys: Any) -> Results:
    keys = {"metric": LOSS, "seed": 0, "output": tmp_path, "name": "s", "early_terminate": "none", **keys}
    results = Sweep(train, **keys).run(console=console or Told())
    check_whole(results)
    return results


def check_whole(results: Results) -> None:
    """What holds after any sweep: all trials final, every file tells the same steps as the study."""
    for trial in results.trials:
        assert trial.state.is_final, trial
        steps = [report.step for report in results.curve(trial.number)]
        assert steps == sorted(set(steps)) == sorted(trial.curve)
        folder = results.folder / "tensorboard" / f"{trial.number:04d}"
        events = EventAccumulator(str(folder)).Reload()
        written = [event.step for event in events.Scalars("loss")] if steps else []
        assert written == steps
    assert not list(results.folder.glob("**/*.tmp"))
