"""A GPU that is not there: a `Device` with so much memory, which a process takes and keeps as PyTorch does."""

import weakref
from dataclasses import dataclass, field

import torch

from tuner.devices import Memory

GB = 1 << 30


class Block:
    """Memory of a `FakeGpu`, until nothing refers to it any more."""


@dataclass
class FakeGpu:
    """What one process sees of a GPU: what it frees stays with it as cache until `clear`."""

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
