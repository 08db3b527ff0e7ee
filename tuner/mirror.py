"""Keeps a URI like the local run folder, from a thread of its own: neither the driver nor training ever waits for it.

What is at the URI is at each moment a state that another machine can go on from: the journal's length is taken first,
then what is new or changed of the other files goes up, then the journal up to that length, then what has been dropped
is deleted. Folders that are replaced whole, which checkpoints are, count there by one file, which goes up last.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from tuner.checkpoint_folder import CHECKSUMS_FILE
from tuner.control import CONTROL_FILE
from tuner.errors import ObjectStoreError
from tuner.files import read_json, write_atomic
from tuner.lease import Lease
from tuner.lock import LOCK_FILE
from tuner.objectstore import ObjectStore
from tuner.study import JOURNAL_FILE
from tuner.uri import is_plain

MIN_PERIOD_S = 2.0
# A round is followed by a pause of that many times what it took, within these limits.
_PAUSE_FACTOR = 4
_MAX_PERIOD_S = 60.0
_MAX_RETRY_S = 30.0
_UPLOADS = 8
# After the sweep's end: so long without a single file going up, and the rest stays in the local copy.
GIVE_UP_S = 120.0
RECORD_FILE = ".mirror.json"
_STAGED = ".uploading"
_BEST_MARK = "best.json"

# Size, time of the last change and inode of a local file; None for one whose counterpart is of unknown content.
Stamp = tuple[int, int, int]


def is_mirrored(name: str) -> bool:
    """Hidden files are half written or this machine's own; a name that is not plain is not read from a URI."""
    return name not in (LOCK_FILE, CONTROL_FILE) and not name.startswith(".") and "/." not in name and is_plain(name)


def unit_of(name: str) -> str | None:
    """The folder that a file comes and goes with: a checkpoint, or `best`."""
    parts = PurePosixPath(name).parts
    if parts[0] == "best":
        return "best"
    if len(parts) > 4 and (parts[0], parts[2]) == ("trials", "checkpoints"):
        return "/".join(parts[:4])
    return None


def mark_of(unit: str) -> str:
    """The file that says that the folder is whole."""
    return f"{unit}/{_BEST_MARK if unit == 'best' else CHECKSUMS_FILE}"


