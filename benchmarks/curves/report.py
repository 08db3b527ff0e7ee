"""The comparison as Markdown tables and any-time plots."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves.records import Record
from benchmarks.curves.references import reference
from benchmarks.curves.statistics import CHECKPOINTS, interval, mean_ranks, regrets
from benchmarks.curves.tasks import DEVELOPMENT

# In how many tasks, or of one task with how many seeds, a method is worse than this one in the end is told.
REFERENCE = "random + Ray ASHA"
# The default, which stands out in the plots.
OURS = "tuner bayes + auto"


def write_report(records: Sequence[Record], folder: Path) -> str:
    """Write `tables.md` and plots of each family, and of its halves, into the folder; returns the tables.

    Only tasks and seeds that all methods have been run on are used.
    """
    if not records:
        return "No runs.\n"
    methods = list(dict.fromkeys(record.method for record in records))
    wanted = set.intersection(*({(r.task, r.seed) for r in records if r.method == name} for name in methods))
    records = [record for record in records if (record.task, record.seed) in wanted]
    sections = []
    for family in sorted({record.family for record in records}):
        of_family = [record for record in records if record.family == family]
        parts = {
            "all tasks": of_family,
            "development half": [record for record in of_family if record.task in DEVELOPMENT],
            "test half": [record for record in of_family if record.task not in DEVELOPMENT],
        }
        for part, chosen in parts.items():
            if chosen and (chosen is of_family or len(chosen) < len(of_family)):
                title = f"{family}, {part}"
                sections.append(_table(title, chosen, methods))
                _plot(title, chosen, methods, folder / f"{title.lower().replace(', ', '-').replace(' ', '-')}.png")
    text = "\n".join(sections)
    (folder / "tables.md").write_text(text)
    return text


def _table(title: str, records: Sequence[Record], methods: Sequence[str]) -> str:
    by_method = {name: _means([r for r in records if r.method == name], CHECKPOINTS) for name in methods}
    ranks = [mean_ranks({name: by_method[name][:, i] for name in methods}) for i in range(len(CHECKPOINTS))]
    num_tasks, num_seeds = len({r.task for r in records}), len({r.seed for r in records})
    commits = ", ".join(sorted({record.commit for record in records}))
    shares = " / ".join(f"{share:.0%}" for share in CHECKPOINTS)
    unit = "tasks" if num_tasks > 1 else "seeds"
    worse_than = f"{unit} worse than {REFERENCE} at 100%"
    lines = [
        f"### {title}: {num_tasks} tasks, {num_seeds} seeds, on {commits}",
        "",
        f"| method | regret at {shares} | mean rank | 95% intervals over {unit} | {worse_than} "
        "| trials / full runs | ms a suggestion |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in methods:
        own = [record for record in records if record.method == name]
        means = " ".join(f"{value:.3f}" for value in by_method[name].mean(axis=0))
        rank = " ".join(f"{of_share[name]:.1f}" for of_share in ranks)
        bounds = " ".join("{:.2f}–{:.2f}".format(*interval(column)) for column in by_method[name].T)
        worse = int((by_method[name][:, -1] > by_method[REFERENCE][:, -1]).sum()) if REFERENCE in by_method else ""
        trials, full = np.mean([r.trials for r in own]), np.mean([r.full_runs for r in own])
        ms = np.median([r.ask_ms for r in own])
        lines.append(f"| {name} | {means} | {rank} | {bounds} | {worse} | {trials:.0f} / {full:.0f} | {ms:.1f} |")
    return "\n".join([*lines, ""])


def _means(records: Sequence[Record], shares: Sequence[float]) -> np.ndarray:
    """`[tasks, shares]`: regrets, means over seeds, tasks by name; of one task `[seeds, shares]`."""
    is_one_task = len({record.task for record in records}) == 1
    by_unit: dict[str | int, list[list[float]]] = defaultdict(list)
    for record in records:
        found = regrets(record.incumbents, reference(record.task), record.budget, shares)
        by_unit[record.seed if is_one_task else record.task].append(found)
    return np.array([np.mean(by_unit[unit], axis=0) for unit in sorted(by_unit)])


def _plot(title: str, records: Sequence[Record], methods: Sequence[str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shares = np.linspace(0.02, 1.0, 99)
    figure, axes = plt.subplots(figsize=(8, 5))
    axes.set_prop_cycle(color=plt.get_cmap("tab20").colors)
    for name in methods:
        means = _means([record for record in records if record.method == name], list(shares))
        bounds = np.array([interval(column) for column in means.T])
        style: dict[str, Any] = {"color": "black", "linewidth": 2.5} if name == OURS else {}
        (line,) = axes.plot(shares * 100, means.mean(axis=0), label=name, **style)
        axes.fill_between(shares * 100, bounds[:, 0], bounds[:, 1], color=line.get_color(), alpha=0.08)
    axes.set(xlabel="budget spent (%)", ylabel="normalised regret", title=title, yscale="log")
    # The first steps of a diverged training are no better than anything.
    axes.set_ylim(top=2.0)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
