"""What is at the URI is at each moment a state to go on from; on a local file system through pyarrow."""

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.conftest import with_time
from tuner.errors import ObjectStoreError
from tuner.object_storage import lease
from tuner.object_storage import uploader as mirror
from tuner.object_storage.lease import Lease, read_holder
from tuner.object_storage.object_store import ObjectStore
from tuner.object_storage.uploader import Mirror, is_mirrored
from tuner.run_folder.marker import new_marker, write_marker
from tuner.run_folder.place import Uri

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
    assert told == [f"it can't be written to: gone; the sweep continues, and new files wait in {folder}"]
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
    assert told == [f"'trials/0000/a\\\\b' stays in {folder}: an object store would not preserve its backslash"]
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


@pytest.mark.parametrize(
    ("name", "is_there"),
    [
        ("sweep.yaml", True),
        ("trials/0000/control.json", True),
        ("trials/0000/a.b", True),
        ("driver.lock", False),
        ("control.json", False),
        (".mirror.json", False),
        ("trials/.probe.tmp", False),
        ("trials/.hidden/file", False),
        ("a\\b", False),
    ],
)
def test_what_is_half_written_or_of_this_machine_alone_is_not_for_the_uri(name: str, is_there: bool) -> None:
    assert is_mirrored(name) is is_there


def test_nothing_is_deleted_where_a_folder_was_dropped_while_a_round_began(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has taken its place is not there yet."""
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    the_mirror.upload()
    put_checkpoint(folder, 2)
    (folder / "trials/0000/metrics.jsonl").unlink()
    real = shutil.copytree

    def dropped(source: Path, *args: object, **keys: object) -> object:
        shutil.rmtree(folder / STEP.format(2))
        return real(source, *args, **keys)  # type: ignore[arg-type]

    store.done = []
    with monkeypatch.context() as patched:
        patched.setattr("tuner.object_storage.uploader.shutil.copytree", dropped)
        the_mirror.upload()
    assert not [step for step in store.done if step.startswith("-")]
    the_mirror.upload()
    assert "-trials/0000/metrics.jsonl" in store.done
    assert there(store) == here(folder)


def test_whatever_goes_wrong_ends_no_sweep(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "GIVE_UP_S", 0.0)

    def fail(step: str) -> None:
        raise ZeroDivisionError("a mistake of ours")

    store.before = fail
    told: list[str] = []
    the_mirror = Mirror(folder, store, held, {}, told.append)
    the_mirror.start()
    assert the_mirror.close() == "a mistake of ours"
    assert told == [f"a mistake of ours; the sweep continues, and new files wait in {folder}"]


def test_the_pause_grows_while_the_storage_is_away(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def fail(step: str) -> None:
        raise ObjectStoreError("gone")

    store.before = fail
    the_mirror = Mirror(folder, store, held, {}, lambda text: None)

    def wait(timeout: float) -> bool:
        pauses.append(timeout)
        return len(pauses) == 8

    monkeypatch.setattr(the_mirror._ending, "wait", wait)
    the_mirror._is_wanted = False
    the_mirror._run()
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]


def test_after_the_end_it_goes_on_as_long_as_anything_gets_there(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    with_time(monkeypatch, mirror, monotonic=lambda: clock[0])
    monkeypatch.setattr(mirror, "MIN_PERIOD_S", 0.0)
    monkeypatch.setattr(mirror, "_UPLOADS", 1)
    failures = [0]

    def fail(step: str) -> None:
        # Each round takes almost as long as is waited, brings one file and then fails.
        clock[0] += 0.4 * mirror.GIVE_UP_S
        if step != "-" and store.done and store.done[-1] not in failed:
            failed.add(store.done[-1])
            failures[0] += 1
            raise ObjectStoreError("gone for a moment")

    failed: set[str] = set()
    store.before = fail
    the_mirror = Mirror(folder, store, held, {}, lambda text: None)
    the_mirror.start()
    assert the_mirror.close() == ""
    assert failures[0] >= 4
    assert there(store) == here(folder)


def test_each_part_of_a_large_file_counts_as_progress_and_asks_whether_the_uri_is_ours(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    with_time(monkeypatch, mirror, monotonic=lambda: clock[0])
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    clock[0] = 2000.0
    the_mirror._progressed(1)
    assert the_mirror._progress_at == 2000.0
    monkeypatch.setattr(held, "lost_to", read_holder(store))
    with pytest.raises(ObjectStoreError, match="taken over"):
        the_mirror._progressed(1)
    # Nor is anything deleted there.
    with pytest.raises(ObjectStoreError, match="taken over"):
        the_mirror._delete({"sweep.yaml"})
    assert store.done == []
    monkeypatch.undo()


def test_where_no_links_can_be_made_files_are_copied(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("tuner.object_storage.uploader.os.link", refuse)
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    the_mirror.upload()
    assert there(store) == here(folder)
    # A copy's time is that of the file: what goes up by parts is known again.
    (folder / "a").write_text("1")
    mirror._link(str(folder / "a"), str(folder / "b"))
    assert (folder / "b").stat().st_mtime_ns == (folder / "a").stat().st_mtime_ns
    assert not (folder / "b").samefile(folder / "a")


@pytest.mark.parametrize(
    ("name", "is_there"),
    [
        *(("driver.lock", False), ("control.json", False), (".mirror.json", False), ("trials/.a/b", False)),
        *(("a/b/.c", False), ("trials/0000/driver.lock", True), ("trials/0000/a.b", True)),
    ],
)
def test_this_machines_own_files_stay_here(name: str, is_there: bool) -> None:
    assert mirror.is_mirrored(name) is is_there


def test_a_driver_that_has_lost_the_uri_deletes_nothing_more(folder: Path, store: Watched, held: Lease) -> None:
    the_mirror = Mirror(folder, store, held, {}, pytest.fail)
    the_mirror.upload()
    for name in ("trials/0000/metrics.jsonl", "sweep.yaml"):
        (folder / name).unlink()

    def lose(step: str) -> None:
        held.lost_to = read_holder(store)

    store.before, store.done = lose, []
    with pytest.raises(ObjectStoreError, match="has been taken over"):
        the_mirror.upload()
    assert len(store.done) == 1
    store.before, held.lost_to = lambda step: None, None


def test_where_files_can_not_be_linked_they_are_copied_to_go_up(
    folder: Path, store: Watched, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    Mirror(folder, store, held, {}, pytest.fail).upload()
    assert there(store) == here(folder)
    assert not list(folder.glob(".uploading*"))
