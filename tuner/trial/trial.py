"""`Trial`, all that a training loop sees of this package; needs no Ray.

The same object serves in this process (`tuner try`), inside a warm actor and in each worker of a group: they differ
in the `deliver` callable that takes the reports, and in the group.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from tuner.errors import StopTrial
from tuner.metric import Metric
from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path, digest
from tuner.trial.checkpoint import State, load_checkpoint, save_checkpoint, set_rng_state
from tuner.trial.devices import best_device, has_bfloat16, has_room, to_device
from tuner.trial.group import Deliver, Group
from tuner.trial.optimizers import TrainedWith
from tuner.trial.process_cache import cached
from tuner.trial.progress import Progress
from tuner.trial.reported import FOREIGN_LOOPS, OLD_ORDER, as_floats, folders_of, step_after, understands_old_order
from tuner.trial.shared_data import SharedData

T = TypeVar("T")


class Trial:
    """One trial, handed to `train(trial)`: its parameters, its device, and where its reports go.

    You do not make one: a sweep, `tuner try` and each worker of a trial hand it to your function.

    Attributes:
        params: the configuration; conditional parameters that do not apply are absent.
        number: 0-based number in the sweep.
        seed: of this trial; `random`, `numpy` and `torch` are seeded with it before the loop starts.
        dir: folder of this trial, for files of your own; it exists.
        device: where `prepare` puts things.
        metrics: of the sweep; the first is the one that the best is judged by.
        rank: the number of this process among the trial's workers, from 0.
        world_size: how many workers the trial has.

    Example:
        >>> def train(trial: tuner.Trial) -> None:
        ...     model = trial.prepare(torch.nn.Linear(4, 1))
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=trial.params["lr"])
        ...     for epoch in range(3):
        ...         loss = model(torch.ones(8, 4, device=trial.device)).square().mean()
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         optimizer.step()
        ...         trial.report({"loss": loss})
        >>> train(trial)
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
        self._trained_with = TrainedWith(self.params)
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

        Does not block on the driver, except where an early stopping rule must answer before the next step. Saving a
        state blocks until it is on disk.

        Where the trial has several workers, all of them report each step, and all resume, or end, together; the metrics
        and the state are those of rank 0. `trial.mean` gives metrics of all.

        Args:
            metrics: numbers, or one-element tensors or arrays, by name; the sweep's metric among them.
            step: increasing, from 1. Left out, the reports are counted: from 1, and after `restore` from the step after
                the restored one.
            state: tensors, numbers, strings and lists, tuples and dicts of them.
            files: a folder that is copied into the checkpoint, for what other libraries save; needs a `state`.
                Several folders are put together; see `gathered`.

        Raises:
            StopTrial: the trial is to end here; let it pass.
            MetricError: a value is no number, or one of the sweep's metrics is missing.
            StepError: the step is 0, or not above the one before.
            CheckpointError: `torch.load(..., weights_only=True)` could not read the state back.

        Example:
            >>> for epoch in range(2):
            ...     trial.report({"loss": 1 / (epoch + 1)}, state={"epoch": epoch})
        """
        step = step_after(self._counted() if step is None else self._last_step, step)
        values = as_floats(metrics, self.metrics)
        self._progress.follow(step, values)
        saved = ""
        if state is not None and self.rank == 0:
            progress = self._progress.saved() | self._trained_with.saved()
            saved = digest(save_checkpoint(self.dir, step, state, progress, folders_of(files)))
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
            note="" if state is None else self._trained_with.note_on(state),
            advice=advice,
        )
        self._deliver(report, stop)
        if stop is not None:
            self.stop = stop
            raise stop

    def restore(self) -> State | None:
        """The state that this trial saved last; None where it starts afresh.

        Also puts the random generators back to where they stood when the state was saved. Reports without a step are
        counted from the step after the restored one.

        Returns:
            The dict that was saved, tensors on the CPU, with its `step` and its folder of `files`, if it had any.

        Raises:
            CheckpointError: the checkpoint's files are damaged.

        Example:
            >>> state = trial.restore() or {"epoch": -1}
            >>> for epoch in range(state["epoch"] + 1, 3):
            ...     trial.report({"loss": 1 / (epoch + 1)}, state={"epoch": epoch})
        """
        if self._restore_from is None:
            return None
        state, rng = load_checkpoint(self._restore_from)
        set_rng_state(rng)
        self._last_step = max(self._last_step, state.step)
        self._progress.restore(rng)
        self._trained_with.restore(rng)
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

        Population based training has a trial resume from another one's state with parameters of its own: the optimizer
        then takes what the other has gathered, such as its moments, and keeps the settings that it was made with, where
        `load_state_dict` would bring back the other's learning rate. Where nothing has changed it is the same.

        Args:
            optimizer: made with this trial's parameters.
            state: an optimizer's state dict from `restore`.

        Example:
            >>> optimizer = torch.optim.SGD(torch.nn.Linear(4, 1).parameters(), lr=trial.params["lr"], momentum=0.9)
            >>> state = trial.restore()
            >>> if state is not None:
            ...     trial.load_optimizer(optimizer, state["optimizer"])
        """
        self._trained_with.load_optimizer(optimizer, state)

    def find_checkpoint(self, step: int) -> Path:
        """Where a checkpoint that this trial has saved can be read, until the next one is asked for.

        On a machine that does not share the run folder it is brought there first, which blocks.

        Args:
            step: that it was saved at.

        Returns:
            The checkpoint's folder, on this machine.

        Raises:
            FileNotFoundError: it is not kept any more; of a running trial the last two are, and the best.

        Example:
            >>> trial.report({"loss": 0.5}, step=5, state={"w": torch.ones(2)})
            >>> torch.load(trial.find_checkpoint(5) / "state.pt", weights_only=True)
            {'w': tensor([1., 1.])}
        """
        return self._find_checkpoint(step) if self._find_checkpoint else checkpoint_path(self.dir, step)

    @property
    def has_reported(self) -> bool:
        """Whether a step was reported, or restored.

        Returns:
            True from the first report on.
        """
        return self._last_step > 0

    def __getitem__(self, name: str) -> Any:
        told = f"a trainable is given a trial, not a configuration: write trial.params[{name!r}]"
        raise TypeError(f"{told}. {FOREIGN_LOOPS}")

    def prepare(self, thing: T) -> T:
        """Put a module, tensor or collection of them on this trial's device, in place where it can be.

        Where the trial has several workers, a module comes back wrapped in `DistributedDataParallel` (its
        `state_dict` as it was unwrapped), and a `DataLoader` gives each worker its share of the data, shuffled anew
        after each report.

        Args:
            thing: a module, a tensor, a `DataLoader`, or a dict, list or tuple of modules and tensors.

        Returns:
            The same in the same shape; what is neither a module nor a tensor is left as it is.

        Example:
            >>> model = trial.prepare(torch.nn.Linear(4, 1))
            >>> batch = trial.prepare({"x": torch.zeros(8, 4), "name": "first"})
            >>> model(batch["x"]).shape
            torch.Size([8, 1])
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

        Blocks until all have. With one worker it gives the values back as they are.

        Args:
            values: numbers, or one-element tensors or arrays, by name; the same names in all workers.

        Returns:
            The means by name, the same in all workers.

        Raises:
            MetricError: a value is no number.

        Example:
            >>> trial.report(trial.mean({"loss": torch.tensor(0.25)}))
        """
        mine = as_floats(values, ())
        return self._group.mean(mine) if self._group else mine

    @contextmanager
    def gathered(self, files: PathLike[str] | str | None) -> Iterator[list[Path]]:
        """The folders of files that the trial's workers give, for a checkpoint that each of them holds a part of.

        All workers must enter it, and report within it. Blocks until all have. Of a name that several workers give, the
        lowest rank's file is kept.

        Args:
            files: the folder of this worker; None, or an empty one, where it has nothing to add.

        Returns:
            A context manager: rank 0 gets the folders, the others none.

        Example:
            >>> shard = trial.dir / "shard"
            >>> shard.mkdir()
            >>> _ = (shard / f"rank-{trial.rank}.txt").write_text("its part")
            >>> with trial.gathered(shard) as folders:
            ...     trial.report({"loss": 0.5}, state={}, files=folders)
        """
        own = folders_of(files)
        if self._group is None:
            yield own
            return
        with self._group.gathered(own[0] if own else None) as folders:
            yield folders

    def cached(self, key: str, load: Callable[[], T]) -> T:
        """`load()` once in this process; its later trials share what it returned. Do not change it in place.

        Args:
            key: names the result: put what it depends on into it.
            load: called without arguments where this process has nothing under that key yet.

        Returns:
            What `load()` returned, the very object.

        Example:
            >>> data = trial.cached("ones-256", lambda: torch.ones(256, 4))
            >>> data is trial.cached("ones-256", lambda: torch.ones(256, 4))
            True
        """
        return cached(key, load)

    def shared(self, key: str, load: Callable[[], T]) -> T:
        """`load()` once on this node, in the first process to come; the others wait, and share what it returned.

        The bytes of numpy arrays and of CPU tensors are in memory once, wherever they are in what `load` returns; the
        rest is copied. What is changed in place changes for this process alone, its later trials included: do not.

        Args:
            key: names the result: put what it depends on into it; other sweeps have keys of their own.
            load: called without arguments, in one process.

        Returns:
            What `load()` returned, or a copy of it whose arrays and tensors lie in shared memory.

        Raises:
            TypeError: what was loaded can't be pickled.
            OSError: there is no room for it.

        Example:
            >>> x, y = trial.shared("sine", lambda: (torch.linspace(-3, 3, 256), torch.linspace(-3, 3, 256).sin()))
        """
        # Outside of a sweep there is nobody to share with.
        return self._shared.get(key, load) if self._shared else self.cached(f"shared {key}", load)

    def has_room(self, num_bytes: int) -> bool:
        """Whether a data set may lie on the trial's device: in a quarter of what is free of a GPU.

        Args:
            num_bytes: of the data set.

        Returns:
            True on a CPU, where it lies already.

        Example:
            >>> x = torch.ones(256, 4)
            >>> x = x.to(trial.device) if trial.has_room(x.nbytes) else x
        """
        return has_room(num_bytes, self.device)

    @property
    def has_bfloat16(self) -> bool:
        """Whether the trial's device has instructions for bfloat16: elsewhere it is slower than float32.

        Returns:
            True where mixed precision saves time.

        Example:
            >>> with torch.autocast(trial.device.type, torch.bfloat16, enabled=trial.has_bfloat16):
            ...     loss = torch.nn.Linear(4, 1).to(trial.device)(torch.ones(8, 4, device=trial.device)).mean()
        """
        return has_bfloat16(self.device)
