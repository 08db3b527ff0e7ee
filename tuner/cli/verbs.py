"""Commands that control a sweep from outside: status, logs, pause, stop, cancel, wait; and sweeps on a cluster.

Each takes a run folder, or with `--address` the id of a submitted sweep.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tuner.command import command_line
from tuner.console import format_seconds
from tuner.errors import ControlError, SpecError
from tuner.object_storage.run_at_uri import open_run
from tuner.results.results import Results
from tuner.results.sweep_state import SweepState
from tuner.run_folder.control import Verb
from tuner.run_folder.lock import is_locked
from tuner.run_folder.place import Place
from tuner.spec.file import load_and_import
from tuner.texts import say, say_json, say_whole
from tuner.trial.environment import read_variables

if TYPE_CHECKING:
    from tuner.remote.jobs import Cluster, SweepJob

_target = click.argument("sweep", metavar="DIR|URI|ID")
_address = click.option(
    "--address", help="A cluster's dashboard, http://HEAD:8265; SWEEP is then a submitted sweep's id."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/reference/json.md describes it.")


def setting(text: str) -> tuple[str, Any]:
    """Parse a `--set NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals or not value.strip():
        raise SpecError([f"--set {text}: write it as NAME=VALUE, such as --set lr=0.1"])
    try:
        return name, YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        raise SpecError([f"--set {text}: {value!r} is not a YAML value: {str(error).splitlines()[0]}"]) from None


changed_by = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda context, option, texts: dict(map(setting, texts)),
    help="A parameter, which becomes constant, or a key of SPEC such as budget.hours.",
)

_TOLD = {
    Verb.PAUSE: ("paused: running trials continue, no new ones start; resume it with: {}", "resume"),
    Verb.RESUME: ("resumed; see its status with: {}", "status"),
    Verb.STOP: ("stopping: running trials finish, then the sweep ends; wait for that with: {}", "wait"),
    Verb.CANCEL: ("cancelled: running trials are ended now; wait for that with: {}", "wait"),
}


@click.command()
@_target
@_address
@_json
def status(sweep: str, address: str | None, as_json: bool) -> None:
    """Show a sweep's state, counts and best value."""
    if address is not None:
        _status_there(sweep, address, as_json)
        return
    results = Results.read(sweep)
    if as_json:
        say_json({**results.to_json(), "trials": len(results.trials)})
        return
    cap = results.spec.run_cap
    counts = ", ".join(f"{number} {state}" for state, number in results.counts().items())
    say(f"{results.spec.name}  {sweep}")
    say(f"state: {results.state.value}{_HINTS.get(results.state, '')}")
    say(f"trials: {len(results.trials)}{'' if cap is None else f' of {cap}'}{f': {counts}' if counts else ''}")
    best = results.best
    if best is not None:
        name = results.spec.metrics[0].name
        say(f"best: {name}={best.value:.6g} (trial {best.trial.number:04d}, step {best.step})")
    if not results.is_running and results.summary.get("message"):
        say(f"ended: {results.summary['message']}, after {format_seconds(results.summary['elapsed_s'])}")


_HINTS = {
    SweepState.PAUSED: " (running trials continue, no new ones start; `tuner resume` resumes it)",
    SweepState.CRASHED: " (its driver is gone; `tuner resume` resumes it)",
    SweepState.INTERRUPTED: " (`tuner resume` resumes it)",
}


@click.command()
@_target
@_address
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the sweep ends; Ctrl-C leaves it running.")
def logs(sweep: str, address: str | None, follow: bool) -> None:
    """Print a sweep's log."""
    if address is None:
        for text in open_run(sweep).log(follow=follow):
            say_whole(text)
        return
    cluster, job = _find(sweep, address)
    if follow:
        cluster.follow(job, say_whole)
    else:
        say_whole(cluster.logs(job))


@click.command()
@_target
@_address
def pause(sweep: str, address: str | None) -> None:
    """Start no new trials; running ones continue. The driver stays, and frees the resources it holds."""
    _ask(sweep, address, Verb.PAUSE)


@click.command()
@_target
@_address
def stop(sweep: str, address: str | None) -> None:
    """Let running trials finish, then end the sweep."""
    _ask(sweep, address, Verb.STOP)


@click.command()
@_target
@_address
def cancel(sweep: str, address: str | None) -> None:
    """End running trials now, and the sweep with them."""
    _ask(sweep, address, Verb.CANCEL)


@click.command()
@_target
@_address
def wait(sweep: str, address: str | None) -> None:
    """Wait for a sweep to end, and exit with its code. Ctrl-C leaves the sweep running."""
    if address is not None:
        cluster, job = _find(sweep, address)
        code = cluster.wait(job)
        see = command_line("logs", sweep, "--address", address)
        told = f"its driver has ended with exit code {code}; see: {see}"
        say(f"{sweep}: {told if code else 'finished'}")
        sys.exit(code)
    run = open_run(sweep)
    Results.of(run)  # raises where it is no run folder
    run.wait()
    results = Results.of(run)
    say(f"{run.place}: {results.state.value}")
    sys.exit(results.exit_code)


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@changed_by
@click.option("--address", required=True, help="The cluster's dashboard, http://HEAD:8265.")
@click.option("--id", help="The sweep's name there. The same id again resumes a dead sweep, and leaves a running one.")
@click.option(
    "--output", help="The folder on the cluster, or the URI, that holds its run folder.", show_default="~/runs"
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Files not to upload, as in .gitignore.")
@click.option(
    "--entrypoint-cpus", type=float, default=0.0, help="CPUs for the driver; above 0 it may run on another node."
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="An environment variable of the driver and trials; NAME alone takes its value here.",
)
def submit(
    spec: Path,
    changes: dict[str, Any],
    address: str,
    id: str | None,
    output: str | None,
    exclude: tuple[str, ...],
    entrypoint_cpus: float,
    env: tuple[str, ...],
) -> None:
    """Submit the sweep that SPEC describes to a Ray cluster, with the working directory, and leave it running there."""
    shown, hidden = read_variables(env)
    described, _ = load_and_import(spec, changes)
    submitted = _cluster(address).submit(
        described,
        id=id,
        output=output,
        directory=Path.cwd(),
        excludes=exclude,
        entrypoint_cpus=entrypoint_cpus,
        env_vars=shown,
        hidden_env_vars=hidden,
    )
    job = submitted.job
    if submitted.sent:
        say(f"sent {submitted.sent}")
        told = "runs as" if job.attempt == 1 else "resumes as"
    else:
        told = "has finished, as" if job.is_over else "was submitted before, and runs as"
    say(f"{job.id} {told} job {job.job} on {address}, in {job.folder}")
    verbs = (("logs", "-f"), ("status",), ("fetch",))
    say("", "look further:", *(f"  {command_line(*verb, job.id, '--address', address)}" for verb in verbs))


@click.command()
@click.argument("sweep", metavar="ID")
@click.option("--address", required=True, help="The cluster's dashboard, http://HEAD:8265.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs"), help="The folder to put it in.")
@click.option("--best", "best_only", is_flag=True, help="Leave out all checkpoints but the best step's.")
def fetch(sweep: str, address: str, output: Path, best_only: bool) -> None:
    """Download the run folder of a submitted sweep, even while it runs."""
    target = output / sweep
    if is_locked(target):
        raise ControlError(f"{target} is being run on this machine; name another --output.")
    cluster, job = _find(sweep, address)
    size = cluster.fetch(job, target, best_only=best_only)
    say(f"{target}: {size / 2**20:.1f} MiB")
    say("", "look further:", *(f"  {command_line(verb, target)}" for verb in ("show", "board")))


COMMANDS = (submit, status, logs, pause, stop, cancel, wait, fetch)


def resume_there(sweep: str, address: str) -> None:
    """Resume a paused sweep on a cluster."""
    cluster, job = _find(sweep, address)
    if job.is_over:
        raise ControlError(
            f"{sweep} is not running on {address} (its job: {job.status.value}); submit it again to resume it: "
            + command_line("submit", "SPEC", "--id", sweep, "--address", address)
        )
    _ask_there(cluster, job, Verb.RESUME, "--paused")


def resume_paused(place: Place, *, required: bool) -> bool:
    """Resume a paused sweep; return False if it is not running, unless it is required to be."""
    run = open_run(place)
    is_paused = run.is_running and run.asked is Verb.PAUSE
    if required or is_paused:
        _ask(str(place), None, Verb.RESUME)
        return True
    return False


def _ask(sweep: str, address: str | None, verb: Verb) -> None:
    if address is None:
        open_run(sweep).ask(verb)
        _tell(verb, sweep)
        return
    cluster, job = _find(sweep, address)
    if job.is_over:
        raise ControlError(f"{sweep} is not running on {address}; its job has ended ({job.status.value}).")
    if job.node is None and verb.is_final:
        # Its job still waits for a place on the cluster: there is nothing to finish.
        cluster.end(job)
        say(f"{sweep} had not begun; its job is ended")
        return
    if job.node is None:
        raise ControlError(f"{sweep} has not begun yet on {address}; ask again when it has.")
    _ask_there(cluster, job, verb)


def _ask_there(cluster: "Cluster", job: "SweepJob", verb: Verb, *options: str) -> None:
    code, told = cluster.call(job, verb.value, *options)
    if code:
        say_whole(told, err=True)
        sys.exit(code)
    # Messages of the cluster name the folder on the cluster.
    _tell(verb, job.id, "--address", cluster.address)


def _tell(verb: Verb, *target: str) -> None:
    sentence, next_verb = _TOLD[verb]
    say(sentence.format(command_line(next_verb, *target)))


def _status_there(sweep: str, address: str, as_json: bool) -> None:
    cluster, job = _find(sweep, address)
    about: dict[str, Any] = {"id": job.id, "job": job.job, "job_status": job.status.value, "attempt": job.attempt}
    code, text = (1, "") if job.node is None else cluster.call(job, "status", *(["--json"] if as_json else []))
    if as_json:
        say_json({**about, **(json.loads(text) if code == 0 else {"state": None})})
        return
    say(f"job: {job.job} on {address}, {job.status.value.lower()}{f', attempt {job.attempt}' * (job.attempt > 1)}")
    if code == 0:
        say_whole(text)
    elif job.is_over:
        say(f"it ended before its sweep began; see: {command_line('logs', sweep, '--address', address)}")
    else:
        say("its sweep has not begun yet")


def _cluster(address: str) -> "Cluster":
    from tuner.remote.jobs import Cluster

    return Cluster(address)


def _find(sweep: str, address: str) -> "tuple[Cluster, SweepJob]":
    cluster = _cluster(address)
    return cluster, cluster.find(sweep)
