"""Restores missing, empty or cut-off files of a run folder from its study and its trials' reports."""

from collections.abc import Sequence
from pathlib import Path

from tuner.records import TrialRecord
from tuner.run_folder.best_folder import drop_damaged_best
from tuner.run_folder.trial_files import PARAMS_FILE, TrialFiles, read_json, read_reports, trial_dir
from tuner.spec.sweep_spec import SweepSpec
from tuner.study.tensorboard import EXPERIMENT_FILE, EventLog, is_whole, write_experiment


def mend(folder: Path, spec: SweepSpec, records: Sequence[TrialRecord]) -> None:
    """Check a run folder that is resumed, and restore damaged files; intact ones are left as they are.

    Files of unfinished trials are rewritten when these are resumed, and `best/` when the next trial ends.
    """
    experiment = folder / "tensorboard"
    if not is_whole(experiment / EXPERIMENT_FILE):
        write_experiment(experiment, spec.parameters, [metric.name for metric in spec.metrics])
    for record in records:
        if record.state.is_final:
            _mend_trial(folder, spec, record)
    drop_damaged_best(folder)


def _mend_trial(folder: Path, spec: SweepSpec, record: TrialRecord) -> None:
    own = trial_dir(folder, record.number)
    if record.params and not read_json(own / PARAMS_FILE):
        TrialFiles(own).write_params(record.params)
    log = folder / "tensorboard" / f"{record.number:04d}"
    # Empty ones have been replaced.
    written = [path for path in log.glob("*tfevents*") if path.stat().st_size]
    if not written or not all(map(is_whole, written)):
        reports = [report for report in read_reports(own) if report.step in record.curve]
        log.mkdir(exist_ok=True)
        EventLog.rewrite(log, record.params, reports, record.state, spec.parameters)
