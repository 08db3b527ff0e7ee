"""The task of a simulated sweep: configurations, each with its training curve."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tuner.metric import Metric
from tuner.spec.space import SearchSpace


class Task(Protocol):
    """A space of configurations, each with a curve of `max_step` values."""

    @property
    def space(self) -> SearchSpace: ...

    @property
    def metrics(self) -> Sequence[Metric]: ...

    @property
    def max_step(self) -> int: ...

    @property
    def rows(self) -> Sequence[Mapping[str, Any]] | None:
        """All recorded configurations; None if every configuration of the space has a curve."""

    def values(self, params: Mapping[str, Any], steps: range) -> Sequence[Any]:
        """The metric at 1-based steps, or a tuple of all metrics at each; NaN if training has diverged."""


def blocks(max_step: int) -> list[range]:
    """The steps 1 to `max_step` in pieces that grow like rungs: most trials need only the first."""
    edges = [0, *itertools.takewhile(lambda edge: edge < max_step, (3**k for k in itertools.count())), max_step]
    return [range(first + 1, last + 1) for first, last in itertools.pairwise(edges)]
