"""What is at the URI is at each moment a state to go on from; on a local file system through pyarrow."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tuner import lease, mirror
from tuner.errors import ObjectStoreError
from tuner.lease import Lease
from tuner.marker import new_marker, write_marker
from tuner.mirror import Mirror
from tuner.objectstore import ObjectStore
from tuner.uri import Uri

BEGUN = '{"op_code":4,"study_id":0}\n'
STEP = "trials/0000/checkpoints/step-{:04d}"


class Watched(ObjectStore):
    """A store that notes what is done, and calls `before` with each step first."""

    def __init__(self, uri: Uri) -> None:
        super().__init__(uri)
        self.done: list[str] = []
        self.before: Callable[[str], None] = lambda step: None

    def upload(
        self, name: str, source: BinaryIO, size: int, on_bytes: Callable[[int], None] = lambda size: None
    ) -> None:
        self._note(f"+{name}")
        super().upload(name, source, size, on_bytes)

    def delete(self, name: str) -> None:
        self._note(f"-{name}")
        super().delete(name)

    def _note(self, step: str) -> None:
        self.before(step)
        self.done.append(step)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(lease, "_SETTLE_S", 0.0)
    return Watched(Uri(f"file://{tmp_path}/there"))


@pytest.fixture
def held(store: Watched) -> Iterator[Lease]:
    held = Lease(store, lambda text: None, lambda: None, lambda: None)
    yield held
    held.release()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    put(folder, "sweep.yaml", "name: a\n")
    write_marker(folder, new_marker("run", "a"))
    put(folder, "study.journal", BEGUN)
    put(folder, "trials/0000/metrics.jsonl", "1\n")
    put_checkpoint(folder, 1)
    return folder


def put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def put_checkpoint(folder: Path, step: int) -> None:
    for name in ("checksums.json", "state.pt", "files/a/b.bin"):
        put(folder, f"{STEP.format(step)}/{name}", f"{step}")


def there(store: Watched) -> dict[str, bytes | None]:
    return {name: store.read(name) for name in store.entries() if name != "driver.lock" and not name.startswith(".")}


def here(folder: Path) -> dict[str, bytes]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: (folder / name).read_bytes() for name in names if name[0] != "."}


def test_the_journal_goes_up_last_as_long_as_it_was_first_and_then_the_dropped_is_deleted(
    folder: Path, store: Watched, held: Lease
) -> None:
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    store.before = lambda step: None if "journal" in step else put(folder, "study.journal", BEGUN + "{}\n")
    the_mirror.upload()
    assert store.done[-1] == "+study.journal"
    unit = [step for step in store.done if "checkpoints" in step]
    assert unit[-1] == f"+{STEP.format(1)}/checksums.json"
    assert len(unit) == 3
    assert store.read("study.journal") == BEGUN.encode()
    store.before, store.done = lambda step: None, []
    shutil.rmtree(folder / STEP.format(1))
    put_checkpoint(folder, 2)
    the_mirror.upload()
    assert store.done[-4:-2] == ["+study.journal", f"-{STEP.format(1)}/checksums.json"]
    assert there(store) == here(folder)
    store.done = []
    the_mirror.upload()
    assert store.done == [], "nothing has changed"
    put(folder, "trials/0000/metrics.jsonl", "1\n2\n")
    (folder / "sweep.yaml").unlink()
    (folder / "driver.lock").touch()
    put(folder, ".hidden/file", "")
    the_mirror.upload()
    assert store.done == ["+trials/0000/metrics.jsonl", "-sweep.yaml"]


def test_a_checkpoint_that_is_dropped_while_it_goes_up_gets_there_whole(
    folder: Path, store: Watched, held: Lease
) -> None:
    store.before = lambda step: shutil.rmtree(folder / STEP.format(1), ignore_errors=True)
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    the_mirror.upload()
    assert {f"{STEP.format(1)}/{name}" for name in ("checksums.json", "state.pt", "files/a/b.bin")} < there(
        store
    ).keys()
    the_mirror.upload()
    assert there(store) == here(folder)


def test_a_folder_that_is_made_anew_is_not_there_while_it_is_a_mixture(
    folder: Path, store: Watched, held: Lease
) -> None:
    put(folder, "best/state.pt", "1")
    put(folder, "best/best.json", "1")
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    the_mirror.upload()
    for name in ("best/state.pt", "best/best.json"):
        put(folder, name, "22")
    store.done = []
    the_mirror.upload()
    assert store.done == ["-best/best.json", "+best/state.pt", "+best/best.json"]
    # What is told beside it is no mixture, but is brought in the same way.
    put(folder, "best/test.json", "{}")
    store.done = []
    the_mirror.upload()
    assert store.done == ["-best/best.json", "+best/test.json", "+best/best.json"]


def test_storage_that_is_gone_is_told_once_and_tried_again(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MIN_PERIOD_S", 0.01)
    monkeypatch.setattr(mirror, "_MAX_RETRY_S", 0.02)
    told: list[str] = []
    failures = [0]

    def fail(step: str) -> None:
        failures[0] += 1
        raise ObjectStoreError("it can't be written to: gone")

    store.before = fail
    the_mirror = Mirror(folder, store, held, {}, told.append)
    the_mirror.start()
    end = time.monotonic() + 10.0
    while failures[0] < 20:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert told == [f"it can't be written to: gone; the sweep goes on, and what is new waits in {folder}"]
    store.before = lambda step: None
    assert the_mirror.close() == ""
    assert len(told) == 2
    assert "is back after" in told[1]
    assert there(store) == here(folder)


def test_storage_that_stays_away_is_given_up_after_the_end(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MIN_PERIOD_S", 0.01)
    monkeypatch.setattr(mirror, "GIVE_UP_S", 0.1)

    def fail(step: str) -> None:
        raise ObjectStoreError("gone")

    store.before = fail
    the_mirror = Mirror(folder, store, held, {}, lambda text: None)
    the_mirror.start()
    assert the_mirror.close() == "gone"


def test_a_local_copy_that_somebody_has_deleted_deletes_nothing(folder: Path, store: Watched, held: Lease) -> None:
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    the_mirror.upload()
    before = there(store)
    shutil.rmtree(folder)
    with pytest.raises(ObjectStoreError, match=r"the local copy of .* is gone"):
        the_mirror.upload()
    assert there(store) == before


def test_a_file_whose_name_could_not_be_read_back_stays_here_and_is_told_once(
    folder: Path, store: Watched, held: Lease
) -> None:
    put(folder, "trials/0000/a\\b", "1")
    told: list[str] = []
    the_mirror = Mirror(folder, store, held, {}, told.append)
    the_mirror.upload()
    the_mirror.upload()
    assert told == [f"'trials/0000/a\\\\b' stays in {folder}: an object store would not give a backslash back as it is"]
    assert there(store) == {name: data for name, data in here(folder).items() if "\\" not in name}


def test_what_somebody_else_has_there_is_neither_overwritten_nor_deleted(
    folder: Path, store: Watched, held: Lease
) -> None:
    store.write("trials/0000/notes.txt", b"theirs")
    store.write("other/data.bin", b"theirs")
    put(folder, "trials/0000/notes.txt", "ours")
    told: list[str] = []
    the_mirror = Mirror(folder, store, held, {}, told.append)
    the_mirror.upload()
    the_mirror.upload()
    assert len(told) == 1
    assert f"{store.uri}/trials/0000/notes.txt was there before" in told[0]
    (folder / "trials/0000/notes.txt").unlink()
    the_mirror.upload()
    the_mirror.withdraw()
    assert there(store) == {"trials/0000/notes.txt": b"theirs", "other/data.bin": b"theirs"}


def test_files_of_a_trial_that_the_journal_does_not_know_yet_wait_for_it(
    folder: Path, store: Watched, held: Lease
) -> None:
    put(folder, "trials/0001/metrics.jsonl", "1\n")
    put(folder, "tensorboard/0001/events", "1")
    put(folder, "best/best.json", '{"trial": 1}')
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    the_mirror.upload()
    assert not [name for name in there(store) if "/0001/" in name or "best" in name]
    with (folder / "study.journal").open("a") as file:
        file.write(BEGUN[:10])  # half a line
    the_mirror.upload()
    assert not [name for name in there(store) if "/0001/" in name or "best" in name]
    put(folder, "study.journal", 2 * BEGUN)
    the_mirror.upload()
    assert there(store) == here(folder)


def test_a_journal_of_another_driver_that_arrives_late_is_put_right(folder: Path, store: Watched, held: Lease) -> None:
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    the_mirror.upload()
    store.write("study.journal", b"theirs")
    the_mirror.upload()
    assert there(store) == here(folder)
