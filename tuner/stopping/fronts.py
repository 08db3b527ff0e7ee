"""How well each of several results stands among the others, whether they have one value or several."""

import numpy as np


def standing(values: np.ndarray) -> np.ndarray:
    """`[n]` of `[n, metrics]`, larger is better, which of one metric is its value.

    Of several it is the front that a result is on, and on a front how far its neighbours there are (Deb et al.,
    NSGA-II, 2002): those at a front's ends, and in the open, stand before those in a crowd.
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
    """`[n]` of `[n, metrics]`, from 0 to 0.5, which is that of a front's ends: less the nearer the neighbours."""
    room = np.zeros(len(front))
    # Of half the values, which stand to each other likewise, every difference is a float.
    for column in front.T / 2:
        order = np.argsort(column)
        gaps = np.diff(column[order], prepend=-np.inf, append=np.inf)
        width = np.ptp(column) or 1.0
        room[order] += (gaps[1:] + gaps[:-1]) / width
    return 0.5 - 0.5 / (1.0 + room)
