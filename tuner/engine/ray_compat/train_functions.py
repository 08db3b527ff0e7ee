"""What `ray.train.report` and the other functions of a training loop lead to, in the process of a trial.

Gone: refuse `from_ray_train`, and say that loops call `trial.report`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.train


def are_there() -> bool:
    """Whether they can be led elsewhere: with Ray Train's second version, which `ray.train` means since Ray 2.51."""
    return hasattr(ray.train, "CheckpointUploadMode")


@contextmanager
def answered_by(answers: type[Any], *arguments: Any, in_group: bool) -> Iterator[None]:
    """Inside, the functions of `ray.train` lead to an object of `answers`, made with these arguments.

    Args:
        answers: a class with methods that are named like the functions; it need not have all of them.
        in_group: whether this is a worker of a group, whose own context it keeps.
    """
    from ray.train.v2._internal.execution import train_fn_utils  # which the oldest Ray that we support has not

    before = train_fn_utils._train_fn_utils
    kind = train_fn_utils.DistributedTrainFnUtils if in_group else train_fn_utils.LocalTrainFnUtils
    context = {} if in_group else {"experiment_name": "tuner"}
    train_fn_utils.set_train_fn_utils(type("TrialUtils", (answers, kind), {})(*arguments, **context))
    try:
        yield
    finally:
        train_fn_utils.set_train_fn_utils(before)
