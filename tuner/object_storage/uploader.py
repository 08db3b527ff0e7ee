"""Copies changes of the local run folder to a URI, from a thread, so that neither the driver nor training waits.

Files are uploaded in an order that keeps the copy at the URI resumable at all times: the journal's length is taken
first; then new and changed files are uploaded, except for trials that the journal does not have yet; then the journal
up to that length; then files deleted here are deleted there. Folders that are replaced as a whole, such as checkpoints,
count as complete by one file, which is uploaded last. A list of files is uploaded before the files themselves: files
that are not in it belong to somebody else and are left alone.
"""

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from tuner.errors import ObjectStoreError
from tuner.object_storage.lease import Lease
from tuner.object_storage.manifest import MANIFEST_FILE, write_manifest
from tuner.object_storage.object_store import Entry, ObjectStore
from tuner.run_folder.checkpoints import CHECKSUMS_FILE
from tuner.run_folder.control import CONTROL_FILE
from tuner.run_folder.journal import JOURNAL_FILE, count_trials
from tuner.run_folder.layout import RECORD_FILE
from tuner.run_folder.lock import LOCK_FILE
from tuner.run_folder.marker import MARKER_FILE
from tuner.run_folder.place import is_plain
from tuner.run_folder.trial_files import read_json, write_atomic

MIN_PERIOD_S = 2.0
# A round is followed by a pause of this many times its duration, within these limits.
_PAUSE_FACTOR = 4
_MAX_PERIOD_S = 60.0
_MAX_RETRY_S = 30.0
_UPLOADS = 8
# After the sweep's end: after this long without progress, the rest stays in the local copy.
GIVE_UP_S = 120.0
_STAGED = ".uploading-"
_BEST_MARK = "best.json"

# Size, time of the last change and inode of a local file; None if the content of its counterpart is unknown.
Stamp = tuple[int, int, int]


def is_mirrored(name: str) -> bool:
    """Whether a file is uploaded: hidden ones are half written or for this machine, odd names can't be read back."""
    return name not in (LOCK_FILE, CONTROL_FILE) and not name.startswith(".") and "/." not in name and is_plain(name)


def unit_of(name: str) -> str | None:
    """The folder, a checkpoint or `best`, that a file is replaced with as a whole."""
    parts = PurePosixPath(name).parts
    if parts[0] == "best":
        return "best"
    if len(parts) > 4 and (parts[0], parts[2]) == ("trials", "checkpoints"):
        return "/".join(parts[:4])
    return None


def mark_of(unit: str) -> str:
    """The file that marks the folder as complete."""
    return f"{unit}/{_BEST_MARK if unit == 'best' else CHECKSUMS_FILE}"


