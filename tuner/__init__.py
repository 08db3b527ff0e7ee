"""tuner: distributed hyperparameter tuning for PyTorch on Ray."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.engine.ray_train_loop import from_ray_train
    from tuner.results.results import Results
    from tuner.sweep import Sweep, resume
    from tuner.trial.portable import Portable
    from tuner.trial.trial import Trial

__all__ = ["Portable", "Results", "Sweep", "Trial", "from_ray_train", "resume"]

_HOME = {
    "Portable": "trial.portable",
    "Results": "results.results",
    "Sweep": "sweep",
    "Trial": "trial.trial",
    "from_ray_train": "engine.ray_train_loop",
    "resume": "sweep",
}


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used: a trial's process needs a fraction of them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"tuner.{_HOME[name]}"), name)
