"""What is decided about a trial whose attempt has failed, without Ray."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import report
from tests.study.test_recorder import open_recorder
from tuner.engine.driver.remedies import MAX_LOSSES, MAX_LOST_NODES, Remedy, remedy_for
from tuner.engine.process.report_queue import Ending
from tuner.records import FailureReason, TrialState
from tuner.study.running_trial import Running

ERROR = Ending(TrialState.FAILED, FailureReason.ERROR, "ValueError: no")
NAN = Ending(TrialState.FAILED, FailureReason.NAN, "loss is nan at step 1")
LOST = Ending(TrialState.FAILED, FailureReason.LOST, "its process died")
EXITED = Ending(TrialState.FAILED, FailureReason.LOST, "its process died with exit code 3", ended_itself=True)
LOST_NODE = Ending(TrialState.FAILED, FailureReason.LOST, "its node was lost", lost_node=True)
NO_METRIC = Ending(TrialState.FAILED, FailureReason.ERROR, "MetricError: no loss", lacks_metric=True)
NO_STORAGE = Ending(TrialState.FAILED, FailureReason.ERROR, "OSError: full", lacks_storage=True)
NO_NODE_STORAGE = Ending(TrialState.FAILED, FailureReason.ERROR, "OSError: full", lacks_node_storage=True)
NO_MEMORY = Ending(TrialState.FAILED, FailureReason.OOM, "CUDA out of memory", lacks_gpu_memory=True)


def decide(ending: Ending, running: Running, retries: int = 0, **others: Any) -> Remedy:
    known: dict[str, Any] = {"has_reports": True, "is_winding_down": False, "has_whole_gpu": lambda: True}
    known |= {"rests_node": lambda: False}
    return remedy_for(ending, running, retries=retries, **{**known, **others})


@pytest.fixture
def running(tmp_path: Path) -> Running:
    running = open_recorder(tmp_path).ask()
    assert running is not None
    return running


def test_an_error_is_retried_as_often_as_the_sweep_says(running: Running) -> None:
    assert [decide(ERROR, running, retries=2) for _ in range(3)] == [Remedy.RETRY, Remedy.RETRY, Remedy.FAIL]


def test_nan_is_never_retried(running: Running) -> None:
    assert decide(NAN, running, retries=5) is Remedy.FAIL


@pytest.mark.parametrize("retries", [0, 2])
def test_a_process_that_dies_before_the_first_report_is_replaced_three_times_for_free(
    running: Running, retries: int
) -> None:
    decided = [decide(LOST, running, retries) for _ in range(MAX_LOSSES + retries + 1)]
    assert decided == [Remedy.RETRY] * (3 + retries) + [Remedy.FAIL]


@pytest.mark.parametrize("ending", [NO_STORAGE, NO_NODE_STORAGE])
def test_an_outage_is_the_affair_of_a_node_where_others_can_write(running: Running, ending: Ending) -> None:
    assert decide(ending, running, rests_node=lambda: True) is Remedy.MOVE
    assert decide(ending, running) is Remedy.WAIT
    assert running.attempts.retries == 0
    expected = Remedy.WAIT if ending.lacks_storage else Remedy.LEAVE
    assert decide(ending, running, is_winding_down=True) is expected


def test_one_that_ends_itself_would_do_so_again(running: Running) -> None:
    assert [decide(EXITED, running, retries=1) for _ in range(2)] == [Remedy.RETRY, Remedy.FAIL]


def test_one_that_dies_after_a_report_is_not(running: Running) -> None:
    running.last = report(1, 0.5)
    assert decide(LOST, running) is Remedy.FAIL
    # Gone on with from that step, it has not begun again.
    running.restore_step = 1
    assert decide(LOST, running) is Remedy.RETRY


def test_an_error_before_the_first_report_takes_no_free_replacement(running: Running) -> None:
    assert decide(ERROR, running) is Remedy.FAIL


def test_ten_lost_nodes_without_a_newer_checkpoint_are_no_failure(running: Running) -> None:
    running.last = report(5, 0.5)
    assert [decide(LOST_NODE, running) for _ in range(MAX_LOST_NODES)] == [Remedy.RETRY] * 10
    assert running.state is TrialState.PREEMPTED
    assert decide(LOST_NODE, running) is Remedy.FAIL
    # With a newer one the count begins anew.
    running.restore_step = 5
    assert decide(LOST_NODE, running) is Remedy.RETRY
    assert running.attempts.lost_nodes == 1


def test_a_lost_node_takes_no_retry(running: Running) -> None:
    running.last = report(5, 0.5)
    decide(LOST_NODE, running, retries=1)
    assert running.attempts.retries == 0
    assert decide(ERROR, running, retries=1) is Remedy.RETRY


@pytest.mark.parametrize(
    ("gpus", "has_whole_gpu", "remedy"),
    [
        (0.25, True, Remedy.WHOLE_GPU),
        (0.25, False, Remedy.FAIL),
        (1.0, True, Remedy.FAIL),
        (0.0, True, Remedy.FAIL),
    ],
)
def test_only_a_trial_on_a_share_of_a_gpu_gets_a_whole_one(
    running: Running, gpus: float, has_whole_gpu: bool, remedy: Remedy
) -> None:
    running.gpus = gpus
    assert decide(NO_MEMORY, running, has_whole_gpu=lambda: has_whole_gpu) is remedy


def test_the_first_report_without_the_metric_refuses_the_sweep_and_a_later_one_fails(running: Running) -> None:
    assert decide(NO_METRIC, running, has_reports=False) is Remedy.REFUSE
    assert decide(NO_METRIC, running, has_reports=True) is Remedy.FAIL


def test_storage_that_fails_is_waited_for(running: Running) -> None:
    assert decide(NO_STORAGE, running, has_reports=False) is Remedy.WAIT
    assert decide(NO_STORAGE, running, is_winding_down=True) is Remedy.WAIT


def test_while_a_sweep_winds_down_nothing_is_tried_again(running: Running) -> None:
    assert decide(LOST, running, retries=3, is_winding_down=True) is Remedy.LEAVE
    assert decide(ERROR, running, retries=3, is_winding_down=True) is Remedy.FAIL
