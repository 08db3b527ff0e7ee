"""What a trial may report that is no number, and a clock that jumps."""

import time
from pathlib import Path

import pytest

from tests.faults import loops
from tests.faults.scenes import check
from tests.sweeps import Told, sweep
from tuner.records import FailureReason, TrialState

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]


def test_what_is_no_number_fails_its_trial_and_no_other(tmp_path: Path) -> None:
    what = ["nan", "infinite", "text", "array", "missing", "none"]
    results = sweep(loops.reports, tmp_path, parameters={"what": {"values": what}}, method="grid")
    told = {trial.params["what"]: trial for trial in results.trials}
    assert all(trial.state is TrialState.FAILED for trial in told.values())
    reasons = {name: trial.reason for name, trial in told.items()}
    nan = dict.fromkeys(("nan", "infinite"), FailureReason.NAN)
    assert reasons == dict.fromkeys(what, FailureReason.ERROR) | nan
    for name, trial in told.items():
        assert max(trial.curve) == (2 if name in nan else 1)
        assert len(trial.message) < 300
        assert "loss" in trial.message
    assert sum(path.stat().st_size for path in results.folder.rglob("*") if path.is_file()) < 1 << 20
    assert results.best is not None
    assert results.best.value == 1.0


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, real = Told(), time.time
    # By a day to and fro, four times a second; in the trials' processes too.
    monkeypatch.setattr(time, "time", lambda: real() + 86400 * (int(real() * 4) % 3 - 1))
    results = sweep(
        loops.walk,
        tmp_path,
        told,
        parameters={
            "epochs": 9,
            "step_s": 0.1,
            "marks": str(tmp_path),
            "how": "jumps",
            "at": 2,
            "x": {"min": 0.0, "max": 1.0},
        },
        run_cap=4,
        budget={"hours": 1},
        stall_timeout=60.0,
    )
    check(results, tmp_path, told.events)
    assert all(0 < trial.duration_s < 60 for trial in results.trials)
