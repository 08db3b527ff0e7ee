import collections
import inspect
import math
import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from tests.conftest import ACCURACY, LOSS, folder_of
from tuner.errors import CheckpointError, MetricError, NotFinite, Plateau, StepError
from tuner.metric import Goal, Metric, Patience
from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path, checkpoint_steps
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.trial import Trial


def make_trial(tmp_path: Path, metrics: tuple[Metric, ...] = (ACCURACY,), **keys: Any) -> tuple[Trial, list[Report]]:
    reports: list[Report] = []
    keys = {"number": 3, "seed": 7, "dir": tmp_path, "deliver": lambda report, stop: reports.append(report), **keys}
    return Trial({"lr": 0.1}, metrics=metrics, **keys), reports


def test_reports_are_plain_floats_in_order(tmp_path: Path) -> None:
    trial, reports = make_trial(tmp_path)
    trial.report(
        {
            "accuracy": torch.tensor(0.25),
            "loss": np.float32(2.0),
            "count": 3,
            "is_new": np.bool_(True),
            "array": np.asarray(2),
            "half": torch.tensor(0.5, dtype=torch.bfloat16),
        },
        step=1,
    )
    trial.report({"accuracy": torch.tensor([0.5])}, step=4)
    assert [r.step for r in reports] == [1, 4]
    assert reports[0].metrics == {"accuracy": 0.25, "loss": 2.0, "count": 3.0, "is_new": 1.0, "array": 2.0, "half": 0.5}
    assert all(type(v) is float for v in reports[0].metrics.values())
    assert reports[1].time_s >= reports[0].time_s >= 0


@pytest.mark.parametrize("step", [-1, 1.5, True, "1"])
def test_a_step_that_does_not_follow_is_refused(tmp_path: Path, step: Any) -> None:
    trial, reports = make_trial(tmp_path)
    with pytest.raises(StepError, match=r"step must be a whole number above 0"):
        trial.report({"accuracy": 1.0}, step=step)
    assert reports == []


def test_step_zero_is_refused_with_both_remedies(tmp_path: Path) -> None:
    trial, reports = make_trial(tmp_path)
    with pytest.raises(StepError, match=r"steps begin at 1; got step=0\. Leave out step= .* or report step=step \+ 1"):
        trial.report({"accuracy": 1.0}, step=0)
    assert reports == []


def test_reports_without_a_step_are_counted_from_one(tmp_path: Path) -> None:
    trial, reports = make_trial(tmp_path)
    for epoch in range(3):
        trial.report({"accuracy": epoch})
    trial.report({"accuracy": 3}, step=np.int64(7))
    trial.report({"accuracy": 4})
    assert [report.step for report in reports] == [1, 2, 3, 7, 8]


def test_the_count_goes_on_after_the_step_that_was_restored(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path)
    for epoch in range(3):
        trial.report({"accuracy": epoch}, state={"epoch": epoch})
    saved = checkpoint_path(tmp_path, 2)
    again, reports = make_trial(tmp_path, restore_from=saved)
    state = again.restore()
    assert state is not None
    for epoch in range(state["epoch"] + 1, 4):
        again.report({"accuracy": epoch})
    assert [report.step for report in reports] == [3, 4]
    # A loop that does not restore begins anew, and so does its count.
    afresh, reports = make_trial(tmp_path, restore_from=saved)
    afresh.report({"accuracy": 0.0})
    assert [report.step for report in reports] == [1]


class Workers:
    """Those of one trial, each in a thread of its own."""

    world_size = 2

    def __init__(self, rank: int, barrier: threading.Barrier, given: dict[int, float]) -> None:
        self.rank, self._barrier, self._given = rank, barrier, given

    def prepare(self, thing: Any) -> Any:
        return thing

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        ((name, value),) = values.items()
        self._given[self.rank] = value
        self._barrier.wait()
        return {name: sum(self._given.values()) / 2}

    def gathered(self, files: Path | None) -> AbstractContextManager[list[Path]]:
        return nullcontext([])


def test_workers_count_alike_where_rank_0_alone_has_restored(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path)
    trial.report({"accuracy": 0.5}, step=4, state={})
    barrier, given = threading.Barrier(2, timeout=60), dict[int, float]()

    def steps(rank: int) -> list[int]:
        group = Workers(rank, barrier, given)
        trial, reports = make_trial(tmp_path, restore_from=checkpoint_path(tmp_path, 4), group=group)
        if rank == 0:
            trial.restore()
        for _ in range(2):
            trial.report({"accuracy": 0.6})
        return [report.step for report in reports]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(steps, range(2))) == [[5, 6], [5, 6]]


