"""The smallest sweep: a function that reports a number, and what it may vary."""

import tuner


def train(trial: tuner.Trial) -> None:
    x = 0.0
    for _ in range(20):
        x -= trial.params["lr"] * 2 * (x - 3)
        trial.report({"loss": (x - 3) ** 2})


if __name__ == "__main__":
    sweep = tuner.Sweep(
        train,
        parameters={"lr": {"min": 0.001, "max": 1.0, "distribution": "log_uniform_values"}},
        metric={"name": "loss", "goal": "minimize"},
        run_cap=10,
    )
    best = sweep.run().best
    assert best is not None
    print(f"loss {best.value:.3g} with {best.params}")
