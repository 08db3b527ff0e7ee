"""A simulated sweep tells its study what a real one would."""

import pytest

from tests.simulation.tasks import Overtaken, Slopes
from tuner.records import FailureReason, TrialState
from tuner.results.start_from import History
from tuner.simulation.simulator import simulate
from tuner.simulation.sweep import SimulatedSweep


def test_our_study_is_told_what_the_engine_would_tell() -> None:
    method = SimulatedSweep(Slopes(), 0, "random", {"type": "asha", "min_iter": 1, "max_iter": 9, "eta": 3})
    simulate(Slopes(), method, workers=4, budget=150)
    records = [record for record in method._study.records() if record.state.is_final]
    by_state = {state: [r for r in records if r.state is state] for state in TrialState}
    assert all(max(r.curve) == 9 and r.values == (max(r.curve.values()),) for r in by_state[TrialState.COMPLETED])
    assert {max(r.curve) for r in by_state[TrialState.PRUNED]} <= {1, 3}
    assert all(r.reason is FailureReason.NAN for r in by_state[TrialState.FAILED])
    assert by_state[TrialState.COMPLETED]
    assert by_state[TrialState.PRUNED]
    method.close()


def test_what_begins_low_and_ends_high_is_found() -> None:
    task = Overtaken()
    method = SimulatedSweep(task, 0, "bayes", {"type": "auto", "min_iter": 1, "max_iter": 27, "eta": 3})
    run = simulate(task, method, workers=2, budget=27 * 10)
    method.close()
    # What is ahead at the first rung ends at 0.7.
    assert max(run.reports) > 0.9


def test_a_sweep_that_starts_from_another_begins_with_the_best_of_it() -> None:
    task, rule = Slopes(), {"type": "auto", "min_iter": 1, "max_iter": 9, "eta": 3}
    earlier = SimulatedSweep(task, 1, "random", rule)
    simulate(task, earlier, workers=4, budget=180)
    records = earlier.records()
    earlier.close()
    history = History.of([records, []], task.metrics[0], task.space)
    best = sorted((max(record.curve.values()) for record in records if record.curve), reverse=True)
    assert [params["x"] for params in history.start_with] == pytest.approx(best[:3])
    assert [len(trials) for trials in history.trials] == [sum(bool(record.curve) for record in records), 0]
    warm = SimulatedSweep(task, 2, "bayes", rule, history)
    simulate(task, warm, workers=4, budget=36)
    assert [record.params for record in warm.records()[:3]] == list(history.start_with)
    warm.close()
