"""Access to the driver's machine from other machines: an actor there, started on demand."""

import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.engine.files.trial_folder import FileKeeper, RemoteFolder, RunFolder, SharedFolder, is_shared, put_marker
from tuner.engine.ray_compat.runtime import delete_key, has_key, put_key

# The number of simultaneous transfers.
MAX_TRANSFERS = 8
CONNECT_TIMEOUT_S = 120.0
_POLL_S = 0.2


class DriverNode:
    """The driver's side. `token` identifies the run of the sweep; it is in the run folder too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.token = put_marker(folder)
        self._actor: Any = None

    def poll(self) -> None:
        """Start the actor once a process has asked for it; does not block."""
        if self._actor is None and has_key(_key(self.token)):
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            self._actor = (
                ray.remote(FileKeeper)
                .options(
                    name=_name(self.token),
                    num_cpus=0,
                    max_concurrency=MAX_TRANSFERS,
                    # Calls in progress when it died are repeated.
                    max_restarts=-1,
                    max_task_retries=-1,
                    scheduling_strategy=here,
                )
                .remote(str(self._folder), self.token)
            )

    def close(self) -> None:
        if self._actor is not None:
            ray.kill(self._actor)
            delete_key(_key(self.token))


def open_folder(folder: Path, token: str) -> RunFolder:
    """The run folder as this process sees it; does not block if it is shared."""
    if is_shared(folder, token):
        return SharedFolder(folder)
    return RemoteFolder(folder, _Caller(token))


class _Caller:
    """Calls the actor on the driver's machine; the first call waits for it."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._actor: Any = None

    def __call__(self, method: str, *args: Any) -> Any:
        if self._actor is None:
            self._actor = _connect(self._token)
        try:
            return ray.get(getattr(self._actor, method).remote(*args))
        except RayTaskError as error:
            raise error.cause from None


def _connect(token: str) -> Any:
    put_key(_key(token))
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        try:
            return ray.get_actor(_name(token))
        except ValueError:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"this machine does not share the run folder, and the driver was not reached within "
                    f"{CONNECT_TIMEOUT_S:.0f} s"
                ) from None
            time.sleep(_POLL_S)


def _key(token: str) -> bytes:
    return f"tuner:driver-node:{token}".encode()


def _name(token: str) -> str:
    return f"tuner-driver-node-{token}"
