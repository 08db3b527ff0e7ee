"""A sweep from Python: run it, read it, extend it."""

import tuner


def train(trial: tuner.Trial) -> None:
    quality = 1 - (trial.params["lr"] - 0.1) ** 2 - (0.2 if trial.params["optimizer"] == "sgd" else 0.0)
    for epoch in range(1, 10):
        trial.report({"accuracy": quality * (1 - 0.5**epoch)}, state={"epoch": epoch})


if __name__ == "__main__":
    sweep = tuner.Sweep(
        train,
        parameters={"lr": {"min": 0.01, "max": 1.0}, "optimizer": {"values": ["sgd", "adam"]}},
        metric={"name": "accuracy", "goal": "maximize"},
        method="bayes",
        early_terminate={"type": "asha", "min_iter": 1, "max_iter": 9},
        run_cap=8,
        seed=0,
        output="runs",
    )
    results = sweep.run(id="first")
    print(results.counts())
    print(results.table()[["trial", "state", "accuracy", "lr", "optimizer"]])

    best = results.best
    assert best is not None
    print(f"trial {best.trial.number}, step {best.step}: {best.value:.3f}, checkpoint {best.checkpoint}")
    print([round(report.metrics["accuracy"], 3) for report in results.curve(best.trial.number)])

    # Four more trials, now or tomorrow in another process.
    longer = sweep.resume("runs/first", run_cap="+4")
    print(len(longer.trials), "trials,", longer.summary["ended_by"])
    print(tuner.Results.read("runs/first"))
