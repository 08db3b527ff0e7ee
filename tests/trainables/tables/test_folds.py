import numpy as np
import pytest

from trainables.tables.folds import fold_numbers


def test_folds_hold_the_target_in_proportion() -> None:
    groups = np.arange(1000)
    labels = np.array([0] * 700 + [1] * 300)
    fold_of = fold_numbers(labels, groups, 5)
    assert np.bincount(fold_of).tolist() == [200] * 5
    assert all(abs((labels[fold_of == fold] == 1).sum() - 60) <= 2 for fold in range(5))
    values = np.random.default_rng(0).normal(size=1000)
    means = [values[fold_numbers(values, groups, 5) == fold].mean() for fold in range(5)]
    assert max(means) - min(means) < 0.1


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="3 groups of rows are too few for 5 parts: rows that are the same, or of one"):
        fold_numbers(np.zeros(60), np.arange(60) % 3, 5)
