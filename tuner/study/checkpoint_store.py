"""The checkpoints of a sweep on disk; deletes those that the retention rule does not need."""

import contextlib
import functools
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from tuner.metric import Goal
from tuner.records import TrialState
from tuner.run_folder.background import Beside
from tuner.run_folder.checkpoints import checkpoint_path, checkpoint_steps
from tuner.run_folder.owned_files import remove_checkpoint
from tuner.run_folder.trial_files import TrialFiles, trial_dir
from tuner.spec.sections import Checkpoints
from tuner.study.retention import SavedStep, removable_after, removable_while_running


class CheckpointStore:
    """The existing checkpoints, with the metric at their steps.

    Args:
        folder: the run folder.
        rule: the sweep's retention rule.
        beside: deletes in the background, after earlier work.
    """

    def __init__(self, folder: Path, rule: Checkpoints, goal: Goal, beside: Beside) -> None:
        self._folder = folder
        self._rule = rule
        self._goal = goal
        self._beside = beside
        self._found: dict[tuple[int, int], SavedStep] = {}
        self._pins: dict[int, deque[int]] = {}

    def add(self, number: int, step: int, value: float) -> None:
        """Register the checkpoint of a step, if it exists."""
        path = checkpoint_path(trial_dir(self._folder, number), step)
        if path.exists():
            size = sum(file.stat().st_size for file in path.rglob("*"))
            self._found[number, step] = SavedStep(number, step, value, size)

    def take_up(self, number: int, curve: Mapping[int, float]) -> None:
        """Register the checkpoints of a trial of an earlier run."""
        for step in checkpoint_steps(trial_dir(self._folder, number)):
            self.add(number, step, curve.get(step, float("nan")))

    def forget(self, number: int) -> None:
        """Forget all checkpoints of a trial, without deleting them."""
        self._found = {key: candidate for key, candidate in self._found.items() if key[0] != number}

    def pin(self, number: int, step: int) -> None:
        """Keep a checkpoint that another trial may continue from, until three more of its trial are pinned."""
        self._pins.setdefault(number, deque(maxlen=3)).append(step)

    def unpin(self) -> None:
        self._pins.clear()

    def drop_while_running(self, number: int) -> None:
        """Delete checkpoints that a running trial does not need."""
        own = [candidate for key, candidate in self._found.items() if key[0] == number]
        for step in removable_while_running(own, self._rule.keep, self._goal):
            self._drop(number, step)

    def drop_after(self, states: Mapping[int, TrialState]) -> None:
        """Delete checkpoints that the sweep does not need; `states` holds the finished trials."""
        max_bytes = None if self._rule.max_gb is None else self._rule.max_gb * 2**30
        for number, step in removable_after(list(self._found.values()), states, self._rule.keep, max_bytes, self._goal):
            self._drop(number, step)

    def drop_late(self, number: int) -> None:
        """Delete what a trial saved after the decision to end it."""
        files = TrialFiles(trial_dir(self._folder, number))
        files.tidy()
        for step in checkpoint_steps(files.folder):
            if (number, step) not in self._found:
                files.drop_checkpoint(step)

    def _drop(self, number: int, step: int) -> None:
        if step not in self._pins.get(number, ()):
            path = checkpoint_path(trial_dir(self._folder, number), step)
            with contextlib.suppress(FileNotFoundError):
                self._beside.do(functools.partial(_remove, path, path.stat().st_ino))
            del self._found[number, step]


def _remove(path: Path, inode: int) -> None:
    """Delete a checkpoint, unless another one was saved in its place since."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            remove_checkpoint(path)
