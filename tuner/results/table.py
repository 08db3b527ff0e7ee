"""Results as a pandas data frame."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from tuner.results.results import Results


def table_of(results: "Results") -> "pd.DataFrame":
    """See `Results.table`."""
    import pandas as pd  # takes as long as the rest of this module together

    goal = results.spec.metrics[0].goal
    names = [metric.name for metric in results.spec.metrics]
    counted_of = {trial.number: results.counted_metrics(trial) for trial in results.trials}
    # A metric or a parameter may bear the name of another column, also of one that this trial has no value in.
    taken = {"trial", "state", "reason", "steps", "best_step", "duration_s"}
    reported = {name for counted in counted_of.values() for name in (*counted, *names)}
    metric_column = {name: f"metrics.{name}" if name in taken else name for name in reported}
    taken |= {*metric_column.values()}
    rows = []
    for trial in results.trials:
        counted = counted_of[trial.number]
        row: dict[str, Any] = {
            "trial": trial.number,
            "state": trial.state.value,
            "reason": trial.reason.value if trial.reason else None,
            "steps": max(trial.curve, default=0),
            **{metric_column[name]: counted.get(name) for name in names},
            "best_step": trial.best_step(goal),
            "duration_s": trial.duration_s,
        }
        row |= {metric_column[name]: value for name, value in counted.items() if name not in names}
        rows.append(row | {f"params.{key}" if key in taken else key: value for key, value in trial.params.items()})
    return pd.DataFrame(rows)
