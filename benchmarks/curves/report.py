"""The comparison as Markdown tables and any-time plots."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.curves.records import Record
from benchmarks.curves.references import references
from benchmarks.curves.statistics import CHECKPOINTS, interval, mean_ranks, regrets
from benchmarks.curves.tasks import DEVELOPMENT


def write_report(records: Sequence[Record], folder: Path) -> str:
    """Write `tables.md` and a plot for each family into the folder; returns the tables.

    Only tasks and seeds that all methods have been run on are used.
    """
    methods = list(dict.fromkeys(record.method for record in records))
    wanted = set.intersection(*({(r.task, r.seed) for r in records if r.method == name} for name in methods))
    records = [record for record in records if (record.task, record.seed) in wanted]
    sections = []
    for family in sorted({record.family for record in records}):
        of_family = [record for record in records if record.family == family]
        halves = {
            "development": [record for record in of_family if record.task in DEVELOPMENT],
            "test": [record for record in of_family if record.task not in DEVELOPMENT],
        }
        for half, chosen in halves.items():
            if chosen:
                sections.append(_table(f"{family}, {half} half", chosen, methods))
        _plot(of_family, methods, folder / f"{family.lower()}.png")
    text = "\n".join(sections)
    (folder / "tables.md").write_text(text)
    return text


def _table(title: str, records: Sequence[Record], methods: Sequence[str]) -> str:
    by_method = {name: _task_means([r for r in records if r.method == name], CHECKPOINTS) for name in methods}
    ranks = [mean_ranks({name: by_method[name][:, i] for name in methods}) for i in range(len(CHECKPOINTS))]
    num_tasks, num_seeds = len({r.task for r in records}), len({r.seed for r in records})
    shares = " / ".join(f"{share:.0%}" for share in CHECKPOINTS)
    lines = [
        f"### {title}: {num_tasks} tasks, {num_seeds} seeds",
        "",
        f"| method | regret at {shares} | mean rank | 95% interval at 100% | trials / full runs | ms a suggestion |",
        "|---|---|---|---|---|---|",
    ]
    for name in methods:
        own = [record for record in records if record.method == name]
        means = " ".join(f"{value:.3f}" for value in by_method[name].mean(axis=0))
        rank = " ".join(f"{of_share[name]:.1f}" for of_share in ranks)
        low, high = interval(by_method[name][:, -1])
        trials, full = np.mean([r.trials for r in own]), np.mean([r.full_runs for r in own])
        ms = np.median([r.ask_ms for r in own])
        lines.append(f"| {name} | {means} | {rank} | {low:.3f}–{high:.3f} | {trials:.0f} / {full:.0f} | {ms:.1f} |")
    return "\n".join([*lines, ""])


def _task_means(records: Sequence[Record], shares: Sequence[float]) -> np.ndarray:
    """`[tasks, shares]`: regrets, means over seeds, tasks in the order of their names."""
    by_task: dict[str, list[list[float]]] = defaultdict(list)
    for record in records:
        reference = references()[record.task]
        by_task[record.task].append(regrets(record.incumbents, reference, record.budget, shares))
    return np.array([np.mean(by_task[task], axis=0) for task in sorted(by_task)])


def _plot(records: Sequence[Record], methods: Sequence[str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shares = np.linspace(0.02, 1.0, 99)
    figure, axes = plt.subplots(figsize=(8, 5))
    for name in methods:
        means = _task_means([record for record in records if record.method == name], list(shares))
        bounds = np.array([interval(column) for column in means.T])
        (line,) = axes.plot(shares * 100, means.mean(axis=0), label=name)
        axes.fill_between(shares * 100, bounds[:, 0], bounds[:, 1], color=line.get_color(), alpha=0.08)
    axes.set(xlabel="budget spent (%)", ylabel="normalised regret", title=records[0].family, yscale="log")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
