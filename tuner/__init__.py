"""tuner: distributed hyperparameter tuning for PyTorch on Ray."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner import errors
    from tuner.engine.ray_train_loop import from_ray_train
    from tuner.results.results import Results
    from tuner.sweep import Sweep, resume
    from tuner.trial.portable import Portable
    from tuner.trial.trial import Trial

__all__ = ["Portable", "Results", "Sweep", "Trial", "errors", "from_ray_train", "resume"]

_HOME = {
    "Portable": "trial.portable",
    "Results": "results.results",
    "Sweep": "sweep",
    "Trial": "trial.trial",
    "errors": "errors",
    "from_ray_train": "engine.ray_train_loop",
    "resume": "sweep",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a trial's process needs a fraction of them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"tuner.{_HOME[name]}")
    return module if _HOME[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    """The public names, for completion; what has been imported of the rest is nobody's business."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
