"""When to ask an early stopping rule: a plain value that is sent to the trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tuner.records import Report


@dataclass(frozen=True)
class Asking:
    """The steps at which a rule gets a trial's report, and whether the trial waits there for its answer.

    A trial need not report each step: its first report at or after one of these steps counts.

    Attributes:
        steps: the steps themselves, if they are few.
        every: all multiples of it; 0 for none, 1 for each step.
        last: this step and all later ones; 0 for none.
        waits: False if an answer may come late, to take effect at the next report.
    """

    steps: frozenset[int] = frozenset()
    every: int = 0
    last: int = 0
    waits: bool = True

    def __call__(self, step: int, before: int) -> bool:
        """Whether it gets the report of this step; `before` is the step of the trial's last report, 0 for none."""
        is_multiple = self.every > 0 and step // self.every > before // self.every
        return is_multiple or any(before < rung <= step for rung in self.steps) or step >= self.last > 0

    def select(self, reports: Sequence[Report], before: int) -> list[Report]:
        """The reports of a trial that it gets; `before` is the step of the report before them, 0 for none."""
        steps = pairwise([before, *(report.step for report in reports)])
        return [report for report, (last, step) in zip(reports, steps, strict=True) if self(step, last)]