def test_the_order_of_before_is_understood_and_told_once(tmp_path: Path) -> None:
    trial, reports = make_trial(tmp_path)
    report: Any = trial.report
    report(1, {"accuracy": 0.1})
    report(np.int64(2), {"accuracy": 0.2}, {"value": 2})
    report(3, metrics={"accuracy": 0.3}, state={"value": 3})
    report(step=4, metrics={"accuracy": 0.4})
    assert [report.step for report in reports] == [1, 2, 3, 4]
    assert [report.has_checkpoint for report in reports] == [False, True, True, False]
    assert reports[0].advice.startswith("trial.report(step, metrics) is the old order")
    assert not any(report.advice for report in reports[1:])
    with pytest.raises(StepError, match="steps begin at 1"):
        make_trial(tmp_path)[0].report(0, {"accuracy": 0.1})  # type: ignore[misc,arg-type]


def test_arguments_of_report_that_fit_neither_order_are_told(tmp_path: Path) -> None:
    trial, reports = make_trial(tmp_path)
    report: Any = trial.report
    with pytest.raises(TypeError, match=r"only the metrics by position: trial\.report\(metrics, step="):
        report({"accuracy": 0.1}, 1)
    with pytest.raises(TypeError, match="state is given twice"):
        report(1, {"accuracy": 0.1}, {}, state={})
    for given in (0.5, 3, [0.5]):
        with pytest.raises(MetricError, match="metrics must map names to numbers"):
            report(given)
    assert str(inspect.signature(trial.report)).startswith("(metrics: ")
    assert reports == []


def test_the_same_step_twice_is_refused(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path)
    trial.report({"accuracy": 1.0}, step=2)
    with pytest.raises(StepError, match="above 2"):
        trial.report({"accuracy": 1.0}, step=2)


def test_a_metric_that_is_missing_names_those_that_are_there(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path)
    with pytest.raises(MetricError, match=r"'accuracy' is not among the reported ones.* Reported: 'acc'\."):
        trial.report({"acc": 1.0}, step=1)


@pytest.mark.parametrize("value", ["0.5", torch.zeros(3), None, [1.0], Fraction(10**400, 3)])
def test_a_value_that_is_no_number_is_refused(tmp_path: Path, value: Any) -> None:
    trial, reports = make_trial(tmp_path)
    with pytest.raises(MetricError, match="'loss' must be a number"):
        trial.report({"accuracy": 1.0, "loss": value}, step=1)
    assert reports == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_ends_the_trial_at_that_step(tmp_path: Path, value: float) -> None:
    trial, reports = make_trial(tmp_path)
    with pytest.raises(NotFinite, match=r"accuracy is .* at step 2"):
        for step, each in enumerate([0.5, value, 0.7], start=1):
            trial.report({"accuracy": each}, step=step)
    assert [r.step for r in reports] == [1, 2]


def test_a_number_beyond_all_floats_is_told_by_its_size(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path)
    with pytest.raises(MetricError, match="got a whole number of some 401 digits, which is too large"):
        trial.report({"accuracy": 10**400}, step=1)
    with pytest.raises(MetricError, match="some 6021 digits"):
        trial.report({"accuracy": -(1 << 20000)}, step=1)
    with pytest.raises(MetricError, match="some 6021 digits"):
        trial.report({"accuracy": -(1 << 20000)}, step=1)
    for step in (10**400, 2**63):
        with pytest.raises(StepError, match="step must be a whole number above 0"):
            trial.report({"accuracy": 1.0}, step=step)


def test_only_the_metrics_of_the_sweep_must_be_finite(tmp_path: Path) -> None:
    trial, reports = make_trial(tmp_path)
    trial.report({"accuracy": 1.0, "other": math.nan}, step=1)
    assert math.isnan(reports[0].metrics["other"])


@pytest.mark.parametrize(
    ("goal", "values", "ends_at"),
    [
        (Goal.MAXIMIZE, [0.1, 0.2, 0.2, 0.2, 0.3], 4),
        (Goal.MINIMIZE, [1.0, 0.5, 0.4, 0.45, 0.41, 0.1], 5),
        (Goal.MAXIMIZE, [0.1, 0.105, 0.109, 0.2], 3),
    ],
)
def test_patience_ends_a_trial_whose_metric_stands_still(
    tmp_path: Path, goal: Goal, values: list[float], ends_at: int
) -> None:
    metric = Metric("m", goal, patience=Patience(2, min_delta=0.01))
    trial, reports = make_trial(tmp_path, (metric,))
    with pytest.raises(Plateau, match="m has not improved for 2 steps"):
        for step, value in enumerate(values, start=1):
            trial.report({"m": value}, step=step)
    assert len(reports) == ends_at


