"""Which of the local copy and the URI is newer, told by what is in them; on a local file system through pyarrow."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_lease import until
from tests.test_mirror import here, put, put_checkpoint, there
from tuner import lease
from tuner.control import Verb, asked, clear
from tuner.errors import ControlError, ObjectStoreError, SpecError, StorageError, StudyNotFoundError
from tuner.localcopy import Snapshot, opened
from tuner.objectstore import ObjectStore
from tuner.sweep import Sweep
from tuner.uri import Uri


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


def drive(uri: Uri, journal: str, told: list[str] | None = None) -> Path:
    """A driver that writes a journal, its reports and a checkpoint, and ends; its folder."""
    with opened(uri, [].append if told is None else told.append) as folder:
        put(folder, "sweep.yaml", "name: it\n")
        put(folder, "study.journal", journal)
        put(folder, "trials/0000/metrics.jsonl", journal)
        put_checkpoint(folder, len(journal))
    return folder


def test_what_a_driver_leaves_is_there_and_another_machine_goes_on_from_it(
    uri: Uri, elsewhere: Callable[[str], None]
) -> None:
    first = drive(uri, "1\n")
    store = ObjectStore(uri)
    assert there(store) == here(first)
    # Half of a checkpoint is none.
    store.write("trials/0000/checkpoints/step-0009/state.pt", b"cut")
    elsewhere("b")
    told: list[str] = []
    with opened(uri, told.append, must_exist=True) as folder:
        assert folder != first
        assert here(folder) == here(first)
        assert told == [f"bringing 0.0 MiB from {uri}"]
    assert there(store) == here(first), "the half one is gone"


def test_the_local_copy_is_used_where_it_is_newer(uri: Uri) -> None:
    folder = drive(uri, "1\n")
    # A driver that was killed before it had sent this.
    put(folder, "study.journal", "1\n2\n")
    put_checkpoint(folder, 4)
    told: list[str] = []
    with opened(uri, told.append) as again:
        assert again == folder
        assert (folder / "study.journal").read_text() == "1\n2\n"
    assert told == []
    assert there(ObjectStore(uri)) == here(folder)


def test_the_local_copy_is_replaced_where_another_machine_has_gone_on(
    uri: Uri, elsewhere: Callable[[str], None]
) -> None:
    drive(uri, "1\n")
    elsewhere("b")
    drive(uri, "1\n2\n")
    elsewhere("a")
    told: list[str] = []
    with opened(uri, told.append) as folder:
        assert (folder / "study.journal").read_text() == "1\n2\n"
    assert told == [f"bringing 0.0 MiB from {uri}"]
    assert not list(folder.parent.glob("it.*"))


def test_a_local_copy_that_another_machine_has_not_seen_is_kept_aside(
    uri: Uri, elsewhere: Callable[[str], None]
) -> None:
    folder = drive(uri, "1\n")
    elsewhere("b")
    drive(uri, "1\n2\n")
    elsewhere("a")
    put(folder, "study.journal", "1\n3\n")
    told: list[str] = []
    with opened(uri, told.append) as folder:
        assert (folder / "study.journal").read_text() == "1\n2\n"
    (aside,) = folder.parent.glob("it.*")
    assert (aside / "study.journal").read_text() == "1\n3\n"
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
    with pytest.raises(StudyNotFoundError, match="is no run folder"), opened(uri, pytest.fail, must_exist=True):
        pass
    assert not (tmp_path / "runs").exists()

    def refuse(folder: Path) -> None:
        put(folder, "sweep.yaml", "name: it\n")
        shutil.rmtree(folder)
        raise SpecError(["no such metric"])

    with pytest.raises(SpecError, match="no such metric"), opened(uri, pytest.fail) as folder:
        refuse(folder)
    assert ObjectStore(uri).entries() == {}


def test_storage_that_stays_away_is_told_with_the_local_copy(uri: Uri, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.mirror.GIVE_UP_S", 0.0)
    told: list[str] = []

    def fail(*_: object) -> None:
        raise ObjectStoreError("gone")

    with pytest.raises(StorageError, match="Nothing is lost") as raised, opened(uri, told.append) as folder:
        put(folder, "sweep.yaml", "name: it\n")
        monkeypatch.setattr(ObjectStore, "upload", fail)
    assert str(folder) in str(raised.value)
    assert f"tuner resume {uri}" in str(raised.value)


def test_a_driver_hears_what_is_asked_at_the_uri_and_gives_way_to_another(uri: Uri) -> None:
    told: list[str] = []
    with pytest.raises(StorageError, match="taken over by process"), opened(uri, told.append) as folder:
        put(folder, "sweep.yaml", "name: it\n")
        Snapshot(uri).ask(Verb.PAUSE)
        until(lambda: asked(folder) is Verb.PAUSE)
        store = ObjectStore(uri)
        store.write("driver.lock", (store.read("driver.lock") or b"").replace(b'"session": "', b'"session": "0'))
        until(lambda: asked(folder) is Verb.CANCEL)
    assert "has been taken over" in told[0]


def test_what_was_asked_is_forgotten_at_the_end(uri: Uri) -> None:
    with opened(uri, [].append) as folder:
        put(folder, "sweep.yaml", "name: it\n")
        Snapshot(uri).ask(Verb.STOP)
        until(lambda: asked(folder) is Verb.STOP)
        # As the driver does, at its end; the next beat finds it at the URI still.
        clear(folder)
        until(lambda: asked(folder) is Verb.STOP)
    assert "control.json" not in here(folder)
    assert ObjectStore(uri).read("control.json") is None


def test_only_a_sweep_that_runs_can_be_asked(uri: Uri) -> None:
    folder = drive(uri, "1\n")
    snapshot = Snapshot(uri)
    assert not snapshot.is_running
    assert here(snapshot.bring("study.journal", "trials/*/metrics.jsonl")).keys() == {
        "study.journal",
        "trials/0000/metrics.jsonl",
    }
    assert here(folder).keys() > here(snapshot.folder).keys()
    with pytest.raises(ControlError, match=f"{uri} is not running"):
        snapshot.ask(Verb.STOP)


def test_a_database_in_a_file_is_refused(uri: Uri) -> None:
    with pytest.raises(SpecError, match=f"no other could go on with {uri}"):
        Sweep(print, parameters={"a": 1}, metric={"name": "loss"}, output=str(uri), storage="sqlite:///a.db")
