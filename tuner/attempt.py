"""What a sweep does once its run folder is there: brings the study, the stopping rule and the engine together.

The engine, and with it ray, is imported when a sweep is run.
"""

import contextlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.command import command_line
from tuner.console import Console
from tuner.errors import SpecError, StorageError, StudyNotFoundError
from tuner.results.held_out import evaluate_best
from tuner.results.start_from import History
from tuner.run_folder.control import clear
from tuner.run_folder.outage import Outage, storing
from tuner.run_folder.place import Place
from tuner.run_folder.trial_files import write_atomic
from tuner.spec.file import Trainable
from tuner.study.database import DATABASE_ERRORS
from tuner.study.recorder import Recorder
from tuner.study.revision import open_study
from tuner.study.sweep_end import Verdict

if TYPE_CHECKING:
    from tuner.sweep import Sweep


def outlast(outage: Outage, attempt: Callable[[], Verdict]) -> Verdict:
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


def attempt(
    sweep: "Sweep", folder: Path, place: Place, seed: int, address: str | None, console: Console, verbose: bool
) -> Verdict:
    """Run what the study leaves to be run. Raises `StorageError` where something can't be written."""
    from tuner.engine.driver.run import run
    from tuner.stopping.table import make_stopping

    spec = sweep.spec
    space = spec.parameters.as_grid() if spec.method == "grid" else spec.parameters
    with storing(*DATABASE_ERRORS):
        history = History.read(folder, space)
        study = open_study(folder, place, spec, space, sweep.storage, history.trials, console.event)
        recovered = study.recover()
        start_with = [*spec.start_with, *(known for known in history.start_with if known not in spec.start_with)]
        recorder = Recorder(folder, spec, study, sweep.method, seed, start_with)
    stopping = make_stopping(sweep.rule, spec.metrics, space, spec.run_cap)
    console.start(f"{spec.name}  {place}", _subtitle(sweep, recovered))
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
            sweep.train,
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


def evaluate_or_tell(folder: Path, train: Trainable, console: Console) -> None:
    """A mistake in the user's evaluation must not hide what a whole sweep has found."""
    try:
        evaluate_best(folder, train)
    except Exception as error:
        with contextlib.suppress(OSError):
            write_atomic(folder / "best" / "error.txt", traceback.format_exc())
        told = f"{type(error).__name__}: {error}"
        console.event(f"the best checkpoint could not be evaluated: {told} ({folder / 'best' / 'error.txt'})")


def _subtitle(sweep: "Sweep", recovered: Sequence[int]) -> str:
    method = sweep.method if isinstance(sweep.method, str) else type(sweep.method).__name__
    rule = "no early stopping" if sweep.rule is None else type(sweep.rule).__name__
    rule = sweep.rule["type"] if isinstance(sweep.rule, Mapping) else rule
    told = f", going on with {len(recovered)} trials that were cut off" if recovered else ""
    return f"{method}, {rule}{told}"
