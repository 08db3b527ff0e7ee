"""Cleans up a process between trials, and says why if it can't."""

import gc
import sysconfig
import threading
from collections.abc import Callable, Mapping, Sized
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.nn.modules import module as torch_module

from tuner.trial.devices import Cpu, Device
from tuner.trial.process_cache import cached_values

# A process whose memory stays above this many times its baseline is replaced. The baseline is measured after its
# first trial, when its data is cached; small processes get some slack.
MEMORY_FACTOR = 2.0
MEMORY_SLACK_BYTES = 256 << 20
# How often in a row the memory has to be above, so that filling a cache once is allowed.
MEMORY_STRIKES = 2

# Larger collections in the cache are not searched.
_MOST_ENTRIES = 1000

# The folders of code that is not the user's.
_LIBRARIES = {*(sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib")), str(Path(__file__).parents[2])}

# All dictionaries of hooks that apply to every module of the process.
_GLOBAL_HOOKS = [
    value for name, value in vars(torch_module).items() if name.startswith("_global_") and isinstance(value, dict)
]


def cached_modules() -> set[torch.nn.Module]:
    """All modules in `Trial.cached`, including those in tuples, lists, mappings and data classes."""
    found: set[torch.nn.Module] = set()
    seen: set[int] = set()
    waiting = cached_values()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:  # a value that contains itself would never end
            continue
        seen.add(id(value))
        if isinstance(value, torch.nn.Module):
            found.update(value.modules())
        elif isinstance(value, Sized) and len(value) > _MOST_ENTRIES:
            continue
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif is_dataclass(value) and not isinstance(value, type):
            waiting += [getattr(value, field.name) for field in fields(value)]
    return found


def _hooks_of(module: torch.nn.Module) -> dict[str, dict[Any, Any]]:
    return {name: dict(value) for name, value in vars(module).items() if name.endswith("_hooks") and value is not None}


def _is_of_library(thread: threading.Thread) -> bool:
    """Whether a thread is a library's daemon (progress bars, pin-memory pools), which ends by itself."""
    run = getattr(thread, "_target", None) or type(thread).run
    place = getattr(getattr(run, "__code__", None), "co_filename", "")
    return thread.daemon and (not place or any(Path(place).is_relative_to(folder) for folder in _LIBRARIES))


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
        # The state of modules cached before the trial, by the names of their dictionaries.
        self._module_hooks: dict[torch.nn.Module, dict[str, dict[Any, Any]]] = {}
        self._dtype = torch.get_default_dtype()

    def before_trial(self) -> None:
        self._threads = set(threading.enumerate())
        self._module_hooks = {module: _hooks_of(module) for module in cached_modules()}

    def after_trial(self) -> str:
        """Clean up; return why the process has to be replaced, or an empty text if it is fit."""
        for hooks, baseline in zip(_GLOBAL_HOOKS, self._hooks, strict=True):
            hooks.clear()
            hooks.update(baseline)
        for module in cached_modules():
            module.zero_grad(set_to_none=True)
            for name, hooks in self._module_hooks.get(module, {}).items():
                getattr(module, name).clear()
                getattr(module, name).update(hooks)
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
            if thread not in self._threads and thread is not mine and not _is_of_library(thread)
        ]
        return f"the trial left threads running: {', '.join(left)}" if left else ""

    def _too_much_memory(self) -> str:
        used = (self._rss_bytes(), self._device.memory().used)
        if self._baseline is None:
            self._baseline = used
            # Live objects are permanent now: a collection after each trial then takes milliseconds instead of the
            # tenth of a second to walk everything that torch and ray have imported.
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
    """Limit this process to as many compute threads as it has CPUs."""
    threads = max(1, int(cpus))
    torch.set_num_threads(threads)
