"""Which checkpoints stay on disk, with real files."""

import threading
from collections.abc import Callable
from pathlib import Path

from tests.study.test_recorder import open_recorder, train
from tuner.metric import Goal
from tuner.records import TrialState
from tuner.run_folder.background import Beside
from tuner.run_folder.checkpoints import checkpoint_path, checkpoint_steps
from tuner.run_folder.trial_files import TrialFiles, trial_dir
from tuner.spec.sections import Checkpoints
from tuner.study.checkpoint_store import CheckpointStore


class AtOnce(Beside):
    """Does what it is asked to do before it returns."""

    def do(self, work: Callable[[], None]) -> None:
        work()


DONE = dict.fromkeys(range(9), TrialState.COMPLETED)


def save(folder: Path, number: int, step: int, size: int = 10) -> None:
    """A checkpoint of so many bytes, as the trial's process leaves it."""
    (folder / "trials").mkdir(exist_ok=True)
    own = TrialFiles(trial_dir(folder, number)).folder
    (own / "checkpoints").mkdir(exist_ok=True)
    checkpoint_path(own, step).mkdir()
    (checkpoint_path(own, step) / "state.pt").write_bytes(bytes(size))


def store_of(folder: Path, rule: Checkpoints, values: dict[tuple[int, int], float], size: int = 10) -> CheckpointStore:
    store = CheckpointStore(folder, rule, Goal.MAXIMIZE, AtOnce())
    for (number, step), value in values.items():
        save(folder, number, step, size)
        store.add(number, step, value)
    return store


def left(folder: Path, number: int) -> list[int]:
    return checkpoint_steps(trial_dir(folder, number))


def test_max_gb_is_in_units_of_2_to_the_30th_bytes(tmp_path: Path) -> None:
    # Two of them fit into 2 MiB, and would not into 2/1024 of 10**9 bytes.
    rule = Checkpoints(keep="all", max_gb=2 / 1024)
    store = store_of(tmp_path, rule, {(0, 1): 0.9, (1, 1): 0.8, (2, 1): 0.7}, size=1_000_000)
    store.drop_after(DONE)
    assert [left(tmp_path, number) for number in range(3)] == [[1], [1], []]


def test_the_last_three_pinned_checkpoints_of_a_trial_stay(tmp_path: Path) -> None:
    store = store_of(tmp_path, Checkpoints(), {(0, step): step / 10 for step in range(1, 8)})
    for step in (1, 2, 3, 4):
        store.pin(0, step)
    store.drop_while_running(0)
    assert left(tmp_path, 0) == [2, 3, 4, 6, 7]
    store.drop_after({0: TrialState.COMPLETED})
    assert left(tmp_path, 0) == [2, 3, 4, 7]
    store.unpin()
    store.drop_after({0: TrialState.COMPLETED})
    assert left(tmp_path, 0) == [7]


def test_a_pin_is_of_one_trial_alone(tmp_path: Path) -> None:
    store = store_of(tmp_path, Checkpoints(), {(number, step): step / 10 for number in (0, 1) for step in (1, 2, 3)})
    store.pin(0, 1)
    for number in (0, 1):
        store.drop_while_running(number)
    assert [left(tmp_path, number) for number in (0, 1)] == [[1, 2, 3], [2, 3]]


def test_of_a_trial_that_runs_nothing_is_dropped_with_the_finished_ones(tmp_path: Path) -> None:
    store = store_of(tmp_path, Checkpoints(), {(0, 1): 0.1, (1, 1): 0.9, (2, 1): 0.5})
    store.drop_after({0: TrialState.COMPLETED, 1: TrialState.COMPLETED})
    assert [left(tmp_path, number) for number in range(3)] == [[], [1], [1]]


def test_what_a_trial_saved_after_its_end_was_decided_is_deleted(tmp_path: Path) -> None:
    store = store_of(tmp_path, Checkpoints(), {(0, 1): 0.9})
    save(tmp_path, 0, 2)  # its report was never taken
    (trial_dir(tmp_path, 0) / "checkpoints" / ".step-0003.00ff00ff.tmp").mkdir()
    store.drop_late(0)
    assert [path.name for path in (trial_dir(tmp_path, 0) / "checkpoints").iterdir()] == ["step-0001"]


def test_a_resumed_sweep_knows_which_checkpoint_is_the_best(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    first = train(recorder, [0.2, 0.9])
    recorder.finish(first, TrialState.COMPLETED)
    recorder.close({})
    recorder = open_recorder(tmp_path)
    second = train(recorder, [0.5])
    recorder.finish(second, TrialState.COMPLETED)
    recorder.settle()
    assert [left(tmp_path, number) for number in (first, second)] == [[2], []]


def test_a_checkpoint_that_was_saved_once_more_before_the_old_one_was_deleted_stays(tmp_path: Path) -> None:
    beside, may_go = Beside(), threading.Event()
    store = CheckpointStore(tmp_path, Checkpoints(), Goal.MAXIMIZE, beside)
    for step in (1, 2, 3):
        save(tmp_path, 0, step)
        store.add(0, step, step / 10)
    beside.do(lambda: may_go.wait(60) and None)
    store.drop_while_running(0)
    first = checkpoint_path(trial_dir(tmp_path, 0), 1)
    first.rename(first.with_name("old"))
    save(tmp_path, 0, 1)
    may_go.set()
    beside.finish()
    beside.close()
    assert left(tmp_path, 0) == [1, 2, 3]
