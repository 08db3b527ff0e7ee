"""Nodes that can't write to their own disk rest for a while, and trials run on the others."""

import time
from collections.abc import Callable, Collection

# How long a node rests before it is used again.
REST_S = 600.0


class RestingNodes:
    """The resting nodes, by their ids."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the nodes that rest now."""
        now = self._clock()
        return frozenset(node for node, until in self._until.items() if until > now)

    def rest(self, node: str, others: Collection[str]) -> bool:
        """Rest a node; return False and do nothing if none of the `others` would be left to run trials."""
        if not set(others) - self.ids - {node}:
            return False
        self._until[node] = self._clock() + REST_S
        return True
