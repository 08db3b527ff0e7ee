"""The local copy of a run folder at a URI, in which its driver works."""

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from tuner.command import command_line
from tuner.errors import (
    ClusterError,
    ObjectStoreError,
    OccupiedError,
    ResourceError,
    SpecError,
    StorageError,
    StudyNotFoundError,
)
from tuner.object_storage.lease import Lease
from tuner.object_storage.manifest import There, look
from tuner.object_storage.object_store import ObjectStore
from tuner.object_storage.uploader import GIVE_UP_S, Mirror, Stamp, mark_of, read_record, scan, start_record, unit_of
from tuner.run_folder.control import CONTROL_FILE, Verb, clear, request
from tuner.run_folder.folder import check_ours, mark_of_run
from tuner.run_folder.journal import JOURNAL_FILE
from tuner.run_folder.layout import remove_run
from tuner.run_folder.log import RunLog
from tuner.run_folder.marker import write_marker
from tuner.run_folder.place import Place, Uri
from tuner.run_folder.trial_files import SPEC_FILE, write_atomic

_PAUSES_S = (0.5, 2.0)


def local_folder(uri: Uri) -> Path:
    """The folder of this machine's copy; you may delete it while no driver runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tuner" / hashlib.sha256(uri.parent.text.encode()).hexdigest()[:16] / uri.name


@contextmanager
def opened(place: Place, tell: Callable[[str], None], *, must_exist: bool = False) -> Iterator[Path]:
    """The folder to drive a sweep in: `place` itself, or the local copy of a URI, which is then kept up to date.

    Entering blocks until the URI is locked and its files are downloaded; leaving blocks until all is uploaded. A
    `StorageError` says what could not be. Raises `StudyLockedError` if another driver runs, `ObjectStoreError` if the
    URI can't be used, `StudyNotFoundError` if there is no run although it `must_exist`.
    """
    if isinstance(place, Path):
        if must_exist and not (place / SPEC_FILE).exists():
            raise StudyNotFoundError(f"{place} is not a run folder: it holds no {SPEC_FILE}.")
        check_ours(place, place)
        yield place
        return
    folder = local_folder(place)

    def told(text: str) -> None:
        tell(text)
        if folder.exists():
            with closing(RunLog(folder)) as log:
                log.event(text)

    store = ObjectStore(place)
    # Before anything is written to the URI.
    is_new = not store.is_there()
    found = look(store)
    is_sent = _was_sent(folder)
    if SPEC_FILE not in found.files and must_exist and (is_sent or not (folder / SPEC_FILE).exists()):
        kept = (
            f" This machine's copy of it is in {folder}: copy that to another folder and resume there."
            if is_sent
            else ""
        )
        raise StudyNotFoundError(f"{place} is not a run folder: it holds no {SPEC_FILE}.{kept}")
    heard: bytes | None = None

    def listen() -> None:
        nonlocal heard
        now = store.read(CONTROL_FILE)
        # The driver ignores requests that were copied before it began.
        if now is not None and folder.exists() and (now != heard or not (folder / CONTROL_FILE).exists()):
            heard = now
            write_atomic(folder / CONTROL_FILE, now.decode())

    def give_way() -> None:
        told(f"{place} has been taken over by {lease.lost_to}: this driver ends; its results stay in {folder}")
        write_atomic(folder / CONTROL_FILE, request(place, Verb.CANCEL, before=Verb.RESUME, is_running=True))

    lease = Lease(store, tell, listen, give_way)
    try:
        # Requests to an earlier driver end here; from here on they are to this one.
        store.delete(CONTROL_FILE)
        there = _reconcile(folder, store, lease, tell)
        mirror = Mirror(folder, store, lease, there, told)
    except BaseException:
        with contextlib.suppress(ObjectStoreError):
            lease.release()
        raise
    mirror.start()
    is_refused = False
    try:
        yield folder
    except (ClusterError, OccupiedError, ResourceError, SpecError):
        # Before its first report: as if the sweep had not been started.
        is_refused = not (folder / SPEC_FILE).exists()
        raise
    finally:
        # Released last: whoever sees that finds everything uploaded.
        reason = mirror.close(is_wanted=not is_refused)
        with contextlib.suppress(ObjectStoreError):
            _surely(lambda: store.delete(CONTROL_FILE))
            if is_refused:
                _surely(mirror.withdraw)
            _surely(lambda: lease.release(leave_nothing=is_refused))
            if is_refused and is_new:
                _surely(store.prune)
        # The last heartbeat may have downloaded it again after the sweep had cleared it.
        clear(folder)
        if reason:
            raise StorageError(_left_here(place, folder, lease, reason))


def _surely(do: Callable[[], None]) -> None:
    """Retry something that nobody would do later, so that one late answer does no harm."""
    for pause in _PAUSES_S:
        try:
            return do()
        except ObjectStoreError:
            time.sleep(pause)
    return do()


def _left_here(place: Uri, folder: Path, lease: Lease, reason: str) -> str:
    if lease.lost_to is not None:
        return f"{place} has been taken over by {lease.lost_to}; this driver's results are in {folder}."
    return (
        f"{reason}, tried for {GIVE_UP_S:.0f} s after the sweep's end. Nothing is lost: everything is in {folder}. "
        f"When the storage is back, `{command_line('resume', place)}` on this machine uploads the rest."
    )


def _was_sent(folder: Path) -> bool:
    """Whether a local copy was uploaded before. Raises `OccupiedError` if the folder is not a copy of ours."""
    check_ours(folder, folder)
    return bool(read_record(folder)[1])


def _reconcile(folder: Path, store: ObjectStore, lease: Lease, tell: Callable[[str], None]) -> dict[str, Stamp | None]:
    """Update the local copy if the URI's state is newer, judged by content.

    Returns this run's files at the URI, with the stamps of the local files that are known to be identical.
    """
    found = look(store)  # again: now nobody else writes there
    session, brought = read_record(folder)
    is_gone = SPEC_FILE not in found.files
    if folder.exists() and _is_other(folder, found, is_sent=_was_sent(folder)):
        aside = _set_copy_aside(folder)
        tell(f"the local copy is not of the sweep at {store.uri}, or that one is gone; the copy is kept in {aside}")
    if is_gone and found.files and not (folder / SPEC_FILE).exists():
        raise OccupiedError(
            f"{store.uri} holds a part of a sweep: {SPEC_FILE} is missing. Restore it, or name another URI."
        )
    is_newer = is_gone or (folder.exists() and session == lease.before)
    if folder.exists() and not is_newer:
        journal = folder / JOURNAL_FILE
        here, there = journal.read_bytes() if journal.exists() else b"", store.read(JOURNAL_FILE)
        # With a study in a database content does not decide: whoever drove the sweep last has the newer files.
        is_newer = there is not None and here.startswith(there)
        if not is_newer and not (there or b"").startswith(here):
            aside = _set_copy_aside(folder)
            tell(
                f"the local copy and {store.uri}, which another machine continued, differ; the copy is kept in {aside}"
            )
    if is_newer:
        same = {name: stamp for name, stamp in brought.items() if session == lease.before and name in found.files}
    else:
        size = sum(entry.size for entry in found.files.values())
        tell(f"downloading {size / 2**20:.1f} MiB from {store.uri}")
        same = _bring_whole(folder, store, found, brought, tell)
    if folder.exists():
        start_record(folder, lease.session, same)
    return {name: same.get(name) if unit_of(name) else None for name in found.files}


def _is_other(folder: Path, found: There, *, is_sent: bool) -> bool:
    """Whether a local copy is of another run than the one at the URI."""
    if found.marker is None:
        return is_sent
    return mark_of_run(folder).identity != found.marker.identity


def _set_copy_aside(folder: Path) -> Path:
    aside = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
    folder.rename(aside)
    return aside


def _bring_whole(
    folder: Path, store: ObjectStore, found: There, brought: Mapping[str, Stamp], tell: Callable[[str], None]
) -> dict[str, Stamp]:
    """Replace the local copy by the state at the URI, atomically.

    Args:
        brought: the files of the local copy that were uploaded; the user's other files are kept.
    """
    wanted = [name for name in found.files if (unit := unit_of(name)) is None or mark_of(unit) in found.files]
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        store.download_all(wanted, scratch)
        if found.is_marked and found.marker is not None:
            write_marker(scratch, found.marker)
        aside = _set_copy_aside(folder) if folder.exists() else None
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch)
        raise
    if aside is not None:
        stamps = scan(aside)
        if not remove_run(aside, (name for name, stamp in brought.items() if stamps.get(name) == stamp)):
            tell(f"the local copy had files that {store.uri} does not have; they are kept in {aside}")
    return scan(folder)
