"""The command line: arguments -> calls. Exit codes: 0 finished, 1 ran and failed, 2 refused, 130 interrupted.

Torch and Ray take seconds to import: a command that trains nothing does not wait for them.
"""

import contextlib
import errno
import json
import sys
from pathlib import Path
from typing import Any

import click

from tuner.cli.printing import print_best, print_counts, print_evaluation, print_outcomes, print_runs, print_trials
from tuner.cli.verbs import COMMANDS, changed_by, resume_paused, resume_there, setting
from tuner.command import command_line
from tuner.console import format_params
from tuner.errors import (
    REFUSALS,
    ControlError,
    ExportError,
    NoReaderError,
    SpecError,
    StorageError,
    StudyNotFoundError,
)
from tuner.object_storage.run_at_uri import follow, open_run
from tuner.results.listing import list_runs
from tuner.results.results import Results
from tuner.run_folder.place import Place, as_place
from tuner.spec.file import load_and_import, load_values
from tuner.spec.json_schema import json_schema
from tuner.spec.understood import describe, hints
from tuner.texts import one_line, open_closed_streams, say, say_json, say_whole
from tuner.trial.environment import adopt
from tuner.version import VERSION

# Files that can't be written or read: a read-only mount, another user's file, a name that no disk takes.
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/reference/json.md describes it.")
_output = click.option(
    "--output",
    type=as_place,
    default="runs",
    metavar="DIR|URI",
    help="The folder that holds run folders; may be a URI such as s3://bucket/runs.",
    show_default=True,
)
_address = click.option("--address", help="A Ray cluster; `auto` for the one this machine belongs to.")
_verbose = click.option("-v", "--verbose", is_flag=True, help="Show Ray's own messages too.")
_folder = click.argument("folder", metavar="DIR|URI", type=as_place)
_spec = click.argument("spec", type=click.Path(path_type=Path))


@click.group()
@click.version_option(VERSION)
def cli() -> None:
    """Tune hyperparameters of PyTorch networks."""


for command in COMMANDS:
    cli.add_command(command)


@cli.command()
@_spec
@changed_by
@_output
@click.option("--id", help="The run folder's name. If it exists already, its sweep is resumed.")
@click.option("--storage", help="An Optuna RDB URL for the study, such as sqlite:///study.db.")
@_address
@_verbose
def run(
    spec: Path,
    changes: dict[str, Any],
    output: Place,
    id: str | None,
    storage: str | None,
    address: str | None,
    verbose: bool,
) -> None:
    """Run the sweep that SPEC describes."""
    from tuner.sweep import Sweep

    sweep = Sweep.from_file(spec, changes=changes, output=output, storage=storage)
    _hint(spec, changes)
    _conclude(sweep.run(id=id, address=address, verbose=verbose))


@cli.command()
@_folder
@click.option("--run-cap", help="A new number of trials; +50 adds 50 to the present number.")
@_address
@click.option("--paused", is_flag=True, hidden=True, help="Only if it is running, and paused.")
@_verbose
def resume(folder: Place, run_cap: str | None, address: str | None, paused: bool, verbose: bool) -> None:
    """Resume the sweep in FOLDER, paused or ended: finished trials are kept, interrupted ones continue.

    With a dashboard's address, http://HEAD:8265, FOLDER is the id of a paused sweep on that cluster.
    """
    if address is not None and address.startswith(("http://", "https://")):
        resume_there(str(folder), address)
        return
    if run_cap is None and resume_paused(folder, required=paused):
        return
    from tuner.sweep import resume as resume_sweep

    _conclude(resume_sweep(folder, run_cap=run_cap, address=address, verbose=verbose))


@cli.command()
@_spec
@changed_by
def check(spec: Path, changes: dict[str, Any]) -> None:
    """Check SPEC and report all its mistakes at once. Writes nothing."""
    described, _ = load_and_import(spec, changes)
    if described.start_from:
        from tuner.results.start_from import gather_history

        gather_history(described)
    rule = described.early_terminate["type"] if described.early_terminate else "no early stopping"
    count = len(described.parameters.parameters)
    parameters = "1 parameter" if count == 1 else f"{count} parameters"
    say(f"{spec} is right: {described.method}, {rule}, over {parameters}.")
    say(*(f"  {line}" for line in describe(described)))
    _hint(spec, changes)


