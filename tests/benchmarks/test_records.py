"""Runs on disk, and what is told of them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import __main__ as command
from benchmarks.curves.fronts import hypervolume
from benchmarks.curves.records import Record, append_records, read_records
from benchmarks.curves.report import write_report


def record(method: str, task: str, seed: int, value: float) -> Record:
    family = "LCBench" if task.isdigit() else "TaskSet"
    return Record(method, task, family, seed, 100, [(1, 50.0), (90, value)], 20, 5, 1.5, "abc1234")


def test_a_line_that_was_cut_is_left_out_and_the_next_run_stands_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs.jsonl"
    append_records(path, [record("a", "3945", 0, 70.0), record("a", "3945", 1, 71.0)])
    path.write_text(path.read_text()[:-20])
    assert [one.seed for one in read_records(path)] == [0]
    append_records(path, [record("a", "3945", 2, 72.0)])
    assert [one.seed for one in read_records(path)] == [0, 2]


def test_the_halves_are_told_apart_and_losses_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    better = {"random + Ray ASHA": 0.0, "ours": 1.0}
    records = [
        record(name, task, seed, 75.0 + (gain if task == "3945" else -gain))
        for name, gain in better.items()
        for task in ("3945", "7593")  # of the development half, and not
        for seed in range(2)
    ]
    text = write_report([*records, record("ours", "7593", 2, 99.0)], tmp_path)
    assert [line for line in text.splitlines() if line.startswith("###")] == [
        "### LCBench, all tasks: 2 tasks, 2 seeds, on abc1234",
        "### LCBench, development half: 1 tasks, 2 seeds, on abc1234",
        "### LCBench, test half: 1 tasks, 2 seeds, on abc1234",
    ]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ours")]
    assert [row[2].split()[-1] for row in rows] == ["1.5", "1.0", "2.0"]
    # Of the halves' one task each they are seeds.
    assert [row[4] for row in rows] == ["1", "0", "2"]
    assert text.count("seeds worse than random + Ray ASHA") == 2
    assert (tmp_path / "tables.md").read_text() == text
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_no_runs_are_no_table(tmp_path: Path) -> None:
    assert write_report([], tmp_path) == "No runs.\n"


def test_a_run_that_fails_is_told_and_the_others_are_kept() -> None:
    cases = [("random, no early stopping", "nowhere", 0), ("nobody", "3945", 0)]
    assert list(command.run_all(command.run_one, cases, 1, 60.0, {name: "abc1234" for name, _, _ in cases})) == []
    told = command.run_one(*cases[0], "abc1234")
    assert isinstance(told, str)
    assert told.startswith("random, no early stopping on nowhere, seed 0, has failed:")


def test_the_hypervolume_is_the_share_that_is_dominated() -> None:
    assert hypervolume(np.array([[0.5, 0.5], [0.25, 1.0], [1.0, 0.1], [0.4, 0.4]])) == pytest.approx(0.425)
    assert hypervolume(np.array([[1.2, 0.5], [-1.0, 2.0]])) == 0.5
    assert hypervolume(np.array([[-0.1, 0.9]])) == 0.0
