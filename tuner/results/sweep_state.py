"""Where a sweep stands."""

import enum


class SweepState(enum.Enum):
    """Where a sweep stands. CRASHED: its driver is gone and has not said why."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