def stamp_of(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def scan(folder: Path) -> dict[str, Stamp]:
    """The files that belong at the URI."""
    return {name: stamp for name, stamp in _visible(folder).items() if is_mirrored(name)}


def _visible(folder: Path) -> dict[str, Stamp]:
    found: dict[str, Stamp] = {}
    _scan(str(folder), "", found)
    return found


def _scan(folder: str, inside: str, found: dict[str, Stamp]) -> None:
    # Strings, since `Path` would take most of the time with ten thousand files.
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
        pass  # deleted meanwhile


class Mirror:
    """Uploads changes in `folder` to `store`.

    Args:
        there: this run's files at the URI, with the stamps of the local files they are identical to.
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
        self._is_marked = False
        # The files on the list at the URI, None if it was not written yet.
        self._listed: set[str] | None = None
        self._told_foreign: set[str] = set()
        self._journal = _SentJournal()
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
        """Upload the rest, if it is wanted; blocks. Returns why it failed, after `GIVE_UP_S`."""
        self._progress_at = time.monotonic()
        self._is_wanted = is_wanted
        self._ending.set()
        self._thread.join()
        return self._reason if self._is_wanted else ""

    def withdraw(self) -> None:
        """Delete all uploaded files of this run; call it after `close`."""
        for name in self._there.keys() | (self._listed or set()):
            self._lease.check()
            self._store.delete(name)
        if self._listed is not None:
            self._store.delete(MANIFEST_FILE)
        if self._is_marked:
            self._store.delete(MARKER_FILE)

    def upload(self) -> None:
        """Do one round. Raises `ObjectStoreError` if the storage is gone; uploaded files need not be sent again."""
        self._lease.check()
        if not self._folder.exists():
            if self._there:
                raise ObjectStoreError(f"{self._folder}, the local copy of {self._store.uri}, is gone")
            return  # the sweep has not begun yet
        self._mark()
        journal = self._folder / JOURNAL_FILE
        length = journal.stat().st_size if journal.exists() else 0
        visible = _visible(self._folder)
        found = {name: stamp for name, stamp in visible.items() if is_mirrored(name)}
        found.pop(JOURNAL_FILE, None)
        known = self._journal.count_trials(journal, length) if length else None
        changed = [name for name, stamp in found.items() if self._there.get(name) != stamp and _is_known(name, known)]
        units = {unit for name in changed if (unit := unit_of(name))}
        with _staged(self._folder, units) as staged, ThreadPoolExecutor(_UPLOADS) as pool:
            if known is not None and "best" in staged and not _is_best_known(staged["best"], known):
                del staged["best"]
            sources = {name: self._folder / name for name in changed if unit_of(name) is None}
            for unit, path in staged.items():
                sources |= {f"{unit}/{name}": path / name for name in scan(path)}
            foreign = self._claim({*sources, *({JOURNAL_FILE} if length else ())}, pool)
            loose = [name for name in sources if unit_of(name) is None and name not in foreign]
            uploads = [pool.submit(self._put, name, sources[name]) for name in loose]
            uploads += [pool.submit(self._put_unit, unit, path, foreign) for unit, path in staged.items()]
            for upload in uploads:
                upload.result()
        if length and JOURNAL_FILE not in foreign and not self._journal.is_there(self._store, length):
            self._put(JOURNAL_FILE, journal, length)
            self._journal.sent(self._store, length)
        if len(staged) == len(units):
            self._delete(self._there.keys() - found.keys() - {JOURNAL_FILE})
        if changed:
            self._record()
        for name in sorted({name for name in visible if not is_plain(name)} - self._left_here):
            self._left_here.add(name)
            self._tell(f"{name!r} stays in {self._folder}: an object store would not preserve its backslash")

    def _mark(self) -> None:
        if not self._is_marked and (self._folder / MARKER_FILE).exists():
            self._store.write(MARKER_FILE, (self._folder / MARKER_FILE).read_bytes())
            self._is_marked = True
            self._record()

    def _claim(self, names: set[str], pool: ThreadPoolExecutor) -> set[str]:
        """Add new names to the list at the URI; return those that somebody else's files have."""
        new = sorted(names - self._there.keys() - (self._listed or set()))
        foreign = {name for name, entry in zip(new, pool.map(self._find, new), strict=True) if entry is not None}
        for name in sorted(foreign - self._told_foreign):
            self._tell(
                f"{self._store.uri / name} was there before this sweep and is left as it is; the sweep's file of "
                f"that name stays in {self._folder}"
            )
        self._told_foreign |= foreign
        listed = self._there.keys() | (names - foreign)
        if self._listed is None or not listed <= self._listed:
            self._lease.check()
            write_manifest(self._store, listed)
            self._listed = listed
        return foreign

    def _find(self, name: str) -> Entry | None:
        return self._store.find(name)[0]

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
        """Do one round; True if everything is uploaded."""
        try:
            self.upload()
        except Exception as error:
            # Whatever it is, it must not end the sweep.
            self._reason = str(error)
            # A missing folder was removed with a refused sweep.
            if self._failed_at is None and self._lease.lost_to is None and self._folder.exists():
                self._failed_at = time.monotonic()
                self._tell(f"{self._reason}; the sweep continues, and new files wait in {self._folder}")
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
            self._store.upload(name, file, stat.st_size if limit is None else limit, self._progressed)
        self._there[name] = stamp_of(stat)
        self._progress_at = time.monotonic()

    def _progressed(self, size: int) -> None:
        """Count an uploaded part of a large file, and check that the URI is still ours."""
        self._progress_at = time.monotonic()
        self._lease.check()

    def _put_unit(self, unit: str, staged: Path, foreign: Set[str]) -> None:
        """Upload a folder as a whole: it does not count between its first and its last file."""
        mark = mark_of(unit)
        stamps = {f"{unit}/{name}": stamp for name, stamp in scan(staged).items()}
        changed = [name for name in stamps if self._there.get(name) != stamps[name] and name not in foreign]
        if mark in self._there:
            self._store.delete(mark)
            del self._there[mark]
        for name in sorted({*changed, *({mark} & stamps.keys() - foreign)}, key=lambda name: name == mark):
            self._put(name, staged / name.removeprefix(f"{unit}/"))

    def _delete(self, gone: set[str]) -> None:
        # The marks first, so that half-deleted folders don't count.
        marks = {mark_of(unit) for name in gone if (unit := unit_of(name))}
        for name in sorted(gone, key=lambda name: name not in marks):
            self._lease.check()
            self._store.delete(name)
            del self._there[name]
        left = {unit_of(name) for name in self._there}
        for unit in {unit for name in gone if (unit := unit_of(name))} - left:
            self._store.prune(unit)

    def _record(self) -> None:
        """Record uploaded checkpoints, so that a driver restarted after a crash need not send them again."""
        start_record(self._folder, self._lease.session, {name: stamp for name, stamp in self._there.items() if stamp})


class _SentJournal:
    """The journal as last uploaded, and how much of it was read for that."""

    def __init__(self) -> None:
        self._read = self._trials = 0
        self._length: int | None = None
        self._entry: Entry | None = None

    def count_trials(self, path: Path, length: int) -> int:
        """The number of trials in the first `length` bytes."""
        found, self._read = count_trials(path, self._read, length)
        self._trials += found
        return self._trials

    def sent(self, store: ObjectStore, length: int) -> None:
        self._length, self._entry = length, store.find(JOURNAL_FILE)[0]

    def is_there(self, store: ObjectStore, length: int) -> bool:
        """Whether it is at the URI, rather than a late upload of another driver."""
        return length == self._length and store.find(JOURNAL_FILE)[0] == self._entry


def _is_known(name: str, known: int | None) -> bool:
    """Whether a file belongs to one of the first `known` trials, or to none; None if unknown."""
    parts = PurePosixPath(name).parts
    is_trials = known is not None and len(parts) > 2 and parts[0] in ("trials", "tensorboard") and parts[1].isdecimal()
    return not is_trials or int(parts[1]) < known  # type: ignore[operator]  # is_trials implies that it is known


def _is_best_known(best: Path, known: int) -> bool:
    try:
        return int(read_json(best / _BEST_MARK)["trial"]) < known
    except (ValueError, KeyError, TypeError):
        return True


@contextmanager
def _staged(folder: Path, units: set[str]) -> Iterator[dict[str, Path]]:
    """Links to the files of folders, which stay during the upload even if a folder is deleted meanwhile.

    A folder that has been deleted already is left out.
    """
    for left in folder.glob(f"{_STAGED}{'[0-9a-f]' * 8}"):
        shutil.rmtree(left, ignore_errors=True)  # left by a killed driver
    scratch = folder / f"{_STAGED}{secrets.token_hex(4)}"
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
    """The session that last uploaded this folder, and the checkpoints it had uploaded."""
    try:
        record = read_json(folder / RECORD_FILE)
        return record.get("session"), {name: tuple(stamp) for name, stamp in record.get("there", {}).items()}
    except (ValueError, AttributeError):
        return None, {}


def start_record(folder: Path, session: str, there: Mapping[str, Stamp]) -> None:
    """Note that a driver uploads this folder."""
    write_atomic(folder / RECORD_FILE, json.dumps({"session": session, "there": there}))
