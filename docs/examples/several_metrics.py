"""Two goals at once: accurate and small. The result is a front of configurations that no other beats in both."""

import tuner


def train(trial: tuner.Trial) -> None:
    width, depth = trial.params["width"], trial.params["depth"]
    parameters = width * width * depth
    trial.report({"error": 1 / (1 + width * depth) ** 0.5, "parameters": parameters})


if __name__ == "__main__":
    sweep = tuner.Sweep(
        train,
        parameters={
            "width": {"min": 4, "max": 256, "distribution": "q_log_uniform_values"},
            "depth": {"min": 1, "max": 8},
        },
        metric=[{"name": "error", "goal": "minimize"}, {"name": "parameters", "goal": "minimize"}],
        run_cap=16,
        seed=0,
    )
    results = sweep.run()
    for trial in sorted(results.pareto_front, key=lambda trial: trial.values):
        error, parameters = trial.values
        print(f"error {error:.3f}  {parameters:8.0f} parameters  {dict(trial.params)}")