@cli.command()
def schema() -> None:
    """Print the JSON schema of sweep files, for editors."""
    say_json(json_schema())


@cli.command("try")
@_spec
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter; the others are sampled.")
@click.option(
    "--params",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON file of parameters, such as best/params.json.",
)
@click.option("--seed", type=int, default=0, help="The trial's seed.")
def try_(spec: Path, settings: tuple[str, ...], params: Path | None, seed: int) -> None:
    """Run one trial of SPEC in this process, without Ray, so that a debugger works."""
    from tuner.trial.try_once import problems_of_chosen, try_once

    given = dict(setting(text) for text in settings)
    chosen = {**(_read_params(params) if params else {}), **given}
    described, train = load_and_import(spec)
    problems = problems_of_chosen(described, train, chosen)
    if problems:
        # Each starts with the parameter's name.
        is_set = [any(problem.startswith(f"{name} ") for name in given) for problem in problems]
        sources = ["--set" if one else f"--params {params}" for one in is_set]
        raise SpecError([f"{source}: {problem}" for source, problem in zip(sources, problems, strict=True)])
    if not try_once(described, train, chosen, seed, say):
        sys.exit(1)


@cli.command("list")
@_output
@_json
def list_(output: Place, as_json: bool) -> None:
    """List all runs."""
    runs = []
    for folder in list_runs(output):
        with contextlib.suppress(StudyNotFoundError, SpecError):
            runs.append(Results.read(folder))
    if as_json:
        rows = [{**results.to_json(), "trials": len(results.trials)} for results in runs]
        say_json(rows)
        return
    print_runs(output, runs)


@cli.command()
@_folder
@_json
def show(folder: Place, as_json: bool) -> None:
    """Show the trials in FOLDER, even while they run."""
    results = Results.read(folder)
    if as_json:
        say_json(results.to_json())
        return
    print_trials(results)
    print_counts(results)


@cli.command()
@_folder
@_json
def best(folder: Place, as_json: bool) -> None:
    """Show the best configuration in FOLDER."""
    results = Results.read(folder)
    if as_json:
        say_json(results.best_json())
    else:
        print_best(results)


@cli.command()
@_folder
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Trainings of each configuration; 5 by default.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter of the default configuration."
)
@_address
@_json
@_verbose
def evaluate(
    folder: Place, seeds: int, settings: tuple[str, ...], address: str | None, as_json: bool, verbose: bool
) -> None:
    """Compare the test scores of the best configuration in FOLDER and the default one, trained with several seeds.

    The default one is the first of `start_with`, or what --set gives, filled up with the trainable's own defaults.
    """
    from tuner.evaluation.against_default import evaluate as evaluate_sweep

    if not isinstance(folder, Path):
        raise ControlError(f"{folder}: download the run folder to this machine first, and name the local folder.")
    chosen = dict(setting(text) for text in settings)
    evaluation = evaluate_sweep(folder, seeds, chosen, address=address, verbose=verbose)
    if as_json:
        say_json(evaluation.to_json())
    else:
        print_evaluation(evaluation)
    if not evaluation.tuned.score_names or not evaluation.default.score_names:
        sys.exit(1)


