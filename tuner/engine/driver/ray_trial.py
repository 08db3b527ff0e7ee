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
    """A Ray Tune trial whose files, results and retries the study handles.

    Attributes:
        number: of the trial in the study.
        slot: its share of the cluster.
        folder: the run folder.
        ending: how its training loop ended, once it has.
        on_params: called with a configuration that a rule has chosen in place of the trial's.
        killed_for: why this driver killed its process, if it did.
        is_replaced: whether this driver killed its process because it was never ready for the trial.
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
        # The id of its stand-in, which a resumed sweep has passed to the rule.
        return hash(self.trial_id)

    def create_placement_group_factory(self) -> None:
        self.placement_group_factory = self.slot.request

    def move(self, slot: Slot) -> None:
        """Give it another slot; call this only while it is not waiting for one."""
        self.slot = slot
        self.create_placement_group_factory()

    def init_local_path(self) -> None:
        """Do nothing: the study creates its folder."""

    def handle_error(self, exc: Exception | None = None) -> None:
        """Do nothing: the study records its errors."""

    def should_recover(self) -> bool:
        """False: retries are decided before Ray Tune sees the error."""
        return False

    def set_ray_actor(self, ray_actor: Any) -> None:
        self.temporary_state.ray_actor = ray_actor

    def set_config(self, config: dict[str, Any]) -> None:
        """Take a config, changed, from another trial (population-based training), without that trial's number."""
        if config["params"] != self.config["params"]:
            self._on_params(config["params"])
        super().set_config({**config, "number": self.number})

    def go_back(self, params: Mapping[str, Any], restore_step: int) -> None:
        """Make it resume from its own checkpoint of a step, with the configuration of that step."""
        super().set_config({**self.config, "params": dict(params), "restore_step": restore_step})

    def update_last_result(self, result: dict[str, Any]) -> None:
        self.run_metadata.last_result = result

    def closing(self, last: Report | None, metrics: Sequence[Metric]) -> dict[str, Any]:
        """The result for the rule at its end: its last report, or if that can't be compared the last one passed.

        Rules compare others with ended trials, by their step and metric: a trial without them would end the sweep.
        """
        if last is not None:
            return result_of(last)
        nothing = {**{metric_key(metric.name): math.nan for metric in metrics}, STEP: 0, TIME: 0.0}
        return {**nothing, **self.run_metadata.last_result}


def result_of(report: Report) -> dict[str, Any]:
    """A report in the form of Ray Tune's schedulers."""
    metrics = {metric_key(name): value for name, value in report.metrics.items()}
    return {**metrics, STEP: report.step, TIME: report.time_s, DONE: False}
