"""The URL of a database: recorded and shown without secrets, expanded for the database."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from tuner.errors import SpecError
from tuner.run_folder.credentials import in_uri, is_secret, keep_secret
from tuner.run_folder.trial_files import SPEC_FILE

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$(?:\{{(?P<name>{_NAME})\}}|(?P<bare>{_NAME}))")
_INSIDE = re.compile(rf"\$\{{(?P<name>{_NAME})\}}(?P<bare>)")


def recordable(url: str) -> str:
    """Make a URL independent of the working directory; its secrets must be names of environment variables.

    Raises `SpecError` if a secret is written out.
    """
    if _VARIABLE.fullmatch(url):
        return url
    parsed = _parse(url)
    has_secret = in_uri(url) if parsed is None else _literals(parsed)
    if has_secret:
        scheme = url.partition("://")[0]
        raise SpecError(
            [
                f"storage: {redacted(url)} holds a secret, and a URL is recorded, shown and logged: name an "
                f"environment variable in its place, '{scheme}://USER:${{PGPASSWORD}}@HOST/NAME' in single quotes, and "
                "set it wherever you run or look at the sweep; or use the database's own means, such as "
                "~/.pgpass."
            ]
        )
    path = file_of(url)
    if parsed is None or path is None or path.is_absolute() or str(path).startswith("$"):
        return url
    return parsed.set(database=str(Path.cwd() / path)).render_as_string(hide_password=False)


def redacted(url: str) -> str:
    """The URL for people and logs: names of variables as they are, secrets as ***."""
    parsed = _parse(url)
    if parsed is None:
        return re.sub("(://).*@", r"\1***@", url, flags=re.DOTALL)
    text = url
    for secret in _literals(parsed):
        text = text.replace(secret, "***")
    # Quoted characters of the URL are unquoted in its parts.
    return text if parsed.password is None or _is_variable(parsed.password) else re.sub(":[^:/@]*@", ":***@", text)


def expanded(url: str) -> str:
    """Insert the values of the environment variables. Raises `SpecError` if one is not set."""
    if _VARIABLE.fullmatch(url):
        url = keep_secret(_value_of(url, _VARIABLE))
        parsed = _parse(url)
        for secret in _literals(parsed) if parsed is not None else ():
            keep_secret(secret)
        return url
    parsed = _parse(url)
    if parsed is None:
        return url
    for secret in _literals(parsed):
        keep_secret(secret)  # from a run folder of a version that allowed them
    if parsed.password is not None and _is_variable(parsed.password):
        parsed = parsed.set(password=keep_secret(_value_of(parsed.password, _VARIABLE)))
    query = {key: value if isinstance(value, tuple) else _part(key, value) for key, value in parsed.query.items()}
    changed = parsed.set(
        username=parsed.username and _value_of(parsed.username, _INSIDE),
        host=parsed.host and _value_of(parsed.host, _INSIDE),
        database=parsed.database and _value_of(parsed.database, _INSIDE),
        query=query,
    )
    return url if "$" not in url else changed.render_as_string(hide_password=False)


def file_of(url: str) -> Path | None:
    """The file of an SQLite database, None for any other."""
    parsed = _parse(url)
    if parsed is None:
        return None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if is_file and not str(parsed.database).startswith("file:") else None


def secrets_in(url: str) -> bool:
    """Whether a recorded URL holds a written-out secret, which older versions allowed."""
    parsed = _parse(url)
    return bool(parsed is not None and _literals(parsed))


def _parse(url: str) -> URL | None:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None  # opening it reports what is wrong


def _literals(url: URL) -> list[str]:
    """The written-out secrets."""
    found = [url.password] if url.password else []
    for key, value in url.query.items():
        if is_secret(key):
            found += [value] if isinstance(value, str) else value
    return [secret for secret in found if secret and not _is_variable(secret)]


def _is_variable(text: str) -> bool:
    return _VARIABLE.fullmatch(text) is not None


def _part(key: str, value: str) -> str:
    if is_secret(key) and _is_variable(value):
        return keep_secret(_value_of(value, _VARIABLE))
    return _value_of(value, _INSIDE)


def _value_of(text: str, pattern: re.Pattern[str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found["name"] or found["bare"]
        if name not in os.environ:
            raise SpecError([f"storage: the environment variable {name}, which its URL names, is not set; set it."])
        return os.environ[name]

    return pattern.sub(value, text)


def keep_private(folder: Path, origin: Mapping[str, Any]) -> list[str]:
    """Hide a description with a secret, which older versions allowed, from other users; return notices."""
    if not secrets_in(origin.get("storage") or ""):
        return []
    (folder / SPEC_FILE).chmod(0o600)
    return [
        f"{folder / SPEC_FILE} holds the database's password, under `storage` and `command`, and is now readable by "
        "you only: write ${NAME} in its place, and set that environment variable"
    ]
