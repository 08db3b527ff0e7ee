"""What one trial must not leave to the next in the same process; says so when it can't be cleaned up.

Knows nothing of ray.
"""

import gc
import threading
from collections.abc import Callable

import psutil
import torch
from torch.nn.modules import module as torch_module

from tuner.context import cached_values
from tuner.devices import Cpu, Device

# A process whose memory stays above this many times its baseline is replaced. The baseline is measured after its
# first trial, when its data is cached; small processes get some slack.
MEMORY_FACTOR = 2.0
MEMORY_SLACK_BYTES = 256 << 20
# How often in a row the memory has to be above, so that a cache that was filled once is forgiven.
MEMORY_STRIKES = 2

# All the dictionaries of hooks that hold for every module of the process.
_GLOBAL_HOOKS = [
    value for name, value in vars(torch_module).items() if name.startswith("_global_") and isinstance(value, dict)
]


class Hygiene:
    """Keeps a process fit for the next trial."""

    def __init__(
        self,
        device: Device | None = None,
        rss_bytes: Callable[[], int] = lambda: int(psutil.Process().memory_info().rss),
    ) -> None:
        self._device = device or Cpu()
        self._rss_bytes = rss_bytes
        self._baseline: tuple[int, int] | None = None
        self._strikes = 0
        self._threads: set[threading.Thread] = set()
        self._hooks = [dict(hooks) for hooks in _GLOBAL_HOOKS]
        self._dtype = torch.get_default_dtype()

    def before_trial(self) -> None:
        self._threads = set(threading.enumerate())

    def after_trial(self) -> str:
        """Clean up; why the process has to be replaced, or nothing where it is fit."""
        for hooks, baseline in zip(_GLOBAL_HOOKS, self._hooks, strict=True):
            hooks.clear()
            hooks.update(baseline)
        for value in cached_values():
            if isinstance(value, torch.nn.Module):
                value.zero_grad(set_to_none=True)
        torch.set_default_dtype(self._dtype)
        torch.set_default_device(None)
        gc.collect()
        self._device.clear()
        return self._leftover_threads() or self._too_much_memory()

    def _leftover_threads(self) -> str:
        mine = threading.current_thread()
        left = [
            thread.name
            for thread in threading.enumerate()
            # Daemons of libraries (progress bars, pin-memory pools) end by themselves and hold nothing back.
            if thread not in self._threads and thread is not mine and not thread.daemon
        ]
        return f"the trial left threads running: {', '.join(left)}" if left else ""

    def _too_much_memory(self) -> str:
        used = (self._rss_bytes(), self._device.memory().used)
        if self._baseline is None:
            self._baseline = used
            # What is alive now stays: a collection after each trial then takes milliseconds instead of a tenth of a
            # second, which is what it takes to walk all that torch and ray have imported.
            gc.freeze()
            return ""
        above = [
            (what, now, base)
            for what, now, base in zip(("memory", "GPU memory"), used, self._baseline, strict=True)
            if now > MEMORY_FACTOR * base + MEMORY_SLACK_BYTES
        ]
        self._strikes = self._strikes + 1 if above else 0
        if self._strikes < MEMORY_STRIKES:
            return ""
        what, now, base = above[0]
        return (
            f"{what} stays at {now / 2**30:.2f} GB, {now / max(base, 1):.1f} times its {base / 2**30:.2f} GB at first"
        )


def set_threads(cpus: float) -> None:
    """Hold this process to as many compute threads as it has CPUs."""
    threads = max(1, int(cpus))
    torch.set_num_threads(threads)
