"""Nothing that is not ours is touched: random histories of commands, with somebody's files thrown everywhere.

The commands are the real ones, on real files and a real store; in the place of Ray a loop in this process trains,
saves, reports, fails and dies as trials and drivers do. Each file of somebody's holds bytes of its own, by which it is
found again wherever it was set aside.
"""

import itertools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from benchmarks.common import Silent
from tests.conftest import report
from tuner import Results, Sweep
from tuner.engine.driver import run as engine
from tuner.errors import REFUSALS, ResourceError, SpecError, StorageError, StudyNotFoundError
from tuner.export import export_best
from tuner.object_storage import lease
from tuner.object_storage import uploader as mirror
from tuner.object_storage.run_at_uri import open_run
from tuner.records import TrialState
from tuner.remote.folder_archive import pack, unpack
from tuner.results.listing import list_runs
from tuner.run_folder import outage as storage
from tuner.run_folder.background import Beside
from tuner.run_folder.lock import LOCK_FILE
from tuner.run_folder.place import Place, Uri
from tuner.run_folder.trial_files import trial_dir
from tuner.study.recorder import Recorder
from tuner.study.sweep_end import Verdict
from tuner.trial.checkpoint import save_checkpoint
from tuner.trial.scratch import Scratch
from tuner.trial.trial import Trial

IDS = ("a", "b")
# In folders of ours and in others.
NAMES = (
    *("notes.txt", "data.gz", ".hidden", "x.tmp", ".best.tmp", ".uploading", ".sweep.yaml.tmp", "sub/deep.bin"),
    *("step-best/a", "step-0001/a", "0007/params", "files/a", "best/own.txt", "trials/0001/own.txt", "a.aside"),
)
# In folders that are not ours yet.
OURS = ("sweep.yaml", "study.journal", ".tuner.json", "driver.lock", "control.json", "trials/0000/params.json")


def loop(trial: Trial) -> None:
    """Only its name is used."""


class World:
    """Two machines, a disk, a store; and somebody who puts files everywhere."""

    def __init__(self, root: Path, seed: int, set_cache: Callable[[str], None]) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.set_cache = set_cache
        self.thrown: list[bytes] = []
        self.log: list[str] = []
        self.kills = False
        for name in ("runs", "store", "fetched", "scratch"):
            (root / name).mkdir()
        self.move()

    def move(self) -> None:
        """Be on one of the machines."""
        self.set_cache(str(self.root / f"cache-{self.random.choice('ab')}"))

    def throw(self) -> None:
        """Somebody puts a file somewhere."""
        folders = [Path(path) for path, _, _ in os.walk(self.root) if ".tmp" not in path.removeprefix(str(self.root))]
        folder = self.random.choice(sorted(folders))
        if self.random.random() < 0.2:
            kinds = [path for path in sorted(folders) if path.name in ("trials", "checkpoints", "best", "tensorboard")]
            folder = self.random.choice(kinds or [folder])
        # A place that a driver holds is a sweep's before it is marked.
        is_ours = any(
            (path / name).exists() for path in (folder, *folder.parents) for name in (".tuner.json", LOCK_FILE)
        )
        self.write(folder / self.random.choice(NAMES if is_ours else NAMES + OURS))

    def write(self, path: Path) -> None:
        data = f"somebody's {len(self.thrown)}".encode()
        if path.exists():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # one of the folders is a file
        path.write_bytes(data)
        self.thrown.append(data)
        self.log.append(f"  + {path.relative_to(self.root)}")

    def place(self) -> Place:
        id = self.random.choice(IDS)
        return self.random.choice([self.root / "runs" / id, Uri(f"file://{self.root}/store/{id}")])

    def folder_of(self, place: Place) -> Path:
        return place if isinstance(place, Path) else Path(place.text.removeprefix("file://"))

    def check(self) -> None:
        found = {path.read_bytes() for path in self.root.rglob("*") if path.is_file() and path.stat().st_size < 100}
        lost = [data.decode() for data in self.thrown if data not in found]
        assert not lost, "\n".join([*lost, *self.log])


