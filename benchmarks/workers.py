"""Each ready-made task trained by one worker and by two, with the same configuration and the same seeds.

    TUNER_DATA=DIR python -m benchmarks.workers [NAME...] [--seeds 3]

A batch is shared out to the workers, so that a configuration means the same training: what may differ is what each
worker draws for itself (dropout, augmentation, noise), as it does between seeds. So the difference of the means is held
against the spread over seeds. Slices of real data, a dozen minutes on two cores; a call with names adds to the file.
DIR is the folder of the data (audio/, ner/, text/, ml-100k/ or the package recbole).
"""

import argparse
import json
import os
import statistics
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import ray
from scipy.stats import t

import tuner
from benchmarks.common import RESULTS, Silent, save

ENTITY_SENTENCES = 800
RECORDINGS_OF_A_SPEAKER = 12  # of each digit


class Task(NamedTuple):
    """A trainable, its metric, and the configuration that it is trained with."""

    trainable: str
    metric: str
    params: dict[str, Any]


def tasks(data: Path, folder: Path) -> dict[str, Task]:
    return {
        "images": Task(
            "trainables.image_classification:train",
            "val_accuracy",
            {"dataset": "fashion-mnist", "train_size": 6_000, "augment": "flip", "batch_size": 128, "epochs": 3},
        ),
        "texts": Task(
            "trainables.text_classification:train",
            "val_accuracy",
            {"dataset": "banking77", "model": "bag", "batch_size": 128, "lr": 0.03, "dropout": 0.3, "epochs": 5},
        ),
        "named entities": Task(
            "trainables.token_classification:train",
            "val_f1",
            {
                "dataset": str(_sentences(data, folder)),
                "validation_dataset": str(_entities(data) / "emerging.dev.conll"),
                "pretrained": "minilm",
                "finetune": "full",
                "precision": "auto",
                "batch_size": 16,
                "lr": 3e-4,
                "head_lr": 3e-3,
                "layer_decay": 0.9,
                "warmup_epochs": 0.5,
                "dropout": 0.1,
                "epochs": 4,
            },
        ),
        "recommendation": Task(
            "trainables.recommendation:train",
            "val_ndcg10",
            {"dataset": "movielens-100k", "model": "sequence", "batch_size": 64, "dropout": 0.5, "epochs": 8},
        ),
        "recordings": Task(
            "trainables.audio_classification:train",
            "val_accuracy",
            {
                "dataset": str(_recordings(data, folder)),
                "sample_rate": 8_000,
                "width": 16,
                "lr": 2e-3,
                "dropout": 0.2,
                "shift": 0.1,
                "batch_size": 32,
                "epochs": 8,
            },
        ),
        "tables": Task(
            "trainables.tabular:train",
            "val_accuracy",
            {"dataset": "digits", "model": "resnet", "dropout": 0.3, "folds": 3, "epochs": 5},
        ),
    }


def _entities(data: Path) -> Path:
    return data / "ner" / "wnut17"


def _sentences(data: Path, folder: Path) -> Path:
    """The first of WNUT-17's training sentences."""
    path = folder / "train.conll"
    sentences = (_entities(data) / "wnut17train.conll").read_text(encoding="utf-8").split("\n\t\n")
    path.write_text("\n\n".join(sentences[:ENTITY_SENTENCES]) + "\n", encoding="utf-8")
    return path


def _recordings(data: Path, folder: Path) -> Path:
    """The first recordings of each speaker and digit, a folder for each digit."""
    with tarfile.open(data / "audio" / "free-spoken-digits.tar.xz") as archive:
        for member in archive:
            name = Path(member.name)
            if name.suffix == ".wav" and int(name.stem.split("_")[2]) < RECORDINGS_OF_A_SPEAKER:
                path = folder / "spoken" / name.stem[0] / name.name
                path.parent.mkdir(parents=True, exist_ok=True)
                recording = archive.extractfile(member)
                assert recording is not None
                path.write_bytes(recording.read())
    return folder / "spoken"


def measure(task: Task, workers: int, num_seeds: int) -> dict[str, Any]:
    """The metric at the last step of a trial for each seed; the seeds are the same for any number of workers."""
    started = time.perf_counter()
    # AdamW ignores the momentum: trials that differ by their seeds alone, in processes that stay warm.
    grid = {"momentum": {"values": [number / 100 for number in range(num_seeds)]}}
    with tempfile.TemporaryDirectory() as folder:
        results = tuner.Sweep(
            task.trainable,
            parameters={name: {"value": value} for name, value in task.params.items()} | grid,
            metric={"name": task.metric, "goal": "maximize"},
            method="grid",
            early_terminate="none",
            parallel=2 // workers,
            resources={"workers": workers, "cpu": 1},
            seed=0,
            output=folder,
        ).run(console=Silent())
        curves = [trial.curve for trial in results.trials]
    assert len(curves) == num_seeds, results.counts()
    values = [float(curve[max(curve)]) for curve in curves]
    return {
        "values": values,
        "mean": statistics.mean(values),
        "standard_deviation": statistics.stdev(values),
        "seconds": round(time.perf_counter() - started, 1),
    }


def compared(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """The difference of the means, and half of its 95% interval by Student's t with a common variance."""
    count = len(one["values"])
    spread = ((one["standard_deviation"] ** 2 + two["standard_deviation"] ** 2) / count) ** 0.5
    return {
        "difference": two["mean"] - one["mean"],
        "half_of_95_percent_interval": float(t.ppf(0.975, 2 * count - 2)) * spread,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    path = RESULTS / "workers.json"
    known = json.loads(path.read_text())["tasks"] if given.names and path.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        every = tasks(Path(os.environ["TUNER_DATA"]), Path(folder))
        for name in given.names or every:
            task = every[name]
            one, two = (measure(task, workers, given.seeds) for workers in (1, 2))
            known[name] = {"metric": task.metric, "1": one, "2": two, **compared(one, two)}
            save("workers", {"tasks": known})
    print(table(known))


def table(known: dict[str, Any]) -> str:
    """As Markdown has it."""
    lines = ["| task, metric | one worker | two workers | difference |", "|---|---|---|---|"]
    for name, row in known.items():
        one, two = (f"{row[n]['mean']:.4f} ± {row[n]['standard_deviation']:.4f}" for n in ("1", "2"))
        difference = f"{row['difference']:+.4f} ± {row['half_of_95_percent_interval']:.4f}"
        lines.append(f"| {name}, {row['metric'].removeprefix('val_')} | {one} | {two} | {difference} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
