"""The local copy of a run folder at a URI, which its driver works in."""

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
    """Where this machine's driver keeps its copy; it may be deleted while none runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tuner" / hashlib.sha256(uri.parent.text.encode()).hexdigest()[:16] / uri.name


@contextmanager
def opened(place: Place, tell: Callable[[str], None], *, must_exist: bool = False) -> Iterator[Path]:
    """The folder to drive a sweep in: `place` itself, or the local copy of the one at a URI, which is kept up to date.

    Entering blocks until the URI is held and its files are here; leaving, until all is there. A `StorageError` says
    what is only here. Raises `StudyLockedError` where another driver runs, `ObjectStoreError` where the URI is no use,
    `StudyNotFoundError` for what `must_exist` and does not.
    """
    if isinstance(place, Path):
        if must_exist and not (place / SPEC_FILE).exists():
            raise StudyNotFoundError(f"{place} is no run folder: it holds no {SPEC_FILE}.")
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
    # Before anything is written there.
    is_new = not store.is_there()
    found = look(store)
    is_sent = _was_sent(folder)
    if SPEC_FILE not in found.files and must_exist and (is_sent or not (folder / SPEC_FILE).exists()):
        kept = (
            f" What this machine has of it is in {folder}: copy it to a folder of yours and resume that."
            if is_sent
            else ""
        )
        raise StudyNotFoundError(f"{place} is no run folder: it holds no {SPEC_FILE}.{kept}")
    heard: bytes | None = None

    def listen() -> None:
        nonlocal heard
        now = store.read(CONTROL_FILE)
        # What was copied before the driver has begun is forgotten by it.
        if now is not None and folder.exists() and (now != heard or not (folder / CONTROL_FILE).exists()):
            heard = now
            write_atomic(folder / CONTROL_FILE, now.decode())

    def give_way() -> None:
        told(f"{place} has been taken over by {lease.lost_to}: this driver ends; what it has found stays in {folder}")
        write_atomic(folder / CONTROL_FILE, request(place, Verb.CANCEL, before=Verb.RESUME, is_running=True))

    lease = Lease(store, tell, listen, give_way)
    try:
        # What an earlier driver was asked for; from here on this one is asked.
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
        # Before its first report: as if it had not been asked for.
        is_refused = not (folder / SPEC_FILE).exists()
        raise
    finally:
        # Released at last: who sees that finds everything there.
        reason = mirror.close(is_wanted=not is_refused)
        with contextlib.suppress(ObjectStoreError):
            _surely(lambda: store.delete(CONTROL_FILE))
            if is_refused:
                _surely(mirror.withdraw)
            _surely(lambda: lease.release(leave_nothing=is_refused))
            if is_refused and is_new:
                _surely(store.prune)
        # The last beat may have brought it once more, after the sweep had cleared it.
        clear(folder)
        if reason:
            raise StorageError(_left_here(place, folder, lease, reason))


def _surely(do: Callable[[], None]) -> None:
    """What is left undone here nobody does later: one answer that is late must not be the last word."""
    for pause in _PAUSES_S:
        try:
            return do()
        except ObjectStoreError:
            time.sleep(pause)
    return do()


def _left_here(place: Uri, folder: Path, lease: Lease, reason: str) -> str:
    if lease.lost_to is not None:
        return f"{place} has been taken over by {lease.lost_to}; what this driver has found is in {folder}."
    return (
        f"{reason}, tried for {GIVE_UP_S:.0f} s after the sweep's end. Nothing is lost: all of it is in {folder}. "
        f"When the storage is back, `{command_line('resume', place)}` on this machine brings the rest there."
    )


def _was_sent(folder: Path) -> bool:
    """Whether what a local copy holds was at the URI already. Raises `OccupiedError` where it is no copy of ours."""
    check_ours(folder, folder)
    return bool(read_record(folder)[1])


def _reconcile(folder: Path, store: ObjectStore, lease: Lease, tell: Callable[[str], None]) -> dict[str, Stamp | None]:
    """Make the local copy the newer one of itself and what is at the URI, told by their content.

    Gives what this run has at the URI, with the stamps of the local files that are known to be the same.
    """
    found = look(store)  # once more: now nobody else writes there
    session, brought = read_record(folder)
    is_gone = SPEC_FILE not in found.files
    if folder.exists() and _is_other(folder, found, is_sent=_was_sent(folder)):
        aside = _set_copy_aside(folder)
        tell(
            f"the local copy is of another sweep than {store.uri}, or of one that is gone there; it is kept in {aside}"
        )
    if is_gone and found.files and not (folder / SPEC_FILE).exists():
        raise OccupiedError(
            f"{store.uri} holds a part of a sweep: {SPEC_FILE} is missing. Bring it back, or name another."
        )
    is_newer = is_gone or (folder.exists() and session == lease.before)
    if folder.exists() and not is_newer:
        journal = folder / JOURNAL_FILE
        here, there = journal.read_bytes() if journal.exists() else b"", store.read(JOURNAL_FILE)
        # A study in a database says nothing: whoever drove the sweep last has the newer files.
        is_newer = there is not None and here.startswith(there)
        if not is_newer and not (there or b"").startswith(here):
            aside = _set_copy_aside(folder)
            tell(f"the local copy holds what {store.uri} does not, which has gone on elsewhere; it is kept in {aside}")
    if is_newer:
        same = {name: stamp for name, stamp in brought.items() if session == lease.before and name in found.files}
    else:
        size = sum(entry.size for entry in found.files.values())
        tell(f"bringing {size / 2**20:.1f} MiB from {store.uri}")
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
    """Put what is at the URI in the place of the local copy; it is there whole or not at all.

    Args:
        brought: what of the local copy the URI has had; what the user has there beside it is kept.
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
            tell(f"the local copy held files that {store.uri} does not; they are kept in {aside}")
    return scan(folder)
