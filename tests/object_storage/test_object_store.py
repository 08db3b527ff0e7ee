"""Files under a URI, on a real S3 server."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import with_time
from tests.s3 import BUCKET, ENVIRONMENT, Busy, Server, busy_in_front_of, running_server
from tuner.errors import ObjectStoreError
from tuner.object_storage import object_store as objectstore
from tuner.object_storage import parts
from tuner.object_storage.local_copy import opened
from tuner.object_storage.object_store import ObjectStore
from tuner.object_storage.parts import PART_BYTES
from tuner.object_storage.run_at_uri import RunAtUri
from tuner.run_folder.place import Uri

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("s3") / "log.txt") as server:
        yield server


@pytest.fixture(autouse=True)
def _reached(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ENVIRONMENT | {"AWS_ENDPOINT_URL": server.url, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "name", ["../evil", "../../evil", "a/../../evil", "/tmp/evil", "a//b", "./a", "a%5C..%5Cb", "C:%5Cevil"]
)
def test_a_key_that_is_no_path_in_a_folder_is_refused_wherever_it_would_be_written(
    server: Server, tmp_path: Path, name: str
) -> None:
    uri = Uri(f"s3://{BUCKET}/keys/{abs(hash(name))}/run")
    ObjectStore(uri).write("sweep.yaml", b"name: a\n")
    request = urllib.request.Request(f"{server.url}/{uri.path.removeprefix('s3://')}/{name}", b"evil", method="PUT")
    urllib.request.urlopen(request).close()
    before = sorted(tmp_path.rglob("*"))

    def drive() -> None:
        with opened(uri, lambda text: None):
            pytest.fail("it was opened")

    for read in (lambda: RunAtUri(uri), drive):
        with pytest.raises(ObjectStoreError, match=r"can't be read: it holds '.*', which is not a valid file name"):
            read()
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]
    assert not Path("/tmp/evil").exists()


SIZE = 25 << 20
# Fails in the midst of a large file and of a small one, and ends.
CUT_OFF = """
import io, sys
from pathlib import Path
from tuner.errors import ObjectStoreError
from tuner.object_storage.object_store import ObjectStore
from tuner.run_folder.place import Uri

class Cut(io.BytesIO):
    def read(self, size=-1):
        if self.tell() >= 1 << 22:
            raise OSError("it can't be read")
        return super().read(size)

def stop(size):
    raise ObjectStoreError("no more")

store = ObjectStore(Uri(sys.argv[1]))
for source, name in ((open(sys.argv[2], "rb"), "large"), (Cut(bytes(5 << 20)), "small")):
    try:
        store.upload(name, source, (25 if name == "large" else 5) << 20, stop if name == "large" else lambda size: None)
    except ObjectStoreError as error:
        print(name, error)
"""


@pytest.fixture
def busy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    monkeypatch.setattr(parts, "_PAUSE_S", 0.0)
    with busy_in_front_of(server) as busy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", busy.url)
        yield busy


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "large").write_bytes(os.urandom(SIZE))
    return tmp_path / "large"


def test_a_part_that_is_refused_for_a_while_is_sent_again_and_the_others_are_not(busy: Busy, large: Path) -> None:
    store = ObjectStore(Uri(f"s3://{BUCKET}/once"))
    busy.refusals.update({"part 2": 4, "part 3": 1})
    with large.open("rb") as source:
        store.upload("large", source, SIZE)
    assert busy.sent == {"part 1": 1, "part 2": 5, "part 3": 2}
    assert store.read("large") == large.read_bytes()


def test_an_upload_goes_on_where_it_was_given_up_unless_the_file_has_changed(busy: Busy, large: Path) -> None:
    store = ObjectStore(Uri(f"s3://{BUCKET}/twice"))
    there: list[int] = []
    for name, is_changed in (("same", False), ("changed", True)):
        busy.sent.clear()
        there.clear()
        busy.refusals["part 2"] = 9
        with (
            large.open("rb") as source,
            pytest.raises(ObjectStoreError, match=r"can't be written to: .*(SLOW_DOWN|SERVICE_UNAVAILABLE)"),
        ):
            store.upload(name, source, SIZE, there.append)
        assert there == [PART_BYTES]
        assert store.find(name) == [None]
        if is_changed:
            large.write_bytes(os.urandom(SIZE))
            os.utime(large, ns=(1, 1))
        with large.open("rb") as source:
            store.upload(name, source, SIZE, there.append)
        assert busy.sent == {"part 1": 2 if is_changed else 1, "part 2": 10, "part 3": 1}
        assert sum(there) == SIZE + (PART_BYTES if is_changed else 0)
        assert store.read(name) == large.read_bytes()


def test_what_is_cut_off_never_stands_there_as_a_whole_file(large: Path) -> None:
    uri = Uri(f"s3://{BUCKET}/cut")
    command = [sys.executable, "-c", CUT_OFF, str(uri), str(large)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=120
    )
    assert (
        done.stdout == f"large {uri} can't be written to: no more\nsmall {uri} can't be written to: it can't be read\n"
    )
    assert ObjectStore(uri).entries() == {}


def test_a_download_goes_on_where_it_was_cut_off_unless_the_file_has_changed(
    busy: Busy, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, target, chunk = ObjectStore(Uri(f"s3://{BUCKET}/down")), tmp_path / "target", 1 << 22
    monkeypatch.setattr(objectstore, "_PAUSE_S", 0.0)
    with large.open("rb") as source:
        store.upload("large", source, SIZE)
    # More often in all than it is tried without anything that arrives.
    busy.refusals.update({f"from {chunk}": 2, f"from {3 * chunk}": 2})
    busy.sent.clear()
    store.download("large", target)
    assert target.read_bytes() == large.read_bytes()
    assert busy.sent == {f"from {start}": 3 if start in (chunk, 3 * chunk) else 1 for start in range(0, SIZE, chunk)}

    def change(seconds: float) -> None:
        large.write_bytes(os.urandom(SIZE))
        with large.open("rb") as source:
            store.upload("large", source, SIZE)

    with_time(monkeypatch, objectstore, sleep=change)
    busy.refusals[f"from {chunk}"] = 1
    store.download("large", target)
    assert target.read_bytes() == large.read_bytes()
    with_time(monkeypatch, objectstore, sleep=lambda seconds: None)
    busy.refusals[f"from {2 * chunk}"] = 9
    with pytest.raises(ObjectStoreError, match=r"can't be read: .*(SLOW_DOWN|SERVICE_UNAVAILABLE)"):
        store.download("large", target)
    assert target.read_bytes() == large.read_bytes()
    assert not list(tmp_path.glob(".*.tmp"))
