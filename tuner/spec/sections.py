"""The sections of a sweep that are plain values: budget, resources, checkpoints, failures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuner.errors import SpecError
from tuner.spec.fields import Field, present, read
from tuner.spec.keys import BUDGET, CHECKPOINTS, FAILURES, RESOURCES


@dataclass(frozen=True)
class Budget:
    """What a sweep may spend; None is no limit."""

    hours: float | None = None
    failed: int | None = None
    gpu_hours: float | None = None

    def __post_init__(self) -> None:
        _check("budget", self, BUDGET)


@dataclass(frozen=True)
class Resources:
    """What a trial needs: `workers` processes with `cpu` CPUs and `gpu` GPUs each; auto is a share that is measured."""

    cpu: float = 1
    gpu: float | Literal["auto"] = 0
    workers: int = 1

    def __post_init__(self) -> None:
        _check("resources", self, RESOURCES)

    @property
    def gpus(self) -> float:
        """GPUs of each worker; a whole one until the share is measured."""
        return 1 if self.gpu == "auto" else self.gpu


@dataclass(frozen=True)
class Checkpoints:
    """Which checkpoints stay on disk; a number keeps the checkpoints of that many trials."""

    keep: Literal["best", "last", "all"] | int = "best"
    max_gb: float | None = None

    def __post_init__(self) -> None:
        _check("checkpoints", self, CHECKPOINTS)


@dataclass(frozen=True)
class Failures:
    """What happens to failed trials."""

    retries: int = 0

    def __post_init__(self) -> None:
        _check("failures", self, FAILURES)


def _check(where: str, section: Any, table: Mapping[str, Field]) -> None:
    if problems := read(where, present(vars(section)), table)[1]:
        raise SpecError(problems)
