"""When an early stopping rule has to be asked; a plain value that travels to the trials."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Asking:
    """At which steps a rule is told a trial's report, and whether the trial waits there for its answer.

    Attributes:
        steps: the steps themselves, where they are few.
        every: all multiples of it; 0 for none, 1 for each step.
        waits: False where an answer may come late: it is then taken up at the next report.
    """

    steps: frozenset[int] = frozenset()
    every: int = 0
    waits: bool = True

    def __call__(self, step: int) -> bool:
        return step in self.steps or (self.every > 0 and step % self.every == 0)
