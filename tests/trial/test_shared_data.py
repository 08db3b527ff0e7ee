"""Data that processes share: real processes, real memory."""

import errno
import gc
import hashlib
import json
import os
import pickle
import select
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import torch

from tests.processes import end, go, line, start
from tuner.trial.scratch import Scratch, runtime_folder
from tuner.trial.shared_data import SharedData

MIB = 1 << 20
# Loads 64 MiB once it is told to, reads all of it, and tells what it has; then waits to be told to end.
PROCESS = """
import json, os, sys
import numpy as np
from tuner.trial.shared_data import SharedData

def load():
    print("loading", flush=True)
    sys.stdin.readline()
    return {"x": np.full((64, 1 << 20), 7, np.uint8), "who": os.getpid()}

shared = SharedData(sys.argv[1])
data = shared.get("key", load)
print(json.dumps({"sum": int(data["x"].sum(dtype=np.int64)), "who": data["who"]}), flush=True)
sys.stdin.read()
"""


class Pair(NamedTuple):
    x: torch.Tensor
    y: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rows:
    images: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedData]:
    shared = SharedData(tmp_path.name)
    yield shared
    shared.close()


def through_another(name: str, value: Any) -> Any:
    """A value as a second holder of the name gets it, which must not load it."""
    with closing(SharedData(name)) as first, closing(SharedData(name)) as second:
        first.get("key", lambda: value)
        return second.get("key", lambda: pytest.fail("it was loaded twice"))


