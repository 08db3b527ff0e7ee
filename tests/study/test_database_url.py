"""Secrets of databases: named in what is recorded, in the clear for the database alone."""

import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests import loops
from tuner.errors import SpecError, StorageError
from tuner.run_folder.credentials import hide_secrets
from tuner.run_folder.outage import storing
from tuner.run_folder.trial_files import SPEC_FILE
from tuner.study.database import open_database
from tuner.study.database_url import expanded, keep_private, recordable, redacted
from tuner.sweep import Sweep, resume

KEYS: dict[str, Any] = {
    "parameters": {"lr": {"min": 0.01, "max": 0.1}, "epochs": {"value": 1}},
    "metric": {"name": "loss"},
    "method": "random",
    "run_cap": 1,
}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush@host/db",
        "postgresql+psycopg://me:h%75sh@host:5432/db",
        "mysql+pymysql://me:hush@host/db?charset=utf8",
        "postgresql://host/db?user=me&password=hush",
        "postgresql://me:${PGPASSWORD}@host/db?sslpassword=hush",
        "postgresql://me:pre${PGPASSWORD}hush@host/db",
        "nonsense://me:hush@host:port/db",
    ],
)
def test_a_password_that_is_written_out_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"holds a secret, .* name an environment variable in its place") as caught:
        Sweep(loops.descent, **KEYS, output=tmp_path / "runs", storage=url)
    assert "hush" not in str(caught.value)
    assert "h%75sh" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_what_is_recorded_names_variables_and_what_is_opened_has_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "p@ss:w/rd%{x}")
    monkeypatch.setenv("HOST", "db.lan")
    monkeypatch.setenv("URL", "postgresql://me:hush@host/db")
    for given, opened in (
        ("postgresql://me:${PW}@${HOST}:5432/db", "postgresql://me:p%40ss%3Aw%2Frd%25%7Bx%7D@db.lan:5432/db"),
        ("postgresql://me:$PW@host/db", "postgresql://me:p%40ss%3Aw%2Frd%25%7Bx%7D@host/db"),
        ("postgresql://host/db?password=$PW", "postgresql://host/db?password=p%40ss%3Aw%2Frd%25%7Bx%7D"),
        ("$URL", "postgresql://me:hush@host/db"),
        ("${URL}", "postgresql://me:hush@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////data/${HOST}/$x.db", "sqlite:////data/db.lan/$x.db"),
    ):
        assert recordable(given) == given
        assert redacted(given) == given
        assert make_url(expanded(given)) == make_url(opened)
    told = hide_secrets("auth failed: p@ss:w/rd%{x} or p%40ss%3Aw%2Frd%25%7Bx%7D, or hush")
    assert told == "auth failed: *** or ***, or ***"


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PW", raising=False)
    for url in ("postgresql://me:${PW}@host/db", "$PW"):
        with pytest.raises(SpecError, match=r"the environment variable PW, which its URL names, is not set"):
            open_database(url, create=True)


def test_what_a_database_raises_is_told_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "hush-hush")
    # No driver takes it; what is raised names what was given.
    with pytest.raises(SpecError, match=r"'postgresql\+nothing://me:\$\{PW\}@host/db' can't be opened") as caught:
        open_database("postgresql+nothing://me:${PW}@host/db", create=True)
    assert "hush" not in str(caught.value)
    with pytest.raises(StorageError, match=r"^no connection with \*\*\*$"), storing():
        raise OSError("no connection with hush-hush")


@pytest.mark.slow
def test_a_sweep_keeps_the_name_and_goes_on_with_another_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_cpus: None
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PLACE", str(tmp_path / "one"))
    results = Sweep(loops.descent, **KEYS, output=tmp_path / "runs", storage="sqlite:///${PLACE}/study.db").run()
    text = (results.folder / SPEC_FILE).read_text()
    assert "sqlite:///${PLACE}/study.db" in text
    (tmp_path / "one" / "study.db").rename(tmp_path / "two" / "study.db")
    monkeypatch.setenv("PLACE", str(tmp_path / "two"))
    assert resume(results.folder, run_cap="+1").counts() == {"completed": 2}


def test_a_description_of_before_with_a_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / SPEC_FILE).touch(mode=0o644)
    assert keep_private(tmp_path, {"storage": None}) == []
    assert keep_private(tmp_path, {"storage": "postgresql://me:${PW}@host/db"}) == []
    assert stat.S_IMODE((tmp_path / SPEC_FILE).stat().st_mode) & 0o044
    (told,) = keep_private(tmp_path, {"storage": "postgresql://me:hush@host/db"})
    assert "hush" not in told
    assert stat.S_IMODE((tmp_path / SPEC_FILE).stat().st_mode) == 0o600
    # It is opened as it is, and not shown.
    assert expanded("postgresql://me:hush@host/db") == "postgresql://me:hush@host/db"
    assert redacted("postgresql://me:hush@host/db") == "postgresql://me:***@host/db"
    assert hide_secrets("hush") == "***"
