"""Files under a URI, on a real S3 server."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3 import BUCKET, ENVIRONMENT, Server, running_server
from tuner.errors import ObjectStoreError
from tuner.localcopy import Snapshot, opened
from tuner.objectstore import ObjectStore
from tuner.uri import Uri

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

    for read in (lambda: Snapshot(uri), drive):
        with pytest.raises(ObjectStoreError, match=r"can't be read: it holds '.*', which no file in a folder"):
            read()
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]
    assert not Path("/tmp/evil").exists()
