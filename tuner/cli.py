"""The command line: arguments -> calls. Exit codes: 0 finished, 1 ran and failed, 2 refused, 130 interrupted."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console as RichConsole
from rich.table import Table
from ruamel.yaml import YAML

from tuner.console import format_params, format_seconds
from tuner.errors import ResourceError, SpecError, StudyLockedError, StudyNotFoundError
from tuner.files import ERROR_FILE, trial_dir
from tuner.results import Results, list_runs
from tuner.spec import json_schema
from tuner.sweep import Sweep, load_and_import
from tuner.sweep import resume as resume_sweep
from tuner.trial import TrialState
from tuner.tryout import try_once

_REFUSED = (SpecError, ResourceError, StudyLockedError, StudyNotFoundError)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/json.md describes it.")
_output = click.option(
    "--output", type=click.Path(path_type=Path), default=Path("runs"), help="Where run folders are made."
)
_address = click.option("--address", help="A Ray cluster; `auto` for the one that this machine belongs to.")
_verbose = click.option("-v", "--verbose", is_flag=True, help="Show Ray's own messages as well.")
_folder = click.argument("folder", type=click.Path(path_type=Path))
_spec = click.argument("spec", type=click.Path(path_type=Path))


@click.group()
@click.version_option(package_name="tuner")
def cli() -> None:
    """Tune hyperparameters of PyTorch networks."""


@cli.command()
@_spec
@_output
@click.option("--storage", help="An Optuna RDB URL for the study, such as sqlite:///study.db.")
@_address
@_verbose
def run(spec: Path, output: Path, storage: str | None, address: str | None, verbose: bool) -> None:
    """Run the sweep that SPEC describes."""
    sweep = Sweep.from_file(spec, output=output, storage=storage)
    _conclude(sweep.run(address=address, verbose=verbose))


@cli.command()
@_folder
@click.option("--run-cap", help="A new number of trials; +50 adds to those there are.")
@_address
@_verbose
def resume(folder: Path, run_cap: str | None, address: str | None, verbose: bool) -> None:
    """Go on with the sweep in FOLDER: what is finished is kept, what was interrupted goes on."""
    _conclude(resume_sweep(folder, run_cap=run_cap, address=address, verbose=verbose))


@cli.command()
@_spec
def check(spec: Path) -> None:
    """Tell all mistakes of SPEC at once; writes nothing."""
    described, _ = load_and_import(spec)
    click.echo(f"{spec} is right: {described.method} over {len(described.parameters.parameters)} parameters.")


@cli.command()
def schema() -> None:
    """Print the JSON schema of sweep files, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))


@cli.command("try")
@_spec
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter; the rest is sampled.")
@click.option(
    "--params",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON file of parameters, such as best/params.json.",
)
@click.option("--seed", type=int, default=0, help="The trial's seed.")
def try_(spec: Path, settings: tuple[str, ...], params: Path | None, seed: int) -> None:
    """Run one trial of SPEC in this process, without Ray: a debugger works."""
    chosen = _read_params(params) if params else {}
    chosen |= dict(_setting(text) for text in settings)
    described, train = load_and_import(spec)
    if not try_once(described, train, chosen, seed, click.echo):
        sys.exit(1)


@cli.command("list")
@_output
@_json
def list_(output: Path, as_json: bool) -> None:
    """List the runs there are."""
    runs = []
    for folder in list_runs(output):
        with contextlib.suppress(StudyNotFoundError, SpecError):
            runs.append(Results(folder))
    if as_json:
        rows = [{**results.to_json(), "trials": len(results.trials)} for results in runs]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("run", "state", "trials", "best", box=None)
    for results in runs:
        best = results.best
        state = "running" if results.is_running else results.summary.get("ended_by", "cut off: resume it")
        told = f"{results.spec.metrics[0].name}={best.value:.6g}" if best else ""
        table.add_row(str(results.folder), state, str(len(results.trials)), told)
    RichConsole().print(table)


