"""Compare search methods on learning curves; writes tables and plots under benchmarks/results.

python -m benchmarks.curves [--half development] [--seeds 5] [--methods NAME ...] [--minutes M]
python -m benchmarks.curves --tasks RUN_DIR --workers 2 --trainings 13 --seeds 100 --folder DIR

A comparison may be made in pieces: runs that are in the runs file already are not made again, but for those of before a
commit that has changed what they were made of. A run that fails is told, and no other is lost by it.
"""

import argparse
import functools
import itertools
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.common import RESULTS, commit
from benchmarks.curves.methods import METHODS, make_method
from benchmarks.curves.records import Record, append_records, read_records, summarise
from benchmarks.curves.report import write_report
from benchmarks.curves.tasks import load_task, stream_seed, task_names
from tuner.simulation.simulator import simulate

WORKERS = 4
FULL_TRAININGS = 50
# What a run's figures depend on: those of a peer, and those of ours besides.
MADE_OF = (
    *(f"benchmarks/curves/{name}.py" for name in ("__main__", "methods", "sketches", "smac_peer", "synetune", "tasks")),
    *(f"tuner/{name}.py" for name in ("methods/cube", "methods/suggest", "simulation/rows", "simulation/simulator")),
)
OURS_MADE_OF = (*MADE_OF, *(f"tuner/{name}" for name in ("methods", "simulation", "stopping", "study.py")))


def made_of(method_name: str) -> str:
    """The last commit that has changed what a run of the method is made of."""
    return commit(*(OURS_MADE_OF if method_name.startswith("tuner ") else MADE_OF))


def run_one(
    method_name: str,
    task_name: str,
    seed: int,
    of_commit: str,
    *,
    workers: int = WORKERS,
    trainings: int = FULL_TRAININGS,
) -> Record | str:
    """A run by the code of that commit; what went wrong where it has failed."""
    try:
        task = load_task(task_name)
        budget = trainings * task.max_step
        method = make_method(method_name, task, stream_seed(task_name, seed))
        try:
            run = simulate(task, method, workers=workers, budget=budget)
        finally:
            method.close()
    except Exception:
        return f"{method_name} on {task_name}, seed {seed}, has failed:\n{traceback.format_exc()}"
    return summarise(
        run, task.metrics[0].goal, method_name, task_name, task.family, seed, budget, task.max_step, of_commit
    )


def run_all(
    run: Callable[[str, str, int, str], Record | str],
    cases: list[tuple[str, str, int]],
    jobs: int,
    seconds: float,
    commits: Mapping[str, str],
) -> Iterator[Record]:
    """The runs as they end, until the time is up; `commits` by method."""
    ends_at = time.monotonic() + seconds
    # More threads than cores would slow all of them down, and tell nothing of what a suggestion costs.
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as pool:
        for batch in (cases[i : i + 4 * jobs] for i in range(0, len(cases), 4 * jobs)):
            if time.monotonic() > ends_at:
                return
            for found in pool.map(run, *zip(*batch, strict=True), [commits[method] for method, _, _ in batch]):
                if isinstance(found, Record):
                    yield found
                else:
                    print(found, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("development", "test", "all"), default="all")
    parser.add_argument(
        "--tasks", nargs="+", help="names of tasks, or run folders of recorded sweeps, in place of a half"
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--trainings", type=int, default=FULL_TRAININGS, help="whole ones that are a run's budget")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no run after this time")
    parser.add_argument(
        "--folder",
        type=Path,
        default=RESULTS / "curves",
        help="of the runs file, the tables and the plots; another for each number of workers and of trainings",
    )
    given = parser.parse_args()
    runs = given.folder / "runs.jsonl"
    tasks = given.tasks or task_names(given.half)
    cases = list(itertools.product(given.methods, tasks, range(given.seeds)))
    now = {name: made_of(name) for name in given.methods}

    def counted() -> list[Record]:
        return [record for record in read_records(runs) if record.commit == now.get(record.method)]

    done = {record.key for record in counted()}
    # All methods of a task and seed before the next seed: what is there so far can be compared.
    cases = sorted((case for case in cases if case not in done), key=lambda case: case[2])
    run = functools.partial(run_one, workers=given.workers, trainings=given.trainings)
    append_records(runs, run_all(run, cases, given.jobs, given.minutes * 60, now))
    records = [record for record in counted() if record.task in tasks]
    print(write_report(records, given.folder))


if __name__ == "__main__":
    main()
