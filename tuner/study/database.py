"""Databases of studies, by their SQLAlchemy URLs."""

import contextlib
import time
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from tuner.errors import SpecError, StudyNotFoundError
from tuner.run_folder.credentials import hide_secrets
from tuner.study.database_url import expanded, file_of, redacted

# What Optuna raises, beside OSError, if a study can't be read or written now.
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
# The attribute of a study that identifies its owner.
IDENTITY = "tuner:run"
# Attempts to open a new database, and the pause between them.
_ATTEMPTS = 10
_PAUSE_S = 0.1


def open_database(url: str, *, create: bool) -> RDBStorage:
    """Open a database. Raises `SpecError` if that fails, `StudyNotFoundError` if it is missing and not created."""
    recorded, url = url, expanded(url)
    path = file_of(url)
    if not create and path is not None and not path.exists():
        told = "" if path.is_absolute() else f" (its path is relative to {Path.cwd()})"
        raise StudyNotFoundError(f"there is no database {path}{told}")
    try:
        if not create and not _has_studies(url):
            raise StudyNotFoundError(f"the database {redacted(recorded)} holds no studies")
        for _ in range(_ATTEMPTS - 1):
            try:
                return RDBStorage(url, skip_table_creation=not create)
            except (IntegrityError, OperationalError):
                time.sleep(_PAUSE_S)  # another process may be making its tables just now
        return RDBStorage(url, skip_table_creation=not create)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        first = hide_secrets(str(error).splitlines()[0])
        raise SpecError(
            [f"storage: {redacted(recorded)!r} can't be opened as a database ({first}); give a URL of SQLAlchemy."]
        ) from None


def delete_study(url: str, name: str, identity: str) -> None:
    """Remove a study from a database, if it exists and belongs to the run with this identity."""
    with contextlib.suppress(KeyError, SpecError, StudyNotFoundError):
        storage = open_database(url, create=False)
        try:
            study = storage.get_study_id_from_name(name)
            if storage.get_study_user_attrs(study).get(IDENTITY) == identity:
                optuna.delete_study(study_name=name, storage=storage)
        finally:
            storage.remove_session()


def _has_studies(url: str) -> bool:
    """Whether a database holds studies; checked first, since Optuna would create tables."""
    engine = create_engine(url)
    try:
        return inspect(engine).has_table("studies")
    finally:
        engine.dispose()
