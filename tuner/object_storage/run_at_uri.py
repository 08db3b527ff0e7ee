"""A run folder at a URI for its readers: the files they ask for, in a temporary folder of this machine."""

import contextlib
import tempfile
import threading
import time
from fnmatch import fnmatchcase
from pathlib import Path

from tuner.errors import ObjectStoreError
from tuner.object_storage.lease import is_held
from tuner.object_storage.object_store import Entry, ObjectStore
from tuner.object_storage.uploader import mark_of
from tuner.run_folder.control import CONTROL_FILE
from tuner.run_folder.place import Place, Uri, as_place
from tuner.run_folder.run import Run


class RunAtUri(Run):
    """A run folder at a URI, as of the last look; a look costs a listing of its files."""

    poll_s = 2.0

    def __init__(self, uri: Uri) -> None:
        self._store = ObjectStore(uri)
        self._scratch = tempfile.TemporaryDirectory(prefix="tuner-")
        super().__init__(Path(self._scratch.name), uri)
        self._brought: dict[str, Entry] = {}
        self.refresh()

    def refresh(self) -> None:
        # Checked first, so that the last files of a driver that ends now are still found.
        self._is_running = is_held(self._store)
        self._there = self._store.entries()

    @property
    def is_running(self) -> bool:
        return self._is_running

    def has_folder(self, name: str) -> bool:
        return mark_of(name) in self._there

    def bring(self, *patterns: str) -> Path:
        names = [
            name
            for name, entry in self._there.items()
            if self._brought.get(name) != entry and any(fnmatchcase(name, pattern) for pattern in patterns)
        ]
        for name in self._store.download_all(names, self.folder):
            self._brought[name] = self._there[name]
        return self.folder

    def _request(self, text: str) -> None:
        self._store.write(CONTROL_FILE, text.encode())


def open_run(place: Place | str) -> Run:
    """Open a run folder, wherever it is. Blocks while it looks at a URI."""
    place = as_place(place)
    return RunAtUri(place) if isinstance(place, Uri) else Run(place)


def follow(run: Run, *patterns: str) -> Path:
    """The folder with the matching files, kept up to date by a thread while this process lives."""
    folder = run.bring(*patterns)

    def look() -> None:
        while True:
            time.sleep(run.poll_s)
            with contextlib.suppress(ObjectStoreError):
                run.refresh()
                run.bring(*patterns)

    if isinstance(run, RunAtUri):
        threading.Thread(target=look, name="follow", daemon=True).start()
    return folder
