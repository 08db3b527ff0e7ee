"""The device that a trial trains on: its memory, cache and random generators. All use of `torch.cuda` is here.

Also decides whether a device's memory has run out, and how many equal processes fit on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tuner.errors import ResourceError

# A process's GPU memory beside PyTorch's cache is at most this: more than a CUDA context and its kernels take.
MAX_CONTEXT_BYTES = 1 << 30
# What other trials may take beyond the measured one: fragments, and somewhat larger networks or batches.
SHARE_MARGIN = 1.2
# More processes on one GPU wait for each other rather than fill it, and each has its own context.
MAX_SHARES = 8

# The share of a GPU's free memory that a data set may take; the rest is for training.
_DATA_SHARE = 0.25

# Messages of CUDA's libraries if not PyTorch's allocator, but they run out of memory.
_OUT_OF_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Memory:
    """The memory of a device, in bytes.

    Attributes:
        used: what this process's tensors take now.
        peak: the most that this process has held since `Device.clear`, including its cache and context.
        total: of the device, whoever uses it; 0 if it is not counted.
        others: what other processes hold now.
    """

    used: int = 0
    peak: int = 0
    total: int = 0
    others: int = 0


class Device(Protocol):
    """The device of one process; `torch_device` is the device for its tensors."""

    torch_device: torch.device

    def enter(self) -> None:
        """Make it the device of the calling thread."""

    def memory(self) -> Memory:
        """Measure this process's memory on it."""

    def clear(self) -> None:
        """Free unused memory, and reset the peak."""


class Cpu:
    """The CPU, with the process's own memory."""

    torch_device = torch.device("cpu")

    def enter(self) -> None:
        """Do nothing: every thread is on it."""

    def memory(self) -> Memory:
        return Memory()

    def clear(self) -> None:
        """Do nothing: no memory is cached."""


class Cuda:
    """One or several GPUs: counts the process's memory on all it sees; `torch_device` is the first."""

    def __init__(self, torch_device: torch.device) -> None:
        self.torch_device = torch_device

    def enter(self) -> None:
        torch.cuda.set_device(self.torch_device)

    def memory(self) -> Memory:
        indices = range(torch.cuda.device_count())
        # PyTorch counts its allocator's memory for this process, with the peak since the last reset. The driver counts
        # everything, including contexts, but only for now and for all processes together; it lists processes only by
        # NVML, which numbers them differently in a container. So the allocator's figure is the base. Of the rest that
        # the driver counts, at most the size of a context is ours, and the remainder belongs to others.
        beside = 0
        if _is_in_use():
            free, total = torch.cuda.mem_get_info(self.torch_device)
            beside = max(0, total - free - torch.cuda.memory_reserved(self.torch_device))
        context = min(beside, MAX_CONTEXT_BYTES)
        return Memory(
            used=sum(torch.cuda.memory_allocated(index) for index in indices),
            peak=sum(torch.cuda.max_memory_reserved(index) for index in indices) + context,
            total=torch.cuda.get_device_properties(self.torch_device).total_memory,
            others=beside - context,
        )

    def clear(self) -> None:
        torch.cuda.empty_cache()
        for index in range(torch.cuda.device_count() if _is_in_use() else 0):
            torch.cuda.reset_peak_memory_stats(index)


def device_of(gpus: float, index: int = 0) -> Device:
    """The device of a process that was given `gpus` GPUs of its node; without any it must not touch one.

    Raises `ResourceError` if it was given one that torch can't use.

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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a GPU's memory ran out; the CPU's `MemoryError` does not count."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def share_for(memory: Memory) -> float:
    """The share of a GPU for processes like the one measured on a whole GPU: 1/k, k at most 8.

    k of them fit together, beside what others hold, each with a margin of a fifth.
    """
    needed = SHARE_MARGIN * memory.peak
    fits = int((memory.total - memory.others) / needed) if needed else MAX_SHARES
    # Ray counts in ten-thousandths, and rounds: k times the share must not exceed one GPU.
    return 10_000 // max(1, min(fits, MAX_SHARES)) / 10_000


def best_device() -> torch.device:
    """The device of a process that shares with no other: its first GPU, or the CPU without one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_room(num_bytes: int, device: torch.device) -> bool:
    """Whether a data set of that size fits on the device, beside a training and what else is there."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= _DATA_SHARE * free


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, instead of emulating it, which is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # older versions of PyTorch can't tell
        return False
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def rng_states() -> list[torch.Tensor]:
    """The states of the random generators of this process's GPUs; empty if it has not used any."""
    return torch.cuda.get_rng_state_all() if _is_in_use() else []


def set_rng_states(states: Sequence[torch.Tensor]) -> None:
    """Restore the states; do nothing if they are of another number of GPUs."""
    if states and torch.cuda.is_available() and torch.cuda.device_count() == len(states):
        torch.cuda.set_rng_state_all(states)


def _is_in_use() -> bool:
    """Whether this process has used a GPU; any other question to a GPU would take some of its memory."""
    return bool(torch.cuda.is_initialized())


def to_device(thing: Any, device: torch.device) -> Any:
    """Move a module, tensor or collection of them to a device, in place if possible; leave other values alone."""
    if isinstance(thing, torch.nn.Module | torch.Tensor):
        return thing.to(device)
    if isinstance(thing, dict):
        return type(thing)((key, to_device(value, device)) for key, value in thing.items())
    if isinstance(thing, list | tuple) and not hasattr(thing, "_fields"):
        return type(thing)(to_device(value, device) for value in thing)
    return thing