@cli.command()
@_folder
@click.option("--method", "methods", multiple=True, metavar="METHOD[+RULE]", help="Such as bayes+asha; repeatable.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Runs of each method; 5 by default.")
@click.option("--parallel", type=click.IntRange(min=1), default=4, help="Trials at a time; 4 by default.")
@click.option(
    "--trainings", type=click.IntRange(min=1), help="The budget in whole trainings; an eighth of FOLDER's by default."
)
@_json
def simulate(
    folder: Place, methods: tuple[str, ...], seeds: int, parallel: int, trainings: int | None, as_json: bool
) -> None:
    """Compare how soon search methods find the best configurations, on the curves that FOLDER's sweep recorded.

    Trains nothing. FOLDER's trials must have run to their full length: method random, no early_terminate.
    """
    import optuna

    from tuner.simulation.comparison import DEFAULT, check_methods, compare
    from tuner.simulation.recorded import RecordedSweep

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = list(dict.fromkeys(methods)) or DEFAULT
    check_methods(names)
    task = RecordedSweep(Results.read(folder))
    budget = trainings or max(len(task.rows) // 8, parallel)
    outcomes = list(compare(task, names, seeds=seeds, workers=parallel, trainings=budget))
    if as_json:
        say_json({"trainings": budget, "methods": [one.to_json() for one in outcomes]})
    else:
        print_outcomes(task, outcomes, seeds, budget)


@cli.command()
@_folder
@click.argument("to", type=click.Path(path_type=Path))
@click.option("--onnx/--no-onnx", default=True, help="Whether to write model.onnx too; written by default.")
def export(folder: Place, to: Path, onnx: bool) -> None:
    """Write the best model in FOLDER to the new folder TO: weights, an exported program, ONNX, and what they need."""
    from tuner.export import export_best

    told = export_best(Results.read(folder), to, onnx=onnx)
    say(f"trial {told['trial']}, step {told['step']}: {format_params(told['metrics'], 200)}")
    for name, difference in told["largest_difference"].items():
        say(f"{to / name}: its outputs differ from the model's by {difference:.2g} at most")
    say("use it:", f"  {command_line('predict', to)} INPUT...")


@cli.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True)
@_json
def predict_(model: Path, inputs: tuple[str, ...], as_json: bool) -> None:
    """Print an exported MODEL's prediction for each of INPUTS: texts or files; - reads stdin."""
    from tuner.export import predict

    given = [text for one in inputs for text in (sys.stdin.read().splitlines() if one == "-" else [one])]
    for told in predict(model, given):
        shown = {name: value for name, value in told.items() if name != "input"}
        line = json.dumps(dict(told)) if as_json else f"{one_line(told['input'])}\t{format_params(shown, 200)}"
        say_whole(f"{line}\n")


@cli.command()
@_folder
@click.option("--port", type=int, help="6006 by default, or the next free port.")
def board(folder: Place, port: int | None) -> None:
    """Start TensorBoard on FOLDER. Ctrl-C ends it."""
    from tensorboard import program

    local = follow(open_run(folder), "tensorboard/*")
    if not (local / "tensorboard").is_dir():
        raise StudyNotFoundError(f"{folder} holds no tensorboard/ folder.")
    server = program.TensorBoard()
    options = [] if port is None else ["--port", str(port)]
    server.configure(argv=[None, "--logdir", str(local / "tensorboard"), *options])
    if server.main():
        sys.exit(2)  # TensorBoard has printed why


def main() -> None:
    """The console command. User errors are printed as sentences, without a traceback."""
    open_closed_streams()
    adopt()
    try:
        cli(standalone_mode=False)
    except REFUSALS as error:
        _end(2, *str(error).splitlines())
    except (StorageError, ExportError) as error:
        _end(1, str(error))
    except NoReaderError:
        pass  # the reader, such as `head`, has read enough
    except OSError as error:
        if error.errno not in _FORBIDDEN or error.filename is None:
            raise
        say(f"error: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)


def _end(code: int, *errors: str) -> None:
    with contextlib.suppress(NoReaderError):
        say(*(f"error: {line}" for line in errors), err=True)
    sys.exit(code)


def _read_params(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError([f"--params {path}: not valid JSON: {error}; give a trial's params.json."]) from None
    if not isinstance(found, dict):
        raise SpecError([f"--params {path}: not a JSON object; give a trial's params.json."])
    return found


def _hint(spec: Path, changes: dict[str, Any]) -> None:
    for sentence in hints(load_values(spec, changes)):
        say(f"note: {sentence}", err=True)


def _conclude(results: Results) -> None:
    """Print how a sweep has ended, and exit with its code even if nobody reads the output."""
    is_interrupted = results.summary["ended_by"] == "interrupted"
    with contextlib.suppress(NoReaderError):
        print_counts(results)
        print_best(results)
        if is_interrupted:
            say("", f"interrupted; resume it with: {command_line('resume', results.place)}")
        else:
            say("", "look further:", *(f"  {command_line(verb, results.place)}" for verb in ("show", "board")))
    code = 130 if is_interrupted else results.exit_code
    if code:
        sys.exit(code)
