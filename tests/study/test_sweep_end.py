from typing import Any

import pytest

from tuner.metric import Goal, Metric
from tuner.spec.sections import Budget
from tuner.study.sweep_end import Progress, judge

START: dict[str, Any] = {
    "elapsed_s": 0.0, "gpu_s": 0.0, "num_good": 0, "num_failed": 0, "mistakes": (), "best": None
}  # fmt: skip
UP, DOWN = Metric("m", Goal.MAXIMIZE, target=0.9), Metric("m", Goal.MINIMIZE, target=0.1)


@pytest.mark.parametrize(
    ("progress", "budget", "metric", "ended_by"),
    [
        ({}, {}, UP, None),
        ({"best": 0.89}, {}, UP, None),
        ({"best": 0.9}, {}, UP, "target"),
        ({"best": 0.1}, {}, DOWN, "target"),
        ({"best": 0.11}, {}, DOWN, None),
        ({"best": 5.0}, {}, Metric("m"), None),
        ({"elapsed_s": 3599}, {"hours": 1}, UP, None),
        ({"elapsed_s": 3600}, {"hours": 1}, UP, "hours"),
        ({"gpu_s": 3600}, {"gpu_hours": 1}, UP, "gpu_hours"),
        ({"gpu_s": 3599}, {"gpu_hours": 1}, UP, None),
        ({"num_failed": 2, "mistakes": ["a"], "num_good": 5}, {"failed": 2}, UP, "failed"),
        ({"num_failed": 1, "num_good": 5}, {"failed": 2}, UP, None),
        ({"mistakes": ["a", "a", "a"]}, {}, UP, "alike"),
        ({"mistakes": ["a", "a", "b"]}, {}, UP, None),
        ({"mistakes": ["shapes (32x3)", "shapes (128x3)", "shapes (8x3)"]}, {}, UP, "alike"),
        ({"mistakes": ["a", "a", "a"], "num_good": 1}, {}, UP, None),
    ],
)
def test_what_ends_a_sweep(
    progress: dict[str, Any], budget: dict[str, Any], metric: Metric, ended_by: str | None
) -> None:
    verdict = judge(Progress(**{**START, **progress}), Budget(**budget), metric)
    assert (verdict.ended_by if verdict else None) == ended_by
    if verdict:
        assert verdict.is_failure == (ended_by in ("failed", "alike"))
        assert verdict.message
