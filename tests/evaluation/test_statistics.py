import json

import numpy as np
import pytest
from scipy import stats

from tuner.evaluation.statistics import Gain, estimate, gain
from tuner.metric import Goal


def found(tuned: list[float], default: list[float], goal: Goal = Goal.MAXIMIZE) -> Gain:
    result = gain(dict(enumerate(tuned)), dict(enumerate(default)), goal)
    assert result is not None
    return result


def test_the_interval_is_students() -> None:
    values = [0.9, 0.92, 0.91, 0.95, 0.93]
    result = estimate(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (result.mean, result.num_seeds) == (pytest.approx(np.mean(values)), 5)
    assert result.half_width == pytest.approx((high - low) / 2)
    assert estimate([0.1 + 0.2, 0.3, 0.3]).half_width == 0


def test_the_interval_holds_the_mean_about_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    samples = [estimate(list(random.normal(1.0, 2.0, size=5))) for _ in range(2000)]
    hits = sum(abs(result.mean - 1.0) <= (result.half_width or 0.0) for result in samples)
    assert 1850 < hits < 1950  # five standard deviations each way; the seed is fixed besides


def test_pairing_by_seed_finds_what_is_hidden_between_seeds() -> None:
    default = [0.80, 0.90, 0.70, 0.95, 0.85]
    tuned = [value + extra for value, extra in zip(default, [0.010, 0.012, 0.009, 0.011, 0.010], strict=True)]
    result = found(tuned, default)
    assert result.is_beyond_noise
    assert result.is_better
    assert result.p == pytest.approx(stats.ttest_rel(tuned, default).pvalue)
    assert result.verdict == "larger than the seeds' noise"
    assert found(default, tuned).verdict == "a loss, larger than the seeds' noise"
    assert found(default, tuned, Goal.MINIMIZE).verdict == "larger than the seeds' noise"


def test_a_gain_within_the_noise_is_said_to_be() -> None:
    result = found([0.80, 0.90, 0.70], [0.78, 0.93, 0.69])
    assert not result.is_beyond_noise
    assert result.verdict == "not larger than the seeds' noise"


def test_one_seed_tells_no_noise_and_no_seed_nothing() -> None:
    result = found([0.9], [0.8])
    assert (result.p, result.is_beyond_noise) == (None, False)
    assert "one seed" in result.verdict
    assert gain({0: 0.9}, {1: 0.8}, Goal.MAXIMIZE) is None


def test_configurations_that_the_seed_does_not_change_need_no_test() -> None:
    result = found([0.1 + 0.2] * 3, [0.2] * 3)
    assert (result.p, result.is_beyond_noise, result.is_better) == (None, True, True)
    assert not found([0.2] * 3, [0.2] * 3).is_beyond_noise


def test_only_seeds_that_have_both_count() -> None:
    result = gain({0: 1.0, 1: 2.0, 3: 9.0}, {0: 0.5, 1: 1.4, 2: 9.0}, Goal.MAXIMIZE)
    assert result is not None
    assert result.difference.num_seeds == 2
    assert result.difference.mean == pytest.approx(0.55)
    assert json.loads(json.dumps(result.to_json()))["num_seeds"] == 2
