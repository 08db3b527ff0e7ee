"""A sweep as a program sees it: describe, run, resume; the same in Python as from a file.

What it does once its run folder is there: `attempt`.
"""

import contextlib
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import optuna
from optuna.samplers import BaseSampler

from tuner.attempt import attempt, evaluate_or_tell, outlast
from tuner.console import Console, Tee, make_console
from tuner.errors import ClusterError, OccupiedError, ResourceError, SpecError
from tuner.object_storage.local_copy import opened
from tuner.results.results import Results
from tuner.results.start_from import gather_history
from tuner.run_folder.control import clear
from tuner.run_folder.folder import make_run_folder, mark_of_run
from tuner.run_folder.layout import remove_run
from tuner.run_folder.lock import RunLock
from tuner.run_folder.log import RunLog
from tuner.run_folder.outage import Outage
from tuner.run_folder.place import Place, Uri, as_place
from tuner.run_folder.provenance import PROVENANCE, provenance
from tuner.run_folder.trial_files import METRICS_FILE, SPEC_FILE, write_atomic
from tuner.spec.file import Trainable, check_same, differences, load_and_import, read_spec
from tuner.spec.keys import NONE
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.trainable import check_shadows, check_signature, import_trainable, label_of, name_of
from tuner.spec.yaml_text import to_yaml
from tuner.study.database import delete_study
from tuner.study.database_url import keep_private, recordable
from tuner.study.sweep_end import Verdict

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler


# In the place of an argument that is left out where None means something else.
_OWN: Any = object()


