"""Creates or opens Optuna's study of a run, in the run folder's journal or in a database."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.study import StudyDirection

from tuner.command import command_line
from tuner.errors import OccupiedError, StudyNotFoundError
from tuner.run_folder.journal import JOURNAL_FILE, Journal
from tuner.study.database import IDENTITY, open_database


def open_study(
    folder: Path,
    name: str,
    url: str | None,
    directions: Sequence[StudyDirection],
    *,
    write: bool,
    identity: str | None,
    must_exist: bool,
) -> tuple[BaseStorage, Journal | None, optuna.Study]:
    """The storage, its journal if it has one, and the study; see `tuner.study.study.Study` for the arguments."""
    path, is_new = folder / JOURNAL_FILE, write and not must_exist
    if url is None and not is_new and not path.exists():
        raise _gone(folder, f"{JOURNAL_FILE} is missing", write)
    journal = Journal(path, write=write) if url is None else None
    try:
        storage = JournalStorage(journal) if journal else open_database(str(url), create=is_new)
    except StudyNotFoundError as error:
        raise _gone(folder, str(error), write) from None
    try:
        with journal.batch() if journal else contextlib.nullcontext():
            if is_new:
                study = optuna.create_study(
                    storage=storage, study_name=name, directions=directions, load_if_exists=True
                )
            else:
                study = optuna.load_study(storage=storage, study_name=name)
            if write:
                _claim(study, folder, identity)
    except (KeyError, OccupiedError) as error:
        if journal:
            journal.close()
        else:
            storage.remove_session()
        if isinstance(error, OccupiedError):
            raise
        raise _gone(folder, f"its storage has none named {name!r}", write) from None
    return storage, journal, study


def _claim(study: optuna.Study, folder: Path, identity: str | None) -> None:
    """Mark the study as this run's."""
    if identity is None:
        return
    found = study.user_attrs.get(IDENTITY)
    if found is None:
        study.set_user_attr(IDENTITY, identity)
    elif found != identity:
        raise OccupiedError(
            f"{folder}: the study {study.study_name!r} in its storage belongs to another run folder, and is left as it "
            "is. Start a new sweep under another name."
        )


def _gone(folder: Path, missing: str, write: bool) -> StudyNotFoundError:
    hint = command_line("run", folder / "sweep.yaml")
    way = f" Restore it from a copy, and resume; or start another sweep: {hint}" if write else ""
    return StudyNotFoundError(f"{folder} holds no study: {missing}.{way}")
