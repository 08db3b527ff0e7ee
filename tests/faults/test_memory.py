"""A trial that Ray's own memory monitor ends: the sweep goes on, as after any other failure."""

from pathlib import Path

import pytest
from ray._private.utils import get_system_memory, get_used_memory

from tests.commands import Command
from tuner.records import FailureReason, TrialState
from tuner.results.listing import list_runs
from tuner.results.results import Results

# The trial takes that much, or half of what is free, before it is ended: other tests take and give back less meanwhile.
ROOM_BYTES = 6 << 30

SWEEP = """
name: swells
trainable: tests.faults.loops:swells
method: grid
metric: {name: loss}
parameters:
  step_bytes: {values: [536870912, 1]}
parallel: 1
"""


@pytest.mark.slow
def test_a_trial_that_rays_monitor_ends_is_told_and_the_next_one_runs(tmp_path: Path) -> None:
    (tmp_path / "swells.yaml").write_text(SWEEP)
    used, total = get_used_memory(), get_system_memory()
    threshold = (used + min(ROOM_BYTES, (total - used) / 2)) / total
    process = Command(
        *("run", str(tmp_path / "swells.yaml"), "--output", str(tmp_path / "runs")),
        RAY_memory_usage_threshold=f"{threshold:.4f}",
        RAY_memory_monitor_refresh_ms="100",
    )
    code, output = process.finish()
    assert code == 0, output
    assert "Traceback" not in output
    (folder,) = list_runs(tmp_path / "runs")
    results = Results(folder)
    swells, small = results.trials
    assert (swells.state, swells.reason) == (TrialState.FAILED, FailureReason.OOM)
    assert swells.message == "killed by Ray since memory ran out"
    assert "low on memory" in results.error(0)
    assert swells.curve
    assert small.state is TrialState.COMPLETED
