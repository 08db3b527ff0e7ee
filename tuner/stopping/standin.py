"""As much of a Ray Tune trial as its schedulers look at, for trials that Ray Tune does not run."""

from dataclasses import dataclass


@dataclass
class SchedulerTrial:
    trial_id: str
    status: str = "RUNNING"

    def is_finished(self) -> bool:
        return self.status == "TERMINATED"