def test_patience_goes_on_where_it_stood(tmp_path: Path) -> None:
    metric = Metric("m", Goal.MAXIMIZE, patience=Patience(3))
    trial, _ = make_trial(tmp_path, (metric,))
    for step, value in enumerate([0.5, 0.4, 0.3], start=1):
        trial.report({"m": value}, step=step, state={})
    again, reports = make_trial(tmp_path, (metric,), restore_from=tmp_path / "checkpoints" / "step-0003")
    again.restore()
    with pytest.raises(Plateau, match=r"best 0\.5 at step 1"):
        again.report({"m": 0.4}, step=4)
    assert len(reports) == 1


def test_a_state_comes_back_with_its_step_and_the_random_generators(tmp_path: Path) -> None:
    trial, reports = make_trial(tmp_path)
    trial.report({"accuracy": 0.1}, step=1)
    trial.report({"accuracy": 0.2}, step=5, state={"weights": torch.arange(3.0), "nested": {"lr": [0.1, None]}})
    expected = (random.random(), np.random.rand(), torch.rand(2))
    assert reports[1].has_checkpoint
    assert not reports[0].has_checkpoint
    assert checkpoint_steps(tmp_path) == [5]

    again, _ = make_trial(tmp_path, restore_from=tmp_path / "checkpoints" / "step-0005")
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    state = again.restore()
    assert state is not None
    assert state.step == 5
    assert state["nested"] == {"lr": [0.1, None]}
    assert torch.equal(state["weights"], torch.arange(3.0))
    assert (random.random(), np.random.rand()) == expected[:2]
    assert torch.equal(torch.rand(2), expected[2])
    with pytest.raises(StepError, match="above 5"):
        again.report({"accuracy": 0.3}, step=5)


def test_numpys_numbers_are_saved_as_numbers(tmp_path: Path) -> None:
    held: list[Any] = [1.0]
    held.append(held)
    weights = collections.OrderedDict(a=torch.ones(2))
    weights._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    state = {
        "best": np.float64(0.5),
        "array": np.asarray(np.float32(0.5)),
        "long": np.longdouble(0.25),
        "seen": [np.int32(3), (np.bool_(True), np.float32(0.25)), {np.int64(7): "seven"}],
        "counts": collections.Counter({np.int64(1): np.int64(2)}),
        "held": held,
        "weights": weights,
    }
    trial, _ = make_trial(tmp_path)
    trial.report({"accuracy": 1.0}, step=1, state=state)
    again, _ = make_trial(tmp_path, restore_from=tmp_path / "checkpoints" / "step-0001")
    found = again.restore()
    assert found is not None
    assert (found["best"], found["seen"]) == (0.5, [3, (True, 0.25), {7: "seven"}])
    assert [type(value) for value in (found["best"], found["seen"][0], *found["seen"][1])] == [float, int, bool, float]
    assert [type(found[name]) for name in ("array", "long")] == [float, float]
    assert (found["array"], found["long"]) == (0.5, 0.25)
    assert found["counts"] == collections.Counter({1: 2})
    assert found["held"][1][1] is found["held"][1]
    assert type(found["weights"]) is collections.OrderedDict
    assert type(state["best"]) is np.float64  # the loop's own is left alone


def schedulers() -> dict[str, Any]:
    """Of each class that torch has."""
    optimizer = torch.optim.SGD([torch.zeros(2)], lr=0.1, momentum=0.9)
    arguments: dict[str, tuple[Any, ...]] = {
        "LambdaLR": (lambda step: 0.9**step,),
        "MultiplicativeLR": (lambda step: 0.9,),
        "StepLR": (2,),
        "MultiStepLR": ([2, 4],),
        "ExponentialLR": (0.9,),
        "CosineAnnealingLR": (9,),
        "CosineAnnealingWarmRestarts": (3,),
        "CyclicLR": (0.01, 0.1),
        "OneCycleLR": (0.1, 9),
    }
    chain = [lr_scheduler.ConstantLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    made = {
        "SequentialLR": lr_scheduler.SequentialLR(optimizer, chain, [2]),
        "ChainedScheduler": lr_scheduler.ChainedScheduler(chain),
    }
    for name, kind in vars(lr_scheduler).items():
        is_scheduler = isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler)
        if is_scheduler and name.strip("_") not in (*made, "LRScheduler"):
            made[name] = kind(optimizer, *arguments.get(name, ()))
    return {name: scheduler.state_dict() for name, scheduler in made.items()}


