"""Small trials on one GPU: as many at once as share it, against one at a time.

python -m benchmarks.gpu [--shares 1 0.5 0.25 0.125] [--trials 16]

The trials train a small CNN on digits for 40 epochs. What is measured is the time between the first report of the first
trial and the last one of the last: the start of the processes is left out. Needs a GPU.
"""

import tempfile
from pathlib import Path

import click
import torch

import tuner
from benchmarks.common import Silent, save

PARAMETERS = {
    "dataset": "digits",
    "epochs": 40,
    "channels": 32,
    "batch_size": 32,
    "lr": {"min": 1e-4, "max": 1e-2, "distribution": "log_uniform_values"},
}


@click.command()
@click.option("--shares", multiple=True, type=float, default=(1.0, 0.5, 0.25, 0.125))
@click.option("--trials", default=16)
def main(shares: tuple[float, ...], trials: int) -> None:
    seconds = {share: _measure(share, trials) for share in shares}
    whole = seconds[shares[0]]
    rows = {str(share): {"seconds": time, "trials_per_minute": 60 * trials / time} for share, time in seconds.items()}
    faster = {str(share): whole / time for share, time in seconds.items()}
    figures = {
        "gpu": torch.cuda.get_device_name(),
        "trials": trials,
        "shares": rows,
        "faster_than_one_at_a_time": faster,
    }
    save("gpu", figures)


def _measure(share: float, trials: int) -> float:
    """Seconds of training, first to last report."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = tuner.Sweep(
            "trainables.image_classification:train",
            parameters=PARAMETERS,
            metric={"name": "val_accuracy", "goal": "maximize"},
            method="random",
            seed=0,
            run_cap=trials,
            resources={"cpu": 1, "gpu": share},
            output=Path(folder),
        )
        results = sweep.run(console=Silent())
        assert results.counts() == {"completed": trials}
        times = [report.timestamp for number in range(trials) for report in results.curve(number)]
    return max(times) - min(times)


if __name__ == "__main__":
    main()
