"""Reads a run folder: its trials, the best of them, their curves. Works while the sweep runs as well."""

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tuner.object_storage.object_store import ObjectStore
from tuner.object_storage.run_at_uri import open_run
from tuner.records import Report, TrialRecord, TrialState, best_of
from tuner.run_folder.checkpoints import checkpoint_path, digest
from tuner.run_folder.control import CONTROL_FILE, Verb
from tuner.run_folder.journal import JOURNAL_FILE
from tuner.run_folder.place import Place, Uri
from tuner.run_folder.run import Run
from tuner.run_folder.trial_files import ERROR_FILE, METRICS_FILE, SPEC_FILE, finite, read_json, read_reports, trial_dir
from tuner.spec.file import read_spec
from tuner.spec.sweep_spec import SweepSpec
from tuner.study.study import Study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Best:
    """The best step of a sweep, over the whole curves of all trials.

    Attributes:
        params: the configuration that the step was trained with.
        checkpoint: its folder, a `Uri` where the run is at one; None where no state was saved at that step.
    """

    trial: TrialRecord
    step: int
    value: float
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    checkpoint: Place | None


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


_ASKED = {
    Verb.RESUME: SweepState.RUNNING,
    Verb.PAUSE: SweepState.PAUSED,
    Verb.STOP: SweepState.STOPPING,
    Verb.CANCEL: SweepState.STOPPING,
}
_ENDED = {
    "stopped": SweepState.STOPPED,
    "cancelled": SweepState.CANCELLED,
    "interrupted": SweepState.INTERRUPTED,
}


