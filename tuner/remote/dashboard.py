"""Ray's client of a cluster's dashboard, with requests beyond jobs, and a check of its version."""

import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

import ray

from tuner.engine.cluster import use_token
from tuner.engine.ray_compat import sentences
from tuner.engine.ray_compat.jobs import DashboardClient
from tuner.errors import ClusterError

_CONNECT_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 20


class Dashboard(DashboardClient):
    """Ray's client for the given address, which Ray would let RAY_ADDRESS override."""

    def __init__(self, address: str) -> None:
        hidden = {name: os.environ.pop(name, None) for name in sentences.ADDRESS_VARIABLES}
        try:
            super().__init__(address)
        finally:
            os.environ.update({name: value for name, value in hidden.items() if value is not None})

    def download(self, node: str, file: str, target: Path) -> None:
        """Download a file, possibly large, from a node's log folder."""
        params = {"node_id": node, "filename": file, "lines": -1, "timeout": 86400}
        with self.get(sentences.LOG_FILE, params, stream=True) as reply, target.open("wb") as to:
            for chunk in reply.iter_content(_CHUNK_BYTES):
                to.write(chunk)

    def nodes(self) -> set[str]:
        """The ids of the live nodes."""
        with self.get(sentences.NODES, {"limit": 10_000, "timeout": 60}) as reply:
            found = reply.json()["data"]["result"]["result"]
        return {str(node["node_id"]) for node in found if node["state"] == "ALIVE"}


def check_version(address: str) -> None:
    """Raise `ClusterError` unless a dashboard answers, of a Ray version that we work with."""
    if not re.match(r"https?://[^/]", address):
        raise ClusterError(
            f"--address {address}: write it as http://HEAD:8265, the address of the cluster's dashboard."
        )
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=_CONNECT_TIMEOUT_S) as reply:
            found = json.load(reply)["ray_version"]
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            if use_token():
                return  # the first request shows whether it is the right one
            raise ClusterError(
                f"{address} asks for a token: put the cluster's (`ray get-auth-token` prints it on the head) into "
                "~/.ray/auth_token here, or into RAY_AUTH_TOKEN."
            ) from None
        raise ClusterError(f"{address} answers, but is not a Ray dashboard ({error}); give http://HEAD:8265.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ClusterError(
            f"no Ray dashboard answers at {address} ({reason}). It is at http://HEAD:8265 if the head runs with its "
            "dashboard and you can reach that port from here; `ray dashboard cluster.yaml` forwards it."
        ) from None
    except KeyError:
        raise ClusterError(f"{address} answers, but is not a Ray dashboard; give http://HEAD:8265.") from None
    if str(found).split(".")[:2] != ray.__version__.split(".")[:2]:
        raise ClusterError(
            f"{address} runs Ray {found}, but this tuner works with Ray {ray.__version__}: "
            f"install ray[default,tune,train]=={ray.__version__} on the cluster, or the tuner made for its Ray here."
        )
