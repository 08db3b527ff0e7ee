"""`Trial`, all that a training loop sees of this package; needs no Ray.

The same object serves in this process (`tuner try`), inside a warm actor and in each worker of a group: they differ
in the `deliver` callable that takes the reports, and in the group.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from tuner.errors import MetricError, StopTrial
from tuner.metric import Metric
from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path, digest
from tuner.spec.fields import quoted
from tuner.trial.checkpoint import State, load_checkpoint, save_checkpoint, set_rng_state
from tuner.trial.devices import best_device, has_bfloat16, has_room, to_device
from tuner.trial.optimizers import ignored, load
from tuner.trial.process_cache import cached
from tuner.trial.progress import Progress
from tuner.trial.reported import OLD_ORDER, as_floats, step_after, understands_old_order
from tuner.trial.shared_data import SharedData

T = TypeVar("T")

_FOREIGN_LOOPS = "A loop of `config` that calls ray.train.report runs as it is by `train = tuner.from_ray_train(loop)`."

# Takes a report, and what ends the trial after it, if anything does; raises `StopTrial` to end it.
Deliver = Callable[[Report, StopTrial | None], None]


class Group(Protocol):
    """The workers of a trial, as one of them sees them; it has `world_size` of them, this one is `rank`."""

    rank: int
    world_size: int

    def prepare(self, thing: T) -> T:
        """Wrap a module for data parallel training, or give a data loader this worker's share."""

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean of each value over all workers; blocks until all have called it."""

    def gathered(self, files: Path | None) -> AbstractContextManager[list[Path]]:
        """The folders of all workers, for rank 0 and until the end of the `with`; blocks until all have called it."""


class Trial:
    """One trial, handed to `train(trial)`.

    Attributes:
        params: the configuration; conditional parameters that do not apply are absent.
        number: 0-based number in the sweep.
        seed: of this trial; `random`, `numpy` and `torch` are seeded with it before the loop starts.
        dir: folder of this trial, for files of your own; it exists.
        device: where `prepare` puts things.
        metrics: of the sweep; the first is the one that the best is judged by.
        rank, world_size: this process among the workers of the trial; 0 and 1 where it has one.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        *,
        number: int,
        seed: int,
        dir: Path,
        metrics: tuple[Metric, ...],
        deliver: Deliver,
        restore_from: Path | None = None,
        device: torch.device | None = None,
        group: Group | None = None,
        shared: SharedData | None = None,
        find_checkpoint: Callable[[int], Path] | None = None,
    ) -> None:
        self.params = dict(params)
        self.number = number
        self.seed = seed
        self.dir = dir
        self.device = device or best_device()
        self.rank = group.rank if group else 0
        self.world_size = group.world_size if group else 1
        self._group = group
        self._shared = shared
        self._samplers: list[DistributedSampler[Any]] = []
        self.metrics = metrics
        self._deliver = deliver
        self._restore_from = restore_from
        self._find_checkpoint = find_checkpoint
        # What `report` has raised to end the loop: it counts even if the loop swallows it.
        self.stop: StopTrial | None = None
        self._last_step = 0
        self._is_count_shared = False
        # What the user is to be told of the loop's code, once.
        self._advice = ""
        self._has_advised = False
        # What the state that it goes on from was trained with.
        self._plain: dict[str, Any] = json.loads(json.dumps(self.params, default=repr))
        self._params_before = self._plain
        self._progress = Progress(metrics)

    def _advise(self) -> None:
        self._advice, self._has_advised = "" if self._has_advised else OLD_ORDER, True

    @understands_old_order(_advise)
    def report(
        self,
        metrics: Mapping[str, Any],
        *,
        step: int | None = None,
        state: Mapping[str, Any] | None = None,
        files: PathLike[str] | str | Sequence[PathLike[str] | str] | None = None,
    ) -> None:
        """Report the metrics of a step, and save `state` as the step's checkpoint if it is given.

        Does not block on the driver, except where an early stopping rule must answer before the next step.
        Raises `StopTrial` where the trial is to end here: let it pass.

        Where the trial has several workers, all of them report each step, and all go on, or end, together; the
        metrics and the state are those of rank 0. `trial.mean` gives metrics of all.

        Args:
            metrics: numbers, or one-element tensors or arrays, by name; the sweep's metric among them.
            step: increasing, from 1. Left out, the reports are counted: from 1, and after `restore` from the step
                after the restored one.
            state: tensors, numbers, strings and lists, tuples and dicts of them.
            files: a folder that is copied into the checkpoint, for what other libraries save; needs a `state`. Of
                several folders, all is put together; see `gathered`.
        """
        step = step_after(self._counted() if step is None else self._last_step, step)
        values = as_floats(metrics, self.metrics)
        self._progress.follow(step, values)
        saved = ""
        if state is not None and self.rank == 0:
            progress = self._progress.saved() | {"params": json.dumps(self._plain)}
            saved = digest(save_checkpoint(self.dir, step, state, progress, _folders(files)))
        self._last_step = step
        for sampler in self._samplers:
            sampler.set_epoch(step)
        # Rank 0 decides for all: the others may see other values, and must not end alone.
        stop = None if self.rank else self._progress.judge(step, values)
        advice, self._advice = self._advice, ""
        report = Report(
            step=step,
            metrics=values,
            time_s=self._progress.time_s,
            timestamp=time.time(),
            has_checkpoint=state is not None,
            digest=saved,
            note=self._note_on(state),
            advice=advice,
        )
        self._deliver(report, stop)
        if stop is not None:
            self.stop = stop
            raise stop

    def restore(self) -> State | None:
        """The state that this trial saved last, with its `step`; None where it starts afresh.

        Also puts the random generators back to where they stood when the state was saved.
        """
        if self._restore_from is None:
            return None
        state, rng = load_checkpoint(self._restore_from)
        set_rng_state(rng)
        self._last_step = max(self._last_step, state.step)
        self._progress.restore(rng)
        self._params_before = json.loads(rng["params"]) if "params" in rng else self._plain
        return state

    def _counted(self) -> int:
        """The step reported last. Of several workers it is rank 0's, which may be the only one to have restored."""
        if self._group is not None and self._restore_from is not None and not self._is_count_shared:
            mine = 0 if self.rank else self._last_step
            told = self._group.mean({"the steps reported": float(mine)})["the steps reported"]
            self._last_step = max(self._last_step, round(told * self.world_size))
            self._is_count_shared = True
        return self._last_step

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """`optimizer.load_state_dict(state)`, with the settings of the trial's own parameters.

        Population based training has a trial go on from another one's state with parameters of its own: the optimizer
        then takes what the other has gathered, such as its moments, and keeps the settings that it was made with, where
        `load_state_dict` would bring back the other's learning rate. Where nothing has changed it is the same.

        Args:
            optimizer: made with this trial's parameters.
            state: an optimizer's state dict from `restore`.
        """
        if self._params_before == self._plain:
            optimizer.load_state_dict(dict(state))
        else:
            load(optimizer, state)

    def find_checkpoint(self, step: int) -> Path:
        """Where the checkpoint can be read that this trial has saved at a step, until the next one is asked for.

        On a machine that does not share the run folder it is brought there first, which blocks. Raises
        FileNotFoundError where it is not kept any more: of a running trial the last two are, and the best.
        """
        return self._find_checkpoint(step) if self._find_checkpoint else checkpoint_path(self.dir, step)

    @property
    def has_reported(self) -> bool:
        return self._last_step > 0

    def __getitem__(self, name: str) -> Any:
        told = f"a trainable is given a trial, not a configuration: write trial.params[{name!r}]"
        raise TypeError(f"{told}. {_FOREIGN_LOOPS}")

    def prepare(self, thing: T) -> T:
        """Put a module, tensor or collection of them on this trial's device, in place where it can be.

        Where the trial has several workers, a module comes back wrapped in `DistributedDataParallel` (its
        `state_dict` as it was unwrapped), and a `DataLoader` gives each worker its share of the data, shuffled anew
        after each report.
        """
        if self._group is None or not isinstance(thing, torch.nn.Module | DataLoader):
            return cast(T, to_device(thing, self.device))
        prepared = self._group.prepare(thing)
        sampler = getattr(prepared, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(self._last_step)
            self._samplers.append(sampler)
        return prepared

    def mean(self, values: Mapping[str, Any]) -> dict[str, float]:
        """The mean of each value over the trial's workers, weighted equally; all of them must call it.

        Args:
            values: numbers, or one-element tensors or arrays, by name.
        """
        mine = as_floats(values, ())
        return self._group.mean(mine) if self._group else mine

    @contextmanager
    def gathered(self, files: PathLike[str] | str | None) -> Iterator[list[Path]]:
        """The folders of files that the trial's workers give, for a checkpoint that each of them holds a part of.

        All workers must enter it, and report within it: `with trial.gathered(folder) as folders:
        trial.report(metrics, state={}, files=folders)`. Blocks until all have; rank 0 gets the folders, the others
        none. Of a name that several workers give, the lowest rank's file is kept.

        Args:
            files: the folder of this worker; None, or an empty one, where it has nothing to add.
        """
        own = _folders(files)
        if self._group is None:
            yield own
            return
        with self._group.gathered(own[0] if own else None) as folders:
            yield folders

    def cached(self, key: str, load: Callable[[], T]) -> T:
        """`load()` once in this process; its later trials share what it returned. Do not change it in place.

        Put what the result depends on into the key.
        """
        return cached(key, load)

    def shared(self, key: str, load: Callable[[], T]) -> T:
        """`load()` once on this node, in the first process to come; the others wait, and share what it returned.

        The bytes of numpy arrays and of CPU tensors are in memory once, wherever they are in what `load` returns; the
        rest is copied. What is changed in place changes for this process alone, its later trials included: do not.
        Put what the result depends on into the key; other sweeps have keys of their own.

        Raises TypeError where what was loaded can't be pickled, OSError where there is no room for it.
        """
        # Outside of a sweep there is nobody to share with.
        return self._shared.get(key, load) if self._shared else self.cached(f"shared {key}", load)

    def has_room(self, num_bytes: int) -> bool:
        """Whether a data set of that size may lie on the trial's device: in a quarter of what is free of a GPU."""
        return has_room(num_bytes, self.device)

    @property
    def has_bfloat16(self) -> bool:
        """Whether the trial's device has instructions for bfloat16: elsewhere it is slower than float32."""
        return has_bfloat16(self.device)

    def _note_on(self, state: Mapping[str, Any] | None) -> str:
        """What is to be told of the first state that is saved with other parameters than those of the one before."""
        if state is None or self._params_before == self._plain:
            return ""
        before, self._params_before = self._params_before, self._plain
        names = ignored(state, before, self.params)
        copied = ", ".join(f"{name} {before[name]:g}" for name in names)
        own = ", ".join(f"{self.params[name]:g}" for name in names)
        told = f"its optimizer goes on with {copied}, copied with another trial's state, in the place of {own}"
        return f"{told}: load that by trial.load_optimizer(optimizer, state)" if names else ""


def call(train: Callable[[Trial], Any], trial: Trial) -> None:
    """Run a training loop; one that hands its metrics back instead of reporting them is told how it is done."""
    returned = train(trial)
    if returned is not None and not trial.has_reported:
        told = f"the trainable returned {quoted(returned)} and has reported nothing: it is to call trial.report"
        raise MetricError(f"{told}. {_FOREIGN_LOOPS}")


def _folders(files: PathLike[str] | str | Sequence[PathLike[str] | str] | None) -> list[Path]:
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | PathLike) else [Path(folder) for folder in files]
