"""The messages between the workers of a slot and the slot's process. Does not depend on Ray."""

from collections.abc import Mapping
from dataclasses import dataclass

from tuner.engine.process.report_queue import Ending
from tuner.records import Report

# The failure of a slot's process whose workers died before all had started, which is no trial's fault.
DIED_AT_START = "its workers died while they started"


@dataclass(frozen=True)
class Hello:
    """The first message of a worker; `place` describes its process for people, the ids are Ray's."""

    rank: int
    place: str
    node_id: str
    actor_id: str = ""


@dataclass(frozen=True)
class Reported:
    """A worker is at `trial.report` and waits for a `Reply`. `ends` is why the trial ends after it, set by rank 0."""

    report: Report
    ends: str = ""

    def __str__(self) -> str:
        return f"trial.report at step {self.report.step}"


@dataclass(frozen=True)
class Mean:
    """A worker is at `trial.mean`, or at something that uses it, and waits for a `Reply`."""

    values: Mapping[str, float]
    done_for: str = ""

    def __str__(self) -> str:
        return self.done_for or f"trial.mean of {', '.join(self.values)}"


@dataclass(frozen=True)
class Ended:
    """A worker's training loop has ended."""

    ending: Ending


@dataclass(frozen=True)
class Ready:
    """A worker has cleaned up; `unfit` says why it can't take another trial, or is empty."""

    unfit: str


@dataclass(frozen=True)
class Lost:
    """A worker's connection has ended, and with it the worker."""


@dataclass(frozen=True)
class Reply:
    """The answer to a waiting worker. `stop` is why its trial ends here, if it does."""

    stop: str = ""
    values: Mapping[str, float] | None = None


ToSlot = Hello | Reported | Mean | Ended | Ready | Lost