def stamp_of(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def scan(folder: Path) -> dict[str, Stamp]:
    """The files that are to be at the URI."""
    return {name: stamp for name, stamp in _visible(folder).items() if is_mirrored(name)}


def _visible(folder: Path) -> dict[str, Stamp]:
    found: dict[str, Stamp] = {}
    _scan(str(folder), "", found)
    return found


def _scan(folder: str, inside: str, found: dict[str, Stamp]) -> None:
    # By strings: paths would take most of the time, and there may be ten thousand files.
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(FileNotFoundError):
                    if entry.is_dir():
                        _scan(entry.path, f"{inside}{entry.name}/", found)
                    else:
                        found[f"{inside}{entry.name}"] = stamp_of(entry.stat())
    except FileNotFoundError:
        pass  # dropped meanwhile


class Mirror:
    """Brings what changes in `folder` to `store`.

    Args:
        there: what is at the URI, with the stamps of the local files that it is the same as.
        tell: called with a sentence, from any thread, when the storage is gone and when it is back.
    """

    def __init__(
        self,
        folder: Path,
        store: ObjectStore,
        lease: Lease,
        there: Mapping[str, Stamp | None],
        tell: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._store = store
        self._lease = lease
        self._there = dict(there)
        self._tell = tell
        self._journal_sent: int | None = None
        self._failed_at: float | None = None
        self._progress_at = time.monotonic()
        self._reason = ""
        self._left_here: set[str] = set()
        self._is_wanted = True
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, *, is_wanted: bool = True) -> str:
        """Bring all that is left there, where it is wanted; blocks. Says why it could not be, after `GIVE_UP_S`."""
        self._progress_at = time.monotonic()
        self._is_wanted = is_wanted
        self._ending.set()
        self._thread.join()
        return self._reason if self._is_wanted else ""

    def upload(self) -> None:
        """One round. Raises `ObjectStoreError` where the storage is gone; what went up till then need not again."""
        self._lease.check()
        if not self._folder.exists():
            if self._there:
                raise ObjectStoreError(f"{self._folder}, the local copy of {self._store.uri}, is gone")
            return  # the sweep has not begun yet
        journal = self._folder / JOURNAL_FILE
        length = journal.stat().st_size if journal.exists() else 0
        visible = _visible(self._folder)
        found = {name: stamp for name, stamp in visible.items() if is_mirrored(name)}
        found.pop(JOURNAL_FILE, None)
        changed = [name for name, stamp in found.items() if self._there.get(name) != stamp]
        units = {unit for name in changed if (unit := unit_of(name))}
        with _staged(self._folder, units) as staged, ThreadPoolExecutor(_UPLOADS) as pool:
            uploads = [pool.submit(self._put, name, self._folder / name) for name in changed if unit_of(name) is None]
            uploads += [pool.submit(self._put_unit, unit, path) for unit, path in staged.items()]
            for upload in uploads:
                upload.result()
        if length and length != self._journal_sent:
            self._put(JOURNAL_FILE, journal, length)
            self._journal_sent = length
        if len(staged) == len(units):
            self._delete(self._there.keys() - found.keys() - {JOURNAL_FILE})
        if units:
            self._record()
        for name in sorted({name for name in visible if not is_plain(name)} - self._left_here):
            self._left_here.add(name)
            self._tell(f"{name!r} stays in {self._folder}: an object store would not give a backslash back as it is")

    def _run(self) -> None:
        pause = MIN_PERIOD_S
        while not self._ending.wait(pause) and self._lease.lost_to is None:
            started = time.monotonic()
            if self._attempt():
                pause = min(max(MIN_PERIOD_S, _PAUSE_FACTOR * (time.monotonic() - started)), _MAX_PERIOD_S)
            else:
                pause = min(2 * max(pause, 1.0), _MAX_RETRY_S)
        while self._is_wanted and not self._attempt():
            if self._lease.lost_to is not None or time.monotonic() - self._progress_at > GIVE_UP_S:
                return
            time.sleep(MIN_PERIOD_S)

    def _attempt(self) -> bool:
        """One round; True where all is there."""
        try:
            self.upload()
        except Exception as error:
            # Whatever it is, a sweep must not end over it.
            self._reason = str(error)
            # A folder that is gone was removed with a sweep that is refused.
            if self._failed_at is None and self._lease.lost_to is None and self._folder.exists():
                self._failed_at = time.monotonic()
                self._tell(f"{self._reason}; the sweep goes on, and what is new waits in {self._folder}")
            return False
        if self._failed_at is not None:
            away_s = time.monotonic() - self._failed_at
            self._tell(f"{self._store.uri} is back after {away_s:.0f} s, and up to date")
        self._failed_at, self._reason = None, ""
        return True

    def _put(self, name: str, path: Path, limit: int | None = None) -> None:
        self._lease.check()
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            stat = os.fstat(file.fileno())
            self._store.upload(name, file, stat.st_size if limit is None else limit)
        self._there[name] = stamp_of(stat)
        self._progress_at = time.monotonic()

    def _put_unit(self, unit: str, staged: Path) -> None:
        """Bring a folder there whole: it is not there between the first and the last of its files."""
        mark = mark_of(unit)
        stamps = {f"{unit}/{name}": stamp for name, stamp in scan(staged).items()}
        changed = [name for name in stamps if self._there.get(name) != stamps[name]]
        if mark in self._there:
            self._store.delete(mark)
            del self._there[mark]
        for name in sorted({*changed, *({mark} & stamps.keys())}, key=lambda name: name == mark):
            self._put(name, staged / name.removeprefix(f"{unit}/"))

    def _delete(self, gone: set[str]) -> None:
        left = {unit_of(name) for name in self._there.keys() - gone}
        whole = {unit for name in gone if (unit := unit_of(name)) and unit not in left}
        for unit in whole:
            self._lease.check()
            self._store.delete(mark_of(unit))
            self._store.delete_folder(unit)
        for name in gone:
            if unit_of(name) not in whole:
                self._lease.check()
                self._store.delete(name)
        for name in gone:
            del self._there[name]

    def _record(self) -> None:
        """So that a driver that is started again after a crash need not send the checkpoints again."""
        kept = {name: stamp for name, stamp in self._there.items() if stamp and unit_of(name)}
        write_atomic(self._folder / RECORD_FILE, json.dumps({"session": self._lease.session, "there": kept}))


@contextmanager
def _staged(folder: Path, units: set[str]) -> Iterator[dict[str, Path]]:
    """Links to the files of folders: they stay while they go up, also where a folder is dropped meanwhile.

    One that has been dropped already is left out.
    """
    scratch = folder / _STAGED
    shutil.rmtree(scratch, ignore_errors=True)
    staged = {}
    for unit in units:
        with suppress(FileNotFoundError, shutil.Error):
            shutil.copytree(folder / unit, scratch / unit, copy_function=_link)
            staged[unit] = scratch / unit
    try:
        yield staged
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def read_record(folder: Path) -> tuple[str | None, dict[str, Stamp]]:
    """The session that last kept the URI like this folder, and the checkpoints that it had brought there."""
    try:
        record = read_json(folder / RECORD_FILE)
        return record.get("session"), {name: tuple(stamp) for name, stamp in record.get("there", {}).items()}
    except (ValueError, AttributeError):
        return None, {}


def start_record(folder: Path, session: str, there: Mapping[str, Stamp]) -> None:
    """Note that a driver begins to keep the URI like this folder."""
    write_atomic(folder / RECORD_FILE, json.dumps({"session": session, "there": there}))