class Trainer:
    """In the place of the engine: what it may do with a recorder, in a random order."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, recorder: Recorder, *_: Any, run_cap: int, **__: Any) -> engine.Ended:
        chance = self._world.random.random
        if chance() < 0.1:
            raise ResourceError("no GPU")
        while recorder.study.num_waiting() or recorder.num_asked < run_cap:
            running = recorder.ask()
            assert running is not None
            self._train(recorder, running.number, running.restore_step)
            if chance() < 0.1:
                raise KeyboardInterrupt
        return engine.Ended(Verdict("run_cap", "done"), 1)

    def _train(self, recorder: Recorder, number: int, restored: int) -> None:
        world, chance = self._world, self._world.random.random
        folder = trial_dir(recorder.folder, number)
        step = restored
        while step < 3:
            step += 1
            if chance() < 0.3:
                world.write(folder / world.random.choice(("model.bin", "logs/a.txt", ".cache/b", "curve.gz")))
            if chance() < 0.3:
                world.throw()
            if chance() < 0.05 and not recorder.tally.has_reports:
                raise SpecError(["the first report lacks the metric"])
            if has_checkpoint := chance() < 0.7:
                files = world.root / "given"
                files.mkdir(exist_ok=True)
                (files / "a").write_text("given with the state")
                save_checkpoint(folder, step, {"w": torch.zeros(1)}, {}, [files] if chance() < 0.3 else [])
            recorder.report(number, [report(step, chance(), has_checkpoint=has_checkpoint)])
            if chance() < 0.1:
                step = recorder.retry(number, "lost", "").restore_step
            if world.kills and chance() < 0.2:
                raise StorageError("killed")
        state = world.random.choice([TrialState.COMPLETED, TrialState.PRUNED, TrialState.FAILED])
        recorder.finish(number, state, message="so it is")


def make_sweep(world: World, place: Place) -> Sweep:
    return Sweep(
        loop,
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "accuracy", "goal": "maximize"},
        method="random",
        run_cap=2,
        seed=1,
        name="it",
        checkpoints={"keep": world.random.choice(["best", "last", 1, "all"])},
        output=place.parent,
    )


def begin(world: World) -> None:
    place = world.place()
    make_sweep(world, place).run(id=place.name, console=Silent())


def go_on(world: World) -> None:
    place = world.place()
    make_sweep(world, place).resume(place, run_cap=world.random.choice([None, "+1"]), console=Silent())


def die(world: World) -> None:
    """The driver is killed; of one at a URI the storage sees nothing more."""
    world.kills = True
    place = world.place()
    there = world.folder_of(place)
    sweep = make_sweep(world, place)
    try:
        world.random.choice(
            [lambda: sweep.run(id=place.name, console=Silent()), lambda: sweep.resume(place, console=Silent())]
        )()
    finally:
        world.kills = False
        held = there / LOCK_FILE
        if isinstance(place, Uri) and held.exists() and b"somebody" not in held.read_bytes():
            held.write_text(
                held.read_text().replace('"is_released": true', '"is_released": false').replace('"pid": ', '"pid": 9')
            )


def look(world: World) -> None:
    """Readers write nothing."""
    before = {path: path.stat().st_mtime_ns for path in world.root.rglob("*")}
    place = world.place()
    try:
        Results.read(place).best_json()
        for output in (world.root / "runs", Uri(f"file://{world.root}/store")):
            list_runs(output)
    finally:
        assert {path: path.stat().st_mtime_ns for path in world.root.rglob("*")} == before, world.log


def fetch(world: World) -> None:
    place = world.place()
    folder = open_run(place).bring("*")
    if not folder.exists():
        return
    pack(folder, world.root / "packed", best_only=world.random.random() < 0.3)
    try:
        unpack(world.root / "packed", world.root / "fetched" / world.random.choice(IDS))
    finally:
        (world.root / "packed").unlink()


def send_out(world: World) -> None:
    export_best(Results.read(world.place()), world.root / world.random.choice(["exported", "fetched"]))


def empty(world: World) -> None:
    """Somebody deletes what a sweep has written in a place, or a part of it; not what they have put there."""
    place = world.place()
    folder = world.folder_of(place)
    chosen = world.random.choice(["*", "study.journal", "sweep.yaml", ".tuner*"])
    for path in sorted(folder.rglob(chosen)):
        if path.is_file() and path.read_bytes() not in world.thrown:
            path.unlink()


def forget(world: World) -> None:
    """Somebody clears a machine's cache, but for what they have put there."""
    for path in sorted((world.root / "cache-a").rglob("*")):
        if path.is_file() and path.read_bytes() not in world.thrown:
            path.unlink()


def scratch(world: World) -> None:
    kept = Scratch(world.random.choice(["s", "t", "best"]), world.root / "scratch")
    (kept.path / "a").write_text("a process's own")
    kept.close()


