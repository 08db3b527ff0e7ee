"""A GPU that is not there: a `Device` with so much memory, which a process takes and keeps as PyTorch does.

`fake_device_of` gives one to each process of a whole sweep, where Ray was told of GPUs that the machine lacks.
"""

import weakref
from dataclasses import dataclass, field

import torch

from tuner.trial.devices import Cpu, Device, Memory

GB = 1 << 30


class Block:
    """Memory of a `FakeGpu`, until nothing refers to it any more."""


@dataclass
class FakeGpu:
    """What one process sees of a GPU: what it frees stays with it as cache until `clear`.

    Others are taken to fill all but the `share` of the process.
    """

    total: int = 8 * GB
    torch_device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    used: int = 0
    reserved: int = 0
    peak: int = 0
    share: float = 1.0

    def allocate(self, size: int) -> Block:
        if self.used + size > self.share * self.total:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes")
        block = Block()
        weakref.finalize(block, self._free, size)
        self.used += size
        self.reserved = max(self.reserved, self.used)
        self.peak = max(self.peak, self.reserved)
        return block

    def enter(self) -> None:
        """All threads are on it."""

    def memory(self) -> Memory:
        return Memory(self.used, self.peak, self.total)

    def clear(self) -> None:
        self.reserved = self.peak = self.used

    def _free(self, size: int) -> None:
        self.used -= size


_OF_PROCESS: list[FakeGpu] = []


def fake_device_of(gpus: float, index: int = 0) -> Device:
    """Stands for `device_of`."""
    if not gpus:
        return Cpu()
    _OF_PROCESS[:] = [FakeGpu(share=min(gpus, 1.0))]
    return _OF_PROCESS[0]


def of_process() -> FakeGpu:
    """The one that this process was given."""
    return _OF_PROCESS[0]
