"""The sampler that learns from partial curves: what it is given, what it asks for, and that it can be resumed."""

import functools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from scipy.optimize import check_grad
from scipy.stats import norm, rankdata

from tuner.methods.attributes import OUTCOME, VALUES
from tuner.methods.bayes import MultiFidelitySampler, gather, log_expected_improvement, scores, weighed
from tuner.methods.cube import Cube
from tuner.methods.gaussian_process import GaussianProcess, Kernel, Pairs, Points, negative_log_likelihood
from tuner.methods.table import make_sampler

SPACE = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "width": IntDistribution(8, 64, step=8),
    "depth": IntDistribution(1, 9),
    "optimizer": CategoricalDistribution(["sgd", "adam", None]),
}
LAST = 9


def train(trial: optuna.Trial) -> tuple[float, float]:
    """A loss after one step that says little, and the final one; best at lr 0.01, adam."""
    params = trial.params
    away = abs(math.log10(params["lr"]) + 2) + 0.5 * (params["optimizer"] != "adam")
    return away * 0.3 + 0.5 * math.sin(7 * params["depth"]), away


def sweep(study: optuna.Study, trials: int, sampler: Callable[[int], optuna.samplers.BaseSampler]) -> list[float]:
    """One in three trials goes on from the first step, fails at lr above 0.3; the final losses."""
    losses = []
    for number in range(len(study.trials), trials):
        study.sampler = sampler(number)
        trial = study.ask(SPACE)
        first, final = train(trial)
        trial.report(first, 1)
        if trial.params["lr"] > 0.3:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 3:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.report(final, LAST)
            study.tell(trial, final)
        losses.append(final)
    return losses


def ours(number: int) -> optuna.samplers.BaseSampler:
    return make_sampler("bayes", 0, number)


def test_it_asks_for_better_configurations_than_chance_does() -> None:
    found: list[float] = []
    by_chance: list[float] = []
    for seed in range(5):
        found += sweep(optuna.create_study(), 45, functools.partial(make_sampler, "bayes", seed))[25:]
        by_chance += sweep(optuna.create_study(), 45, lambda number, base=100 * seed: RandomSampler(base + number))[25:]  # type: ignore[misc]
    # All are seeded: this does not fail by chance. Of single sweeps it is 0.13 to 0.41.
    assert np.median(found) < 0.45 * np.median(by_chance)


def test_what_it_asks_for_is_a_function_of_the_study() -> None:
    whole = optuna.create_study()
    sweep(whole, 30, ours)
    storage = optuna.storages.InMemoryStorage()
    sweep(optuna.create_study(storage=storage, study_name="s"), 17, ours)
    again = optuna.load_study(storage=storage, study_name="s")
    sweep(again, 30, ours)
    assert [trial.params for trial in again.trials] == [trial.params for trial in whole.trials]


def test_trials_that_run_are_not_asked_for_again() -> None:
    study = optuna.create_study()
    sweep(study, 30, ours)
    asked = []
    for number in range(30, 36):
        study.sampler = MultiFidelitySampler(seed=number, random_share=0.0)
        asked.append(Cube(SPACE).point(study.ask(SPACE).params))
    distances = [np.linalg.norm(a - b) for i, a in enumerate(asked) for b in asked[:i]]
    assert min(distances) > 0.01
    assert np.median(distances) > 0.1


def test_what_a_running_trial_is_expected_to_show_is_not_asked_for_once_more() -> None:
    """Two that draw the same: the second one's choice is elsewhere, since the first one's is taken to be known."""
    study = optuna.create_study()
    sweep(study, 30, ours)
    distances = []
    for seed in range(12):
        pair = []
        for _ in range(2):
            study.sampler = MultiFidelitySampler(seed=seed, random_share=0.0)
            pair.append(study.ask(SPACE))
        distances.append(np.linalg.norm(np.subtract(*(Cube(SPACE).point(trial.params) for trial in pair))))
        for trial in pair:
            study.tell(trial, state=TrialState.PRUNED)
    # 0.5 where those that run are not looked at.
    assert np.median(distances) > 0.75


