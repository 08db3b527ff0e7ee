"""Results as JSON has them: what `tuner show --json` and `tuner best --json` print."""

from typing import TYPE_CHECKING, Any

from tuner.records import TrialRecord
from tuner.run_folder.trial_files import finite, read_json
from tuner.spec.sweep_spec import SweepSpec

if TYPE_CHECKING:
    from tuner.results.results import Results


def results_json(results: "Results") -> dict[str, Any]:
    """See `Results.to_json`."""
    return {
        "name": results.spec.name,
        "folder": str(results.place),
        "running": results.is_running,
        "state": results.state.value,
        "metric": results.spec.metrics[0].name,
        "goal": results.spec.metrics[0].goal.value,
        "metrics": [{"name": metric.name, "goal": metric.goal.value} for metric in results.spec.metrics],
        "method": results.spec.method,
        "counts": results.counts(),
        "summary": results.summary,
        "best": best_json(results),
        "pareto_front": [trial.number for trial in results.pareto_front] if len(results.spec.metrics) > 1 else None,
        "trials": [trial_json(trial, results.spec) for trial in results.trials],
    }


def best_json(results: "Results") -> dict[str, Any] | None:
    """See `Results.best_json`."""
    best = results.best
    if best is None:
        return None
    test = read_json(results.folder / "best" / "test.json")
    return {
        "trial": best.trial.number,
        "state": best.trial.state.value,
        "step": best.step,
        "value": best.value,
        "metrics": {name: finite(value) for name, value in best.metrics.items()},
        "params": dict(best.params),
        "checkpoint": str(best.checkpoint) if best.checkpoint else None,
        "test": test if (test.get("trial"), test.get("step")) == (best.trial.number, best.step) else None,
    }


def trial_json(trial: TrialRecord, spec: SweepSpec) -> dict[str, Any]:
    """One of its `trials`."""
    step = trial.best_step(spec.metrics[0].goal)
    return {
        "number": trial.number,
        "state": trial.state.value,
        "reason": trial.reason.value if trial.reason else None,
        "message": trial.message,
        "params": dict(trial.params),
        "steps": max(trial.curve, default=0),
        "best_step": step,
        "best_value": trial.curve[step] if step is not None else None,
        "values": list(trial.values) or None,
        "duration_s": trial.duration_s,
        "curve": {str(s): finite(value) for s, value in trial.curve.items()},
    }
