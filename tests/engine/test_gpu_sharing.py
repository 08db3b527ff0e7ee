"""Sweeps whose trials share a GPU, through the real Ray Tune; the GPU is the logical one that Ray was told of."""

import functools
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from tests import loops
from tests.fake_gpu import fake_device_of
from tests.sweeps import LOSS, Told, check_whole, sweep
from tuner import Results, Sweep
from tuner.engine.driver import controller, run
from tuner.engine.process.trial_process import Job
from tuner.engine.ray_compat.runtime import keeping_auth_mode
from tuner.records import FailureReason, TrialState

pytestmark = pytest.mark.slow

WHOLE = "gets a whole one"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with keeping_auth_mode():  # other tests of this process use a cluster without tokens
        ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.fixture(autouse=True)
def _the_gpu_is_free_again() -> Iterator[None]:
    yield
    ended = time.monotonic()
    while ray.available_resources().get("GPU") != 1.0:
        assert time.monotonic() - ended < 5.0, ray.available_resources()
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def fake_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Job", functools.partial(Job, device=fake_device_of))


class Timed(Told):
    """Also keeps when a trial was first told to need a whole GPU."""

    told_at = 0.0

    def event(self, text: str, *, is_detail: bool = False) -> None:
        super().event(text, is_detail=is_detail)
        if WHOLE in text:
            self.told_at = self.told_at or time.time()


class Interrupts(Told):
    """Ends the sweep as a second Ctrl-C does, when a trial is told to need a whole GPU."""

    def event(self, text: str, *, is_detail: bool = False) -> None:
        super().event(text, is_detail=is_detail)
        if WHOLE in text:
            raise KeyboardInterrupt


def keys(gigabytes: list[float], **more: Any) -> dict[str, Any]:
    """One trial after another that takes so much of 8 GB."""
    return {"parameters": {"gb": {"values": gigabytes}, "step_s": {"value": 0.1}}, "method": "grid", **more}


def shares(results: Results, number: int) -> list[float]:
    return [report.metrics["share"] for report in results.curve(number)]


def check_packing(results: Results) -> None:
    """At no time the trials together held more than the one GPU."""
    held = [r.metrics for trial in results.trials for r in results.curve(trial.number)]
    for now in held:
        others = {(m["pid"], m["began"]): m["share"] for m in held if m["began"] <= now["ended"] - 0.05 <= m["ended"]}
        assert sum(others.values()) <= 1.0


def test_a_trial_that_runs_out_of_gpu_memory_is_tried_once_on_a_whole_gpu(tmp_path: Path) -> None:
    small = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    told = Timed()
    asked = keys([1.01, 6.0, *small, 20.0], resources={"gpu": 0.5}, budget={"failed": 2})
    results = sweep(loops.on_fake_gpu, tmp_path, told, **asked)
    trials = {trial.params["gb"]: trial for trial in results.trials}
    assert results.counts() == {"completed": 10, "failed": 1}
    assert trials[20.0].reason is FailureReason.OOM
    assert "OutOfMemoryError" in results.error(trials[20.0].number)
    again = [event for event in told.events if WHOLE in event]
    assert len(again) == 2
    assert any(
        "trial 0001 is tried again, from its checkpoint of step 1: it ran out of GPU memory on 0.5 of a GPU and "
        "gets a whole one: OutOfMemoryError" in event
        for event in again
    )
    assert shares(results, trials[6.0].number) == [0.5, 1.0, 1.0]
    assert all(shares(results, trials[gb].number) == [0.5] * 3 for gb in small)
    check_packing(results)
    # None but the one that was asked for already has started between its failure and its end on the whole GPU.
    ended_at = results.curve(trials[6.0].number)[-1].metrics["ended"]
    begun = [results.curve(trials[gb].number)[0].metrics["began"] for gb in small]
    assert sum(told.told_at < at < ended_at for at in begun) <= 1
    first, whole = results.curve(trials[6.0].number)[0].time_s, trials[6.0]
    # And what had passed since its report when it failed.
    assert 0.5 * first + (whole.duration_s - first) - 0.01 < whole.gpu_s < results.summary["elapsed_s"]


def test_one_that_was_interrupted_on_its_way_to_a_whole_gpu_gets_it(tmp_path: Path) -> None:
    asked = keys([6.0, 1.0, 1.1], resources={"gpu": 0.5}, metric=LOSS, seed=0, output=tmp_path)
    made = Sweep(loops.on_fake_gpu, **asked)
    with pytest.raises(KeyboardInterrupt):
        made.run(id="s", console=Interrupts())
    told = Told()
    results = made.resume(tmp_path / "s", console=told)
    check_whole(results)
    assert results.counts() == {"completed": 3}
    assert shares(results, 0) == [0.5, 1.0, 1.0]
    assert not any(WHOLE in event for event in told.events)


def test_auto_measures_a_trial_on_a_whole_gpu_and_shares_it_by_that(tmp_path: Path) -> None:
    told = Told()
    # The first one fails, which tells nothing of what a trial needs.
    asked = keys([20.0, 3.0, 2.1, 2.2, 6.0, 2.3, 2.4], resources={"gpu": "auto"}, metric=LOSS, seed=0, output=tmp_path)
    made = Sweep(loops.on_fake_gpu, **asked, run_cap=6)
    results = made.run(console=told)
    check_whole(results)
    assert results.counts() == {"completed": 5, "failed": 1}
    assert (results.trials[0].state, results.trials[0].reason) == (TrialState.FAILED, FailureReason.OOM)
    measured = "trial 0001 took 3.00 of 8.00 GB of its GPU: from now on each trial has 0.5 of a GPU, 2 at a time"
    assert measured in told.events
    assert [shares(results, number) for number in (0, 1, 2, 3)] == [[1.0], [1.0] * 3, [0.5] * 3, [0.5] * 3]
    assert shares(results, 4) == [0.5, 1.0, 1.0]
    assert results.summary["slots"] == 2
    check_packing(results)
    began = [results.curve(number)[0].metrics["began"] for number in (0, 1, 2)]
    ended = [results.curve(number)[-1].metrics["ended"] for number in (0, 1)]
    assert all(later > earlier for earlier, later in zip(ended, itertools.islice(began, 1, None), strict=True))
    told = Told()
    results = made.resume(results.folder, run_cap="+1", console=told)
    assert shares(results, 6) == [0.5] * 3
    assert not any("from now on" in event for event in told.events)


class Stranger:
    def is_there(self) -> bool:
        return True


def test_a_whole_gpu_that_others_hold_a_part_of_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "GIVE_UP_WAITING_S", 3.0)
    stranger = ray.remote(num_cpus=0, num_gpus=0.4)(Stranger).remote()
    assert ray.get(stranger.is_there.remote())
    try:
        results = sweep(loops.on_fake_gpu, tmp_path, **keys([1.0, 6.0, 1.1, 1.2], resources={"gpu": 0.5}))
    finally:
        ray.kill(stranger)
    assert results.counts() == {"completed": 3, "failed": 1}
    failed = results.trials[1]
    assert (failed.reason, list(failed.curve)) == (FailureReason.OOM, [1])
    assert failed.message.startswith("OutOfMemoryError: ")
    assert failed.message.endswith("1 GPU is not available, since others hold them")
