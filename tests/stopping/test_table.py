"""Each rule by name gives the scheduler and the steps that a sweep file means."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune import result
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    ResourceChangingScheduler,
    TrialScheduler,
)

from tests.conftest import ACCURACY, LOSS
from tuner.errors import SpecError
from tuner.metric import Goal, Metric
from tuner.records import TrialRecord, TrialState
from tuner.spec.space import SearchSpace
from tuner.stopping.asking import Asking
from tuner.stopping.names import RAYS_OWN, metric_key
from tuner.stopping.replay import replay
from tuner.stopping.standin import NOBODY, SchedulerTrial
from tuner.stopping.table import STEP, TIME, make_stopping

SPACE = SearchSpace.from_dict(
    {
        "lr": {"min": 1e-3, "max": 0.1, "distribution": "log_uniform_values"},
        "width": {"min": 8, "max": 64, "q": 8, "distribution": "q_uniform"},
        "optimizer": {"values": ["sgd", "adam"]},
        "momentum": {"min": 0.0, "max": 0.9, "when": {"optimizer": "sgd"}},
        "epochs": 9,
    }
)


def test_without_a_rule_nothing_is_asked() -> None:
    stopping = make_stopping(None, [LOSS], SPACE)
    assert isinstance(stopping.scheduler, FIFOScheduler)
    assert not any(stopping.asking(step, step - 1) for step in range(1, 100))


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ({"type": "asha", "min_iter": 1, "max_iter": 27, "eta": 3}, [1, 3, 9, 27]),
        ({"type": "asha", "min_iter": 2, "max_iter": 10, "eta": 2}, [2, 4, 8, 10]),
        ({"type": "asha", "min_iter": 1, "max_iter": 6, "eta": 1.5}, [1, 2, 3, 4, 6]),
        ({"type": "hyperband", "min_iter": 1, "max_iter": 9, "eta": 3, "s": 2}, [1, 3, 9]),
    ],
)
def test_successive_halving_is_asked_at_its_rungs_alone(rule: dict[str, object], asked: list[int]) -> None:
    stopping = make_stopping(rule, [LOSS], SPACE)
    assert isinstance(stopping.scheduler, ASHAScheduler)
    until = int(str(rule["max_iter"]))
    assert [step for step in range(1, until + 1) if stopping.asking(step, step - 1)] == asked
    assert all(stopping.asking(step, step - 1) for step in range(until, until + 5))
    assert stopping.asking.waits
    assert stopping.max_iter == rule["max_iter"]


def test_median_is_told_every_step_and_never_waited_for() -> None:
    stopping = make_stopping({"type": "median", "min_iter": 3, "min_samples": 4}, [ACCURACY], SPACE)
    assert isinstance(stopping.scheduler, MedianStoppingRule)
    assert stopping.asking == Asking(every=1, waits=False)


def test_pbt_stays_within_the_parameters_bounds() -> None:
    rule = {"type": "pbt", "interval": 3, "quantile": 0.25, "resample": 0.0}
    stopping = make_stopping(rule, [LOSS], SPACE)
    assert isinstance(stopping.scheduler, PopulationBasedTraining)
    config = {"params": {"lr": 0.1, "width": 64, "optimizer": "sgd", "momentum": 0.5, "epochs": 9}}
    for _ in range(50):
        trial = type("T", (), {"config": config})
        config, _ = stopping.scheduler._get_new_config(None, trial)
        assert SPACE.problems_of(config["params"]) == []
        assert config["params"]["momentum"] == 0.5


def test_any_scheduler_instance_is_asked_at_every_step() -> None:
    scheduler = ASHAScheduler(time_attr=STEP, max_t=5)
    stopping = make_stopping(scheduler, [ACCURACY], SPACE)
    # A copy: what it sees in this run is not to count once more in the next.
    assert stopping.scheduler is not scheduler
    assert isinstance(stopping.scheduler, ASHAScheduler)
    assert stopping.scheduler._metric == "accuracy"
    assert stopping.scheduler._mode == "max"
    assert scheduler._metric is None
    assert stopping.asking == Asking(every=1)
    assert stopping.max_iter == 5


def test_every_name_that_ray_tune_uses_is_known() -> None:
    constants = [*vars(result).values(), *result.AUTO_RESULT_KEYS, *result.DEBUG_METRICS]
    names = {value for value in constants if isinstance(value, str) and value.strip("_").replace("_", "").isalpha()}
    no_keys = {"default", "config", result.__name__, *(value for value in names if value[0].isupper())}
    assert names - no_keys <= RAYS_OWN


ASHA = {"type": "asha", "min_iter": 1, "max_iter": 9, "eta": 3}


@pytest.mark.parametrize("rule", [ASHA, {**ASHA, "type": "auto"}, ASHAScheduler(time_attr=STEP)])
def test_a_metric_that_is_named_as_something_of_ray_tunes_is_watched(rule: Any) -> None:
    scheduler = make_stopping(rule, [Metric("done", Goal.MINIMIZE)], SPACE).scheduler
    trial = SchedulerTrial("0000")
    scheduler.on_trial_add(None, trial)
    # Raises KeyError for what is not there.
    scheduler.on_trial_result(None, trial, {metric_key("done"): 0.5, STEP: 1, TIME: 1.0, "done": False})


def test_a_scheduler_that_watches_such_a_name_is_refused() -> None:
    with pytest.raises(SpecError, match="watches 'done', which Ray Tune uses itself; leave it out"):
        make_stopping(ASHAScheduler(time_attr=STEP, metric="done", mode="min"), [Metric("done", Goal.MINIMIZE)], SPACE)


def test_replay_fills_the_rungs_with_what_was_recorded() -> None:
    stopping = make_stopping({"type": "asha", "min_iter": 1, "max_iter": 9, "eta": 3}, [LOSS], SPACE)
    records = [
        TrialRecord(0, TrialState.COMPLETED, {}, {step: 1.0 / step for step in range(1, 10)}),
        TrialRecord(1, TrialState.PRUNED, {}, {1: 5.0}),
        TrialRecord(2, TrialState.FAILED, {}, {1: 0.5, 2: 0.4, 3: math.nan}),
        TrialRecord(3, TrialState.PENDING, {}, {1: 0.1, 2: 0.1}),
    ]
    replay(stopping.scheduler, records, [LOSS], stopping.asking, lambda number: [], lambda record: 0)
    rungs = {int(rung): recorded for rung, recorded in stopping.scheduler._brackets[0]._rungs}
    assert rungs[1] == {"0000": -1.0, "0001": -5.0, "0002": -0.5}
    assert {trial for trial, value in rungs[3].items() if value == value} == {"0000"}
    assert rungs[9] == {"0000": -1.0 / 9}


def median_after(*records: TrialRecord, restore_step: int = 0) -> MedianStoppingRule:
    stopping = make_stopping({"type": "median", "min_iter": 2, "min_samples": 2}, [LOSS], SPACE)
    scheduler = stopping.scheduler
    assert isinstance(scheduler, MedianStoppingRule)
    replay(scheduler, records, [LOSS], stopping.asking, lambda number: [], lambda record: restore_step)
    return scheduler


def told(scheduler: TrialScheduler, number: int, step: int, loss: float) -> str:
    trial = SchedulerTrial(f"{number:04d}")
    return str(scheduler.on_trial_result(NOBODY, trial, {"loss": loss, STEP: step}))


def curve(number: int, value: float, last: int = 5, state: TrialState = TrialState.COMPLETED) -> TrialRecord:
    return TrialRecord(number, state, {}, dict.fromkeys(range(1, last + 1), value))


def test_the_medians_of_a_resumed_sweep_are_those_of_before() -> None:
    scheduler = median_after(curve(0, 1.0), curve(1, 2.0), curve(2, 9.0))
    # The median of 1, 2 and 9 is 2: neither their mean nor the best or the worst.
    assert told(scheduler, 3, 2, 1.9) == TrialScheduler.CONTINUE
    assert told(scheduler, 4, 2, 2.1) == TrialScheduler.STOP
    # Nobody has come beyond the fifth step but two new ones at most.
    assert told(scheduler, 5, 6, 99.0) == TrialScheduler.CONTINUE


def test_a_trial_that_goes_on_is_one_to_the_median_rule_with_its_best_step_of_before() -> None:
    waiting = TrialRecord(2, TrialState.PENDING, {}, {1: 1.4, 2: 1.6, 3: 0.1})
    scheduler = median_after(curve(0, 1.0), curve(1, 2.0), waiting, restore_step=2)
    # Of its own it has 1.4; what comes after its checkpoint it will report again.
    assert told(scheduler, 2, 3, 5.0) == TrialScheduler.CONTINUE
    assert len(scheduler._results) == 3
    again = median_after(curve(0, 1.0), curve(1, 1.2), waiting, restore_step=2)
    assert told(again, 2, 3, 5.0) == TrialScheduler.STOP


def test_with_too_few_to_compare_with_the_median_rule_pauses_no_trial() -> None:
    waiting = SimpleNamespace(get_live_trials=lambda: [SchedulerTrial("0001", "PENDING")])
    trial = SchedulerTrial("0000")
    assert median_after().on_trial_result(waiting, trial, {"loss": 1.0, STEP: 9}) == TrialScheduler.CONTINUE


def test_trials_without_a_value_that_can_be_compared_hold_up_no_median() -> None:
    nan = TrialRecord(0, TrialState.FAILED, {}, {1: math.nan})
    diverged = TrialRecord(1, TrialState.FAILED, {}, {1: 1.0, 2: 1.0, 3: math.inf})
    scheduler = median_after(nan, diverged, curve(2, 2.0))
    assert told(scheduler, 3, 2, 1.6) == TrialScheduler.STOP
    assert told(scheduler, 4, 2, 1.4) == TrialScheduler.CONTINUE


@pytest.mark.parametrize("as_instance", [False, True])
def test_a_trial_has_the_same_bracket_in_each_run(as_instance: bool) -> None:
    rule: Any = {"type": "hyperband", "min_iter": 1, "max_iter": 9, "eta": 3, "s": 2}
    if as_instance:
        rule = ASHAScheduler(time_attr=STEP, max_t=9, reduction_factor=3, brackets=2)
    before = np.random.get_state()[1].tolist()
    found = []
    for order in (range(20), reversed(range(20))):
        scheduler = make_stopping(rule, [LOSS], SPACE).scheduler
        trials = [SchedulerTrial(f"{number:04d}") for number in order]
        for trial in trials:
            scheduler.on_trial_add(NOBODY, trial)
        brackets = {trial.trial_id: scheduler._trial_info[trial.trial_id] for trial in trials}
        found.append({trial_id: scheduler._brackets.index(bracket) for trial_id, bracket in brackets.items()})
    assert found[0] == found[1]
    assert set(found[0].values()) == {0, 1}
    # A user's loop that runs in this process draws what it would have drawn.
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        (ResourceChangingScheduler(ASHAScheduler()), "pass its base_scheduler"),
        (ASHAScheduler(time_attr="epoch", max_t=8), "time_attr is 'epoch'; use 'training_iteration'"),
        (ASHAScheduler(metric="zz", mode="max"), "watches 'zz', the sweep 'loss'"),
    ],
)
def test_an_instance_that_would_wait_in_vain_is_refused(scheduler: TrialScheduler, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        make_stopping(scheduler, [LOSS], SPACE)
