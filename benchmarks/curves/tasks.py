"""The tasks: learning curves of LCBench (a surrogate) and TaskSet (tables), and which of them are for development.

A run folder of a sweep is a task as well, by its path: its whole curves are the rows of a table.

Curves are third-party data, read from the folder that the environment variable `TUNER_DATA` names. The first stored
point of each curve is the untrained network and is left out, so step 1 is the first epoch that was trained.
"""

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tuner.metric import Goal, Metric
from tuner.results.results import Results
from tuner.simulation.recorded import RecordedSweep
from tuner.simulation.task import Task
from tuner.spec.space import SearchSpace

# Choices are made by looking at these alone; the others are for the final comparison.
DEVELOPMENT = (
    *("3945", "34539", "126026", "146212", "167149", "167161", "167181", "167185", "167200"),
    *("168329", "168331", "168868", "168910", "189862", "189866", "189905", "189908"),
    *("imdb_patch32_GRU128_bs128", "imdb_patch32_IRNN64_relu_avg_bs128", "imdb_patch128_LSTM128_avg_bs64"),
)


def data_folder() -> Path:
    return Path(os.environ.get("TUNER_DATA", Path(__file__).parents[3] / "shared" / "data")) / "curves"


class CurveTask(Task, Protocol):
    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str:
        """The collection that it is from."""


class LCBench:
    """Validation accuracy (%) of a multilayer perceptron on an OpenML task, by YAHPO Gym's surrogate network.

    Zimmer et al., Auto-PyTorch Tabular, 2021; Pfisterer et al., YAHPO Gym, 2022.
    """

    family = "LCBench"
    metrics: tuple[Metric, ...] = (Metric("val_accuracy", Goal.MAXIMIZE),)
    max_step = 51
    rows = None
    space = SearchSpace.from_dict(
        {
            "batch_size": {"min": 16, "max": 512, "distribution": "int_log_uniform"},
            "learning_rate": {"min": 1e-4, "max": 0.1, "distribution": "log_uniform_values"},
            "momentum": {"min": 0.1, "max": 0.99},
            "weight_decay": {"min": 1e-5, "max": 0.1, "distribution": "uniform"},
            "num_layers": {"min": 1, "max": 5},
            "max_units": {"min": 64, "max": 1024, "distribution": "int_log_uniform"},
            "max_dropout": {"min": 0.0, "max": 1.0},
        }
    )
    # In the order that the network wants, after the epoch.
    _INPUTS = tuple(parameter.name for parameter in space.parameters)
    _ACCURACY = 1

    def __init__(self, name: str) -> None:
        self.name = name
        self._code = _encoding()[name]

    def values(self, params: Mapping[str, Any], steps: range) -> list[Any]:
        return [float(value) for value in self.predict(self._rows(params, steps))]

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Accuracies, `[n]`, of rows `[n, 8]`: the stored epoch (2 to 52), then the parameters in the space's order."""
        return self._outputs(rows)[:, self._ACCURACY]

    def _rows(self, params: Mapping[str, Any], steps: range) -> np.ndarray:
        rows = np.tile([0.0, *(params[name] for name in self._INPUTS)], (len(steps), 1))
        rows[:, 0] = np.asarray(steps) + 1
        return rows

    def _outputs(self, rows: np.ndarray) -> np.ndarray:
        """All that the network predicts, `[n, 6]`."""
        inputs = {
            "x_cat": np.full((len(rows), 1), self._code, dtype=np.int32),
            "x_cont": rows.astype(np.float32),
        }
        predicted: np.ndarray = _surrogate().run(None, inputs)[0]
        return predicted


class LCBenchInTime(LCBench):
    """Two metrics: the accuracy, and the seconds of the training up to a step."""

    metrics = (*LCBench.metrics, Metric("seconds", Goal.MINIMIZE))
    _SECONDS = 0

    def values(self, params: Mapping[str, Any], steps: range) -> list[Any]:
        outputs = self._outputs(self._rows(params, steps))
        return [(float(row[self._ACCURACY]), float(row[self._SECONDS])) for row in outputs]


@functools.cache
def _encoding() -> dict[str, int]:
    codes: dict[str, int] = json.loads((data_folder() / "lcbench" / "encoding.json").read_text())["OpenML_task_id"]
    # The network was not trained on these two.
    return {name: code for name, code in codes.items() if name not in ("#na#", "167083")}


@functools.cache
def _surrogate() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(data_folder() / "lcbench" / "model.onnx"), options)


class TaskSet:
    """Validation loss of a recurrent text classifier under Adam with 8 hyperparameters: 1,000 recorded trainings.

    Metz et al., Using a Thousand Optimization Tasks to Learn Hyperparameter Search Strategies, 2020.
    """

    family = "TaskSet"
    metrics = (Metric("val_loss", Goal.MINIMIZE),)
    max_step = 50

    def __init__(self, name: str) -> None:
        self.name = name
        records = json.loads((data_folder() / "taskset" / f"{name}.json").read_text())
        self.rows = [_logarithmic(record["hp"]) for record in records]
        self._curves = np.array([record["valid"]["loss"] for record in records], dtype=float)[:, 1:]
        self._index = {tuple(row.values()): index for index, row in enumerate(self.rows)}
        ranges = {key: [row[key] for row in self.rows] for key in self.rows[0]}
        self.space = SearchSpace.from_dict(
            {
                key: {"min": min(values), "max": max(values), "distribution": "log_uniform_values"}
                for key, values in ranges.items()
            }
        )

    def values(self, params: Mapping[str, Any], steps: range) -> list[float]:
        index = self._index[tuple(params[key] for key in self.rows[0])]
        return [float(self._curves[index, step - 1]) for step in steps]

    @property
    def curves(self) -> np.ndarray:
        """`[rows, steps]`."""
        return self._curves


def _logarithmic(hp: Mapping[str, float]) -> dict[str, float]:
    """The decay rates as their distance from 1, which is what was sampled on a logarithmic scale."""
    return {
        f"1 - {name}" if name.startswith("beta") else name: 1 - value if name.startswith("beta") else value
        for name, value in hp.items()
    }


def task_names(half: str) -> list[str]:
    """Of the half `development` or `test`, or `all`."""
    tables = sorted(path.stem for path in (data_folder() / "taskset").glob("*.json"))
    names = [*sorted(_encoding(), key=int), *tables]
    if half == "all":
        return names
    return [name for name in names if (name in DEVELOPMENT) == (half == "development")]


class Recorded(RecordedSweep):
    """A sweep that was run, by its run folder."""

    family = "recorded"

    def __init__(self, name: str) -> None:
        super().__init__(Results.read(name))
        self.name = name


@functools.lru_cache(maxsize=8)
def load_task(name: str) -> CurveTask:
    if Path(name).is_dir():
        return Recorded(name)
    return LCBench(name) if name in _encoding() else TaskSet(name)


def stream_seed(task: str, seed: int) -> int:
    """The seed of a run: a stream of its own for each task and seed, the same for all methods.

    Where a recorded sweep lies does not matter.
    """
    return int.from_bytes(hashlib.blake2b(f"{Path(task).name}/{seed}".encode(), digest_size=4).digest(), "little")
