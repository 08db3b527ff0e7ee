import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tuner.errors import SpecError
from tuner.run_folder.journal import Journal


def make_study(path: Path, trials: int) -> optuna.Study:
    study = optuna.create_study(storage=JournalStorage(Journal(path, write=True)), study_name="s", load_if_exists=True)
    for _ in range(trials):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        trial.report(x, 1)
        study.tell(trial, x)
    return study


def test_optunas_own_backend_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study = make_study(path, 5)
    other = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="s")
    assert other.trials == study.trials
    assert len(other.trials) == 5


def test_a_writer_that_opens_it_again_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    make_study(path, 3)
    study = make_study(path, 2)
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3, 4]


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    writer = make_study(path, 1)
    reader = optuna.load_study(storage=JournalStorage(Journal(path, write=False)), study_name="s")
    assert len(reader.trials) == 1
    for _ in range(3):
        writer.tell(writer.ask(), 0.0)
        assert len(reader.trials) == len(writer.trials)


@pytest.mark.parametrize("tail", [b'{"op_code": 4, "wor', b'{"op_code": 4}', b"\x00" * 70_000])
def test_a_half_written_line_is_ignored_by_readers_and_cut_by_the_next_writer(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "study.journal"
    make_study(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    reader = optuna.load_study(storage=JournalStorage(Journal(path, write=False)), study_name="s")
    assert len(reader.trials) == 2
    assert len(make_study(path, 1).trials) == 3
    assert path.read_bytes().startswith(whole)
    assert tail not in path.read_bytes()


@pytest.mark.parametrize("line", [b"\0" * 30, b'{"op_code": 4, "wor', b"\xff"])
def test_a_line_amid_others_that_can_not_be_read_is_told(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "study.journal"
    make_study(path, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], line + b"\n", *lines[4:]]))
    for write in (False, True):
        with pytest.raises(SpecError, match=r"study.journal: line 4 can't be read, .* cut it before that line"):
            JournalStorage(Journal(path, write=write))
    path.write_bytes(b"".join(lines[:3]))
    assert len(make_study(path, 0).trials) == 1


def test_a_batch_is_seen_inside_at_once_and_in_the_file_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    journal = Journal(path, write=True)
    study = optuna.create_study(storage=JournalStorage(journal), study_name="s")
    before = path.stat().st_size
    with journal.batch(), journal.batch():
        study.tell(study.ask(), 1.0)
        assert len(study.trials) == 1
        assert path.stat().st_size == before
    assert path.read_bytes().count(b"\n") == len(path.read_text().splitlines())
    assert len(optuna.load_study(storage=JournalStorage(Journal(path, write=False)), study_name="s").trials) == 1


def test_a_batch_that_fails_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    journal = Journal(path, write=True)
    study = optuna.create_study(storage=JournalStorage(journal), study_name="s")
    with pytest.raises(RuntimeError), journal.batch():
        study.ask()
        raise RuntimeError
    assert len(optuna.load_study(storage=JournalStorage(Journal(path, write=False)), study_name="s").trials) == 1
    # What comes after it is written at once again, by batch and without.
    study.ask()
    with journal.batch():
        study.ask()
    read = optuna.load_study(storage=JournalStorage(Journal(path, write=False)), study_name="s").trials
    assert [trial.number for trial in read] == [trial.number for trial in study.trials] == [0, 1, 2]


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    make_study(path, 1)
    reader = optuna.load_study(storage=JournalStorage(Journal(path, write=False)), study_name="s")
    with pytest.raises(PermissionError, match="for reading only"):
        reader.ask()


def test_a_writer_killed_at_any_moment_loses_no_finished_trial(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    code = f"""
import sys; from pathlib import Path; from tests.run_folder.test_journal import make_study
study = make_study(Path({str(path)!r}), 0)
while True:
    study.tell(study.ask(), 1.0)
    print(len(study.trials), flush=True)
"""
    told = 0
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told = int(child.stdout.readline())
        time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read().splitlines()
        child.wait()
        told = int(rest[-2]) if len(rest) > 1 else told
        study = make_study(path, 0)
        finished = [trial for trial in study.trials if trial.state.is_finished()]
        assert len(finished) >= told


def test_a_write_that_fails_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.journal"
    study = make_study(path, 2)
    whole, write = path.read_bytes(), os.write

    def full(descriptor: int, data: bytes) -> int:
        write(descriptor, bytes(data[:20]))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tuner.run_folder.journal.os.write", full)
        with pytest.raises(OSError, match="No space left"):
            study.ask()
    assert path.read_bytes() == whole
    assert len(study.trials) == 2, "what is not in the file is not known either"
    study.tell(study.ask(), 1.0)
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert make_study(path, 0).trials == study.trials