def test_each_suggestion_has_a_measure_and_weights_of_its_own() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    for number in range(10):
        study.sampler = RandomSampler(seed=number)
        study.tell(study.ask(SPACE), [number, (number * 7) % 10])
    one = optuna.create_study()
    sweep(one, 12, ours)
    promises: dict[str, list[dict[str, Any]]] = {"several": [], "one": []}
    for seed in range(24):
        for name, asked in (("several", study), ("one", one)):
            asked.sampler = MultiFidelitySampler(seed=seed, random_share=0.0)
            trial = asked.ask(SPACE)
            promises[name].append(json.loads(asked.trials[trial.number].system_attrs["tuner:promise"]))
            asked.tell(trial, state=TrialState.FAIL)
    worths = [promise["worth"] for promise in promises["one"]]
    assert 0 <= min(worths) < 0.2
    assert 0.6 < max(worths) <= 0.8
    assert {promise["worth"] for promise in promises["several"]} == {0.0}
    assert {tuple(promise["weights"]) for promise in promises["one"]} == {(1.0,)}
    weights = np.array([promise["weights"] for promise in promises["several"]])
    assert weights.sum(axis=1) == pytest.approx(np.ones(24))
    assert weights[:, 0].min() < 0.2
    assert weights[:, 0].max() > 0.8


def test_hyperparameters_are_fitted_to_all_objectives_alike() -> None:
    """Not to the weights of the one suggestion: they serve those that follow as well."""
    kernels = []
    for seed in (1, 5):
        study = optuna.create_study(directions=["minimize", "minimize"])
        for number in range(16):
            study.sampler = RandomSampler(seed=number)
            trial = study.ask(SPACE)
            away = math.log10(trial.params["lr"]) + 2
            study.tell(trial, [away**2, (trial.params["depth"] - 5) ** 2])
        study.sampler = MultiFidelitySampler(seed=seed, random_share=0.0)
        asked = study.ask(SPACE)
        attrs = study.trials[asked.number].system_attrs
        kernels.append((json.loads(attrs["tuner:kernel"]), json.loads(attrs["tuner:promise"])["weights"][0]))
    (first, weight), (second, other) = kernels
    assert abs(weight - other) > 0.2
    assert first == pytest.approx(second, rel=0.02, abs=0.02)


def test_a_space_that_has_grown_has_hyperparameters_of_its_own() -> None:
    study = optuna.create_study()
    sweep(study, 20, ours)
    study.sampler = MultiFidelitySampler(seed=1, random_share=0.0)
    grown = {**SPACE, "more": FloatDistribution(0.0, 1.0)}
    first = study.ask(grown)
    study.tell(first, 1.0)
    study.sampler = MultiFidelitySampler(seed=2, random_share=0.0)
    second = study.ask(grown)
    fitted = [json.loads(t.system_attrs["tuner:kernel"]) for t in study.trials if "tuner:kernel" in t.system_attrs]
    assert len({len(kernel) for kernel in fitted}) == 2
    assert set(second.params) == set(grown)


def test_earlier_sweeps_share_the_values_that_are_affordable() -> None:
    study, cube = optuna.create_study(), Cube(SPACE)
    sweep(study, 12, ours)
    earlier = []
    for base in (0, 1):
        one = optuna.create_study()
        sweep(one, 200, lambda number, base=base: RandomSampler(seed=1000 * base + number))  # type: ignore[misc]
        earlier.append(one.trials)
    data = gather(study.trials, cube, np.array([-1.0]), np.ones(1), np.random.default_rng(0), earlier)
    counts = [int((data.points.sweep == index).sum()) for index in range(3)]
    assert counts[1:] == [80, 80]


def test_of_several_objectives_the_values_at_a_step_count_and_of_one_the_best_up_to_it() -> None:
    for directions in (["maximize"], ["maximize", "maximize"]):
        study = optuna.create_study(directions=directions)
        for curve in ([0.1, 0.9, 0.2], [0.5, 0.5, 0.5]):
            trial = study.ask(SPACE)
            for step, value in zip((1, 3, 9), curve, strict=True):
                study._storage.set_trial_intermediate_value(trial._trial_id, step, value)
                trial.set_user_attr(f"{VALUES}{step}", [value, value])
            trial.set_user_attr(OUTCOME, {"state": "pruned"})
            study.tell(trial, state=TrialState.FAIL if len(directions) > 1 else TrialState.PRUNED)
        signs, weights = np.ones(len(directions)), np.full(len(directions), 1 / len(directions))
        data = gather(study.trials, Cube(SPACE), signs, weights, np.random.default_rng(0))
        last = data.y[data.points.t == data.points.t.max()]
        # The first trial was best on the way, the second is at the end.
        assert (last[0] > last[1]) == (len(directions) == 1)


