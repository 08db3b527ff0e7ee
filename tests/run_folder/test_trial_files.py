import errno
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import report
from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path, checkpoint_steps, damage
from tuner.run_folder.trial_files import TrialFiles, read_reports, write_atomic
from tuner.trial.checkpoint import load_checkpoint, save_checkpoint


def test_reports_are_read_back_as_written(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path)
    written = [report(1, 0.5), Report(2, {"a": 1.0, "b": math.inf}, 0.25, 1e9, has_checkpoint=True)]
    files.append(written[:1])
    files.append(written[1:])
    assert read_reports(tmp_path) == written


def test_every_line_is_json_also_where_a_value_is_not_finite(tmp_path: Path) -> None:
    TrialFiles(tmp_path).append([Report(1, {"a": math.nan, "b": -math.inf, "c": 1.0}, 0.0, 0.0)])

    def refuse(name: str) -> float:
        raise AssertionError(name)

    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse)["metrics"] == {"a": "NaN", "b": "-Infinity", "c": 1.0}
    assert math.isnan(read_reports(tmp_path)[0].metrics["a"])


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    TrialFiles(tmp_path).append([report(1), report(2)])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert [r.step for r in read_reports(tmp_path)] == [1]


def test_a_disk_that_is_full_amid_a_batch_takes_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TrialFiles(tmp_path)
    files.append([report(1)])
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    room, write = 10, os.write

    def scarce(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", scarce)
    with pytest.raises(OSError, match="No space left"):
        files.append([report(2), report(3)])
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    # A write may be cut short without an error as well.
    room = 10**6
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    files.append([report(2), report(3)])
    assert [r.step for r in read_reports(tmp_path)] == [1, 2, 3]


def test_a_checkpoint_that_cannot_be_read_for_now_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TrialFiles(tmp_path)
    for step in (1, 2):
        files.append([report(step)])
        save_checkpoint(tmp_path, step, {"step": step}, {})

    def stale(*_: object, **__: object) -> str:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", stale)
        with pytest.raises(OSError, match="Stale"):
            files.rewind(2)
    assert checkpoint_steps(tmp_path) == [1, 2]
    assert files.rewind(2).step == 2


@pytest.mark.parametrize(("last_recorded", "goes_back_to"), [(5, 4), (4, 4), (3, 2), (1, 0), (9, 6)])
def test_rewind_goes_back_to_the_newest_checkpoint_that_was_recorded(
    tmp_path: Path, last_recorded: int, goes_back_to: int
) -> None:
    files = TrialFiles(tmp_path)
    for step in range(1, 8):
        files.append([report(step)])
        if step % 2 == 0:
            save_checkpoint(tmp_path, step, {"step": step}, {})
    rewound = files.rewind(last_recorded)
    assert (rewound.step, rewound.damaged) == (goes_back_to, [])
    assert (
        [r.step for r in rewound.kept] == [r.step for r in read_reports(tmp_path)] == list(range(1, goes_back_to + 1))
    )
    assert [s for s in (2, 4, 6) if checkpoint_path(tmp_path, s).exists()] == [
        s for s in (2, 4, 6) if s <= goes_back_to
    ]
    files.append([report(goes_back_to + 1)])
    assert len(read_reports(tmp_path)) == goes_back_to + 1


def test_rewind_passes_over_damaged_checkpoints_and_removes_them(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path)
    for step in range(1, 5):
        files.append([report(step)])
        save_checkpoint(tmp_path, step, {"step": step}, {})
    (checkpoint_path(tmp_path, 4) / "state.pt").write_bytes(b"")
    (checkpoint_path(tmp_path, 3) / "rng.pt").unlink()
    rewound = files.rewind(4)
    assert rewound.step == 2
    assert [problem.partition(" (")[0] for problem in rewound.damaged] == [
        "step 4: state.pt has 0 bytes in place of " + rewound.damaged[0].rpartition(" ")[2],
        "step 3: it can't be read",
    ]
    assert checkpoint_steps(tmp_path) == [1, 2]


def test_an_error_is_kept_beside_the_one_before(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path)
    files.write_error("first\n")
    files.write_error("second")
    assert (tmp_path / "error.txt").read_text() == "first\n\nsecond\n\n"


def test_files_of_others_outlive_checkpoints_and_stay_where_they_are(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path)
    for step in (1, 2):
        files.append([report(step)])
        save_checkpoint(tmp_path, step, {"step": step}, {})
    theirs = [tmp_path / "notes.txt", tmp_path / "checkpoints" / "a", checkpoint_path(tmp_path, 2) / "files" / "b"]
    (checkpoint_path(tmp_path, 2) / "files").mkdir()
    (tmp_path / "checkpoints" / "step-best").mkdir()
    for path in theirs:
        path.write_text("theirs")
    assert files.rewind(1).step == 1
    assert checkpoint_steps(tmp_path) == [1]
    # Saved again, among them.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "b").write_text("ours")
    save_checkpoint(tmp_path, 2, {"step": 2}, {}, [tmp_path / "mine"])
    assert checkpoint_steps(tmp_path) == [1, 2]
    assert damage(checkpoint_path(tmp_path, 2)) == ""
    assert (checkpoint_path(tmp_path, 2) / "files" / "b").read_text() == "ours"
    (moved,) = (checkpoint_path(tmp_path, 2) / "files").glob("b.aside-*")
    files.rewind(0)
    assert [path.read_text() for path in (*theirs[:2], moved)] == ["theirs"] * 3
    assert checkpoint_steps(tmp_path) == []


def test_checkpoints_of_before_there_were_checksums_are_used(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path)
    for step in (1, 2, 3, 4):
        files.append([report(step)])
        save_checkpoint(tmp_path, step, {"step": step}, {})
        (checkpoint_path(tmp_path, step) / "checksums.json").unlink()
    cut = checkpoint_path(tmp_path, 4) / "state.pt"
    cut.write_bytes(cut.read_bytes()[:-100])
    changed = checkpoint_path(tmp_path, 3) / "state.pt"
    data = changed.read_bytes()
    changed.write_bytes(data.replace(b"step", b"stop", 1))
    rewound = files.rewind(4)
    assert rewound.step == 2
    assert [problem.partition(":")[0] for problem in rewound.damaged] == ["step 4", "step 3"]
    assert load_checkpoint(checkpoint_path(tmp_path, 2))[0]["step"] == 2


def test_several_may_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    texts = [f"{number}\n" * 1000 for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: [write_atomic(path, text) for _ in range(100)], texts))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert list(tmp_path.iterdir()) == [path]
