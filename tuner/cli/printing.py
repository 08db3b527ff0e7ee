"""The tables and summaries that the command line prints."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table
from rich.text import Text

from tuner.console import cell, format_params, format_seconds, format_value, rich_console
from tuner.records import TrialState
from tuner.results.results import Results
from tuner.results.sweep_state import SweepState
from tuner.run_folder.place import Place, Uri
from tuner.run_folder.trial_files import ERROR_FILE, trial_dir
from tuner.texts import Screen, say

if TYPE_CHECKING:
    from tuner.evaluation.against_default import Evaluation
    from tuner.simulation.comparison import Outcome
    from tuner.simulation.recorded import RecordedSweep


def print_runs(output: Place, runs: Sequence[Results]) -> None:
    if not runs:
        what = (
            f"no runs in {output}"
            if isinstance(output, Uri) or output.is_dir()
            else f"there is no folder {output}, so there are no runs"
        )
        say(f"{what}; `tuner run SPEC` makes one, --output names another folder")
        return
    # Not shortened, so that it can be copied into the next command.
    table = Table(Column("run"), "state", "trials", "best", box=None)
    for results in runs:
        best = results.best
        ended_by = "" if results.is_running else results.summary.get("ended_by", "")
        state = "cut off: resume it" if results.state is SweepState.CRASHED else ended_by or results.state.value
        told = f"{results.spec.metrics[0].name}={best.value:.6g}" if best else ""
        place = _cell(results.place)
        place.overflow = "fold"
        table.add_row(place, _cell(state), str(len(results.trials)), _cell(told))
    _print(table)


def _print(table: Table) -> None:
    """Print a table; a pipe gets whole lines, for other tools to search and cut."""
    screen = Screen(sys.stdout)
    rich_console(screen, width=None if screen.isatty() else 200).print(table)


def _cell(text: object) -> Text:
    return cell(str(text), Screen(sys.stdout).encoding)


def print_trials(results: Results) -> None:
    """Print a row for each trial: its best value, or with several metrics the values at its last step."""
    names = [metric.name for metric in results.spec.metrics]
    goal = results.spec.metrics[0].goal
    is_single = len(names) == 1
    table = Table(box=None, expand=True)
    for heading in ("trial", "state", "steps", *names, *(["best step"] if is_single else []), "time"):
        table.add_column(_cell(heading), no_wrap=True)
    table.add_column("parameters", ratio=1, no_wrap=True, overflow="ellipsis")
    for trial in results.trials:
        step = trial.best_step(goal)
        if is_single:
            cells = [f"{trial.curve[step]:.6g}" if step is not None else "-", str(step or "-")]
        else:
            counted = results.counted_metrics(trial)
            cells = [f"{counted[name]:.6g}" if name in counted else "-" for name in names]
        table.add_row(
            f"{trial.number:04d}",
            _cell(f"{trial.state.value} ({trial.reason.value})" if trial.reason else trial.state.value),
            str(max(trial.curve, default=0)),
            *cells,
            format_seconds(trial.duration_s),
            _cell(format_params(results.spec.parameters.varied(trial.params), 200)),
        )
    _print(table)
    for trial in results.trials:
        if trial.state is TrialState.FAILED:
            error = results.place_of(trial_dir(results.folder, trial.number) / ERROR_FILE)
            told = f"  ({error})" if results.error(trial.number) else ""
            say(f"trial {trial.number:04d}: {trial.message}{told}")


def print_counts(results: Results) -> None:
    counts = ", ".join(f"{number} {state}" for state, number in results.counts().items())
    state = f"; the sweep is {results.state.value}" if results.is_running else ""
    say("", f"{len(results.trials)} trials: {counts or 'none'}{state}")
    summary = results.summary
    if summary.get("message"):
        say(f"ended: {summary['message']}")
    if summary.get("elapsed_s"):
        inside = sum(trial.duration_s for trial in results.trials)
        room = summary["elapsed_s"] * summary["slots"]
        say(
            f"time: {format_seconds(summary['elapsed_s'])} on {summary['slots']} slots; "
            f"{format_seconds(inside)} of {format_seconds(room)} slot time spent in trials"
        )


def print_best(results: Results) -> None:
    found = results.best
    if found is None:
        say("no trial has reported a finite metric yet")
        return
    first, *others = [metric.name for metric in results.spec.metrics]
    told = "".join(f" {name}={found.metrics[name]:.6g}" for name in others if name in found.metrics)
    say("", f"best: {first}={found.value:.6g}{told} (trial {found.trial.number:04d}, step {found.step})")
    for key, value in found.params.items():
        say(f"  {key}: {format_value(value, 6)}")
    say(f"checkpoint: {found.checkpoint or 'none: no state was passed to trial.report at that step'}")
    shown = results.best_json() or {}
    for key, value in (shown.get("test") or {}).items():
        if key not in ("trial", "step"):
            say(f"{key}: {value:.4f}" if isinstance(value, float) else f"{key}: {format_value(value)}")
    if others:
        _print_front(results)


def print_evaluation(evaluation: "Evaluation") -> None:
    table = Table(box=None)
    for heading in ("test score", "tuned", "default", "difference"):
        table.add_column(heading, no_wrap=True)
    tuned, default = evaluation.tuned.estimates(), evaluation.default.estimates()
    for name in dict.fromkeys([*tuned, *default]):
        gain = evaluation.gain(name)
        if gain is not None and tuned[name] == default[name] and not tuned[name].half_width:
            continue  # the same in each training, such as the number of rows
        cells = [str(found.get(name, "-")) for found in (tuned, default)]
        table.add_row(_cell(name), *map(_cell, [*cells, gain.difference if gain else "-"]))
    for title, candidate in (("tuned", evaluation.tuned), ("default", evaluation.default)):
        say(f"{title}: {format_params(candidate.params, 200)}")
    for title, candidate in (("tuned", evaluation.tuned), ("default", evaluation.default)):
        for training in candidate.trainings:
            if training.error:
                say(f"{title}, seed {training.seed} failed: {training.error}")
    _print(table)
    if evaluation.tuned == evaluation.default:
        say("the best configuration is the default one: the sweep found nothing better")
        return
    gain = evaluation.gain(evaluation.metric) if evaluation.metric else None
    if gain is None:
        say("no verdict: no seed has a test score of the sweep's metric from both")
        return
    p = "" if gain.p is None else f", p = {gain.p:.2g}"
    say(
        f"{evaluation.metric}: the gain, {gain.difference}, is {gain.verdict} "
        f"(paired t-test over {gain.difference.num_seeds} seeds{p}; ± is a 95 % interval)"
    )


def _print_front(results: Results) -> None:
    front = results.pareto_front
    names = [metric.name for metric in results.spec.metrics]
    say(f"pareto front: {len(front)} trials{'' if front else ', since none has completed'}")
    for trial in front:
        values = " ".join(f"{name}={value:.6g}" for name, value in zip(names, trial.values, strict=True))
        say(f"  {trial.number:04d}  {values}  {_params(results, trial.params)}")


def _params(results: Results, params: Mapping[str, Any]) -> str:
    return format_params(results.spec.parameters.varied(params), 120)


def print_outcomes(task: "RecordedSweep", outcomes: "Sequence[Outcome]", seeds: int, trainings: int) -> None:
    """Print what simulated searches found, beside what there was to find."""
    table = Table(
        "method", *(f"{share:.0%}" for share in outcomes[0].best), Column(_cell("±")), "trials", "whole", box=None
    )
    for outcome in outcomes:
        found = [f"{value:.6g}" for value in (*outcome.best.values(), outcome.error)]
        table.add_row(outcome.method, *found, f"{outcome.trials:.0f}", f"{outcome.whole:.0f}")
    say(
        f"{len(task.rows)} configurations were recorded; their best {task.metrics[0].name} is {task.best:.6g}, "
        f"that of the middle one {task.middle:.6g}.",
        f"The best so far after shares of {trainings} trainings' time, means of {seeds} seeds, ± standard error:",
        "",
    )
    _print(table)
    most = max(outcomes, key=lambda outcome: outcome.trials)
    if most.trials > len(task.rows) / 2:
        # Each is tried once: if a rule has stopped the best one, nothing like it is left.
        say(
            "",
            f"{most.method} has tried {most.trials:.0f} of the {len(task.rows)} configurations, each once, which "
            "says little about a larger space: give fewer --trainings, or record more.",
        )
