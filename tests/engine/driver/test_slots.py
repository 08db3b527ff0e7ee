"""What trials are given of a cluster, without Ray running."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.conftest import LOSS
from tuner.engine.driver.slots import Slots
from tuner.engine.process.trial_process import Job
from tuner.engine.ray_compat.runtime import can_avoid_nodes
from tuner.errors import ResourceError
from tuner.spec.sections import Resources
from tuner.stopping.asking import Asking

CLUSTER = [{"CPU": 16.0, "GPU": 1.0}, {"CPU": 16.0, "GPU": 1.0}]


def slots(
    resources: dict[str, Any],
    nodes: Sequence[dict[str, float]] = CLUSTER,
    *,
    parallel: Any = "auto",
    gpus: float | None = None,
) -> Slots:
    """With `gpus` those that an earlier run has chosen."""
    spec = Resources(**resources)
    job = Job(b"", (), (), "/", "/", "", (LOSS,), Asking(), seed=0, cpus=spec.cpu, gpus=0, workers=spec.workers)
    is_measuring = spec.gpu == "auto" and gpus is None
    return Slots(job, spec, parallel, gpus=gpus or spec.gpus, is_measuring=is_measuring, nodes=lambda without: nodes)


def test_trials_of_the_same_share_have_one_slot_and_others_another() -> None:
    given = slots({"cpu": 2, "gpu": 0.25})
    assert (given.count, given.is_measuring) == (8, False)
    assert given.usual is given.of(0.25)
    assert given.usual.request.bundles == [{"CPU": 2.0, "GPU": 0.25}]
    assert given.of(1).request.bundles == [{"CPU": 2.0, "GPU": 1.0}]
    assert given.of(1).actor_class.__ray_metadata__.modified_class._job.gpus == 1
    assert slots({}).usual.request.bundles == [{"CPU": 1.0}]


def test_auto_starts_alone_on_a_whole_gpu_and_is_planned_anew() -> None:
    given = slots({"gpu": "auto"}, parallel=5)
    assert (given.count, given.is_measuring, given.usual) == (1, True, given.of(1))
    given.share(0.25)
    assert (given.count, given.is_measuring, given.usual) == (5, False, given.of(0.25))
    given.share(0.5)
    assert given.count == 4
    assert slots({"gpu": "auto"}, gpus=0.125).count == 16


def test_auto_without_a_gpu_is_refused() -> None:
    with pytest.raises(ResourceError, match=r"1 CPU and 1 GPU .gpu: auto measures the first one on a whole GPU., but"):
        slots({"gpu": "auto"}, [{"CPU": 8.0}])


def test_a_whole_gpu_for_each_worker_may_be_more_than_there_is() -> None:
    assert slots({"gpu": 0.25}).can_hold(1)
    assert slots({"gpu": 0.25, "workers": 2}).can_hold(1)
    assert not slots({"gpu": 0.25, "workers": 3}).can_hold(1)


@pytest.mark.skipif(not can_avoid_nodes(), reason="this Ray can't")
def test_new_trials_are_kept_away_from_a_node_that_rests() -> None:
    nodes = {"a": {"CPU": 4.0}, "b": {"CPU": 2.0}, "head": {"CPU": 0.0}}
    spec = Resources(cpu=1)
    job = Job(b"", (), (), "/", "/", "", (LOSS,), Asking(), seed=0, cpus=1, gpus=0)
    given = Slots(
        job,
        spec,
        "auto",
        gpus=0,
        is_measuring=False,
        nodes=lambda without: [resources for node, resources in nodes.items() if node not in without],
    )
    before = given.usual
    assert given.count == 6
    assert given.rest("a", nodes)
    assert given.count == 2
    assert given.usual is not before
    assert given.usual.request != before.request
    assert given.usual.request._kwargs == {"bundle_label_selector": [{"ray.io/node-id": "!in(a)"}]}
    assert not given.rest("b", nodes), "the head has no room for a trial"
    assert given.count == 2