ACTIONS = (begin, begin, go_on, go_on, die, look, fetch, fetch, send_out, empty, forget, scratch)


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], World]:
    monkeypatch.setattr(lease, "_SETTLE_S", 0.0)
    monkeypatch.setattr(lease, "EXPIRES_S", 60.0)
    monkeypatch.setattr(mirror, "GIVE_UP_S", -1.0)
    monkeypatch.setattr(storage, "LIMIT_S", -1.0)
    # In the same order each time.
    monkeypatch.setattr(Beside, "do", lambda _, work: work())
    count = itertools.count()

    def make(seed: int) -> World:
        root = tmp_path / f"{next(count)}"
        root.mkdir()
        world = World(root, seed, lambda path: monkeypatch.setenv("XDG_CACHE_HOME", path))
        monkeypatch.setattr(engine, "run", Trainer(world).run)
        return world

    return make


def live(world: World) -> None:
    """One history."""
    for _ in range(world.random.randint(4, 10)):
        for _ in range(world.random.choice([0, 0, 1, 3])):
            world.throw()
        world.move()
        action = world.random.choice(ACTIONS)
        world.log.append(action.__name__)
        try:
            action(world)
        except (*REFUSALS, StorageError, KeyboardInterrupt) as error:
            world.log.append(f"  {type(error).__name__}: {str(error)[:200]}")
        world.check()
    check_curves(world)


def check_curves(world: World) -> None:
    """No trial tells a step twice, as where two sweeps share a folder."""
    for path in world.root.rglob("metrics.jsonl"):
        steps = [line.partition(b'"step": ')[2].partition(b",")[0] for line in path.read_bytes().splitlines()]
        assert len(steps) == len(set(steps)), (path, world.log)


@pytest.mark.parametrize("block", range(3))
def test_what_somebody_has_put_anywhere_is_there_after_any_history(
    make_world: Callable[[int], World], block: int
) -> None:
    for seed in range(8 * block, 8 * block + 8):
        world = make_world(seed)
        live(world)
        shutil.rmtree(world.root)


@pytest.mark.long
@pytest.mark.parametrize("block", range(20))
def test_what_somebody_has_put_anywhere_is_there_after_each_of_five_hundred_histories(
    make_world: Callable[[int], World], block: int
) -> None:
    for seed in range(1000 + 30 * block, 1000 + 30 * block + 30):
        world = make_world(seed)
        live(world)
        shutil.rmtree(world.root)


def test_a_study_in_a_file_is_found_from_everywhere_and_not_begun_anew(
    make_world: Callable[[int], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(1)
    monkeypatch.chdir(world.root)
    url = "sqlite:///studies.db"
    theirs = optuna.create_study(storage=url, study_name="theirs")
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    place = world.root / "runs" / "a"

    def sweep() -> Sweep:
        space = {"x": {"min": 0.0, "max": 1.0}}
        options: dict[str, Any] = {"method": "random", "run_cap": 2, "output": place.parent, "storage": url}
        return Sweep(loop, parameters=space, metric={"name": "accuracy", "goal": "maximize"}, **options)

    def all_report(recorder: Recorder, *_: Any, run_cap: int, **__: Any) -> engine.Ended:
        while recorder.num_asked < run_cap:
            running = recorder.ask()
            assert running is not None
            recorder.report(running.number, [report(1, 0.5)])
            recorder.finish(running.number, TrialState.COMPLETED)
        return engine.Ended(Verdict("run_cap", "done"), 1)

    def refuse(*_: Any, **__: Any) -> engine.Ended:
        raise ResourceError("no GPU")

    monkeypatch.setattr(engine, "run", refuse)
    with pytest.raises(ResourceError):
        sweep().run(id="a", console=Silent())
    assert optuna.get_all_study_names(url) == ["theirs"]
    assert not place.exists()
    monkeypatch.setattr(engine, "run", all_report)
    sweep().run(id="a", console=Silent())
    (world.root / "elsewhere").mkdir()
    monkeypatch.chdir(world.root / "elsewhere")
    assert len(sweep().resume(place, run_cap="+1", console=Silent()).trials) == 3
    assert list(Path().iterdir()) == []
    (world.root / "studies.db").rename(world.root / "kept.db")
    curves = [path.read_bytes() for path in sorted(place.glob("trials/*/metrics.jsonl"))]
    with pytest.raises(StudyNotFoundError, match="there is no database"):
        Results.read(place)
    with pytest.raises(StudyNotFoundError, match="Restore it from a copy"):
        sweep().resume(place, console=Silent())
    assert not (world.root / "studies.db").exists()
    (world.root / "kept.db").rename(world.root / "studies.db")
    assert len(sweep().resume(place, run_cap="+1", console=Silent()).trials) == 4
    assert [path.read_bytes() for path in sorted(place.glob("trials/*/metrics.jsonl"))][:3] == curves
    monkeypatch.chdir(world.root)
    assert len(optuna.load_study(storage=url, study_name="theirs").trials) == 1
