"""Training loops whose module has an `evaluate`: a step's value, and the test score is that of the checkpoint."""

from collections.abc import Mapping
from typing import Any

from tuner.trial.trial import Trial


def curve(trial: Trial) -> None:
    """Reports the values of its curve, a text; the seed moves them all."""
    for step, value in enumerate(map(float, trial.params["curve"].split()), start=1):
        accuracy = value + trial.seed / 100
        state = {"accuracy": accuracy, "step": step} if trial.params.get("saves", True) else None
        trial.report({"val_accuracy": accuracy}, step=step, state=state)


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: Any) -> dict[str, Any]:
    return {"test_accuracy": state["accuracy"] - 0.1, "test_step": state["step"], "test_nan": float("nan")}