class Results:
    """The results of a sweep as they are at this moment.

    Args:
        folder: the run folder.
        place: of a run at a URI that one; `folder` is its local copy then.

    Raises `StudyNotFoundError` where the folder holds none.
    """

    def __init__(self, folder: Path, *, place: Place | None = None) -> None:
        self._read(Run(folder, place))

    def _read(self, run: Run) -> None:
        self.run = run
        self.folder = folder = run.bring(SPEC_FILE, JOURNAL_FILE, CONTROL_FILE, "best/*.json")
        self.place = run.place
        self.spec, self.provenance = read_spec(folder, self.place)
        study = Study(
            folder,
            self.provenance["study"],
            self.provenance.get("storage"),
            self.spec.metrics,
            self.spec.parameters,
            write=False,
        )
        self.trials: list[TrialRecord] = study.records()
        self.summary: dict[str, Any] = study.summary()
        study.close()

    @classmethod
    def read(cls, folder: Place | str) -> Self:
        """Of a run folder, which may be at a URI: its checkpoints stay there."""
        return cls.of(open_run(folder))

    @classmethod
    def of(cls, run: Run) -> Self:
        """Of a run as it was at its last look."""
        results = cls.__new__(cls)
        results._read(run)
        return results

    def bring(self, place: Place) -> Path:
        """The local path of a file or folder of this run, such as `best.checkpoint`; from a URI it is brought here."""
        if isinstance(place, Path):
            return place
        name = place.path.removeprefix(f"{Uri(str(self.place)).path}/")
        return self.run.bring(name, f"{name}/*") / name

    def _file(self, path: Path) -> Path:
        """A file in `folder`, brought there where it has to be."""
        self.run.bring(path.relative_to(self.folder).as_posix())
        return path

    def _reports(self, number: int) -> list[Report]:
        return read_reports(self._file(trial_dir(self.folder, number) / METRICS_FILE).parent)

    def _exists(self, folder: Path) -> bool:
        return self.run.has_folder(folder.relative_to(self.folder).as_posix())

    def place_of(self, path: Path) -> Place:
        """A path in `folder` as those know it who know `place`."""
        return path if self.place is self.folder else self.place / path.relative_to(self.folder).as_posix()

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {state}" for state, number in self.counts().items())
        best = self.best
        told = (
            f"best {self.spec.metrics[0].name}={best.value:.6g} of trial {best.trial.number}" if best else "no best yet"
        )
        return f"<Results {str(self.place)!r}: {counts or 'no trials'}; {told}>"

    @property
    def best(self) -> Best | None:
        """None until a trial has reported a finite value."""
        found = best_of(((trial.number, trial.curve) for trial in self.trials), self.spec.metrics[0].goal)
        if found is None:
            return None
        trial, step = self.trials[found.number], found.step
        folder = trial_dir(self.folder, trial.number)
        report = next((r for r in self._reports(trial.number) if r.step == step), None)
        checkpoint = checkpoint_path(folder, step)
        is_other = report is not None and report.digest != "" and digest(checkpoint) not in ("", report.digest)
        if (is_other or not self._exists(checkpoint)) and self._is_in_best(trial.number, step):
            checkpoint = self.folder / "best"
        return Best(
            trial,
            step,
            found.value,
            trial.params_at(step),
            dict(report.metrics) if report else {},
            self.place_of(checkpoint) if self._exists(checkpoint) else None,
        )

    def _is_in_best(self, number: int, step: int) -> bool:
        """Whether `best/` holds that step's checkpoint; a folder may have been fetched without the trials' own."""
        written = read_json(self.folder / "best" / "best.json")
        return (written.get("trial"), written.get("step"), written.get("checkpoint")) == (number, step, True)

    @property
    def pareto_front(self) -> list[TrialRecord]:
        """Completed trials that no other one beats in every metric; with one metric the best and its equals."""
        goals = [metric.goal for metric in self.spec.metrics]
        done = [trial for trial in self.trials if len(trial.values) == len(goals)]

        def beats(a: TrialRecord, b: TrialRecord) -> bool:
            pairs = list(zip(goals, a.values, b.values, strict=True))
            return not any(goal.better(y, x) for goal, x, y in pairs) and any(goal.better(x, y) for goal, x, y in pairs)

        return [trial for trial in done if not any(beats(other, trial) for other in done)]

    @property
    def is_running(self) -> bool:
        """Whether its driver was there at the last look."""
        return self.run.is_running

    @property
    def state(self) -> SweepState:
        if self.is_running:
            return _ASKED[self.run.asked]
        ended_by = self.summary.get("ended_by")
        if ended_by is None or any(trial.state is TrialState.RUNNING for trial in self.trials):
            return SweepState.CRASHED
        return SweepState.FAILED if self.summary.get("is_failure") else _ENDED.get(ended_by, SweepState.FINISHED)

    @property
    def exit_code(self) -> int:
        """What a command that ends with the sweep exits with: 0, 1 for a failure, 130 where it is to be resumed."""
        state = self.state
        if state in (SweepState.INTERRUPTED, SweepState.CRASHED):
            return 130
        is_good = state in (SweepState.STOPPED, SweepState.CANCELLED) or self.best is not None
        return 0 if is_good and state is not SweepState.FAILED else 1

    def counts(self) -> dict[str, int]:
        counts = Counter(trial.state for trial in self.trials)
        return {state.value: counts[state] for state in TrialState if counts[state]}

    def curve(self, number: int) -> list[Report]:
        """Every report of a trial."""
        return self._reports(number)

    def error(self, number: int) -> str:
        """The traceback of a trial that failed, empty where there is none."""
        path = self._file(trial_dir(self.folder, number) / ERROR_FILE)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def counted_metrics(self, trial: TrialRecord) -> dict[str, float]:
        """All metrics of the report that a trial counts with: its best step, or its last where there are several."""
        first = self.spec.metrics[0]
        step = trial.best_step(first.goal) if len(self.spec.metrics) == 1 else max(trial.curve, default=None)
        if step is None:
            return {}
        report = next((r for r in self.curve(trial.number) if r.step == step), None)
        return {first.name: trial.curve[step], **(report.metrics if report else {})}

    def table(self) -> "pd.DataFrame":
        """One row a trial: number, state, steps, best step, what it had reported at that step, then the parameters.

        With several metrics the values are those of the last step, which a trial counts with.
        """
        import pandas as pd  # takes as long as the rest of this module together

        goal = self.spec.metrics[0].goal
        names = [metric.name for metric in self.spec.metrics]
        counted_of = {trial.number: self.counted_metrics(trial) for trial in self.trials}
        # A metric or a parameter may bear the name of another column, also of one that this trial has no value in.
        taken = {"trial", "state", "reason", "steps", "best_step", "duration_s"}
        reported = {name for counted in counted_of.values() for name in (*counted, *names)}
        metric_column = {name: f"metrics.{name}" if name in taken else name for name in reported}
        taken |= {*metric_column.values()}
        rows = []
        for trial in self.trials:
            counted = counted_of[trial.number]
            row: dict[str, Any] = {
                "trial": trial.number,
                "state": trial.state.value,
                "reason": trial.reason.value if trial.reason else None,
                "steps": max(trial.curve, default=0),
                **{metric_column[name]: counted.get(name) for name in names},
                "best_step": trial.best_step(goal),
                "duration_s": trial.duration_s,
            }
            row |= {metric_column[name]: value for name, value in counted.items() if name not in names}
            rows.append(row | {f"params.{key}" if key in taken else key: value for key, value in trial.params.items()})
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """What `tuner show --json` prints; docs/json.md describes it."""
        return {
            "name": self.spec.name,
            "folder": str(self.place),
            "running": self.is_running,
            "state": self.state.value,
            "metric": self.spec.metrics[0].name,
            "goal": self.spec.metrics[0].goal.value,
            "metrics": [{"name": metric.name, "goal": metric.goal.value} for metric in self.spec.metrics],
            "method": self.spec.method,
            "counts": self.counts(),
            "summary": self.summary,
            "best": self.best_json(),
            "pareto_front": [trial.number for trial in self.pareto_front] if len(self.spec.metrics) > 1 else None,
            "trials": [trial_json(trial, self.spec) for trial in self.trials],
        }

    def best_json(self) -> dict[str, Any] | None:
        best = self.best
        if best is None:
            return None
        test = read_json(self.folder / "best" / "test.json")
        return {
            "trial": best.trial.number,
            "state": best.trial.state.value,
            "step": best.step,
            "value": best.value,
            "metrics": {name: finite(value) for name, value in best.metrics.items()},
            "params": dict(best.params),
            "checkpoint": str(best.checkpoint) if best.checkpoint else None,
            "test": test if (test.get("trial"), test.get("step")) == (best.trial.number, best.step) else None,
        }


def trial_json(trial: TrialRecord, spec: SweepSpec) -> dict[str, Any]:
    step = trial.best_step(spec.metrics[0].goal)
    return {
        "number": trial.number,
        "state": trial.state.value,
        "reason": trial.reason.value if trial.reason else None,
        "message": trial.message,
        "params": dict(trial.params),
        "steps": max(trial.curve, default=0),
        "best_step": step,
        "best_value": trial.curve[step] if step is not None else None,
        "values": list(trial.values) or None,
        "duration_s": trial.duration_s,
        "curve": {str(s): finite(value) for s, value in trial.curve.items()},
    }


def list_runs(output: Place) -> list[Place]:
    """The run folders in a folder, newest first; one may have been made a moment ago and hold no study yet."""
    if isinstance(output, Uri):
        store = ObjectStore(output)
        names = store.folders()
        found = dict(zip(names, store.find(*(f"{name}/{SPEC_FILE}" for name in names)), strict=True))
        made = {name: entry.changed_at_s for name, entry in found.items() if entry is not None}
        return [output / name for name in sorted(made, key=lambda name: made[name], reverse=True)]
    folders = [path.parent for path in output.glob(f"*/{SPEC_FILE}") if not path.parent.name.startswith(".")]
    return [*sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)]
