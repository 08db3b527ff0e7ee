"""Keeps `best/` at the best step while a sweep runs, in the background."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.records import BestStep
from tuner.run_folder.background import Beside
from tuner.run_folder.best_folder import is_written, write_best
from tuner.study.study import Study
from tuner.trial.seeds import derive_seed

# How long the files of a checkpoint may be missing while it is saved again.
REPLACE_S = 1.0


class BestKeeper:
    """`best/` of a run folder.

    Args:
        folder: the run folder.
        seed: the sweep's.
    """

    def __init__(self, folder: Path, study: Study, seed: int, beside: Beside) -> None:
        self._folder = folder
        self._study = study
        self._seed = seed
        self._beside = beside
        self._wanted: BestStep | None = None

    def keep(self, best: BestStep | None, *, surely: bool = False) -> None:
        """Update it in the background unless it holds that step; `surely` checks even if nothing changed."""
        if best is None or (best == self._wanted and not surely):
            return
        self._wanted = best
        params = self._study.record(best.number).params_at(best.step)
        self._beside.do(lambda: self._write(best, params))

    def forget(self) -> None:
        """Forget the best step after it was undone: a new report of it counts as another step."""
        self._wanted = None

    def _write(self, best: BestStep, params: Mapping[str, Any]) -> None:
        # If another step is the best by now, that one comes next.
        if best != self._wanted or is_written(self._folder, best):
            return
        for is_last in (False, True):
            try:
                write_best(self._folder, best, params, derive_seed(self._seed, best.number))
                return
            except FileNotFoundError:
                if is_last:
                    raise
                time.sleep(REPLACE_S)  # its trial has reached that step again, and is saving it
