"""What is known of a trial that runs."""

from pathlib import Path

import pytest

from tuner.records import TrialState
from tuner.run_folder.trial_files import TrialFiles
from tuner.study.running_trial import Attempts, Running
from tuner.study.tensorboard import EventLog


def test_lost_nodes_count_from_the_last_checkpoint_on() -> None:
    attempts = Attempts()
    counted = []
    for restore_step in (0, 0, 4, 4, 4):
        attempts.count_lost_node(restore_step)
        counted.append(attempts.lost_nodes)
    assert counted == [1, 2, 1, 2, 3]


def test_a_trial_changes_its_state_as_trials_may(tmp_path: Path) -> None:
    running = Running(3, {}, TrialFiles(tmp_path), EventLog(tmp_path / "log"))
    for state in (TrialState.PREEMPTED, TrialState.PREEMPTED, TrialState.RUNNING, TrialState.PRUNED):
        running.become(state)
    for state in TrialState:
        with pytest.raises(ValueError, match=f"trial 3 is pruned and can't become {state.value}"):
            running.become(state)


def test_only_final_states_are_ends() -> None:
    for state in TrialState:
        assert state.is_final is not any(map(state.can_become, TrialState))
