"""Stand-ins for Ray Tune's trials, with what its schedulers need, for trials that Ray Tune does not run."""

from dataclasses import dataclass


@dataclass(eq=False)
class SchedulerTrial:
    """Equal to anything with its id: replayed reports count for the resumed trial."""

    trial_id: str
    status: str = "RUNNING"

    def __eq__(self, other: object) -> bool:
        return bool(getattr(other, "trial_id", None) == self.trial_id)

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def is_finished(self) -> bool:
        return self.status == "TERMINATED"


class _Nobody:
    """Replaces Ray Tune's controller while no trial runs."""

    def get_trials(self) -> list[SchedulerTrial]:
        return []

    def get_live_trials(self) -> list[SchedulerTrial]:
        return []


NOBODY = _Nobody()
