"""Of Ray Jobs: the dashboard's client, and the code that is sent; in a process that asks a cluster."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from ray.job_submission import JobSubmissionClient

from tuner.engine.ray_compat.runtime import require

# Where Ray logs what it packs and sends. Gone: a line about each package is shown.
_TALKATIVE = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
# What Ray leaves out by itself, in the words of the first Ray that does.
_RAYS_EXCLUDES = (".git", ".venv", "venv", "__pycache__")


def require_jobs() -> None:
    """Raises `ClusterError` where this Ray can't send a job to a node, or marks where its output begins."""
    require("2.55", "To send a sweep to a cluster")


def hide_packages() -> None:
    """Log no line about each package that is sent."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class DashboardClient(JobSubmissionClient):  # type: ignore[misc]  # Ray's classes are untyped
    """Ray's client, which asks a dashboard for what there is no public function for as well."""

    @contextlib.contextmanager
    def get(self, path: str, params: Mapping[str, Any], *, stream: bool = False) -> Iterator[Any]:
        """The reply to a request, as `requests` has it. Raises `RuntimeError` where it is refused.

        Gone: `requests.get`, with the token of RAY_AUTH_TOKEN or ~/.ray/auth_token as `Authorization: Bearer`.
        """
        with self._do_request("GET", path, params=dict(params), stream=stream) as reply:
            if reply.status_code != 200:
                self._raise_error(reply)
            yield reply


def max_package_bytes() -> int:
    """How much code Ray takes, packed. Gone: 500 MiB."""
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    return int(GCS_STORAGE_MAX_SIZE)


def walk(directory: Path, excludes: Sequence[str], add: Callable[[Path], None]) -> None:
    """Call `add` with each path in a directory, less what .gitignore, .rayignore, `excludes` and Ray itself leave out.

    Gone: `os.walk` and the package pathspec, which Ray uses as well.
    """
    from ray._private import ray_constants
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    rays = getattr(ray_constants, "get_runtime_env_default_excludes", lambda: _RAYS_EXCLUDES)
    left_out = _get_excludes(directory, [*rays(), *excludes])
    # Without the argument older versions of Ray read .gitignore as well.
    options = {"include_gitignore": True} if "include_gitignore" in signature(_dir_travel).parameters else {}
    _dir_travel(directory, [left_out], add, **options)
