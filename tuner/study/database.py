"""Databases that studies are kept in, by their SQLAlchemy URLs. Knows nothing of what a study holds."""

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

# What Optuna raises, beside OSError, where a study can't be read or written now.
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
# Of a study's attributes the one that says whose it is.
IDENTITY = "tuner:run"
# Of opening a new database, and what is between them.
_ATTEMPTS = 10
_PAUSE_S = 0.1


def open_database(url: str, *, create: bool) -> RDBStorage:
    """Raises `SpecError` where it can't be opened, `StudyNotFoundError` where it is missing and not to be created."""
    recorded, url = url, expanded(url)
    path = file_of(url)
    if not create and path is not None and not path.exists():
        told = "" if path.is_absolute() else f" (looked for from {Path.cwd()}, since its path is relative)"
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
    """Remove a study from a database, if it is there and of the run with this identity."""
    with contextlib.suppress(KeyError, SpecError, StudyNotFoundError):
        storage = open_database(url, create=False)
        try:
            study = storage.get_study_id_from_name(name)
            if storage.get_study_user_attrs(study).get(IDENTITY) == identity:
                optuna.delete_study(study_name=name, storage=storage)
        finally:
            storage.remove_session()


def _has_studies(url: str) -> bool:
    """Asked first: Optuna would make tables."""
    engine = create_engine(url)
    try:
        return inspect(engine).has_table("studies")
    finally:
        engine.dispose()
