"""What a trial is made with: where its reports go, and the other workers of it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from tuner.errors import StopTrial
from tuner.records import Report

T = TypeVar("T")

# Takes a report, and what ends the trial after it, if anything does; raises `StopTrial` to end it.
Deliver = Callable[[Report, StopTrial | None], None]


class Group(Protocol):
    """The workers of a trial, as one of them sees them; it has `world_size` of them, this one is `rank`."""

    rank: int
    world_size: int

    def prepare(self, thing: T) -> T:
        """Wrap a module for data parallel training, or give a data loader this worker's share."""

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean of each value over all workers; blocks until all have called it."""

    def gathered(self, files: Path | None) -> AbstractContextManager[list[Path]]:
        """The folders of all workers, for rank 0 and until the end of the `with`; blocks until all have called it."""
