"""Ray Tune's view of one trial of the study."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import DONE

from tuner.engine.driver.slots import Slot
from tuner.engine.process.report_queue import Ending
from tuner.engine.ray_compat.trials import NoStorage
from tuner.metric import Metric
from tuner.records import Report
from tuner.stopping.names import metric_key
from tuner.stopping.table import STEP, TIME


class RayTrial(Trial):  # type: ignore[misc]  # Ray's classes are untyped
    """A Ray Tune trial whose files, results and retries are the study's affair.

    Attributes:
        number: of the trial in the study.
        slot: what it is given of the cluster.
        folder: the run folder.
        ending: how its training loop ended by itself, once it has.
        on_params: called with a configuration that a rule has put in place of the trial's.
        killed_for: why this driver has killed its process, where it has.
        is_replaced: whether this driver has killed its process since it was never ready for the trial.
    """

    def __init__(
        self,
        number: int,
        params: Mapping[str, Any],
        restore_step: int,
        slot: Slot,
        folder: Path,
        on_params: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.number = number
        self.ending: Ending | None = None
        self.killed_for = ""
        self.is_replaced = False
        self.preparing_since: float | None = None
        self.slot = slot
        self._on_params = on_params
        config = {"number": number, "params": dict(params), "restore_step": restore_step}
        super().__init__(
            "tuner",
            config=config,
            trial_id=f"{number:04d}",
            stub=True,
            storage=NoStorage(trial_dir_name=f"{number:04d}", experiment_driver_staging_path=str(folder)),
        )

    def __hash__(self) -> int:
        # That of its stand-in, which a resumed sweep has told the rule of.
        return hash(self.trial_id)

    def create_placement_group_factory(self) -> None:
        self.placement_group_factory = self.slot.request

    def move(self, slot: Slot) -> None:
        """Give it another slot; to be called while it is not waiting for one."""
        self.slot = slot
        self.create_placement_group_factory()

    def init_local_path(self) -> None:
        """Its folder is the study's."""

    def handle_error(self, exc: Exception | None = None) -> None:
        """Its errors are the study's."""

    def should_recover(self) -> bool:
        """Retries are decided before Ray Tune hears of the error."""
        return False

    def set_ray_actor(self, ray_actor: Any) -> None:
        self.temporary_state.ray_actor = ray_actor

    def set_config(self, config: dict[str, Any]) -> None:
        """Population based training hands over another trial's config, changed: its number must not come along."""
        if config["params"] != self.config["params"]:
            self._on_params(config["params"])
        super().set_config({**config, "number": self.number})

    def go_back(self, params: Mapping[str, Any], restore_step: int) -> None:
        """It is to go on from its own checkpoint of a step, with the configuration of then."""
        super().set_config({**self.config, "params": dict(params), "restore_step": restore_step})

    def update_last_result(self, result: dict[str, Any]) -> None:
        self.run_metadata.last_result = result

    def closing(self, last: Report | None, metrics: Sequence[Metric]) -> dict[str, Any]:
        """What the rule is told of it at its end: its last report, or where that can't be compared the last one told.

        Rules compare others with trials that have ended, by their step and metric: one without would end the sweep.
        """
        if last is not None:
            return result_of(last)
        nothing = {**{metric_key(metric.name): math.nan for metric in metrics}, STEP: 0, TIME: 0.0}
        return {**nothing, **self.run_metadata.last_result}


def result_of(report: Report) -> dict[str, Any]:
    """A report as Ray Tune's schedulers know it."""
    metrics = {metric_key(name): value for name, value in report.metrics.items()}
    return {**metrics, STEP: report.step, TIME: report.time_s, DONE: False}
