"""The device that a trial trains on: its memory, its cache, its random generators. All that touches `torch.cuda`.

Knows nothing of trials.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from tuner.errors import ResourceError


@dataclass(frozen=True)
class Memory:
    """Of a device, in bytes.

    Attributes:
        used: what this process's tensors take now.
        peak: the most that this process has held since `Device.clear`, its cache included.
        total: of the device, whoever uses it; 0 where there is nothing to count.
    """

    used: int = 0
    peak: int = 0
    total: int = 0


class Device(Protocol):
    """The device of one process; `torch_device` is what tensors are sent to."""

    torch_device: torch.device

    def enter(self) -> None:
        """Make it the device of the calling thread."""

    def memory(self) -> Memory:
        """What this process holds of it."""

    def clear(self) -> None:
        """Give back what nothing refers to, and count the peak anew."""


class Cpu:
    """The processor, whose memory is the process's own."""

    torch_device = torch.device("cpu")

    def enter(self) -> None:
        """Every thread is on it."""

    def memory(self) -> Memory:
        return Memory()

    def clear(self) -> None:
        """Nothing is kept."""


class Cuda:
    """A GPU, or several: what the process holds of all that it sees is counted, `torch_device` is the first."""

    def __init__(self, torch_device: torch.device) -> None:
        self.torch_device = torch_device

    def enter(self) -> None:
        torch.cuda.set_device(self.torch_device)

    def memory(self) -> Memory:
        indices = range(torch.cuda.device_count())
        return Memory(
            sum(torch.cuda.memory_allocated(index) for index in indices),
            sum(torch.cuda.max_memory_reserved(index) for index in indices),
            torch.cuda.get_device_properties(self.torch_device).total_memory,
        )

    def clear(self) -> None:
        torch.cuda.empty_cache()
        for index in range(torch.cuda.device_count() if _is_in_use() else 0):
            torch.cuda.reset_peak_memory_stats(index)


def device_of(gpus: float, index: int = 0) -> Device:
    """The device of a process that was given `gpus` GPUs of its node; without a share of one it must not touch any.

    Raises `ResourceError` where it was given one that torch can't use.

    Args:
        index: of its first GPU among those that the process sees.
    """
    if not gpus:
        return Cpu()
    if not torch.cuda.is_available():
        raise ResourceError(
            f"resources.gpu: a trial was given a GPU, which PyTorch {torch.__version__} can't use here "
            "(torch.cuda.is_available() is false). Install a build of PyTorch and a driver that fit it, or set "
            "resources.gpu to 0."
        )
    return Cuda(torch.device("cuda", index))


def best_device() -> torch.device:
    """Where a process that shares with nobody computes: its first GPU, or the processor where it has none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rng_states() -> list[torch.Tensor]:
    """Of the random generators of this process's GPUs; none where it has not used any."""
    return torch.cuda.get_rng_state_all() if _is_in_use() else []


def set_rng_states(states: Sequence[torch.Tensor]) -> None:
    """Put them back; nothing is done where they are of another number of GPUs."""
    if states and torch.cuda.is_available() and torch.cuda.device_count() == len(states):
        torch.cuda.set_rng_state_all(states)


def _is_in_use() -> bool:
    """Whether this process has used a GPU; asking anything else of one would take some of its memory."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