class Sweep:
    """A sweep to be run. Its arguments are the sweep file's keys.

    Args:
        train: `def train(trial)`, or its "module:function".
        parameters: the search space, as in the file.
        metric: `{"name": ..., "goal": ...}`, or a list of them.
        method: a method's name, or any Optuna sampler instance.
        early_terminate: as in the file, or any Ray Tune scheduler instance; None, as "none", stops no trial. Left out
            it is the method's own, and none beside a sampler instance.
        output: the folder, or the URI of a place in object storage, that the run folder is made in.
        storage: an Optuna RDB URL for the study; its journal in the run folder without one.
        keys: the file's other keys: `run_cap`, `budget`, `resources`, `seed`, ...

    Raises:
        SpecError: with all mistakes at once.

    Example:
        >>> sweep = tuner.Sweep(
        ...     "mytask:train",
        ...     parameters={
        ...         "epochs": 3,
        ...         "width": {"values": [8, 16, 32]},
        ...         "lr": {"min": 1e-4, "max": 0.1, "distribution": "log_uniform_values"},
        ...     },
        ...     metric={"name": "loss", "goal": "minimize"},
        ...     run_cap=4,
        ...     seed=0,
        ... )
        >>> results = sweep.run()
        >>> len(results.trials)
        4
    """

    spec: SweepSpec

    def __init__(
        self,
        train: Trainable | str,
        *,
        parameters: Mapping[str, Any],
        metric: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        method: str | BaseSampler = "bayes",
        early_terminate: "Mapping[str, Any] | str | TrialScheduler | None" = _OWN,
        output: Place | str = "runs",
        storage: str | None = None,
        **keys: Any,
    ) -> None:
        name = train if isinstance(train, str) else name_of(train)
        data = {**keys, "trainable": name, "parameters": parameters, "metric": metric}
        if isinstance(method, str):
            data["method"] = method
        is_scheduler = hasattr(early_terminate, "on_trial_result")
        if is_scheduler or early_terminate is None or (early_terminate is _OWN and not isinstance(method, str)):
            data["early_terminate"] = NONE
        elif early_terminate is not _OWN:
            data["early_terminate"] = early_terminate
        for key, given in (("method", method), ("early_terminate", early_terminate)):
            if isinstance(given, type):
                raise SpecError([f"{key}: {given.__name__} is a class; give an instance, {given.__name__}(...)."])
        spec = SweepSpec.from_dict(data, name_default=label_of(name))
        check_shadows(Path(getattr(sys.modules["__main__"], "__file__", None) or "x").resolve().parent)
        function = import_trainable(name, Path.cwd()) if isinstance(train, str) else train
        check_signature(function, name)
        rule = early_terminate if is_scheduler else spec.early_terminate
        self._set(spec, function, method, rule, output, storage)

    @classmethod
    def from_file(
        cls,
        path: Path | str,
        *,
        changes: Mapping[str, Any] | None = None,
        output: Place | str = "runs",
        storage: str | None = None,
    ) -> Self:
        """The sweep that a file describes; its trainable is imported, the working directory first.

        Args:
            path: of the YAML file.
            changes: as `tuner run --set` has them: `{"lr": 0.1, "budget.hours": 0.5}`.
            output: the folder, or the URI of a place in object storage, that the run folder is made in.
            storage: an Optuna RDB URL for the study; its journal in the run folder without one.

        Returns:
            A sweep that has not been run yet.

        Raises:
            SpecError: with all mistakes at once, those of the trainable among them.

        Example:
            >>> sweep = tuner.Sweep.from_file("mytask.yaml", changes={"epochs": 3, "run_cap": 2})
            >>> sweep.spec.run_cap
            2
        """
        spec, train = load_and_import(Path(path), changes)
        sweep = cls.__new__(cls)
        sweep._set(spec, train, spec.method, spec.early_terminate, output, storage)
        return sweep

    def run(
        self,
        *,
        id: str | None = None,
        address: str | None = None,
        console: Console | None = None,
        verbose: bool = False,
    ) -> Results:
        """Run it to its end; blocks.

        Args:
            id: the run folder's name; where that is there already, its sweep is resumed, if it is this one.
            address: of a Ray cluster; without one a cluster is started on this machine.
            console: where progress is told; the terminal if left out.
            verbose: show Ray's own messages as well.

        Returns:
            Its results.

        Raises:
            ResourceError: the cluster can't hold a trial.
            SpecError: the first report of all lacks the metric. Of this error and the one above nothing is left.
            ClusterError: the cluster can't be reached.
            StudyLockedError: another process is running the same sweep.

        Example:
            >>> sweep = tuner.Sweep.from_file("mytask.yaml", changes={"epochs": 3, "run_cap": 2})
            >>> results = sweep.run(id="first")
            >>> str(results.place)
            'runs/first'
        """
        unique = f"{self.spec.name}-{secrets.token_hex(2)}"
        console = console or make_console()
        place = self.output / (id or unique)
        is_new_output = isinstance(self.output, Path) and not self.output.exists()
        with opened(place, console.event) as folder:
            if id is not None and (folder / SPEC_FILE).exists():
                check_same(folder, place, self.spec)
                return self._resume(folder, place, None, address, console, verbose)
            is_new = not folder.exists()
            # A folder of a given name is not alone with it in a database.
            seed = self._create(folder, place, place.name if self.storage is None else unique)
            try:
                return self._continue(folder, place, seed, address, console, verbose)
            except (ClusterError, OccupiedError, ResourceError, SpecError):
                # Refused before the first report: as if it had not been asked for.
                if not any(folder.glob(f"trials/*/{METRICS_FILE}")):
                    if self.storage is not None:
                        delete_study(self.storage, read_spec(folder)[1]["study"], mark_of_run(folder).identity)
                    if not remove_run(folder):
                        console.event(f"{folder} stays, with the files in it that its trials have written")
                    elif not is_new:
                        folder.mkdir()
                    if is_new_output:
                        with contextlib.suppress(OSError):
                            folder.parent.rmdir()
                raise

    def resume(
        self,
        folder: Place | str,
        *,
        run_cap: int | str | None = None,
        address: str | None = None,
        console: Console | None = None,
        verbose: bool = False,
    ) -> Results:
        """Resume a run of this sweep: finished trials are kept, interrupted ones resume; blocks.

        Args:
            folder: the run folder, or its URI.
            run_cap: a new one in place of the sweep's; "+50" adds to the trials there are.
            address: of a Ray cluster; without one a cluster is started on this machine.
            console: where progress is told; the terminal if left out.
            verbose: show Ray's own messages as well.

        Returns:
            The results of all its trials.

        Raises:
            SpecError: the folder holds another sweep.
            StudyNotFoundError: it holds none.
            StudyLockedError: another process is running it.

        Example:
            >>> sweep = tuner.Sweep.from_file("mytask.yaml", changes={"epochs": 3, "run_cap": 2})
            >>> results = sweep.resume("runs/first", run_cap="+1")
            >>> len(results.trials)
            3
        """
        place, console = as_place(folder), console or make_console()
        with opened(place, console.event, must_exist=True) as local:
            differs = differences(local, self.spec)
            if others := {"metric", "parameters"}.intersection(differs):
                raise SpecError(
                    [
                        f"{place} holds another sweep, which differs in {', '.join(sorted(others))}: begin another "
                        f"with start_from: [{place}], or change {SPEC_FILE} there as well."
                    ]
                )
            for key in {"method", "early_terminate"}.intersection(differs):
                console.event(f"{place} was begun with another {key}; it resumes with this sweep's")
            return self._resume(local, place, run_cap, address, console, verbose)

    def _resume(
        self,
        folder: Path,
        place: Place,
        run_cap: int | str | None,
        address: str | None,
        console: Console,
        verbose: bool,
    ) -> Results:
        _, origin = read_spec(folder)
        self.storage = origin.get("storage")
        if run_cap is not None:
            self.spec = replace(self.spec, run_cap=_new_run_cap(folder, run_cap))
        return self._continue(folder, place, origin["seed"], address, console, verbose)

    def _set(
        self,
        spec: SweepSpec,
        train: Trainable,
        method: str | BaseSampler,
        rule: "Mapping[str, Any] | TrialScheduler | None",
        output: Place | str,
        storage: str | None,
    ) -> None:
        output = as_place(output)
        if isinstance(output, Uri) and storage is not None and storage.startswith("sqlite"):
            raise SpecError(
                [f"storage: {storage} is a file of this machine, and no other could go on with {output}; leave it out."]
            )
        self.spec = spec
        self.train = train
        self.method = method
        self.rule = rule
        self.output = output
        # From whatever directory it is resumed.
        self.storage = None if storage is None else recordable(storage)

    def _create(self, folder: Path, place: Place, study: str) -> int:
        """Make a new run folder, there whole or not at all; the sweep's seed."""
        history = gather_history(self.spec) if self.spec.start_from else ""
        seed = self.spec.seed if self.spec.seed is not None else secrets.randbelow(2**31)
        given = [instance for instance in (self.method, self.rule) if _is_instance(instance)]
        origin = provenance(study, self.storage, seed, given)
        make_run_folder(folder, place, to_yaml({**self.spec.to_dict(), PROVENANCE: origin}), history)
        return seed

    def _continue(
        self,
        folder: Path,
        place: Place,
        seed: int,
        address: str | None,
        console: Console,
        verbose: bool,
    ) -> Results:
        if not verbose:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
        with RunLock(folder), closing(RunLog(folder)) as log:
            clear(folder)
            console = Tee(console, log)
            written, origin = read_spec(folder)
            if written.run_cap != self.spec.run_cap:
                write_atomic(folder / SPEC_FILE, to_yaml({**self.spec.to_dict(), PROVENANCE: origin}))
            for sentence in keep_private(folder, origin):
                console.event(sentence)
            verdict = Verdict("interrupted", "interrupted")
            try:
                verdict = outlast(
                    Outage(folder, console.event),
                    lambda: attempt(self, folder, place, seed, address, console, verbose),
                )
            finally:
                log.event(f"ended: {verdict.message}")
            if verdict.ended_by not in ("interrupted", "cancelled"):
                evaluate_or_tell(folder, self.train, console)
        return Results(folder, place=place)


