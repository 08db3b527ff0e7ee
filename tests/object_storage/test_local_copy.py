"""Which of the local copy and the URI is newer, told by what is in them; on a local file system through pyarrow."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.object_storage.test_lease import until
from tests.object_storage.test_uploader import BEGUN, here, put, put_checkpoint, there
from tuner.errors import ControlError, ObjectStoreError, OccupiedError, SpecError, StorageError, StudyNotFoundError
from tuner.object_storage import lease
from tuner.object_storage.local_copy import local_folder, opened
from tuner.object_storage.manifest import read_manifest, write_manifest
from tuner.object_storage.object_store import ObjectStore
from tuner.object_storage.run_at_uri import RunAtUri
from tuner.run_folder.control import Verb, asked, clear
from tuner.run_folder.marker import new_marker, write_marker
from tuner.run_folder.place import Uri
from tuner.run_folder.trial_files import SPEC_FILE
from tuner.sweep import Sweep


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uri:
    monkeypatch.setattr(lease, "_SETTLE_S", 0.0)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))
    return Uri(f"file://{tmp_path}/runs/it")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Be on another machine from now on: its cache is another."""
    return lambda name: monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def make(folder: Path) -> None:
    """A run folder of the sweep `it`, as far as who looks at it from outside can tell."""
    if not (folder / SPEC_FILE).exists():
        put(folder, SPEC_FILE, "name: it\nprovenance: {study: it, seed: 1, format: 2}\n")
        write_marker(folder, new_marker("run", "it"))


def drive(uri: Uri, journal: str, told: list[str] | None = None) -> Path:
    """A driver that writes a journal, its reports and a checkpoint, and ends; its folder."""
    with opened(uri, [].append if told is None else told.append) as folder:
        make(folder)
        put(folder, "study.journal", BEGUN + journal)
        put(folder, "trials/0000/metrics.jsonl", journal)
        put_checkpoint(folder, len(journal))
    return folder


def gone_on(uri: Uri, elsewhere: Callable[[str], None], *, is_emptied: bool = False) -> Path:
    """A driver here, then one on another machine, from what the first left or from nothing; the folder here."""
    folder = drive(uri, "1\n")
    if is_emptied:
        shutil.rmtree(uri.text.removeprefix("file://"))
    elsewhere("b")
    drive(uri, "1\n2\n")
    elsewhere("a")
    return folder


def test_what_a_driver_leaves_is_there_and_another_machine_goes_on_from_it(
    uri: Uri, elsewhere: Callable[[str], None]
) -> None:
    first = drive(uri, "1\n")
    store = ObjectStore(uri)
    assert there(store) == here(first)
    # Half of a checkpoint is none.
    half = "trials/0000/checkpoints/step-0009/state.pt"
    store.write(half, b"cut")
    write_manifest(store, read_manifest(store) | {half})
    elsewhere("b")
    told: list[str] = []
    with opened(uri, told.append, must_exist=True) as folder:
        assert folder != first
        assert here(folder) == here(first)
        assert told == [f"downloading 0.0 MiB from {uri}"]
    assert there(store) == here(first), "the half one is gone"


def test_the_local_copy_is_used_where_it_is_newer(uri: Uri) -> None:
    folder = drive(uri, "1\n")
    # A driver that was killed before it had sent this.
    put(folder, "study.journal", BEGUN + "1\n2\n")
    put_checkpoint(folder, 4)
    told: list[str] = []
    with opened(uri, told.append) as again:
        assert again == folder
        assert (folder / "study.journal").read_text() == BEGUN + "1\n2\n"
    assert told == []
    assert there(ObjectStore(uri)) == here(folder)


def test_the_local_copy_is_replaced_where_another_machine_has_gone_on(
    uri: Uri, elsewhere: Callable[[str], None]
) -> None:
    gone_on(uri, elsewhere)
    told: list[str] = []
    with opened(uri, told.append) as folder:
        assert (folder / "study.journal").read_text() == BEGUN + "1\n2\n"
    assert told == [f"downloading 0.0 MiB from {uri}"]
    assert not list(folder.parent.glob("it.*"))


def test_a_local_copy_that_another_machine_has_not_seen_is_kept_aside(
    uri: Uri, elsewhere: Callable[[str], None]
) -> None:
    folder = gone_on(uri, elsewhere)
    put(folder, "study.journal", BEGUN + "1\n3\n")
    told: list[str] = []
    with opened(uri, told.append) as folder:
        assert (folder / "study.journal").read_text() == BEGUN + "1\n2\n"
    (aside,) = folder.parent.glob("it.*")
    assert (aside / "study.journal").read_text() == BEGUN + "1\n3\n"
    assert str(aside) in told[0]


