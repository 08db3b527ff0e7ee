"""Trials in processes of their own."""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LOSS
from tests.sweeps import Told, sweep
from tuner.engine.files.trial_folder import SharedFolder
from tuner.engine.process.last_words import LastWords
from tuner.engine.process.own_process import OwnProcessHost, OwnProcessSession
from tuner.engine.process.report_queue import Ending
from tuner.engine.process.trial_process import Job, Task
from tuner.records import FailureReason, Report, TrialState
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.run_folder.trial_files import trial_dir
from tuner.stopping.asking import Asking
from tuner.trial.trial import Trial


def takes_signals(trial: Trial) -> None:
    """Python allows handlers in the main thread alone."""
    taken: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: taken.append(number))
    state = trial.restore()
    for _ in range(2):
        signal.raise_signal(signal.SIGUSR1)
        found = {"loss": 1.0, "taken": len(taken), "pid": os.getpid(), "goes_on": state is not None}
        trial.report(found, state={"taken": len(taken)})
    assert (trial.find_checkpoint(2) / "state.pt").exists()


def ends_itself(trial: Trial) -> None:
    trial.report({"loss": 1.0})
    print("the last of it", file=sys.stderr)
    os._exit(3)


def hangs(trial: Trial) -> None:
    trial.report({"loss": 1.0, "pid": os.getpid()})
    while True:
        time.sleep(1)


def begin(train: Callable[[Trial], None], path: Path, restore_from: Path | None = None) -> OwnProcessSession:
    trial_dir(path, 0).mkdir(parents=True, exist_ok=True)
    job = Job(
        train=pickle.dumps(train),
        sys_path=tuple(sys.path),
        argv=("given",),
        cwd=str(Path.cwd()),
        folder=str(path),
        token="",
        metrics=(LOSS,),
        asking=Asking(),
        seed=0,
        cpus=1,
        gpus=0,
        warm=False,
    )
    host = OwnProcessHost(job, SharedFolder(path), LastWords(path / "words", "0"))
    return host.start(Task(0, {}, restore_from))


def drain(session: OwnProcessSession) -> tuple[list[Report], Ending]:
    reports: list[Report] = []
    while True:
        batch = session.next_batch()
        reports += batch.reports
        if batch.ending is not None:
            return reports, batch.ending


def test_the_loop_runs_in_the_main_thread_of_another_process_and_resumes_in_a_third(tmp_path: Path) -> None:
    session = begin(takes_signals, tmp_path)
    reports, ending = drain(session)
    assert ending == Ending(TrialState.COMPLETED), ending.error
    assert [(report.step, report.metrics["taken"], report.metrics["goes_on"]) for report in reports] == [
        (1, 1.0, 0.0),
        (2, 2.0, 0.0),
    ]
    assert session.saved_step == 2
    assert session.stop(60)
    assert session.memory is not None
    again = begin(takes_signals, tmp_path, checkpoint_path(trial_dir(tmp_path, 0), 1))
    resumed, ending = drain(again)
    assert ending.state is TrialState.COMPLETED, ending.error
    assert [(report.step, report.metrics["goes_on"]) for report in resumed] == [(2, 1.0), (3, 1.0)]
    assert len({os.getpid(), reports[0].metrics["pid"], resumed[0].metrics["pid"]}) == 3
    assert again.stop(60)


def test_a_process_that_ends_itself_is_told_with_its_exit_code(tmp_path: Path) -> None:
    reports, ending = drain(begin(ends_itself, tmp_path))
    assert [report.step for report in reports] == [1]
    assert (ending.state, ending.reason, ending.ended_itself) == (TrialState.FAILED, FailureReason.LOST, True)
    assert ending.message.startswith("its process died with exit code 3")
    assert ending.error


def test_a_loop_that_does_not_report_any_more_is_ended_with_its_process(tmp_path: Path) -> None:
    session = begin(hangs, tmp_path)
    (report,) = session.next_batch().reports
    stopped: list[bool] = []
    waiting = threading.Thread(target=lambda: stopped.append(session.stop(0.1)))
    waiting.start()
    _, ending = drain(session)
    waiting.join(60)
    assert stopped == [True]
    assert ending.state is TrialState.STOPPED
    with pytest.raises(ProcessLookupError):
        os.kill(int(report.metrics["pid"]), 0)


@pytest.mark.slow
def test_a_sweep_with_warm_false_gives_each_trial_a_process(
    tmp_path: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster_address)
    keys: dict[str, Any] = {"parameters": {"x": {"grid": [1, 2, 3]}}, "method": "grid", "warm": False, "parallel": 2}
    results = sweep(takes_signals, tmp_path, Told(), **keys)
    assert results.counts() == {"completed": 3}
    assert results.spec.warm is False
    pids = [{report.metrics["pid"] for report in results.curve(number)} for number in range(3)]
    assert [len(each) for each in pids] == [1, 1, 1]
    assert len(set.union(*pids)) == 3
