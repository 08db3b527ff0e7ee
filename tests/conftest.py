"""What many tests share."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tuner.context import clear_cache
from tuner.metric import Metric
from tuner.trial import Goal, Report

ACCURACY = Metric("accuracy", Goal.MAXIMIZE)
LOSS = Metric("loss", Goal.MINIMIZE)


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """Each test starts from the same random state, with nothing cached, on one thread."""
    clear_cache()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)


def report(step: int, value: float = 0.5, *, name: str = "accuracy", has_checkpoint: bool = False) -> Report:
    return Report(step, {name: value}, time_s=float(step), timestamp=1e9 + step, has_checkpoint=has_checkpoint)


def folder_of(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