def test_checkpoints_are_not_sent_again_by_a_driver_that_is_started_again(
    uri: Uri, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive(uri, "1\n")
    sent: list[str] = []
    upload = ObjectStore.upload
    monkeypatch.setattr(
        ObjectStore, "upload", lambda store, name, *args: (sent.append(name), upload(store, name, *args))[1]
    )
    with opened(uri, pytest.fail):
        pass
    assert "study.journal" in sent
    assert not [name for name in sent if "checkpoints" in name]


def test_what_is_refused_leaves_nothing(uri: Uri, tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match="is not a run folder"), opened(uri, pytest.fail, must_exist=True):
        pass
    assert not (tmp_path / "runs").exists()

    def refuse(folder: Path) -> None:
        make(folder)
        shutil.rmtree(folder)
        raise SpecError(["no such metric"])

    with pytest.raises(SpecError, match="no such metric"), opened(uri, pytest.fail) as folder:
        refuse(folder)
    assert ObjectStore(uri).entries() == {}


@pytest.mark.parametrize("name", ["a.txt", "sweep.yaml", ".tuner.json", "driver.lock", "control.json", "trials/0000/a"])
def test_a_place_that_holds_what_no_sweep_has_written_is_refused_and_left_as_it_is(uri: Uri, name: str) -> None:
    store = ObjectStore(uri)
    store.write(name, b"theirs")
    with pytest.raises(OccupiedError, match="not written by a sweep"), opened(uri, pytest.fail):
        pass
    assert {name: store.read(name) for name in store.entries()} == {name: b"theirs"}


def test_a_refused_run_leaves_what_others_have_put_there_meanwhile(uri: Uri) -> None:
    store = ObjectStore(uri)

    def refuse(folder: Path) -> None:
        store.write("a.txt", b"theirs")
        (folder / SPEC_FILE).unlink()
        (folder / "trials").mkdir()
        (folder / "trials" / "a.txt").write_text("a trial's")
        raise SpecError(["no such metric"])

    with pytest.raises(SpecError), opened(uri, pytest.fail) as folder:
        make(folder)
        refuse(folder)
    assert list(store.entries()) == ["a.txt"]
    assert (folder / "trials" / "a.txt").exists()


def test_a_copy_of_what_was_deleted_at_the_uri_is_not_brought_back(uri: Uri) -> None:
    folder = drive(uri, "1\n")
    shutil.rmtree(uri.text.removeprefix("file://"))
    with pytest.raises(StudyNotFoundError, match=str(folder)), opened(uri, pytest.fail, must_exist=True):
        pass
    told: list[str] = []
    with opened(uri, told.append) as again:
        assert not again.exists()
    (aside,) = folder.parent.glob("it.*")
    assert (aside / "study.journal").read_text() == BEGUN + "1\n"
    assert str(aside) in told[0]


def test_a_copy_of_another_sweep_of_that_name_is_kept_aside(uri: Uri, elsewhere: Callable[[str], None]) -> None:
    folder = gone_on(uri, elsewhere, is_emptied=True)
    told: list[str] = []
    with opened(uri, told.append) as again:
        assert (again / "study.journal").read_text() == BEGUN + "1\n2\n"
    (aside,) = folder.parent.glob("it.*")
    assert (aside / "study.journal").read_text() == BEGUN + "1\n"
    assert "is not of the sweep" in told[0]


def test_files_of_the_user_in_a_copy_that_is_replaced_are_kept(uri: Uri, elsewhere: Callable[[str], None]) -> None:
    folder = gone_on(uri, elsewhere)
    put(folder, "trials/0000/notes.txt", "mine")
    told: list[str] = []
    with opened(uri, told.append) as again:
        assert (again / "study.journal").read_text() == BEGUN + "1\n2\n"
    (aside,) = folder.parent.glob("it.*")
    assert here(aside) == {"trials/0000/notes.txt": b"mine"}
    assert str(aside) in told[1]


def test_what_lies_where_the_copy_belongs_is_left_as_it_is(uri: Uri) -> None:
    folder = local_folder(uri)
    put(folder, "a.txt", "theirs")
    with pytest.raises(OccupiedError, match="not made by a sweep"), opened(uri, pytest.fail):
        pass
    assert here(folder) == {"a.txt": b"theirs"}
    assert ObjectStore(uri).entries() == {}


def test_storage_that_stays_away_is_told_with_the_local_copy(uri: Uri, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.object_storage.uploader.GIVE_UP_S", 0.0)
    told: list[str] = []

    def fail(*_: object) -> None:
        raise ObjectStoreError("gone")

    with pytest.raises(StorageError, match="Nothing is lost") as raised, opened(uri, told.append) as folder:
        make(folder)
        monkeypatch.setattr(ObjectStore, "upload", fail)
    assert str(folder) in str(raised.value)
    assert f"tuner resume {uri}" in str(raised.value)


def test_a_driver_hears_what_is_asked_at_the_uri_and_gives_way_to_another(uri: Uri) -> None:
    told: list[str] = []
    with pytest.raises(StorageError, match="taken over by process"), opened(uri, told.append) as folder:
        make(folder)
        RunAtUri(uri).ask(Verb.PAUSE)
        until(lambda: asked(folder) is Verb.PAUSE)
        store = ObjectStore(uri)
        store.write("driver.lock", (store.read("driver.lock") or b"").replace(b'"session": "', b'"session": "0'))
        until(lambda: asked(folder) is Verb.CANCEL)
    assert "has been taken over" in told[0]


def test_what_was_asked_is_forgotten_at_the_end(uri: Uri) -> None:
    with opened(uri, [].append) as folder:
        make(folder)
        RunAtUri(uri).ask(Verb.STOP)
        until(lambda: asked(folder) is Verb.STOP)
        # As the driver does, at its end; the next beat finds it at the URI still.
        clear(folder)
        until(lambda: asked(folder) is Verb.STOP)
    assert "control.json" not in here(folder)
    assert ObjectStore(uri).read("control.json") is None


def test_only_a_sweep_that_runs_can_be_asked(uri: Uri) -> None:
    folder = drive(uri, "1\n")
    run = RunAtUri(uri)
    assert not run.is_running
    assert here(run.bring("study.journal", "trials/*/metrics.jsonl")).keys() == {
        "study.journal",
        "trials/0000/metrics.jsonl",
    }
    assert here(folder).keys() > here(run.folder).keys()
    with pytest.raises(ControlError, match=f"{uri} is not running"):
        run.ask(Verb.STOP)


def test_a_database_in_a_file_is_refused(uri: Uri) -> None:
    with pytest.raises(SpecError, match=f"no other could go on with {uri}"):
        Sweep(print, parameters={"a": 1}, metric={"name": "loss"}, output=str(uri), storage="sqlite:///a.db")