def resume(
    folder: Place | str,
    *,
    run_cap: int | str | None = None,
    address: str | None = None,
    console: Console | None = None,
    verbose: bool = False,
) -> Results:
    """Resume the sweep in a run folder, its trainable imported by name; blocks.

    Args:
        folder: the run folder, or its URI.
        run_cap: a new one in place of the sweep's; "+50" adds to the trials there are.
        address: of a Ray cluster; without one a cluster is started on this machine.
        console: where progress is told; the terminal if left out.
        verbose: show Ray's own messages as well.

    Returns:
        The results of all its trials.

    Raises:
        SpecError: it was begun with a sampler or scheduler instance, which no file describes: use `Sweep.resume`.
        StudyNotFoundError: the folder holds no sweep.
        StudyLockedError: another process is running it.

    Example:
        >>> results = tuner.resume("runs/first", run_cap=4)
        >>> len(results.trials)
        4
    """
    place, console = as_place(folder), console or make_console()
    with opened(place, console.event, must_exist=True) as local:
        instances = read_spec(local)[1].get("instances")
        if instances:
            raise SpecError(
                [
                    f"{place} was run from Python with {' and '.join(instances)}, which no file describes: "
                    "resume it there, by the same Sweep's resume(folder)."
                ]
            )
        return Sweep.from_file(local / SPEC_FILE)._resume(local, place, run_cap, address, console, verbose)


def _is_instance(given: object) -> bool:
    """Whether a sampler or scheduler was handed over in place of a name."""
    return given is not None and not isinstance(given, str | Mapping)


def _new_run_cap(folder: Path, given: int | str) -> int:
    text = str(given)
    if not text.isascii() or not text.removeprefix("+").isdigit() or int(text) < 1:
        raise SpecError([f"--run-cap {text}: give a whole number of trials, or +50 for 50 more than there are."])
    return int(text) + (len(Results(folder).trials) if text.startswith("+") else 0)