def test_a_trial_keeps_its_promise_unless_it_is_worse_than_was_expected() -> None:
    study = optuna.create_study()
    sweep(study, 30, ours)
    study.sampler = MultiFidelitySampler(seed=3, random_share=0.0)
    for value, is_kept in [(-2.0, True), (9.0, False)]:
        trial = study.ask(SPACE)
        trial.report(value, 1)
        assert study.sampler.keeps_promise(study, trial.number) is is_kept
        study.tell(trial, state=TrialState.PRUNED)
    # A sweep that was begun before improvements had a measure goes on.
    trial = study.ask(SPACE)
    promise = json.loads(study.trials[trial.number].system_attrs["tuner:promise"])
    del promise["worth"]
    study._storage.set_trial_system_attr(trial._trial_id, "tuner:promise", json.dumps(promise))
    trial.report(-2.0, 1)
    assert study.sampler.keeps_promise(study, trial.number)
    study.tell(trial, state=TrialState.PRUNED)
    # Nothing was expected of one that came by chance.
    study.sampler = MultiFidelitySampler(seed=3, random_share=1.0)
    trial = study.ask(SPACE)
    trial.report(-2.0, 1)
    assert not study.sampler.keeps_promise(study, trial.number)


@pytest.mark.parametrize("has_earlier", [False, True])
def test_a_trial_that_begins_well_is_compared_neither_with_itself_nor_with_earlier_sweeps(has_earlier: bool) -> None:
    earlier, study = optuna.create_study(), optuna.create_study()
    sweep(earlier, 30, ours)
    sweep(study, 14 if has_earlier else 30, ours)
    for value in (-2.0, -1.6, -1.2, -0.8, -0.4, 0.0):
        study.sampler = MultiFidelitySampler(seed=6, random_share=0.0)
        study.sampler.learn_from([earlier.trials] if has_earlier else [])
        trial = study.ask(SPACE)
        trial.report(value, 1)
        assert study.sampler.keeps_promise(study, trial.number), value
        study.tell(trial, state=TrialState.FAIL)


def test_a_sweep_whose_first_trials_ended_without_a_value_goes_by_the_earlier_one() -> None:
    earlier, study = optuna.create_study(), optuna.create_study()
    sweep(earlier, 20, ours)
    for _ in range(10):
        study.tell(study.ask(SPACE), state=TrialState.PRUNED)
    study.sampler = MultiFidelitySampler(seed=3, random_share=0.0)
    study.sampler.learn_from([earlier.trials])
    assert set(study.ask(SPACE).params) == set(SPACE)


def test_the_model_is_given_rungs_and_failures() -> None:
    study = optuna.create_study()
    for curve, state in [
        ({1: 5.0, 2: 3.0, 3: 4.0, 5: 2.0}, TrialState.PRUNED),
        ({1: 1.0, 2: math.nan}, TrialState.FAIL),
        ({step: 6.0 - step for step in range(1, 10)}, TrialState.COMPLETE),
        ({}, None),
    ]:
        trial = study.ask(SPACE)
        for step, value in curve.items():
            trial.report(value, step)
        if state is not None:
            study.tell(trial, -3.0 if state is TrialState.COMPLETE else None, state)
    data = gather(study.trials, Cube(SPACE), np.array([-1.0]), np.ones(1), np.random.default_rng(0))
    assert np.exp(data.points.t * math.log(9)) == pytest.approx([1, 3, 5, 9, 1, 3, 9])
    # The best up to each step, smaller losses higher; a failure is below all.
    assert rankdata(data.y).tolist() == [2.5, 4.5, 6, 1, 2.5, 4.5, 7]
    assert len(data.pending) == 1