@pytest.mark.slow
def test_processes_load_once_and_share_the_memory_whoever_dies(tmp_path: Path) -> None:
    name = f"{tmp_path.name}-{os.getpid()}"
    first = start(PROCESS, name)
    assert line(first) == "loading"
    second, third = start(PROCESS, name), start(PROCESS, name)
    # The one that loads dies half way: another takes over, once.
    end(first)
    (loading,) = select.select([second.stdout, third.stdout], [], [], 60)[0]
    loader, other = (second, third) if loading is second.stdout else (third, second)
    assert line(loader) == "loading"
    go(loader)
    told_of = [json.loads(line(each)) for each in (loader, other)]
    assert [each["sum"] for each in told_of] == [7 * 64 * MIB] * 2
    assert {each["who"] for each in told_of} == {loader.pid}
    # Both have all of it in memory, and each counts for half.
    for each in (loader, other):
        (mapped,) = [m for m in psutil.Process(each.pid).memory_maps() if Path(m.path).name.startswith("#")]
        assert mapped.rss >= 64 * MIB
        assert mapped.pss <= 34 * MIB
    # Without the one that has loaded it, those that come later still find it.
    os.kill(loader.pid, signal.SIGKILL)
    loader.communicate()
    late = start(PROCESS, name)
    assert json.loads(line(late))["who"] == loader.pid
    for each in (other, late):
        end(each)
    # Nobody had the time to clean up, and nothing is left.
    again = start(PROCESS, name)
    assert line(again) == "loading"
    end(again)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.bfloat16,
        torch.float16,
        torch.uint8,
        torch.int64,
        torch.bool,
        torch.complex64,
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 5)])
def test_tensors_of_each_dtype_and_shape(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    given = torch.arange(int(np.prod(shape))).reshape(shape).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = through_another(tmp_path.name, given)
    assert got.dtype is dtype
    assert got.shape == given.shape
    assert torch.equal(got, given)


@pytest.mark.parametrize(
    "given",
    [
        np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(100).reshape(10, 10)[::2, ::3],
        np.empty((0, 3), np.float32),
        np.array(5.0),
        np.array(["a", "bcd"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([{"any": "thing"}, None], dtype=object),
    ],
)
def test_numpy_arrays_of_all_kinds(tmp_path: Path, given: np.ndarray[Any, Any]) -> None:
    got = through_another(tmp_path.name, given)
    assert (got.dtype, got.shape) == (given.dtype, given.shape)
    np.testing.assert_array_equal(got, given)


def test_arrays_may_be_anywhere_in_what_was_loaded(tmp_path: Path) -> None:
    rows = Rows(torch.zeros(5, 1, 4, 4, dtype=torch.uint8), torch.arange(5), ("a", "b"))
    strange = {
        "sparse": torch.eye(3).to_sparse(),
        "weights": torch.nn.Parameter(torch.ones(2)),
        "view": rows.labels[1:3],
    }
    got = through_another(tmp_path.name, {"rows": rows, "pair": Pair(torch.ones(2, 3).T, np.ones(2)), **strange})
    assert isinstance(got["rows"], Rows)
    assert torch.equal(got["rows"].labels, torch.arange(5))
    assert got["rows"].names == ("a", "b")
    assert isinstance(got["pair"], Pair)
    assert got["sparse"].to_dense().sum() == 3
    assert got["weights"].requires_grad
    # Of a view, only what it shows is shared.
    assert got["view"].tolist() == [1, 2]
    assert got["view"].untyped_storage().nbytes() == 16


def test_a_change_in_place_stays_where_it_was_made(tmp_path: Path) -> None:
    first, second = SharedData(tmp_path.name), SharedData(tmp_path.name)
    mine = first.get("key", lambda: (torch.zeros(4), np.zeros(4)))
    theirs = second.get("key", lambda: pytest.fail("it was loaded twice"))
    mine[0].add_(1)
    mine[1][:] = 1
    assert theirs[0].sum() == theirs[1].sum() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.from_numpy(theirs[1]).sum() == 0
    # What is still in use outlives its holders.
    first.close()
    second.close()
    second.close()
    gc.collect()
    assert theirs[0].sum() + 4 == mine[0].sum() == 4


def test_keys_and_runs_do_not_meet(tmp_path: Path, shared: SharedData) -> None:
    assert [shared.get(key, lambda key=key: key * 2) for key in ("a", "b", "a/../b", "a")] == [
        "aa",
        "bb",
        "a/../ba/../b",
        "aa",
    ]  # type: ignore[misc]
    with closing(SharedData(f"{tmp_path.name}-other")) as other:
        assert other.get("a", lambda: "another") == "another"


def test_what_load_raises_comes_through_and_the_next_one_loads(shared: SharedData) -> None:
    def fail() -> int:
        raise FileNotFoundError("no data here")

    with pytest.raises(FileNotFoundError, match="no data here"):
        shared.get("key", fail)
    assert shared.get("key", lambda: 3) == 3


def test_what_cannot_be_pickled_is_refused(shared: SharedData) -> None:
    with pytest.raises(TypeError, match=r"trial\.shared: the value loaded for 'key' can't be given .* trial\.cached"):
        shared.get("key", lambda: {"transform": lambda x: x})
    assert shared.get("key", lambda: 3) == 3


def test_without_room_in_memory_it_is_shared_from_disk_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = SharedData(tmp_path.name, memory=tmp_path / "nothing here"), SharedData(tmp_path.name)
    with closing(first), closing(second):
        assert first.get("key", lambda: np.ones(8 * MIB, np.uint8)).sum() == 8 * MIB
        assert "'key' takes 0.01 GiB, and" in capsys.readouterr().err
        assert any(mapped.path.startswith(f"{tempfile.gettempdir()}/#") for mapped in psutil.Process().memory_maps())
        assert second.get("key", lambda: pytest.fail("it was loaded twice")).sum() == 8 * MIB
    assert not list(tmp_path.iterdir())


def test_without_room_on_disk_either_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """Stands in for a full disk, which takes root to make."""

        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        tell = close = flush = lambda self: 0

    monkeypatch.setattr("tuner.trial.shared_data.tempfile.TemporaryFile", lambda dir: Full())
    with (
        closing(SharedData(tmp_path.name)) as shared,
        pytest.raises(OSError, match=r"'key' takes 0.00 GiB, and there is no room for it in .* TMPDIR"),
    ):
        shared.get("key", lambda: 1)


def test_a_holder_that_is_another_process_by_now_is_passed_over(tmp_path: Path) -> None:
    scratch = Scratch(f"shared-{tmp_path.name}", runtime_folder())
    first, second = SharedData(tmp_path.name), SharedData(tmp_path.name)
    read, write = os.pipe()
    with closing(scratch), closing(first), closing(second), (tmp_path / "file").open("w+") as other:
        first.get("key", lambda: 1)
        (path,) = scratch.path.glob("[!.]*")
        path.write_text(f"999999999 3\n{os.getpid()} {read}\n{os.getpid()} {other.fileno()}\nnothing\n")
        assert second.get("key", lambda: 2) == 2
    os.close(read)
    os.close(write)


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_others", [True, False])
def test_what_another_user_could_have_written_is_never_unpickled(tmp_path: Path, is_others: bool) -> None:
    """The file of a process that looks like a holder in all but its owner, or its mode."""
    if is_others and os.geteuid() != 0:
        pytest.skip("only root can make another user's file")
    name, trap = tmp_path.name, tmp_path / "trap"
    mark = hashlib.sha256(f"{name} key".encode()).digest()
    index = pickle.dumps((pickle.dumps(Trap(trap)), []))
    planted = tmp_path / "planted"
    planted.write_bytes(mark + len(index).to_bytes(8, "little") + index)
    scratch = Scratch(f"shared-{name}", runtime_folder())
    with closing(scratch), planted.open("rb") as held, closing(SharedData(name)) as shared:
        (scratch.path / mark.hex()).write_text(f"{os.getpid()} {held.fileno()}\n")
        planted.chmod(0o600 if is_others else 0o606)
        if is_others:
            os.chown(planted, 12345, 12345)
        assert shared.get("key", lambda: "loaded") == "loaded"
        assert not trap.exists()
    # As this user's own it would have been taken.
    os.chown(planted, os.geteuid(), os.getegid())
    planted.chmod(0o600)
    scratch = Scratch(f"shared-{name}", runtime_folder())
    with closing(scratch), planted.open("rb") as held, closing(SharedData(name)) as shared:
        (scratch.path / mark.hex()).write_text(f"{os.getpid()} {held.fileno()}\n")
        shared.get("key", lambda: pytest.fail("it was loaded"))
        assert trap.exists()


@pytest.mark.parametrize(
    "line",
    ["{pid} ../fd/{number}", "../{folder} {number}", "self {number}", "{pid} {number} ", "0{pid} {number}", "{pid} ٣"],
)
def test_a_holder_is_a_process_and_a_number_and_nothing_else(tmp_path: Path, line: str) -> None:
    name = tmp_path.name
    scratch = Scratch(f"shared-{name}", runtime_folder())
    first, second = SharedData(name), SharedData(name)
    with closing(scratch), closing(first), closing(second):
        first.get("key", lambda: 1)
        (path,) = scratch.path.glob("[!.]*")
        pid, number = path.read_text().split()
        path.write_text(line.format(pid=pid, number=number, folder=tmp_path.relative_to("/")) + "\n")
        assert second.get("key", lambda: 2) == 2


def test_data_are_loaded_again_where_the_folder_has_gone_with_the_login_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tmp_path / "session"
    session.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    with closing(SharedData(tmp_path.name)) as first, closing(SharedData(tmp_path.name)) as second:
        assert first.get("one", lambda: 1) == 1
        shutil.rmtree(session)
        assert first.get("one", lambda: 2) == 1
        assert first.get("two", lambda: 2) == 2
        assert second.get("two", lambda: 3) == 2


def test_the_loader_keeps_one_copy(shared: SharedData) -> None:
    before = psutil.Process().memory_full_info().uss
    data = shared.get("key", lambda: np.ones(64 * MIB, np.uint8))
    assert data.sum() == 64 * MIB
    assert psutil.Process().memory_full_info().uss - before < 80 * MIB
