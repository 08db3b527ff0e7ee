"""Halving that follows recent trials: who goes on, and what the first ones are compared with."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler

from tests.conftest import ACCURACY, LOSS
from tuner.records import Report, TrialRecord, TrialState
from tuner.spec.space import SearchSpace
from tuner.stopping.auto import RecentHalving
from tuner.stopping.replay import replay
from tuner.stopping.table import STEP, make_stopping

SPACE = SearchSpace.from_dict({"x": {"min": 0.0, "max": 1.0}})
RULE = {"type": "auto", "min_iter": 1, "max_iter": 27, "eta": 3}


def make() -> RecentHalving:
    scheduler = make_stopping(RULE, [ACCURACY], SPACE).scheduler
    assert isinstance(scheduler, RecentHalving)
    return scheduler


def goes_on(scheduler: RecentHalving, number: int, step: int, value: float) -> bool:
    trial = SimpleNamespace(trial_id=f"{number:04d}")
    decision = scheduler.on_trial_result(None, trial, {STEP: step, "accuracy": value})
    return decision == TrialScheduler.CONTINUE


def test_it_is_asked_at_its_rungs_alone() -> None:
    stopping = make_stopping(RULE, [LOSS], SPACE)
    assert [step for step in range(1, 28) if stopping.asking(step, step - 1)] == [1, 3, 9, 27]
    assert stopping.asking.waits
    assert stopping.max_iter == 27


def test_trials_that_report_in_strides_are_judged_at_the_first_report_from_a_rung_on() -> None:
    stopping = make_stopping(RULE, [ACCURACY], SPACE)
    assert [step for step in range(5, 31, 5) if stopping.asking(step, step - 5)] == [5, 10, 30]
    scheduler = stopping.scheduler
    assert isinstance(scheduler, RecentHalving)
    passed = [goes_on(scheduler, number, 5, (number * 7) % 30 / 30) for number in range(300)]
    assert passed[0], "nobody was there before it"
    assert 0.25 < sum(passed[30:]) / 270 < 0.42


def test_one_in_eta_goes_on_and_what_is_not_finite_stops_nothing() -> None:
    scheduler = make()
    passed = [goes_on(scheduler, number, 1, (number * 7) % 30 / 30) for number in range(300)]
    assert 0.25 < sum(passed[30:]) / 270 < 0.42
    assert goes_on(scheduler, 999, 1, math.nan)


def test_a_trial_that_keeps_its_promise_is_not_stopped_before_its_end() -> None:
    stopping = make_stopping(RULE, [ACCURACY], SPACE)
    scheduler = stopping.scheduler
    assert isinstance(scheduler, RecentHalving)
    stopping.consult(lambda number: number == 40)
    for number in range(40):
        goes_on(scheduler, number, 1, number / 100)
    assert not goes_on(scheduler, 43, 1, 0.0)
    assert [goes_on(scheduler, 40, step, 0.0) for step in (1, 3, 9, 27)] == [True, True, True, False]


def test_the_cutoff_follows_the_recent_trials() -> None:
    scheduler = make()
    for number in range(100):
        goes_on(scheduler, number, 1, number / 1000)
    # A crowd of near-copies that are all better than what came before: they are compared with each other.
    passed = [goes_on(scheduler, 100 + number, 1, 0.9 + (number * 37 % 100) / 1e4) for number in range(100)]
    assert sum(passed[40:]) < 30


def test_the_first_at_a_rung_must_have_stood_well_at_the_one_below() -> None:
    scheduler = make()
    assert goes_on(scheduler, 0, 1, 0.5)
    # Nothing is known yet that could let it pass to the third rung.
    assert not goes_on(scheduler, 0, 3, 0.6)
    for number in range(1, 12):
        goes_on(scheduler, number, 1, number / 100)
    assert goes_on(scheduler, 20, 1, 0.7)
    assert goes_on(scheduler, 20, 3, 0.1)


def passed_at_1(foretells: float, seed: int = 0) -> tuple[float, float]:
    """The share of late trials that pass the first rung, and the agreement found, where its order foretells the next.

    Args:
        foretells: the correlation of a trial's values at the two.
    """
    rng = np.random.default_rng(seed)
    scheduler, passed = make(), []
    for number in range(600):
        first, other = rng.normal(size=2)
        passed.append(goes_on(scheduler, number, 1, first))
        if passed[-1]:
            goes_on(scheduler, number, 3, foretells * first + math.sqrt(1 - foretells**2) * other)
    return sum(passed[300:]) / 300, scheduler.agreement(0)


def test_a_rung_is_trusted_as_far_as_it_foretells_the_next() -> None:
    shares, found = zip(*(passed_at_1(foretells) for foretells in (1.0, 0.0, -1.0)), strict=True)
    assert found == pytest.approx((0.93, 0.07, -0.8), abs=0.3)
    # One in three and one in twenty of the rest; 3 ** -0.5; all.
    assert shares == pytest.approx((0.37, 0.6, 0.97), abs=0.06)


def test_at_first_a_rung_is_taken_to_foretell_fairly_well() -> None:
    assert make().agreement(0) == 0.5
    # Nobody is held back by equal values at a step.
    scheduler = make()
    assert all(goes_on(scheduler, number, 1, 0.1) for number in range(20))
    for number in range(20):
        goes_on(scheduler, number, 3, number / 20)
    assert 0.0 < scheduler.agreement(0) < 0.5


def test_the_end_is_what_the_last_rung_foretells() -> None:
    scheduler = make_stopping({**RULE, "max_iter": 50}, [ACCURACY], SPACE).scheduler
    assert isinstance(scheduler, RecentHalving)
    for number in range(60):
        if goes_on(scheduler, number, 27, number * 7 % 60):
            assert not goes_on(scheduler, number, 50, -(number * 7 % 60))
    assert scheduler.agreement(3) < 0


def test_with_several_metrics_the_front_goes_on() -> None:
    scheduler = make_stopping(RULE, [ACCURACY, LOSS], SPACE).scheduler
    rng = np.random.default_rng(0)

    def passes(number: int, accuracy: float, loss: float) -> bool:
        result = {STEP: 1, "accuracy": accuracy, "loss": loss}
        trial = SimpleNamespace(trial_id=f"{number:04d}")
        return bool(scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE)

    # A larger accuracy costs loss; the cost of some is higher than it need be.
    passed = {True: 0, False: 0}
    for number in range(100, 400):
        accuracy, is_on_front = float(rng.random()), bool(number % 4 == 0)
        passed[is_on_front] += passes(number, accuracy, accuracy + (0.0 if is_on_front else 0.3 + rng.random()))
    assert passed[True] >= 65
    assert passed[False] < 50
    assert passes(1, 0.5, math.nan)


def test_a_trial_ends_at_its_full_length() -> None:
    scheduler = make()
    assert goes_on(scheduler, 0, 2, 0.5)
    assert not goes_on(scheduler, 0, 27, 1.0)


def test_replay_fills_its_rungs() -> None:
    stopping = make_stopping(RULE, [ACCURACY], SPACE)
    records = [TrialRecord(n, TrialState.PRUNED, {}, {1: n / 10, 2: 0.5, 3: n / 5}) for n in range(3)]
    replay(stopping.scheduler, records, [ACCURACY], stopping.asking, lambda number: [], lambda record: 0)
    assert [[float(*values) for values in rung.values()] for rung in stopping.scheduler._rungs[:2]] == [
        [0.0, 0.1, 0.2],
        [0.0, 0.2, 0.4],
    ]


def test_replay_tells_of_a_trial_that_is_to_go_on_what_it_will_not_report_again() -> None:
    stopping = make_stopping(RULE, [ACCURACY], SPACE)
    curve = {step: step / 100 for step in range(1, 11)}
    records = [TrialRecord(0, TrialState.PENDING, {}, curve), TrialRecord(1, TrialState.PENDING, {}, curve)]
    steps = {0: 5, 1: 0}
    replay(stopping.scheduler, records, [ACCURACY], stopping.asking, lambda n: [], lambda record: steps[record.number])
    assert [list(rung) for rung in stopping.scheduler._rungs] == [["0000"], ["0000"], [], []]


def test_replay_of_several_metrics_takes_them_from_what_was_reported() -> None:
    stopping = make_stopping(RULE, [ACCURACY, LOSS], SPACE)
    records = [TrialRecord(0, TrialState.COMPLETED, {}, {1: 0.5, 2: 0.6, 3: 0.7})]
    reports = [
        Report(step, {"accuracy": 0.4 + step / 10, "loss": 1 / step, "other": 9.0}, 0.0, 0.0) for step in (1, 2, 3, 4)
    ]
    replay(stopping.scheduler, records, [ACCURACY, LOSS], stopping.asking, lambda number: reports, lambda record: 0)
    assert [{key: value.tolist() for key, value in rung.items()} for rung in stopping.scheduler._rungs] == [
        {"0000": [0.5, -1.0]},
        {"0000": pytest.approx([0.7, -1 / 3])},
        {},
        {},
    ]


def test_no_trial_is_stopped_where_it_may_be_at_its_end() -> None:
    """Of trials that nobody has given a length, none is stopped at a step that no other has gone beyond."""
    stopping = make_stopping({"type": "auto", "min_iter": 1, "eta": 3}, [ACCURACY], SPACE)
    scheduler = stopping.scheduler
    assert isinstance(scheduler, RecentHalving)
    assert stopping.max_iter is None

    def run(number: int, length: int) -> int:
        """The step at which it ends."""
        trial, value = SimpleNamespace(trial_id=f"{number:04d}"), number * 7 % 30 / 30
        for step in range(1, length + 1):
            if stopping.asking(step, step - 1) and not goes_on(scheduler, number, step, value):
                break
        scheduler.on_trial_complete(None, trial, {STEP: step, "accuracy": value})
        return step

    assert [run(number, 1) for number in range(40)] == [1] * 40
    assert run(40, 27) == 27, "the first one to go on"
    lengths = [run(number, 27) for number in range(100, 220)]
    assert lengths.count(1) > 60
    assert lengths.count(27) > 2
    assert set(lengths) <= {1, 3, 9, 27}


@pytest.mark.parametrize("run_cap", [2, 4, 8, 16])
def test_of_a_few_trials_one_comes_to_its_end(run_cap: int) -> None:
    """Where the first at a rung wait for as many below as a long search has, none of a short one would."""
    rng = np.random.default_rng(run_cap)
    ends = []
    for _ in range(20):
        stopping = make_stopping(RULE, [ACCURACY], SPACE, run_cap)
        lengths = []
        assert isinstance(stopping.scheduler, RecentHalving)
        for number, value in enumerate(rng.random(run_cap)):
            steps = (step for step in (1, 3, 9, 27) if not goes_on(stopping.scheduler, number, step, float(value)))
            lengths.append(next(steps))
        ends.append(lengths)
    assert sum(27 in lengths for lengths in ends) >= 18
    assert run_cap < 16 or np.mean([sum(lengths) for lengths in ends]) < run_cap * 27 / 3


def test_a_small_grid_has_as_few_trials() -> None:
    grid = SearchSpace.from_dict({"x": {"grid": [0.1, 0.2, 0.3]}, "y": {"grid": [1, 2]}})
    for run_cap, known in ((None, 6), (4, 4), (100, 6)):
        scheduler = make_stopping(RULE, [ACCURACY], grid, run_cap).scheduler
        assert isinstance(scheduler, RecentHalving)
        assert scheduler.run_cap == known
    assert make_stopping(RULE, [ACCURACY], SPACE).scheduler.run_cap is None


def test_trials_side_by_side_are_judged_by_steps_between_the_rungs() -> None:
    stopping = make_stopping({"type": "auto", "min_iter": 1, "eta": 3}, [ACCURACY], SPACE)
    scheduler = stopping.scheduler
    assert isinstance(scheduler, RecentHalving)
    assert goes_on(scheduler, 0, 1, 0.9)
    stopping.watch([Report(2, {"accuracy": 0.9}, 2.0, 2.0)])
    assert not goes_on(scheduler, 1, 1, 0.1)


def test_what_was_believed_at_first_weighs_as_much_as_nine_trials() -> None:
    scheduler = make()
    for number in range(9):
        goes_on(scheduler, number, 1, number / 10)
        goes_on(scheduler, number, 3, number / 10)
    # Seen is full agreement, believed a half.
    assert scheduler.agreement(0) == pytest.approx((9 * 1.0 + 9 * 0.5) / 18)


def test_the_best_third_is_rounded_up() -> None:
    scheduler = make()
    for number in range(4):
        goes_on(scheduler, number, 1, number / 10)
        goes_on(scheduler, number, 3, number / 10)
    # The best two of four stand an eighth and three eighths of the way from the best.
    assert scheduler.agreement(0) == pytest.approx((4 * (0.5 - 0.25) * 3 + 9 * 0.5) / 13)


def test_agreement_is_judged_by_the_last_sixty() -> None:
    scheduler = make()
    for number in range(120):
        goes_on(scheduler, number, 1, number / 1000)
        goes_on(scheduler, number, 3, number / 1000 if number < 60 else -number / 1000)
    assert scheduler.agreement(0) == pytest.approx((60 * -1.0 + 9 * 0.5) / 69)


def test_a_trial_that_has_ended_shows_how_long_one_may_be() -> None:
    scheduler = make_stopping({"type": "auto", "min_iter": 1, "eta": 3}, [ACCURACY], SPACE).scheduler
    assert isinstance(scheduler, RecentHalving)
    for number in range(20):
        assert goes_on(scheduler, number, 1, 0.9), "it may be at its end"
    scheduler.on_trial_complete(None, SimpleNamespace(trial_id="0000"), {STEP: 2})
    assert not goes_on(scheduler, 43, 1, 0.1)


def test_the_first_three_at_a_rung_are_judged_by_the_one_below_and_then_by_their_own() -> None:
    scheduler = make()
    for number in range(12):
        goes_on(scheduler, number, 1, number / 100)
    passed = []
    for number, value in zip(range(20, 25), (0.3, 0.2, 0.1, 0.0, 0.9), strict=True):
        # Each is the best so far at the first rung.
        assert goes_on(scheduler, number, 1, 0.5 + number / 100)
        passed.append(goes_on(scheduler, number, 3, value))
    # However the first three stand among each other at the second; the fourth is the worst of four, the fifth the best.
    assert passed == [True, True, True, False, True]


@pytest.mark.parametrize(("run_cap", "num_before"), [(20, 2), (30, 3), (50, 5), (None, 9)])
def test_a_small_sweep_waits_for_a_tenth_of_its_trials(run_cap: int | None, num_before: int) -> None:
    for count, passes in ((num_before, True), (num_before - 1, False)):
        scheduler = make_stopping(RULE, [ACCURACY], SPACE, run_cap).scheduler
        assert isinstance(scheduler, RecentHalving)
        for number in range(count):
            goes_on(scheduler, number, 1, 0.1 * number)
        # The last of them is the best so far; without a tenth of all, or nine, nobody goes beyond the second rung.
        assert goes_on(scheduler, count - 1, 3, 0.5) is passes


def test_a_trial_that_has_skipped_a_rung_is_not_held_back_by_it() -> None:
    scheduler = make()
    for number in range(12):
        goes_on(scheduler, number, 1, number / 100)
    assert goes_on(scheduler, 30, 3, -1.0)
    assert not goes_on(scheduler, 0, 3, 1.0), "it was the worst where it was seen"