def test_scores_follow_the_distance_from_the_best_and_no_diverged_value() -> None:
    crowd = [0.9, 0.9001, 0.8999]
    found = scores(np.array([*crowd, 0.5, 0.6, 0.7, -1e30, -math.inf, math.nan]))
    assert found.mean() == pytest.approx(0.0)
    assert found.std() == pytest.approx(1.0)
    assert np.ptp(found[:3]) < 0.01
    # Told apart better towards the best, and all that is far below is equally bad.
    assert 1.05 < (found[5] - found[4]) / (found[4] - found[3]) < 2
    assert found[6:] == pytest.approx(found[6])
    assert found[6] < found[3]
    assert scores(np.array([-math.inf])).tolist() == [0.0]
    assert scores(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]
    with np.errstate(over="raise", invalid="raise"):
        found = scores(np.array([1.7e308, 1.0, -1.0, -1.7e308, 1.6e308]))
        assert np.argsort(-found).tolist()[:2] == [0, 4]
        assert np.isfinite(scores(np.array([1e308, -1e308, 0.0, 1e-308]))).all()
        # As two that stand as far apart, whatever they are.
        assert scores(np.array([1.7e308, -1.7e308])) == pytest.approx(scores(np.array([1.0, -1.0])))


def test_several_thousand_trials_are_held_to_as_many_values_as_are_affordable() -> None:
    study = optuna.create_study()
    sweep(study, 1500, lambda number: RandomSampler(seed=number))
    data = gather(study.get_trials(deepcopy=False), Cube(SPACE), np.array([-1.0]), np.ones(1), np.random.default_rng(0))
    assert len(data.y) == 400
    # 300 but for the 20 best, all of them first values here, and the last trial's one.
    assert (data.points.t == 1).sum() == 279


@pytest.mark.parametrize("reports_once", [True, False])
def test_of_too_many_values_the_best_and_those_of_the_trial_that_is_judged_are_kept(reports_once: bool) -> None:
    study, cube = optuna.create_study(), Cube(SPACE)
    study.sampler = RandomSampler(seed=0)
    for number in range(900):
        trial = study.ask(SPACE)
        trial.report(5.0 if number != 7 else 0.0, 1)
        if not reports_once and number % 2 and number != 7:
            trial.report(4.0, 3)
        study.tell(trial, state=TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False)
    for seed in range(5):
        data = gather(trials, cube, np.array([-1.0]), np.ones(1), np.random.default_rng(seed))
        assert len(data.y) == 400
        assert (data.points.x[data.y.argmax()] == cube.point(trials[7].params)).all()
        last = (data.points.x == cube.point(trials[-1].params)).all(axis=1)
        assert last.sum() == (1 if reports_once else 2)