@cli.command()
@_folder
@_json
def show(folder: Path, as_json: bool) -> None:
    """Show the trials in FOLDER, also while they run."""
    results = Results(folder)
    if as_json:
        click.echo(json.dumps(results.to_json(), indent=2))
        return
    name = results.spec.metrics[0].name
    table = Table(box=None, expand=True)
    for heading in ("trial", "state", "steps", name, "best step", "time"):
        table.add_column(heading, no_wrap=True)
    table.add_column("parameters", ratio=1, no_wrap=True, overflow="ellipsis")
    for trial in results.trials:
        step = trial.best_step(results.spec.metrics[0].goal)
        value = f"{trial.curve[step]:.6g}" if step is not None else "-"
        state = f"{trial.state.value} ({trial.reason.value})" if trial.reason else trial.state.value
        table.add_row(
            f"{trial.number:04d}",
            state,
            str(max(trial.curve, default=0)),
            value,
            str(step or "-"),
            format_seconds(trial.duration_s),
            format_params(results.spec.parameters.varied(trial.params), 200),
        )
    # A pipe gets whole lines, to be searched and cut by others.
    RichConsole(width=None if sys.stdout.isatty() else 200).print(table)
    for trial in results.trials:
        if trial.state is TrialState.FAILED:
            error = trial_dir(folder, trial.number) / ERROR_FILE
            click.echo(f"trial {trial.number:04d}: {trial.message}" + (f"  ({error})" if error.exists() else ""))
    _tell_counts(results)


@cli.command()
@_folder
@_json
def best(folder: Path, as_json: bool) -> None:
    """Show the best configuration in FOLDER."""
    results = Results(folder)
    if as_json:
        click.echo(json.dumps(results.best_json(), indent=2))
    else:
        _tell_best(results)


@cli.command()
@_folder
@click.option("--port", type=int, default=6006)
def board(folder: Path, port: int) -> None:
    """Start TensorBoard on FOLDER; ends with Ctrl-C."""
    from tensorboard import program

    if not (folder / "tensorboard").is_dir():
        raise StudyNotFoundError(f"{folder} holds no tensorboard/ folder.")
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(folder / "tensorboard"), "--port", str(port)])
    server.main()


def main() -> None:
    """The console command; errors of the user's making are told in sentences, with no traceback."""
    try:
        cli(standalone_mode=False)
    except _REFUSED as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)


def _read_params(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise SpecError([f"--params {path}: this is no JSON: {error}; give a trial's params.json."]) from None
    if not isinstance(found, dict):
        raise SpecError([f"--params {path}: this is no JSON object; give a trial's params.json."])
    return found


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SpecError([f"--set {text}: write it as NAME=VALUE, such as --set lr=0.1"])
    return name, YAML(typ="safe", pure=True).load(value)


def _conclude(results: Results) -> None:
    """Tell how a sweep has ended, and exit with its code."""
    ended_by = results.summary["ended_by"]
    _tell_counts(results)
    if ended_by == "interrupted":
        click.echo(f"interrupted; go on with: tuner resume {results.folder}")
        sys.exit(130)
    _tell_best(results)
    click.echo(f"\nlook further:\n  tuner show {results.folder}\n  tuner board {results.folder}")
    if results.summary["is_failure"] or results.best is None:
        sys.exit(1)


def _tell_counts(results: Results) -> None:
    counts = ", ".join(f"{number} {state}" for state, number in results.counts().items())
    click.echo(f"\n{len(results.trials)} trials: {counts or 'none'}")
    summary = results.summary
    if summary.get("message"):
        click.echo(f"ended: {summary['message']}")
    if summary.get("elapsed_s"):
        inside = sum(trial.duration_s for trial in results.trials)
        room = summary["elapsed_s"] * summary["slots"]
        click.echo(
            f"time: {format_seconds(summary['elapsed_s'])} on {summary['slots']} slots; "
            f"{format_seconds(inside)} of {format_seconds(room)} slot time spent in trials"
        )


def _tell_best(results: Results) -> None:
    found = results.best
    if found is None:
        click.echo("no trial has reported a finite metric yet")
        return
    name = results.spec.metrics[0].name
    click.echo(f"\nbest: {name}={found.value:.6g} (trial {found.trial.number:04d}, step {found.step})")
    for key, value in found.params.items():
        click.echo(f"  {key}: {value:.6g}" if isinstance(value, float) else f"  {key}: {value}")
    told = found.checkpoint or "none: no state was passed to trial.report at that step"
    click.echo(f"checkpoint: {told}")
    shown = results.best_json() or {}
    for key, value in (shown.get("test") or {}).items():
        if key not in ("trial", "step"):
            click.echo(f"{key}: {value:.4f}" if isinstance(value, float) else f"{key}: {value}")
    if len(results.spec.metrics) > 1:
        front = ", ".join(f"{trial.number:04d}" for trial in results.pareto_front)
        click.echo(f"pareto front: {front}")
