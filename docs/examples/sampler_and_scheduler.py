"""Any sampler of Optuna and any scheduler of Ray Tune, as instances."""

from optuna.samplers import QMCSampler
from ray.tune.schedulers import MedianStoppingRule

import tuner


def train(trial: tuner.Trial) -> None:
    for epoch in range(8):
        trial.report({"loss": (trial.params["x"] - 0.3) ** 2 + 1 / (1 + epoch)})


if __name__ == "__main__":
    sweep = tuner.Sweep(
        train,
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "loss"},
        method=QMCSampler(seed=0),
        # Leave out the time, metric and mode: tuner gives them.
        early_terminate=MedianStoppingRule(grace_period=2, min_samples_required=2),
        run_cap=8,
    )
    results = sweep.run()
    print(results.counts(), results.best)
