"""A sweep as a program sees it: describe, run, resume; the same in Python as from a file.

Brings the study, the recorder and the engine together; the engine, and with it ray, is imported when it is run.
"""

import contextlib
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import optuna
from optuna.samplers import BaseSampler

from tuner.command import command_line
from tuner.console import Console, Tee, make_console
from tuner.errors import ClusterError, OccupiedError, ResourceError, SpecError, StorageError, StudyNotFoundError
from tuner.object_storage.local_copy import opened
from tuner.results.held_out import evaluate_best
from tuner.results.results import Results
from tuner.results.start_from import History, gather_history
from tuner.run_folder.control import clear
from tuner.run_folder.folder import make_run_folder, mark_of_run
from tuner.run_folder.layout import remove_run
from tuner.run_folder.lock import RunLock
from tuner.run_folder.log import RunLog
from tuner.run_folder.outage import Outage, storing
from tuner.run_folder.place import Place, Uri, as_place
from tuner.run_folder.provenance import PROVENANCE, provenance
from tuner.run_folder.trial_files import METRICS_FILE, SPEC_FILE, write_atomic
from tuner.spec.file import Trainable, check_same, differences, load_and_import, read_spec
from tuner.spec.keys import NONE
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.trainable import check_shadows, check_signature, import_trainable, label_of, name_of
from tuner.spec.yaml_text import to_yaml
from tuner.study.database import DATABASE_ERRORS, delete_study
from tuner.study.database_url import keep_private, recordable
from tuner.study.recorder import Recorder
from tuner.study.revision import open_study
from tuner.study.sweep_end import Verdict

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler


# In the place of an argument that is left out where None means something else.
_OWN: Any = object()


class Sweep:
    """A sweep to be run. Its arguments are the sweep file's keys.

    Args:
        train: `def train(trial)`, or its "module:function".
        method: a method's name, or any Optuna sampler instance.
        early_terminate: as in the file, or any Ray Tune scheduler instance; None, as "none", stops no trial. Left out
            it is the method's own, and none beside a sampler instance.
        output: the folder, or the URI of a place in object storage, that the run folder is made in.
        storage: an Optuna RDB URL for the study; its journal in the run folder without one.

    Raises `SpecError` with all mistakes at once.
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
            changes: as `tuner run --set` has them: `{"lr": 0.1, "budget.hours": 0.5}`.
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
        """Run it to its end and give its results; blocks.

        Raises `ResourceError` where the cluster can't hold a trial, `SpecError` where the first report of all lacks the
        metric; nothing is left of the sweep then.

        Args:
            id: the run folder's name; where that is there already, its sweep is resumed, if it is this one.
            address: of a Ray cluster; without one a cluster is started on this machine.
            console: where progress is told; the terminal if left out.
            verbose: show Ray's own messages as well.
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
        """Go on with a run of this sweep: finished trials are kept, interrupted ones go on.

        Args:
            run_cap: a new one in place of the sweep's; "+50" adds to the trials there are.
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
                console.event(f"{place} was begun with another {key}; it goes on with this sweep's")
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

    def _evaluate(self, folder: Path, console: Console) -> None:
        """A mistake in the user's evaluation must not hide what a whole sweep has found."""
        try:
            evaluate_best(folder, self.train)
        except Exception as error:
            with contextlib.suppress(OSError):
                write_atomic(folder / "best" / "error.txt", traceback.format_exc())
            told = f"{type(error).__name__}: {error}"
            console.event(f"the best checkpoint could not be evaluated: {told} ({folder / 'best' / 'error.txt'})")

    def _subtitle(self, recovered: Sequence[int]) -> str:
        method = self.method if isinstance(self.method, str) else type(self.method).__name__
        rule = "no early stopping" if self.rule is None else type(self.rule).__name__
        rule = self.rule["type"] if isinstance(self.rule, Mapping) else rule
        told = f", going on with {len(recovered)} trials that were cut off" if recovered else ""
        return f"{method}, {rule}{told}"

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
                verdict = self._outlast(
                    Outage(folder, console.event),
                    lambda: self._attempt(folder, place, seed, address, console, verbose),
                )
            finally:
                log.event(f"ended: {verdict.message}")
            if verdict.ended_by not in ("interrupted", "cancelled"):
                self._evaluate(folder, console)
        return Results(folder, place=place)

    def _outlast(self, outage: Outage, attempt: Callable[[], Verdict]) -> Verdict:
        """Try until storage lasts: as after a driver that was killed, all that is to be done follows from the study."""
        while True:
            try:
                return attempt()
            except StorageError as error:
                outage.wait(error)
            except (SpecError, StudyNotFoundError) as error:
                if not outage.is_on:
                    raise
                outage.wait(error)  # a database that is away can't be told from one that never was

    def _attempt(
        self, folder: Path, place: Place, seed: int, address: str | None, console: Console, verbose: bool
    ) -> Verdict:
        """Run what the study leaves to be run. Raises `StorageError` where something can't be written."""
        from tuner.engine.driver.run import run
        from tuner.stopping.table import make_stopping

        spec = self.spec
        space = spec.parameters.as_grid() if spec.method == "grid" else spec.parameters
        with storing(*DATABASE_ERRORS):
            history = History.read(folder, space)
            study = open_study(folder, place, spec, space, self.storage, history.trials, console.event)
            recovered = study.recover()
            start_with = [*spec.start_with, *(known for known in history.start_with if known not in spec.start_with)]
            recorder = Recorder(folder, spec, study, self.method, seed, start_with)
        stopping = make_stopping(self.rule, spec.metrics, space, spec.run_cap)
        console.start(f"{spec.name}  {place}", self._subtitle(recovered))
        for sentence in history.told if not study.num_trials else ():
            console.event(sentence)
        verdict = Verdict("interrupted", "interrupted")
        slots = int(study.summary().get("slots", 1))
        started = time.monotonic()
        is_stored = True
        try:
            if not study.num_waiting() and spec.run_cap is not None and study.num_trials >= spec.run_cap:
                sentence = f"all {study.num_trials} trials are done; --run-cap +10 would add ten"
                verdict = Verdict("run_cap", sentence)
                console.event(sentence)
                return verdict
            ended = run(
                recorder,
                self.train,
                stopping,
                console,
                seed=seed,
                run_cap=spec.run_cap,
                address=address,
                verbose=verbose,
            )
            verdict, slots = ended.verdict, ended.slots
        except StorageError:
            is_stored = False
            raise
        except KeyboardInterrupt:
            console.event(f"ended at once; resume it with: {command_line('resume', place)}")
            raise
        finally:
            console.stop()
            if is_stored:
                clear(folder)
                last_run_s = round(time.monotonic() - started, 3)
                recorder.close({**asdict(verdict), "slots": slots, "last_run_s": last_run_s})
            else:
                recorder.abandon()
        return verdict


def resume(
    folder: Place | str,
    *,
    run_cap: int | str | None = None,
    address: str | None = None,
    console: Console | None = None,
    verbose: bool = False,
) -> Results:
    """Go on with the sweep in a run folder, its trainable imported by name; blocks."""
    place, console = as_place(folder), console or make_console()
    with opened(place, console.event, must_exist=True) as local:
        instances = read_spec(local)[1].get("instances")
        if instances:
            raise SpecError(
                [
                    f"{place} was run from Python with {' and '.join(instances)}, which no file describes: "
                    "go on with it there, by the same Sweep's resume(folder)."
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
