"""Who stands before whom, with one metric and with several."""

import numpy as np

from tuner.stopping.fronts import standing


def test_one_metric_is_its_value() -> None:
    values = np.array([[0.3], [0.1], [0.2]])
    assert standing(values).tolist() == [0.3, 0.1, 0.2]


def test_a_front_stands_before_the_next_and_its_ends_before_a_crowd() -> None:
    front = [[0.0, 4.0], [1.9, 2.1], [2.0, 2.0], [2.1, 1.9], [4.0, 0.0]]
    behind = [[-1.0, 3.0], [1.5, 1.5], [1.6, 1.4]]
    last = [[-2.0, -2.0]]
    found = standing(np.array([*behind, *last, *front]))
    assert found[4:].min() > found[:3].max() > found[:3].min() > found[3]
    ends, crowd = found[[4, 8]], found[5:8]
    assert ends.min() > crowd.max()
    # The middle one has the least room.
    assert crowd.argmin() == 1


def test_equal_results_stand_on_one_front() -> None:
    found = standing(np.array([[1.0, 1.0]] * 4 + [[0.0, 0.0]]))
    assert found[:4].min() > found[4]


def test_results_near_the_ends_of_what_floats_can_be_are_compared_without_a_warning() -> None:
    huge = 1.7e308
    with np.errstate(all="raise"):
        found = standing(np.array([[huge, -huge], [0.0, 0.0], [-huge, huge], [-huge, -huge]]))
    assert found[3] < found[:3].min()
    assert found[1] <= found[[0, 2]].min()
