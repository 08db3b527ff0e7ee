"""Runs a search method on a task: asynchronous workers, a simulated clock, one event for each report.

A step takes one unit of the clock, whatever the configuration.
"""

import bisect
import heapq
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tuner.metric import Goal
from tuner.simulation.task import Task, blocks


class Method(Protocol):
    """A search method with its early stopping, as the simulator sees it."""

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        """The next trial's number and configuration; None if a finite space is exhausted.

        A stopped trial may be returned again, and then continues where it stopped.
        """

    def report(self, number: int, step: int, value: Any, is_last: bool) -> bool:
        """Take a running trial's report; return whether it continues. `is_last` marks its full length."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Run:
    """The course of a method on a task.

    Attributes:
        reports: the result of each step spent, in order.
        lengths: of the trials, in steps, in order of number; the budget cut the last few.
        ask_ms: milliseconds of each suggestion.
    """

    reports: list[Any]
    lengths: list[int]
    ask_ms: list[float]

    def incumbents(self, goal: Goal) -> list[tuple[int, float]]:
        """The best values so far of one metric, each as (steps spent by all workers together, value)."""
        found: list[tuple[int, float]] = []
        for spent, value in enumerate(self.reports, 1):
            if math.isfinite(value) and (not found or goal.better(value, found[-1][1])):
                found.append((spent, value))
        return found


def best_after(incumbents: Sequence[tuple[int, float]], spent: float) -> float:
    """The best value after this many steps; NaN if there was none yet."""
    index = bisect.bisect_right(incumbents, spent, key=lambda incumbent: incumbent[0])
    return incumbents[index - 1][1] if index else math.nan


def simulate(task: Task, method: Method, *, workers: int, budget: int) -> Run:
    """Run until all workers together have spent `budget` steps.

    Simultaneous events come in the order in which they were planned, so a run depends on the method only.
    """
    reports: list[Any] = []
    lengths: dict[int, int] = {}
    ask_ms: list[float] = []
    curves: dict[int, Iterator[Any]] = {}
    events: list[tuple[int, int, int]] = []
    order = itertools.count()

    def start(now: int) -> None:
        began = time.perf_counter()
        asked = method.ask()
        ask_ms.append((time.perf_counter() - began) * 1e3)
        if asked is not None:
            number, params = asked
            if number not in curves:
                lengths[number] = 0
                curves[number] = _curve(task, params)
            heapq.heappush(events, (now + 1, next(order), number))

    for _ in range(workers):
        start(0)
    while events and len(reports) < budget:
        now, _, number = heapq.heappop(events)
        value = next(curves[number])
        reports.append(value)
        lengths[number] += 1
        if method.report(number, lengths[number], value, lengths[number] == task.max_step):
            heapq.heappush(events, (now + 1, next(order), number))
        else:
            start(now)
    return Run(reports, list(lengths.values()), ask_ms)


def _curve(task: Task, params: Mapping[str, Any]) -> Iterator[Any]:
    for steps in blocks(task.max_step):
        yield from task.values(params, steps)
