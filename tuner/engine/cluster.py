"""The Ray cluster that a sweep runs on: one of its own on this machine, or one that is there already."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import ray
import ray._private.ray_logging as ray_logging


@contextmanager
def connected(address: str | None, *, verbose: bool) -> Iterator[None]:
    """Connect to the cluster at `address` (`auto`: the one on this machine), or start one for this process.

    A connection that is there already is used and left open. Ray's own messages are shown if `verbose`.
    """
    if ray.is_initialized():
        yield
        return
    ray.init(
        address=address or os.environ.get("RAY_ADDRESS") or "local",
        log_to_driver=verbose,
        logging_level=logging.INFO if verbose else logging.ERROR,
        **({} if address or os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}),
    )
    if not verbose:
        # Ray prints what its nodes report of dead workers whatever its log level is; the sweep tells it itself.
        ray_logging.stdout_deduplicator.skip_re = re.compile("")
        for name in ("ray.tune", "ray.train", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def node_resources() -> Sequence[Mapping[str, float]]:
    """The resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
