"""Ranks results among each other, with one value or several each."""

import numpy as np


def standing(values: np.ndarray) -> np.ndarray:
    """`[n]` for `[n, metrics]`, larger is better; with one metric simply its value.

    With several it is the front of a result, and on a front the distance to its neighbours (Deb et al., NSGA-II, 2002):
    results at a front's ends and in sparse parts rank before those in dense parts.
    """
    if values.shape[1] == 1:
        return values[:, 0]
    found = np.zeros(len(values))
    left = np.arange(len(values))
    depth = 0
    while len(left):
        of_left = values[left]
        dominates = (of_left[:, None] >= of_left).all(axis=2) & (of_left[:, None] > of_left).any(axis=2)
        is_first = ~dominates.any(axis=0)
        front = left[is_first]
        found[front] = _room(values[front]) - depth
        left, depth = left[~is_first], depth + 1
    return found


def _room(front: np.ndarray) -> np.ndarray:
    """`[n]` for `[n, metrics]`, from 0 to 0.5: 0.5 at a front's ends, smaller the nearer the neighbours."""
    room = np.zeros(len(front))
    # Half the values keep their order, and all their differences are finite.
    for column in front.T / 2:
        order = np.argsort(column)
        gaps = np.diff(column[order], prepend=-np.inf, append=np.inf)
        width = np.ptp(column) or 1.0
        room[order] += (gaps[1:] + gaps[:-1]) / width
    return 0.5 - 0.5 / (1.0 + room)
