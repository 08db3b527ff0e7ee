"""Checkpoints of a trial: a folder for each step, written under a temporary name and moved into place.

Each holds the checksums of its files, so that no trial resumes from a file that a power failure cut short or a disk
changed.
"""

import copy
import json
import random
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.errors import CheckpointError, StorageError
from tuner.run_folder.checkpoints import CHECKSUMS_FILE, FILES, RNG_FILE, STATE_FILE, checkpoint_path, checksums, damage
from tuner.run_folder.outage import outage, storing, sync
from tuner.run_folder.owned_files import checkpoint_files, files_in, put_in_place
from tuner.trial.devices import rng_states, set_rng_states
from tuner.trial.unsavable import unsavable


class State(dict[str, Any]):
    """The result of `Trial.restore`: the dict last saved, its step, and the folder of its files."""

    def __init__(self, step: int, values: Mapping[str, Any], files: Path | None = None) -> None:
        super().__init__(values)
        self.step = step
        self.files = files

    def __bool__(self) -> bool:
        """True: a checkpoint is a step to resume from, even with an empty state."""
        return True


def save_checkpoint(
    trial_dir: Path,
    step: int,
    state: Mapping[str, Any],
    progress: Mapping[str, float | str],
    files: Sequence[Path] = (),
) -> Path:
    """Write a checkpoint under a temporary name and move it into place; blocks until it is written.

    Raises `StorageError` if the folder can't be written to now, `CheckpointError` for a state that can't be saved.
    `progress` is what a `Trial` needs to resume: `time_s`, `best`, `best_step` and, as JSON, its `params`. The contents
    of the folders `files` are merged; if several have the same name, the last one is kept.
    """
    return _write(checkpoint_path(trial_dir, step), step, state, progress, files, may_repeat=True)


def _with_numbers(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Replace numpy's numbers, which weights_only=True does not read back, by Python's.

    Values without any are not copied.
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
        number = value.item()
        # That of a long double is one again.
        return float(number) if isinstance(number, np.floating) else number
    if id(value) in above or not isinstance(value, dict | list | tuple):
        return value
    above = (*above, id(value))
    if isinstance(value, dict):
        pairs = [(_with_numbers(key, above), _with_numbers(item, above)) for key, item in value.items()]
        if all(a is key and b is item for (a, b), (key, item) in zip(pairs, value.items(), strict=True)):
            return value
        changed = copy.copy(value)  # of its own class, which a module's state keeps its versions in
        changed.clear()
        for key, item in pairs:
            changed[key] = item
        return changed
    items = [_with_numbers(item, above) for item in value]
    is_same = all(a is b for a, b in zip(items, value, strict=True))
    return value if is_same or type(value) not in (list, tuple) else type(value)(items)


def _write(
    target: Path,
    step: int,
    state: Mapping[str, Any],
    progress: Mapping[str, float | str],
    files: Sequence[Path],
    *,
    may_repeat: bool,
) -> Path:
    # A process given up with its node may still be saving the same step.
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with storing():
        # Not its parents: they are missing while a share is not mounted, and must not be created.
        scratch.parent.mkdir(exist_ok=True)
        scratch.mkdir()
    try:
        torch.save(_with_numbers(dict(state)), scratch / STATE_FILE)
        # A state that can't be loaded is refused while its run can still be fixed.
        torch.load(scratch / STATE_FILE, weights_only=True, mmap=True, map_location="cpu")
        for folder in files:
            shutil.copytree(folder, scratch / FILES, dirs_exist_ok=True)
        torch.save({"step": step, **progress, **_rng_state()}, scratch / RNG_FILE)
        (scratch / CHECKSUMS_FILE).write_text(json.dumps(checksums(scratch), indent=2) + "\n", encoding="utf-8")
        for name in files_in(scratch):
            sync(scratch / name)
        put_in_place(scratch, target, checkpoint_files(target), last=CHECKSUMS_FILE)
    except Exception as error:
        # torch raises other errors than OSError for a full disk.
        away = outage(scratch)
        shutil.rmtree(scratch, ignore_errors=True)
        if away is not None:
            raise StorageError(f"the checkpoint of step {step} can't be saved: {away}") from error
        if isinstance(error, OSError | MemoryError) or not (culprit := unsavable(state)):
            if may_repeat and not isinstance(error, MemoryError):
                # The disk seems to have recovered before the cause could be checked.
                return _write(target, step, state, progress, files, may_repeat=False)
            raise
        raise CheckpointError(
            f"trial.report: {culprit}, which can't be saved so that weights_only=True reads it back (step {step}). "
            "Give tensors, numbers, strings and lists, tuples and dicts of them, such as its state_dict()."
        ) from None
    return target


def load_checkpoint(path: Path) -> tuple[State, dict[str, Any]]:
    """A checkpoint's state (on the CPU) and its random generators' state.

    Raises `CheckpointError` if it is damaged.
    """
    if problem := damage(path):
        raise CheckpointError(f"{path} is damaged: {problem}; use another step's, or train from the start.")
    rng = torch.load(path / RNG_FILE, weights_only=True)
    values = torch.load(path / STATE_FILE, weights_only=True, map_location="cpu")
    files = path / FILES
    return State(rng["step"], values, files if files.is_dir() else None), rng


def _rng_state() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, torch.tensor(internal, dtype=torch.int64), gauss],
        "numpy": [
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": rng_states(),
    }


def set_rng_state(rng: Mapping[str, Any]) -> None:
    version, internal, gauss = rng["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    keys, position, has_gauss, cached = rng["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(rng["torch"])
    set_rng_states(rng["cuda"])
