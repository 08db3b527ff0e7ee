"""What a cluster needs from this machine: a folder for sockets, and the loopback. Raises errors if Ray would hang."""

import os
import secrets
import socket
import tempfile
from pathlib import Path

from tuner.engine.ray_compat.sentences import LONGEST_PATH
from tuner.errors import ClusterError

# The longest path of a socket in bytes, on macOS; Linux has three more.
_MAX_PATH = 104
_SHORT = Path("/tmp")
_LOOPBACK_S = 2.0


def temp_dir() -> str | None:
    """The folder for Ray's sockets and logs; None if Ray's own choice works.

    Batch systems set a TMPDIR that is too long for a socket's path, or that does not exist: /tmp is used instead.
    Raises `ClusterError` if RAY_TMPDIR is such a folder, or if neither can be written.
    """
    given = os.environ.get("RAY_TMPDIR")
    chosen = Path(given or os.environ.get("TMPDIR") or _SHORT)
    problem = _problem(chosen)
    if not problem:
        return None
    if given is not None:
        raise ClusterError(f"RAY_TMPDIR={given}: {problem}; name another folder, such as /tmp, or unset it.")
    if chosen != _SHORT and not _problem(_SHORT):
        return str(_SHORT / "ray")
    raise ClusterError(f"{chosen}: {problem}; set RAY_TMPDIR to a folder with a short path.")


def _problem(folder: Path) -> str:
    most = _MAX_PATH - len(LONGEST_PATH)
    if len(os.fsencode(folder)) > most:
        return f"the path has {len(os.fsencode(folder))} characters, and Ray's sockets leave room for {most}"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"Ray can't write its files there ({error.strerror})"


def ensure_token() -> None:
    """Give a cluster a token if Ray can't keep one in ~/.ray: its processes get it through the environment."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        kept = Path.home() / ".ray"
        if not (kept / "auth_token").exists():
            kept.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=kept).close()
    except (OSError, RuntimeError):  # RuntimeError: a user without a name and without HOME
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def check_loopback() -> None:
    """Raise `ClusterError` if this machine can't reach itself."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=_LOOPBACK_S),
        ):
            return
    except OSError as error:
        raise ClusterError(
            f"this machine can't reach itself at 127.0.0.1 ({error.strerror or error}), as Ray's processes must: bring "
            "up its loopback interface, such as with `ip link set lo up`."
        ) from None
