from typing import Any

import pytest

from tuner.engine.driver.plan import plan_slots
from tuner.errors import ResourceError
from tuner.spec.sections import Resources

LAPTOP = [{"CPU": 8.0}]
CLUSTER = [{"CPU": 4.0}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0, "GPU": 2.0}]


@pytest.mark.parametrize(
    ("resources", "nodes", "slots"),
    [
        ({}, LAPTOP, 8),
        ({"cpu": 3}, LAPTOP, 2),
        ({"cpu": 0.5}, LAPTOP, 16),
        ({"cpu": 0.1}, [{"CPU": 0.3}], 3),
        ({"cpu": 3}, CLUSTER, 11),
        ({"gpu": 1}, CLUSTER, 4),
        ({"gpu": 0.25}, CLUSTER, 16),
        ({"gpu": 0.4}, CLUSTER, 8),
        ({"cpu": 10, "gpu": 0.25}, CLUSTER, 2),
        ({"gpu": 2}, CLUSTER, 2),
        ({"workers": 3}, LAPTOP, 2),
        ({"workers": 3, "gpu": 1}, CLUSTER, 1),
        ({"workers": 4, "gpu": 0.5}, CLUSTER, 2),
    ],
)
def test_auto_is_what_the_cluster_holds(resources: dict[str, Any], nodes: list[dict[str, float]], slots: int) -> None:
    assert plan_slots(Resources(**resources), nodes, "auto") == slots


def test_fewer_slots_than_fit_may_be_asked_for() -> None:
    assert plan_slots(Resources(), LAPTOP, 3) == 3


@pytest.mark.parametrize(
    ("resources", "nodes", "parallel", "sentence"),
    [
        ({"gpu": 1}, LAPTOP, "auto", "a trial asks for 1 CPU and 1 GPU, but this machine has 8 CPU and 0 GPU"),
        ({"gpu": 3}, CLUSTER, "auto", "the cluster's 3 nodes have 16 CPU and 2 GPU, 4 CPU and 0 GPU"),
        ({"workers": 9}, LAPTOP, "auto", "a trial asks for 9 workers of 1 CPU, but this machine has 8 CPU"),
        ({"workers": 5, "gpu": 1}, CLUSTER, "auto", "a trial asks for 5 workers of 1 CPU and 1 GPU"),
        ({}, LAPTOP, 9, "which holds 8. Set parallel to 8 or auto"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    resources: dict[str, Any], nodes: list[dict[str, float]], parallel: Any, sentence: str
) -> None:
    with pytest.raises(ResourceError) as told:
        plan_slots(Resources(**resources), nodes, parallel)
    assert sentence in str(told.value)
