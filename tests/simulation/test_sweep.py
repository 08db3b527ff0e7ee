"""A simulated sweep tells its study what a real one would."""

from tests.simulation.tasks import Slopes
from tuner.simulation.simulator import simulate
from tuner.simulation.sweep import SimulatedSweep
from tuner.trial import FailureReason, TrialState


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