def test_the_state_of_each_scheduler_of_torch_comes_back(tmp_path: Path) -> None:
    states = schedulers()
    assert {"MultiStepLR", "ReduceLROnPlateau", "SequentialLR"} < set(states)
    trial, _ = make_trial(tmp_path)
    trial.report({"accuracy": 1.0}, step=1, state=states)
    again, _ = make_trial(tmp_path, restore_from=tmp_path / "checkpoints" / "step-0001")
    assert again.restore() == states


def test_a_fresh_trial_restores_nothing(tmp_path: Path) -> None:
    assert make_trial(tmp_path)[0].restore() is None


@pytest.mark.parametrize(
    ("state", "culprit"),
    [
        ({"model": torch.zeros(2), "path": Path("x")}, "state['path'] is a pathlib.PosixPath"),
        ({"ok": [1, {"goal": (1, Goal.MAXIMIZE)}]}, "state['ok'][1]['goal'][1] is a tuner.metric.Goal"),
        ({"confusion": np.zeros(2)}, "state['confusion'] is a numpy.ndarray"),
        ({"rule": lambda step: 1.0}, "state['rule'] is a function"),
        ({Goal.MAXIMIZE: 1}, "state's key <Goal.MAXIMIZE: 'maximize'> is a tuner.metric.Goal"),
    ],
)
def test_a_state_that_cannot_be_read_back_is_refused_and_leaves_nothing(
    tmp_path: Path, state: Any, culprit: str
) -> None:
    trial, reports = make_trial(tmp_path)
    with pytest.raises(CheckpointError, match="weights_only=True") as caught:
        trial.report({"accuracy": 1.0}, step=1, state=state)
    assert str(caught.value).startswith(f"trial.report: {culprit}, which can't be saved so that weights_only=True")
    assert reports == []
    assert checkpoint_steps(tmp_path) == []
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("failures", [1, 2])
def test_a_write_that_fails_where_there_is_room_again_is_repeated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    save, left = torch.save, [RuntimeError("PytorchStreamWriter failed writing file")] * failures

    def save_or_fail(value: Any, to: Any) -> None:
        if left and isinstance(to, Path):
            raise left.pop()
        save(value, to)

    monkeypatch.setattr(torch, "save", save_or_fail)
    trial, reports = make_trial(tmp_path)
    if failures > 1:
        with pytest.raises(RuntimeError, match="failed writing"):
            trial.report({"accuracy": 0.5}, step=1, state={"a": torch.ones(2)})
        assert not list(tmp_path.glob("checkpoints/*"))
        return
    trial.report({"accuracy": 0.5}, step=1, state={"a": torch.ones(2)})
    assert reports[0].has_checkpoint
    assert load_checkpoint(checkpoint_path(tmp_path, 1))[0]["a"].tolist() == [1.0, 1.0]


def test_a_step_saved_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    for value in (1, 2):
        trial, _ = make_trial(tmp_path)
        trial.report({"accuracy": 1.0}, step=1, state={"value": value})
    state, _ = load_checkpoint(tmp_path / "checkpoints" / "step-0001")
    assert state["value"] == 2


@pytest.mark.parametrize("name", [3, "bad \udcff"])
def test_the_name_of_a_metric_must_be_a_text(tmp_path: Path, name: Any) -> None:
    trial, reports = make_trial(tmp_path)
    with pytest.raises(MetricError, match="the name of a metric must be a text"):
        trial.report({"accuracy": 1.0, name: 0.5}, step=1)
    assert reports == []


def test_cached_loads_once_for_all_trials_of_a_process(tmp_path: Path) -> None:
    calls: list[int] = []

    def load() -> list[int]:
        calls.append(1)
        return [1, 2]

    first, _ = make_trial(tmp_path)
    second, _ = make_trial(tmp_path)
    assert first.cached("data", load) is second.cached("data", load)
    assert len(calls) == 1


def test_prepare_keeps_the_shape_of_what_it_is_given(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path, device=torch.device("meta"))
    model = trial.prepare(torch.nn.Linear(2, 1))
    batch = trial.prepare({"x": torch.zeros(2), "rest": [torch.ones(1), "text"]})
    assert model.weight.device.type == batch["x"].device.type == batch["rest"][0].device.type == "meta"
    assert batch["rest"][1] == "text"


def test_several_metrics_must_all_be_reported(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path, (ACCURACY, LOSS))
    with pytest.raises(MetricError, match="'loss'"):
        trial.report({"accuracy": 1.0}, step=1)


