"""Reads a run folder: its trials, the best of them, their curves. Works while the sweep runs as well."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tuner.object_storage.run_at_uri import open_run
from tuner.records import Report, TrialRecord, TrialState, best_of
from tuner.results.as_json import best_json, results_json
from tuner.results.best import Best
from tuner.results.sweep_state import SweepState
from tuner.results.table import table_of
from tuner.run_folder.checkpoints import checkpoint_path, digest
from tuner.run_folder.control import CONTROL_FILE, Verb
from tuner.run_folder.journal import JOURNAL_FILE
from tuner.run_folder.place import Place, Uri
from tuner.run_folder.run import Run
from tuner.run_folder.trial_files import ERROR_FILE, METRICS_FILE, SPEC_FILE, read_json, read_reports, trial_dir
from tuner.spec.file import read_spec
from tuner.study.study import Study

if TYPE_CHECKING:
    import pandas as pd


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
    """The results of a sweep as they are at this moment; works while the sweep runs as well.

    Args:
        folder: the run folder. Of one at a URI, or a name: `Results.read`.
        place: of a run at a URI that one; `folder` is its local copy then.

    Raises:
        StudyNotFoundError: the folder holds no sweep.

    Attributes:
        spec: the sweep's description.
        trials: a record for each trial, by number: its `state`, `params`, `curve`, `message`, ...
        summary: how the sweep ended: `ended_by`, `message`, ...; empty before.
        place: where the run folder is.
        folder: where it can be read on this machine.

    Example:
        >>> results = tuner.Results.read("runs/digits-7f3a")
        >>> results
        <Results 'runs/digits-7f3a': 2 completed, 1 pruned; best accuracy=0.9 of trial 1>
        >>> [trial.number for trial in results.trials if trial.state.is_final]
        [0, 1, 2]
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
        """The results in a run folder.

        Args:
            folder: its path, or a URI; the checkpoints of one at a URI stay there.

        Returns:
            The results as they are at this moment.

        Raises:
            StudyNotFoundError: there is no sweep.
            ObjectStoreError: the URI can't be read.

        Example:
            >>> results = tuner.Results.read("runs/digits-7f3a")
        """
        return cls.of(open_run(folder))

    @classmethod
    def of(cls, run: Run) -> Self:
        """The results of a run as it was at its last look.

        Args:
            run: what `open_run` gives.

        Returns:
            The same as `read` gives for its folder.
        """
        results = cls.__new__(cls)
        results._read(run)
        return results

    def bring(self, place: Place) -> Path:
        """The local path of a file or folder of this run; from a URI it is brought here, which blocks.

        Args:
            place: such as `best.checkpoint`.

        Returns:
            A path on this machine.

        Example:
            >>> state = torch.load(results.bring(results.best.checkpoint) / "state.pt", weights_only=True)
        """
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
        """A path in `folder` as those know it who know `place`.

        Args:
            path: in `folder`.

        Returns:
            The same path, or a URI where the run is at one.
        """
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
        """The best step of all trials.

        Returns:
            None until a trial has reported a finite value.

        Example:
            >>> best = results.best
            >>> print(best.value, best.step, best.params["lr"])
            0.9 3 0.1
        """
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
        """The completed trials that no other one beats in every metric; with one metric the best and its equals.

        Returns:
            Their records, by number.

        Example:
            >>> [trial.number for trial in results.pareto_front]
            [1]
        """
        goals = [metric.goal for metric in self.spec.metrics]
        done = [trial for trial in self.trials if len(trial.values) == len(goals)]

        def beats(a: TrialRecord, b: TrialRecord) -> bool:
            pairs = list(zip(goals, a.values, b.values, strict=True))
            return not any(goal.better(y, x) for goal, x, y in pairs) and any(goal.better(x, y) for goal, x, y in pairs)

        return [trial for trial in done if not any(beats(other, trial) for other in done)]

    @property
    def is_running(self) -> bool:
        """Whether the sweep's driver was there at the last look.

        Returns:
            False of a sweep that has ended or was cut off.
        """
        return self.run.is_running

    @property
    def state(self) -> SweepState:
        """Where the sweep stands.

        Returns:
            A `SweepState`; its `value` is the word that `tuner list` prints.

        Example:
            >>> results.state.value
            'finished'
        """
        if self.is_running:
            return _ASKED[self.run.asked]
        ended_by = self.summary.get("ended_by")
        if ended_by is None or any(trial.state is TrialState.RUNNING for trial in self.trials):
            return SweepState.CRASHED
        return SweepState.FAILED if self.summary.get("is_failure") else _ENDED.get(ended_by, SweepState.FINISHED)

    @property
    def exit_code(self) -> int:
        """What a command that ends with the sweep exits with.

        Returns:
            0; 1 for a failure, 130 where the sweep is to be resumed.
        """
        state = self.state
        if state in (SweepState.INTERRUPTED, SweepState.CRASHED):
            return 130
        is_good = state in (SweepState.STOPPED, SweepState.CANCELLED) or self.best is not None
        return 0 if is_good and state is not SweepState.FAILED else 1

    def counts(self) -> dict[str, int]:
        """How many trials are in each state.

        Returns:
            Numbers by the state's name; states without a trial are left out.

        Example:
            >>> results.counts()
            {'completed': 2, 'pruned': 1}
        """
        counts = Counter(trial.state for trial in self.trials)
        return {state.value: counts[state] for state in TrialState if counts[state]}

    def curve(self, number: int) -> list[Report]:
        """Every report of a trial.

        Args:
            number: of the trial.

        Returns:
            Its reports in order, with `step`, `metrics`, `time_s`, ...

        Example:
            >>> for report in results.curve(results.best.trial.number):
            ...     print(report.step, report.metrics["accuracy"])
            1 0.5
            2 0.8
            3 0.9
        """
        return self._reports(number)

    def error(self, number: int) -> str:
        """The traceback of a trial that failed.

        Args:
            number: of the trial.

        Returns:
            A text, empty where there is none.

        Example:
            >>> for trial in results.trials:
            ...     if trial.reason is not None:
            ...         print(results.error(trial.number))
        """
        path = self._file(trial_dir(self.folder, number) / ERROR_FILE)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def counted_metrics(self, trial: TrialRecord) -> dict[str, float]:
        """All metrics of the report that a trial counts with: the best step, or with several metrics the last.

        Args:
            trial: one of `trials`.

        Returns:
            Values by name; empty of a trial without a report.

        Example:
            >>> results.counted_metrics(results.trials[1])["accuracy"]
            0.9
        """
        first = self.spec.metrics[0]
        step = trial.best_step(first.goal) if len(self.spec.metrics) == 1 else max(trial.curve, default=None)
        if step is None:
            return {}
        report = next((r for r in self.curve(trial.number) if r.step == step), None)
        return {first.name: trial.curve[step], **(report.metrics if report else {})}

    def table(self) -> "pd.DataFrame":
        """A pandas data frame with a row for each trial.

        Its columns are number, state, steps, best step, what was reported at that step, then the parameters. With
        several metrics a trial is judged by the values at its last step, and these are shown.

        Returns:
            The data frame, rows by number.

        Example:
            >>> results.table()[["trial", "state", "accuracy"]].sort_values("accuracy", ascending=False).head(1)
               trial      state  accuracy
            1      1  completed       0.9
        """
        return table_of(self)

    def to_json(self) -> dict[str, Any]:
        """What `tuner show --json` prints; docs/reference/json.md describes it.

        Returns:
            Values that JSON has; numbers that are not finite are None.

        Example:
            >>> results.to_json()["counts"]
            {'completed': 2, 'pruned': 1}
        """
        return results_json(self)

    def best_json(self) -> dict[str, Any] | None:
        """What `tuner best --json` prints; docs/reference/json.md describes it.

        Returns:
            None until a trial has reported a finite value.

        Example:
            >>> results.best_json()["value"]
            0.9
        """
        return best_json(self)
