"""Tasks whose curves are known."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tuner.metric import Goal, Metric
from tuner.spec.space import SearchSpace


class Slopes:
    """Curves that rise to x; those below 0.1 diverge at step 2."""

    name = "slopes"
    family = "toy"
    space = SearchSpace.from_dict({"x": {"min": 0.01, "max": 1.0, "distribution": "log_uniform_values"}})
    metrics = (Metric("score", Goal.MAXIMIZE),)
    max_step = 9
    rows: list[dict[str, float]] | None = None

    def values(self, params: Mapping[str, Any], steps: range) -> list[float]:
        x = params["x"]
        return [float("nan") if x < 0.1 and step > 1 else x * step / 9 for step in steps]


class Overtaken(Slopes):
    """Where x is small curves are at 0.7 at once; where it is large they begin low and end above."""

    space = SearchSpace.from_dict({"x": {"min": 0.0, "max": 1.0}})
    max_step = 27

    def values(self, params: Mapping[str, Any], steps: range) -> list[float]:
        x = params["x"]
        fast, slow = 0.7 - abs(x - 0.2), 1.0 - abs(x - 0.8)
        return [max(fast, slow * np.log(step) / np.log(27)) for step in steps]


class Table(Slopes):
    rows = [{"x": float(x)} for x in np.geomspace(0.01, 1.0, 40)]  # noqa: RUF012  # nobody changes it