def test_nothing_is_asked_for_twice_in_a_long_sweep_either() -> None:
    space = {"a": IntDistribution(0, 24), "b": IntDistribution(0, 24)}
    study = optuna.create_study()
    for number in range(600):
        params = {"a": number % 25, "b": number // 25}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=abs(params["a"] - 12) + 0.1))
    asked = []
    for seed in range(8):
        study.sampler = MultiFidelitySampler(seed=seed, random_share=0.0)
        asked.append(study.ask(space).params)
    assert all(params["b"] == 24 for params in asked)
    assert len({params["a"] for params in asked}) == 8


def test_what_a_trial_may_not_choose_is_asked_for_beside() -> None:
    """The best beside its cell of a grid, not what would be best in another cell."""
    study = optuna.create_study()
    found = {"sgd": set(), "adam": set()}
    for number in range(40):
        optimizer = ("sgd", "adam")[number % 2]
        study.enqueue_trial({"optimizer": optimizer})
        study.sampler = MultiFidelitySampler(seed=number, random_share=0.0)
        trial = study.ask()
        assert trial.suggest_categorical("optimizer", ["sgd", "adam"]) == optimizer
        x = trial.suggest_float("x", 0.0, 1.0)
        momentum = trial.suggest_float("momentum", 0.0, 1.0) if optimizer == "sgd" else 0.8
        study.tell(trial, (optimizer == "sgd") + abs(momentum - 0.8) + abs(x - (0.2 if optimizer == "sgd" else 0.9)))
        if number >= 20:
            found[optimizer].add((round(x, 3), round(momentum, 3)))
    x, momentum = np.array([*found["sgd"]]).T
    assert np.median(np.abs(x - 0.2)) < 0.1
    assert len(set(momentum)) == 10
    assert np.median(np.abs(momentum - 0.8)) < 0.25


def test_plain_optuna_may_count_from_0_and_tell_another_value_than_it_has_reported() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(30):
        study.sampler = MultiFidelitySampler(seed=number, random_share=0.0)
        trial = study.ask({"x": FloatDistribution(0.0, 1.0)})
        # One fold of two is the better the further off the mean is.
        trial.report(2.0 - 2 * trial.params["x"], 0)
        study.tell(trial, trial.params["x"])
    assert np.median([trial.params["x"] for trial in study.trials[15:]]) > 0.8


def test_conditional_parameters_and_those_of_one_value_are_handled() -> None:
    study = optuna.create_study()
    for number in range(20):
        study.sampler = MultiFidelitySampler(seed=number, random_share=0.0)
        trial = study.ask()
        optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
        momentum = trial.suggest_float("momentum", 0.0, 0.9) if optimizer == "sgd" else 0.0
        assert trial.suggest_int("epochs", 3, 3) == 3
        study.tell(trial, 1.0 - momentum)
    assert sum(trial.params["optimizer"] == "sgd" for trial in study.trials[10:]) > 5


def test_of_several_objectives_the_front_is_found() -> None:
    """All from x = 0.2 to 0.6 is on the front, where z is 0; one in three trials goes on from the first step."""

    def run(trials: int, sampler: Callable[[int], optuna.samplers.BaseSampler]) -> list[tuple[float, float]]:
        study = optuna.create_study(directions=["minimize", "maximize"])
        for number in range(trials):
            study.sampler = sampler(number)
            trial = study.ask({"x": FloatDistribution(-1.0, 2.0), "z": FloatDistribution(0.0, 1.0)})
            x, z = trial.params["x"], trial.params["z"]
            losses = [(x - 0.2) ** 2 + z, 1.0 - (x - 0.6) ** 2 - z]
            study._storage.set_trial_intermediate_value(trial._trial_id, 1, losses[0] + 0.3 * x)
            trial.set_user_attr(f"{VALUES}1", [losses[0] + 0.3 * x, losses[1]])
            if number % 3:
                trial.set_user_attr(OUTCOME, {"state": "pruned"})
                study.tell(trial, state=TrialState.FAIL)
            else:
                study._storage.set_trial_intermediate_value(trial._trial_id, LAST, losses[0])
                trial.set_user_attr(f"{VALUES}{LAST}", losses)
                study.tell(trial, losses)
        return [(trial.params["x"], trial.params["z"]) for trial in study.trials]

    found = np.array(run(60, ours)[30:])
    on_front = (found[:, 0] > 0.15) & (found[:, 0] < 0.65) & (found[:, 1] < 0.05)
    assert on_front.mean() > 0.4
    assert np.ptp(found[on_front, 0]) > 0.25
    by_chance = np.array(run(60, lambda number: RandomSampler(seed=number))[30:])
    assert ((by_chance[:, 0] > 0.15) & (by_chance[:, 0] < 0.65) & (by_chance[:, 1] < 0.05)).mean() < 0.1


def test_of_several_objectives_earlier_studies_teach_nothing() -> None:
    earlier = optuna.create_study()
    sweep(earlier, 12, ours)
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(12):
        sampler = MultiFidelitySampler(seed=number, random_share=0.0)
        sampler.learn_from([earlier.trials])
        study.sampler = sampler
        study.tell(study.ask(SPACE), [1.0, number])
    assert len({str(trial.params) for trial in study.trials}) == 12


def test_what_was_stopped_counts_by_its_values_and_what_failed_as_the_worst() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for values, is_stopped in (([1.0, 1.0], False), ([2.0, 0.0], True), ([3.0, math.nan], True)):
        trial = study.ask(SPACE)
        trial.set_user_attr(f"{VALUES}1", values)
        trial.set_user_attr(OUTCOME, {"state": "stopped" if is_stopped else "failed"})
        study.tell(trial, state=TrialState.FAIL)
    weights = np.array([0.5, 0.5])
    data = gather(study.trials, Cube(SPACE), np.array([1.0, -1.0]), weights, np.random.default_rng(0))
    assert data.y[1] > data.y[2] > data.y[0]
    assert data.even.tolist() == data.y.tolist()


def test_the_best_by_some_weights_is_on_the_front() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((200, 2))
    is_on_front = np.array([not ((values > row).all(axis=1)).any() for row in values])
    best = {int(weighed(values, rng.dirichlet([1.0, 1.0])).argmax()) for _ in range(300)}
    assert len(best) > 2
    assert all(is_on_front[index] for index in best)
    assert weighed(values[:, :1], np.ones(1)).tolist() == scores(values[:, 0]).tolist()


def test_points_stand_for_their_parameters() -> None:
    rng = np.random.default_rng(0)
    cube = Cube(SPACE)
    points = cube.mutate(cube.sample(50, rng), rng)
    assert points.shape == (50, 6)
    for point in points:
        params = cube.params(point)
        assert all(SPACE[name]._contains(SPACE[name].to_internal_repr(value)) for name, value in params.items())
        again = cube.params(cube.point(params))
        assert again.pop("lr") == pytest.approx(params.pop("lr"), rel=1e-9)
        assert again == params
    assert cube.point({"lr": 1.0}).tolist() == [1.0, 0.5, 0.5, 0.0, 0.0, 0.0]


def test_whole_numbers_are_sampled_alike_the_first_and_the_last_too() -> None:
    space = {"layers": IntDistribution(1, 5), "width": FloatDistribution(0.0, 0.4, step=0.1)}
    cube = Cube(space)
    params = [cube.params(point) for point in cube.sample(2000, np.random.default_rng(0))]
    for name in space:
        _, counts = np.unique([row[name] for row in params], return_counts=True)
        assert counts.tolist() == pytest.approx([400] * 5, abs=70)
    batch = Cube({"batch": IntDistribution(1, 8, log=True)})
    assert [batch.params(np.array([unit]))["batch"] for unit in (0.0, 0.3, 0.5, 1.0)] == [1, 1, 2, 8]


@pytest.mark.parametrize("num_earlier", [0, 2])
def test_the_process_fits_what_it_is_given_and_its_gradient_is_right(num_earlier: int) -> None:
    rng = np.random.default_rng(0)
    points = Points(rng.random((40, 2)), rng.choice([0.0, 0.5, 1.0], 40), rng.integers(num_earlier + 1, size=40))
    y = np.sin(3 * points.x[:, 0]) + points.t
    kernel, pairs = Kernel.prior_mean(2, num_earlier), Pairs.of(points)
    off = check_grad(
        lambda theta: negative_log_likelihood(Kernel(theta, 2), pairs, y)[0],
        lambda theta: negative_log_likelihood(Kernel(theta, 2), pairs, y)[1],
        kernel.theta + 0.1,
    )
    assert off < 1e-3
    model = GaussianProcess(kernel.fitted(points, y), points, y)
    asked = Points(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([1.0, 0.0]), np.array([0, num_earlier]))
    mean, deviation = model.predict(asked)
    assert mean == pytest.approx([np.sin(1.5) + 1, np.sin(1.5)], abs=0.05)
    assert (deviation < 0.2).all()
    assert model.mean(points) == pytest.approx(y, abs=0.05)
    # What is believed changes no expectation, and leaves less to be known.
    believing = model.believing(asked)
    assert believing.mean(asked) == pytest.approx(mean)
    assert (believing.predict(asked)[1] < deviation).all()


def test_an_earlier_sweep_counts_as_much_as_it_agrees() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 1))
    points = Points(x, np.ones(60), np.repeat([0, 1, 2], [10, 25, 25]))
    noise = rng.normal(size=60)
    kernel = Kernel.prior_mean(1, 2).fitted(points, np.where(points.sweep == 2, noise, np.sin(6 * x[:, 0])))
    like, unlike = kernel.values.agreement[1:]
    assert like > 0.7
    assert unlike < 0.5


def test_expected_improvement_does_not_underflow() -> None:
    z = np.array([-8.0, -1.0, 0.0, 3.0])
    assert log_expected_improvement(z) == pytest.approx(np.log(z * norm.cdf(z) + norm.pdf(z)), rel=1e-4)
    far = log_expected_improvement(np.linspace(-200, -5, 100))
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()