def test_a_checkpoint_keeps_folders_of_files_and_counts_even_if_its_state_is_empty(tmp_path: Path) -> None:
    given = folder_of(tmp_path / "given" / "tokens")
    (given / "vocabulary.txt").write_text("a b c")
    other = folder_of(tmp_path / "other")
    (other / "merges.txt").write_text("a b")
    trial, _ = make_trial(tmp_path)
    trial.report({"accuracy": 0.5}, step=1, state={}, files=given.parent)
    with trial.gathered(other) as folders:
        trial.report({"accuracy": 0.5}, step=2, state={}, files=[given, *folders])
    with trial.gathered(None) as folders:
        trial.report({"accuracy": 0.5}, step=3, state={}, files=folders)
    with trial.gathered(str(other)) as folders:
        trial.report({"accuracy": 0.5}, step=4, state={}, files=[str(given), *folders])
    trial.report({"accuracy": 0.5}, step=5, state={}, files=str(given))
    both = {"vocabulary.txt": "a b c", "merges.txt": "a b"}
    wanted = {1: {"tokens/vocabulary.txt": "a b c"}, 2: both, 3: {}, 4: both, 5: {"vocabulary.txt": "a b c"}}
    for step, texts in wanted.items():
        state = make_trial(tmp_path, restore_from=checkpoint_path(tmp_path, step))[0].restore()
        assert state
        kept = [path for path in state.files.rglob("*") if path.is_file()] if state.files else []
        assert {str(path.relative_to(state.files or "")): path.read_text() for path in kept} == texts


class SecondWorker:
    """A group as its second worker sees it."""

    rank = 1
    world_size = 2

    def prepare(self, thing: Any) -> Any:
        return DataLoader(thing.dataset, sampler=DistributedSampler(thing.dataset, self.world_size, self.rank))

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        return dict(values)

    def gathered(self, files: Path | None) -> AbstractContextManager[list[Path]]:
        return nullcontext([])


def test_the_first_worker_alone_saves_and_decides(tmp_path: Path) -> None:
    metric = Metric("accuracy", Goal.MAXIMIZE, patience=Patience(1))
    trial, reports = make_trial(tmp_path, (metric,), group=SecondWorker())
    for step, value in enumerate((0.5, 0.4, 0.3, math.nan), start=1):
        trial.report({"accuracy": value}, step=step, state={"step": step})
    assert [report.has_checkpoint for report in reports] == [True] * 4
    assert not (tmp_path / "checkpoints").exists()
    assert trial.stop is None


def test_time_and_best_go_on_from_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("tuner.trial.trial.time.monotonic", lambda: now[0])
    metric = Metric("accuracy", Goal.MAXIMIZE, patience=Patience(9))
    trial, _ = make_trial(tmp_path, (metric,))
    now[0] += 7
    trial.report({"accuracy": 0.9}, step=1, state={})
    now[0] += 1000
    again, reports = make_trial(tmp_path, (metric,), restore_from=checkpoint_path(tmp_path, 1))
    now[0] += 50
    again.restore()
    now[0] += 2
    again.report({"accuracy": 0.1}, step=2)
    # What it was before its checkpoint, and since it was restored.
    assert reports[0].time_s == 9
    with pytest.raises(Plateau, match=r"for 9 steps; best 0\.9 at step 1"):
        again.report({"accuracy": 0.8}, step=10)


def test_a_loader_that_is_prepared_after_a_restore_shuffles_as_for_the_step_it_goes_on_from(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path)
    trial.report({"accuracy": 0.5}, step=5, state={})
    again, _ = make_trial(tmp_path, restore_from=checkpoint_path(tmp_path, 5), group=SecondWorker())
    again.restore()
    loader = again.prepare(DataLoader(TensorDataset(torch.arange(8.0))))
    assert isinstance(loader.sampler, DistributedSampler)
    assert loader.sampler.epoch == 5
    again.report({"accuracy": 0.5}, step=6)
    assert loader.sampler.epoch == 6


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def test_what_is_no_plain_collection_is_left_as_it_is(tmp_path: Path) -> None:
    trial, _ = make_trial(tmp_path, device=torch.device("meta"))
    pair = Pair(torch.ones(1), torch.ones(1))
    assert trial.prepare(pair) is pair
    moved = trial.prepare([torch.ones(1), (torch.ones(1), "text")])
    assert isinstance(moved, list)
    assert isinstance(moved[1], tuple)
    assert moved[0].device.type == moved[1][0].device.type == "meta"
