import threading
from pathlib import Path

import pytest
import torch

from tests.fake_gpu import GB, Block, FakeGpu
from tuner.engine.process.hygiene import MEMORY_FACTOR, MEMORY_SLACK_BYTES, MEMORY_STRIKES, Hygiene
from tuner.metric import Metric
from tuner.trial.trial import Trial


def test_a_clean_trial_leaves_a_fit_process() -> None:
    hygiene = Hygiene()
    for _ in range(5):
        hygiene.before_trial()
        torch.nn.Linear(3, 3)(torch.zeros(1, 3)).sum().backward()
        assert hygiene.after_trial() == ""


def test_a_thread_left_running_is_named() -> None:
    hygiene, end = Hygiene(), threading.Event()
    hygiene.before_trial()
    thread = threading.Thread(target=end.wait, name="prefetch")
    thread.start()
    try:
        assert hygiene.after_trial() == "the trial left threads running: prefetch"
    finally:
        end.set()
        thread.join()
    assert hygiene.after_trial() == ""


def test_a_daemon_of_the_users_is_left_over_and_one_of_a_library_is_not() -> None:
    hygiene, end = Hygiene(), threading.Event()
    hygiene.before_trial()
    pool = threading.Thread(target=end.wait, name="pool", daemon=True)
    pool.start()
    assert hygiene.after_trial() == ""
    mine = threading.Thread(target=lambda: end.wait(), name="mine", daemon=True)
    mine.start()
    assert hygiene.after_trial() == "the trial left threads running: mine"
    end.set()
    pool.join()
    mine.join()


def test_global_hooks_and_defaults_are_put_back() -> None:
    hygiene = Hygiene()
    hygiene.before_trial()
    calls: list[int] = []
    torch.nn.modules.module.register_module_forward_hook(lambda *_: calls.append(1))
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        hygiene.after_trial()
        assert torch.zeros(1).device.type == "cpu"
    finally:
        torch.set_default_device(None)
    torch.nn.Linear(1, 1)(torch.zeros(1, 1))
    assert calls == []
    assert torch.get_default_dtype() is torch.float32


def test_gradients_of_a_cached_module_are_dropped(tmp_path: object) -> None:
    trial = Trial({}, number=0, seed=0, dir=tmp_path, metrics=(Metric("m"),), deliver=print)  # type: ignore[arg-type]
    hygiene = Hygiene()
    hygiene.before_trial()
    module = trial.cached("teacher", lambda: torch.nn.Linear(2, 2))
    module(torch.zeros(1, 2)).sum().backward()
    assert module.weight.grad is not None
    hygiene.after_trial()
    assert module.weight.grad is None


def test_hooks_and_gradients_of_modules_inside_of_cached_values_do_not_stay(tmp_path: Path) -> None:
    trial = Trial({}, number=0, seed=0, dir=tmp_path, metrics=(Metric("m"),), deliver=print)
    inner = torch.nn.Linear(2, 2)
    held: list[object] = [torch.nn.Sequential(inner)]
    held.append(held)
    trial.cached("teachers", lambda: ({"name": "a"}, held))
    calls: list[str] = []
    inner.register_forward_hook(lambda *_: calls.append("own"))
    hygiene = Hygiene()
    hygiene.before_trial()
    inner.register_forward_hook(lambda *_: calls.append("left"))
    inner(torch.zeros(1, 2)).sum().backward()
    assert calls == ["own", "left"]
    assert hygiene.after_trial() == ""
    assert inner.weight.grad is None
    inner(torch.zeros(1, 2))
    assert calls == ["own", "left", "own"]


@pytest.mark.parametrize(
    ("factors", "replaced_after"),
    [([1.0, 1.5, 1.9, 1.2], None), ([1.0, 9.0, 1.0, 9.0, 1.0], None), ([1.0, 1.0, 9.0, 9.0], 3)],
)
def test_memory_that_stays_above_its_baseline_is_told(factors: list[float], replaced_after: int | None) -> None:
    assert (MEMORY_FACTOR, MEMORY_STRIKES) == (2.0, 2)
    base = 4 * MEMORY_SLACK_BYTES
    sizes = iter([int(base * factor) for factor in factors])
    hygiene = Hygiene(rss_bytes=lambda: next(sizes))
    told = []
    for _ in factors:
        hygiene.before_trial()
        told.append(hygiene.after_trial())
    fit = [index for index, why in enumerate(told) if why]
    assert fit == ([] if replaced_after is None else [replaced_after])
    if replaced_after is not None:
        assert "memory stays at 9.00 GB, 9.0 times its 1.00 GB" in told[replaced_after]


def test_gpu_memory_that_nothing_refers_to_is_given_back_and_the_rest_is_told() -> None:
    gpu = FakeGpu()
    hygiene, left = Hygiene(gpu), [gpu.allocate(1 * GB)]  # as a cached data set would

    def trial(leave: bool) -> str:
        hygiene.before_trial()
        blocks = [gpu.allocate(2 * GB)]
        if leave:
            left.extend(blocks)
        blocks.append(_circle(gpu))
        del blocks
        return hygiene.after_trial()

    assert [trial(leave=False) for _ in range(3)] == ["", "", ""]
    assert gpu.reserved == gpu.used == 1 * GB
    assert trial(leave=True) == ""
    assert gpu.used == 3 * GB
    assert trial(leave=False) == "GPU memory stays at 3.00 GB, 3.0 times its 1.00 GB at first"


def _circle(gpu: FakeGpu) -> Block:
    """Memory that only the garbage collector frees."""
    block = gpu.allocate(1 * GB)
    vars(block)["self"] = block
    return block
