"""When an early stopping rule has to be asked; a plain value that travels to the trials."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Asking:
    """At which steps a rule is told a trial's report, and whether the trial waits there for its answer.

    Attributes:
        steps: the steps themselves, where they are few.
        every: all multiples of it; 0 for none, 1 for each step.
        last: this step and all after it; 0 for none.
        waits: False where an answer may come late: it is then taken up at the next report.
    """

    steps: frozenset[int] = frozenset()
    every: int = 0
    last: int = 0
    waits: bool = True

    def __call__(self, step: int) -> bool:
        is_multiple = self.every > 0 and step % self.every == 0
        return is_multiple or step in self.steps or step >= self.last > 0
