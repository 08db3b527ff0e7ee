"""The files of one trial: its parameters, reports, errors and checkpoints.

The driver writes all but the checkpoints, which the trial's process writes.
"""

import json
import math
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path, checkpoint_steps, damage, digest
from tuner.run_folder.outage import append_whole, sync
from tuner.run_folder.owned_files import remove_checkpoint

# The whole sweep of a run folder.
SPEC_FILE = "sweep.yaml"
# What a sweep takes from earlier ones.
HISTORY_FILE = "history.json"
PARAMS_FILE = "params.json"
METRICS_FILE = "metrics.jsonl"
ERROR_FILE = "error.txt"
# Files that were found in the place of a new trial's.
ASIDE = "set-aside"
# The files in a trial's folder that the driver writes.
DRIVERS_FILES = (PARAMS_FILE, METRICS_FILE, ERROR_FILE)

# Half-written files: checkpoints, workers' files, files in transfer, files of `write_atomic`.
_SCRATCH = re.compile(
    r"\.step-\d{4,}\.[0-9a-f]{8}\.tmp|\.?\.shard-\d+-\d+(-\d+)?\.tmp(\.[0-9a-f]{8}\.tmp)?|\.files-[0-9a-f]{8}\.tmp|"
    rf"\.({re.escape(PARAMS_FILE)}|{re.escape(METRICS_FILE)})\.[0-9a-f]{{8}}\.tmp"
)

_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def trial_dir(folder: Path, number: int) -> Path:
    return folder / "trials" / f"{number:04d}"


def write_atomic(path: Path, text: str) -> None:
    """Write a file under a temporary name and move it over the target; a power failure leaves the old or the new one.

    Several processes may write the same file at once; the last one wins.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8")
        sync(scratch)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file's mapping; empty if the file is missing, empty, cut off, or something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def finite(value: float) -> float | None:
    """The value, or None if it is not finite: JSON has no NaN or infinity."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Rewound:
    """The result of taking a trial back to a checkpoint.

    Attributes:
        step: of the checkpoint, 0 if there is none.
        kept: the reports up to it.
        damaged: newer checkpoints that can't be used: the step and what is wrong.
    """

    step: int
    kept: list[Report]
    damaged: list[str]


class TrialFiles:
    """The folder of a running trial; created if missing, in a folder that must exist.

    A folder created while its share is not mounted would be lost to the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._metrics: BinaryIO | None = None

    def write_params(self, params: Mapping[str, Any]) -> None:
        write_atomic(self.folder / PARAMS_FILE, json.dumps(dict(params), indent=2) + "\n")

    def append(self, reports: Sequence[Report]) -> None:
        """Append to `metrics.jsonl`; the operating system has the data when this returns."""
        if self._metrics is None:
            self._metrics = (self.folder / METRICS_FILE).open("ab", buffering=0)
        append_whole(self._metrics.fileno(), b"".join(_line(report) for report in reports))

    def rewind(self, last_recorded: int) -> Rewound:
        """Go back to the newest whole checkpoint no newer than step `last_recorded`, nor than the last report here.

        Later reports are cut from `metrics.jsonl`, newer and damaged checkpoints are deleted; the trial will report
        those steps again.
        """
        self.close()
        self.tidy()
        reports = {report.step: report for report in read_reports(self.folder)}
        # A driver killed between its two records has reports in the study that are not in the file.
        last_recorded = min(last_recorded, max(reports, default=0))
        damaged: list[str] = []
        for step in reversed(checkpoint_steps(self.folder)):
            if step <= last_recorded:
                path = checkpoint_path(self.folder, step)
                problem = damage(path)
                if not problem and step in reports and reports[step].digest not in ("", digest(path)):
                    problem = "it was saved by another attempt than the one that is recorded"
                if not problem:
                    return Rewound(step, self.cut(step), damaged)
                damaged.append(f"step {step}: {problem}")
            self.drop_checkpoint(step)
        return Rewound(0, self.cut(0), damaged)

    def cut(self, step: int) -> list[Report]:
        """Cut reports after `step` from `metrics.jsonl`, and delete their checkpoints; return the kept reports.

        A checkpoint that has replaced one of theirs stays: it belongs to a report that is still to come.
        """
        self.close()
        reports = read_reports(self.folder)
        kept = [report for report in reports if report.step <= step]
        for undone in reports[len(kept) :]:
            if undone.digest and undone.digest == digest(checkpoint_path(self.folder, undone.step)):
                self.drop_checkpoint(undone.step)
        path = self.folder / METRICS_FILE
        if path.exists():
            write_atomic(path, b"".join(_line(report) for report in kept).decode())
        return kept

    def write_error(self, text: str) -> None:
        """Append to `error.txt`, so that a retried trial keeps its first error too."""
        with (self.folder / ERROR_FILE).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text.rstrip() + "\n\n")

    def tidy(self) -> None:
        """Remove half-written files of a process that was killed while saving."""
        for scratch in (*self.folder.glob(".*.tmp"), *self.folder.glob("checkpoints/.*.tmp")):
            if not _SCRATCH.fullmatch(scratch.name):
                continue
            if scratch.is_dir():
                shutil.rmtree(scratch, ignore_errors=True)
            else:
                scratch.unlink()

    def drop_checkpoint(self, step: int) -> None:
        remove_checkpoint(checkpoint_path(self.folder, step))

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None


def set_trial_aside(folder: Path, number: int) -> Path | None:
    """Move away what is in the place of a new trial's files; return where to, or None if nothing was there."""
    aside = folder / ASIDE / f"{number:04d}-{secrets.token_hex(4)}"
    moved = None
    for source, target in (
        (trial_dir(folder, number), aside),
        (folder / "tensorboard" / f"{number:04d}", aside.with_name(f"{aside.name}-tensorboard")),
    ):
        if source.exists():
            target.parent.mkdir(exist_ok=True)
            source.rename(target)
            moved = moved or target
    return moved


def read_reports(folder: Path) -> list[Report]:
    """Read the reports in a trial's `metrics.jsonl`, in order, up to the first unreadable line."""
    try:
        text = (folder / METRICS_FILE).read_bytes()
    except FileNotFoundError:
        return []
    return list(_parse(text.splitlines(keepends=True)))


def _parse(lines: Iterable[bytes]) -> Iterable[Report]:
    for line in lines:
        if not line.endswith(b"\n"):
            return
        try:
            entry = json.loads(line)
            report = Report(
                step=entry["step"],
                metrics={name: float(value) for name, value in entry["metrics"].items()},
                time_s=entry["time_s"],
                timestamp=entry["timestamp"],
                has_checkpoint=entry["has_checkpoint"],
                digest=str(entry.get("digest", "")),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # a power failure may leave garbage after the data on the disk
        yield report


def _line(report: Report) -> bytes:
    entry = {
        "step": report.step,
        "metrics": dict(report.metrics),
        "time_s": round(report.time_s, 6),
        "timestamp": round(report.timestamp, 6),
        "has_checkpoint": report.has_checkpoint,
    }
    if report.digest:
        entry["digest"] = report.digest
    try:
        text = json.dumps(entry, allow_nan=False)
    except ValueError:
        # JSON can't express these; a string that float() reads back is better than a null.
        entry["metrics"] = {name: _NOT_FINITE.get(str(value), value) for name, value in report.metrics.items()}
        text = json.dumps(entry)
    return text.encode() + b"\n"
