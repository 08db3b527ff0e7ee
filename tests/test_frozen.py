"""Run folders of each format that ever was are read and resumed.

Those in `tests/frozen` were made by the versions of their time from `tests/frozen_loops.py`: a trial of three steps,
and one of two, whose driver was killed then. `before-checksums` is of before checkpoints had checksums and sweeps a
format, `format-1` of before `bayes` was what it is now, `format-2` of before run folders were marked. A format that
changes gets a folder here, made by the last version that writes it.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.conftest import report
from tests.sweeps import Told
from tuner import Results, resume
from tuner.cli.main import cli
from tuner.engine.driver import run as engine
from tuner.errors import SpecError, StudyNotFoundError
from tuner.records import TrialState
from tuner.results.sweep_state import SweepState
from tuner.run_folder.marker import read_marker
from tuner.run_folder.place import Uri
from tuner.run_folder.trial_files import SPEC_FILE, trial_dir
from tuner.study.recorder import Recorder
from tuner.study.sweep_end import Verdict
from tuner.trial.checkpoint import load_checkpoint, save_checkpoint

FROZEN = Path(__file__).parent / "frozen"
FORMATS = sorted(path.name for path in FROZEN.iterdir())


@pytest.fixture(params=FORMATS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(FROZEN / request.param, tmp_path / "runs" / "old"))


# The trials that `train_on` has trained, and from which checkpoint.
BEGUN: list[tuple[int, int]] = []


def train_on(recorder: Recorder, *_: Any, run_cap: int, **__: Any) -> engine.Ended:
    """In the place of the engine: what is left to be done, as `frozen_loops.train` does it."""
    while recorder.study.num_waiting() or recorder.num_asked < run_cap:
        running = recorder.ask()
        assert running is not None
        BEGUN.append((running.number, running.restore_step))
        for step in range(running.restore_step + 1, 4):
            save_checkpoint(running.files.folder, step, {"step": step}, {})
            recorder.report(running.number, [report(step, 0.5 / step, name="loss", has_checkpoint=True)])
        recorder.finish(running.number, TrialState.COMPLETED)
    return engine.Ended(Verdict("run_cap", "done"), 1)


def test_it_is_read(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    results = Results.read(folder)
    assert results.spec.method == "random"
    assert results.spec.early_terminate is None
    assert results.state is SweepState.CRASHED
    assert [(trial.state, sorted(trial.curve)) for trial in results.trials] == [
        (TrialState.COMPLETED, [1, 2, 3]),
        (TrialState.RUNNING, [1, 2]),
    ]
    best = results.best
    assert best is not None
    assert (best.trial.number, best.step, best.params) == (0, 3, {"lr": 0.2})
    assert isinstance(best.checkpoint, Path)
    assert load_checkpoint(best.checkpoint)[0]["w"].tolist() == [3.0, 3.0]
    shown = CliRunner().invoke(cli, ["show", str(folder)])
    assert shown.exit_code == 0
    assert "0.0666667" in shown.output
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_it_is_gone_on_with_and_marked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "run", train_on)
    BEGUN.clear()
    console = Told()
    results = resume(folder, console=console)
    assert "was made by a version that did not mark run folders" in " ".join(console.events)
    assert [trial.state for trial in results.trials] == [TrialState.COMPLETED] * 3
    assert BEGUN == [(1, 2), (2, 0)], "its last checkpoint was used"
    assert (trial_dir(folder, 1) / "notes.txt").read_text() == "the user's\n"
    marker = read_marker(folder)
    assert marker is not None
    # Once more it is one of ours.
    console = Told()
    resume(folder, run_cap="+1", console=console)
    assert "of before" not in " ".join(console.events)
    assert read_marker(folder) == marker


def test_at_a_uri_it_is_gone_on_with_from_any_machine(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "run", train_on)
    monkeypatch.setattr("tuner.object_storage.lease._SETTLE_S", 0.0)
    (folder / "driver.lock").unlink()
    (folder / "somebodys.txt").write_text("theirs")
    uri = Uri(f"file://{folder}")
    for machine in ("a", "b"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        results = resume(uri, run_cap="+1", console=Told())
    assert len(results.trials) == 4
    assert (folder / "somebodys.txt").read_text() == "theirs"
    assert read_marker(folder) == read_marker(results.folder)
    assert read_marker(folder) is not None


def test_a_later_format_is_refused(folder: Path) -> None:
    text = (folder / SPEC_FILE).read_text()
    text = re.sub(r"\n  format: 2", "", text).replace("provenance:\n", "provenance:\n  format: 99\n")
    (folder / SPEC_FILE).write_text(text)
    for use in (Results.read, resume):
        with pytest.raises(SpecError, match="a later version of tuner"):
            use(folder)


def test_one_whose_study_has_vanished_is_not_begun_anew(folder: Path) -> None:
    (folder / "study.journal").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(StudyNotFoundError, match=r"study\.journal is missing.*Restore it"):
        resume(folder, console=Told())
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path in before}
    assert {path for path in before if kept.get(path) != before[path]} <= {folder / "driver.lock", folder / "log.txt"}
    assert not (folder / "study.journal").exists()
