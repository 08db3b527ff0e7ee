"""As much of a Ray Tune trial as its schedulers look at, for trials that Ray Tune does not run."""

from dataclasses import dataclass


@dataclass(eq=False)
class SchedulerTrial:
    """Equal to whatever has its id: what a scheduler was told of a trial counts for the one that goes on."""

    trial_id: str
    status: str = "RUNNING"

    def __eq__(self, other: object) -> bool:
        return bool(getattr(other, "trial_id", None) == self.trial_id)

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def is_finished(self) -> bool:
        return self.status == "TERMINATED"


class _Nobody:
    """In the place of Ray Tune's controller where no trial runs."""

    def get_trials(self) -> list[SchedulerTrial]:
        return []

    def get_live_trials(self) -> list[SchedulerTrial]:
        return []


NOBODY = _Nobody()
