"""The warm trial in this process: which checkpoint it points to when a rule asks it to save."""

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LOSS
from tuner.engine.files.trial_folder import put_marker
from tuner.engine.process.last_words import LastWords
from tuner.engine.process.trial_process import Job
from tuner.engine.workers.trial_actor import WarmTrial
from tuner.run_folder.checkpoints import checkpoint_path, checkpoint_steps
from tuner.run_folder.trial_files import trial_dir
from tuner.stopping.asking import Asking
from tuner.trial.checkpoint import save_checkpoint
from tuner.trial.trial import Trial


def saves_some(trial: Trial) -> None:
    """Saves at each step but the eighth, up to `last`."""
    state = trial.restore()
    for step in range(state.step + 1 if state else 1, trial.params["last"] + 1):
        trial.report({"loss": 1.0}, step=step, state=None if step == 8 else {"step": step})


@pytest.fixture
def make_warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Any]], WarmTrial]]:
    # They lie in Ray's folder, which a process of Ray's has.
    monkeypatch.setattr("tuner.engine.workers.trial_actor.leave_words", lambda: LastWords(tmp_path / "words", "0"))
    for number in (0, 1):
        trial_dir(tmp_path, number).mkdir(parents=True)
    job = Job(
        train=pickle.dumps(saves_some),
        sys_path=(),
        cwd=str(Path.cwd()),
        folder=str(tmp_path),
        token=put_marker(tmp_path),
        metrics=(LOSS,),
        asking=Asking(every=1),
        seed=0,
        cpus=1,
        gpus=0,
        argv=tuple(sys.argv),
    )

    class Warm(WarmTrial):
        _job = job

    made: list[WarmTrial] = []

    def make(config: dict[str, Any]) -> WarmTrial:
        made.append(Warm(config))
        return made[-1]

    yield make
    for warm in made:
        warm.stop()


def train_until(warm: WarmTrial, step: int) -> None:
    """Take batches up to the one with this step, whose report then waits for the answer."""
    while not any(report.step == step for report in warm.train().reports):
        pass


def config(last: int, number: int = 0) -> dict[str, Any]:
    return {"number": number, "params": {"last": last}, "restore_step": 0}


def test_a_trial_that_has_saved_nothing_has_nothing_to_go_on_from(make_warm: Callable[..., WarmTrial]) -> None:
    warm = make_warm(config(last=1))
    with pytest.raises(RuntimeError, match=r"trial\.report needs `state=`"):
        warm.save()


def test_after_an_exploit_at_a_lower_step_the_later_checkpoints_of_before_do_not_count(
    make_warm: Callable[..., WarmTrial], tmp_path: Path
) -> None:
    warm = make_warm(config(last=20))
    train_until(warm, 10)
    own = trial_dir(tmp_path, 0)
    assert warm.save().path == str(checkpoint_path(own, 10))
    others = save_checkpoint(trial_dir(tmp_path, 1), 6, {"step": 6}, {"time_s": 0.0, "best": 1.0, "best_step": 1})
    assert warm.reset(config(last=20))
    warm.restore(str(others))
    # Nothing has been trained since: it is what it goes on from.
    assert (warm.save().path, warm.save().step) == (str(others), 6)
    train_until(warm, 7)
    assert (warm.save().path, warm.save().step) == (str(checkpoint_path(own, 7)), 7)
    train_until(warm, 8)
    assert warm.save().step == 7, "the eighth was not saved"
    train_until(warm, 9)
    assert warm.save().step == 9
    assert checkpoint_steps(own)[-1] == 10
