"""The terminal of a running sweep: a live table, or lines if the output is not a terminal."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TextIO, cast

import rich.console
from rich.console import Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.records import TrialState
from tuner.texts import Screen, encodable, one_line

REFRESH_S = 0.25
PROGRESS_S = 30.0

# The lines around the table's rows.
_FIXED_HEIGHT = 8
_METRIC_WIDTH = 12
_BAR_WIDTH = 60
_WIDE = 100
_MIN_PARAMS_WIDTH = 16

_NOT_COUNTED = (TrialState.RUNNING, TrialState.PENDING)


@dataclass(frozen=True)
class TrialView:
    """A trial as the terminal shows it.

    Attributes:
        step: the last one reported, 0 before the first.
        value, best: the metric at that step, and at the best step.
    """

    number: int
    state: TrialState
    step: int
    value: float | None
    best: float | None
    params: Mapping[str, Any]
    elapsed_s: float


@dataclass(frozen=True)
class SweepView:
    """A sweep at one moment. `remaining_s` is None if it can't be estimated, `run_cap` if there is no cap."""

    running: tuple[TrialView, ...]
    best: TrialView | None
    counts: Mapping[TrialState, int]
    run_cap: int | None
    elapsed_s: float
    remaining_s: float | None
    metric: str
    slots: int


class Console(Protocol):
    """An output that shows a sweep's progress. `update` may be called as often as you like.

    An event with `is_detail` is one of many of its kind: a log prints it, a table shows it already.
    """

    def start(self, title: str, subtitle: str) -> None: ...

    def update(self, view: SweepView) -> None: ...

    def event(self, text: str, *, is_detail: bool = False) -> None: ...

    def stop(self) -> None: ...


def make_console(file: TextIO | None = None) -> Console:
    """A live table if `file` (standard output by default) is a terminal, lines otherwise."""
    screen = Screen(sys.stdout if file is None else file)
    console = rich_console(screen)
    # isatty as well: FORCE_COLOR turns a pipe into a terminal, but it can't move a cursor.
    if screen.isatty() and console.is_terminal and not console.is_dumb_terminal:
        return LiveConsole(console)
    return LineConsole(screen)


def rich_console(screen: Screen, width: int | None = None) -> rich.console.Console:
    return rich.console.Console(file=cast(TextIO, screen), width=width)


def cell(text: str, encoding: str) -> Text:
    """A text for a table, without rich's markup and as wide as it will be shown."""
    has_ellipsis = encodable("…", encoding) == "…"
    return Text(encodable(one_line(text), encoding), overflow=None if has_ellipsis else "crop")


class Tee:
    """Sends the same to several consoles. If one can't write, as on a full disk, only its own text is lost."""

    def __init__(self, *consoles: Console) -> None:
        self._consoles = consoles

    def start(self, title: str, subtitle: str) -> None:
        self._each(lambda console: console.start(title, subtitle))

    def update(self, view: SweepView) -> None:
        self._each(lambda console: console.update(view))

    def event(self, text: str, *, is_detail: bool = False) -> None:
        self._each(lambda console: console.event(text, is_detail=is_detail))

    def stop(self) -> None:
        self._each(lambda console: console.stop())

    def _each(self, tell: Callable[[Console], None]) -> None:
        for console in self._consoles:
            with contextlib.suppress(OSError):
                tell(console)


class LiveConsole:
    """A table at the bottom of a terminal, events above it."""

    def __init__(self, console: rich.console.Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False)
        self._heading = Text()
        self._started_at = clock()
        self._drawn_at = float("-inf")
        self._view: SweepView | None = None

    def start(self, title: str, subtitle: str) -> None:
        self._started_at = self._clock()
        encoding = self._console.encoding
        self._heading = cell(title, encoding)
        self._heading.stylize("bold")
        self._heading.append(cell(f"  {subtitle}" if subtitle else "", encoding))
        self._live.start()

    def update(self, view: SweepView) -> None:
        self._view = view
        if self._clock() - self._drawn_at >= REFRESH_S:
            self._draw()

    def event(self, text: str, *, is_detail: bool = False) -> None:
        if is_detail:
            return
        line = f"{_stamp(self._clock() - self._started_at)} {text}"
        self._console.print(cell(line, self._console.encoding), soft_wrap=True)

    def stop(self) -> None:
        """Leave the last view on the screen."""
        if self._live.is_started:
            self._draw()
            self._live.stop()

    def _draw(self) -> None:
        self._drawn_at = self._clock()
        if self._view is not None:
            self._live.update(render(self._view, self._heading, self._console), refresh=True)


class LineConsole:
    """One line for each event, and one about the progress now and then, for logs and pipes."""

    def __init__(self, screen: Screen, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._clock = clock
        self._started_at = self._printed_at = clock()
        self._view: SweepView | None = None

    def start(self, title: str, subtitle: str) -> None:
        self._started_at = self._printed_at = self._clock()
        self.event(f"{title}  {subtitle}".rstrip())

    def update(self, view: SweepView) -> None:
        self._view = view
        if self._clock() - self._printed_at >= PROGRESS_S:
            self._print_progress(view)

    def event(self, text: str, *, is_detail: bool = False) -> None:
        self._screen.write(f"{_stamp(self._clock() - self._started_at)} {one_line(text)}\n")
        self._screen.flush()

    def stop(self) -> None:
        """Print the progress, if anything changed since the last time."""
        if self._view is not None:
            self._print_progress(self._view)

    def _print_progress(self, view: SweepView) -> None:
        self._printed_at = self._clock()
        self._view = None
        self.event("; ".join(filter(None, [summary(view), _best_line(view)])))


def summary(view: SweepView) -> str:
    """`12/64 trials, 3/4 slots, 9 completed, 2 pruned, 1 failed; 1m 23s, 5m 40s left`."""
    parts = [f"{_num_done(view)}{'' if view.run_cap is None else f'/{view.run_cap}'} trials"]
    parts.append(f"{len(view.running)}/{view.slots} slots")
    parts += [
        f"{view.counts[state]} {state.value}"
        for state in TrialState
        if view.counts.get(state) and state not in _NOT_COUNTED
    ]
    left = "" if view.remaining_s is None else f", {format_seconds(view.remaining_s)} left"
    return f"{', '.join(parts)}; {format_seconds(view.elapsed_s)}{left}"


def render(view: SweepView, heading: Text, console: rich.console.Console) -> Group:
    """The header, as many running trials as the screen's height allows, and the best one."""
    metric = cell(_cut(view.metric, _METRIC_WIDTH), console.encoding)
    table = _empty_table(metric, gap=1 if console.width < _WIDE else 2)
    room = max(1, console.height - _FIXED_HEIGHT)
    shown = view.running if len(view.running) <= room else view.running[: room - 1]
    for trial in shown:
        table.add_row(*_cells(trial))
    if len(shown) < len(view.running):
        more = f"and {len(view.running) - len(shown)} more"
        table.add_row("", "", "", "", "", more, style="dim")
    if view.best is not None:
        table.add_row(*_cells(view.best, prefix="best "), style="green")
    return Group(heading, Text(summary(view)), _progress_bar(view, console.width), table)


def _progress_bar(view: SweepView, width: int) -> RenderableType:
    """How much of the sweep is done, by trials or by time, whichever ends it first; an empty line if it can't say."""
    shares = [_num_done(view) / view.run_cap] if view.run_cap else []
    if view.remaining_s is not None and view.elapsed_s > 0:
        shares.append(view.elapsed_s / (view.elapsed_s + view.remaining_s))
    if not shares:
        return Text()
    return Padding(ProgressBar(total=1.0, completed=max(shares), width=min(width, _BAR_WIDTH)), 0)  # ends the line


def _num_done(view: SweepView) -> int:
    return sum(count for state, count in view.counts.items() if state.is_final)


def _empty_table(metric: Text, gap: int) -> Table:
    """Columns with least widths, so that they do not jump when a value gets longer."""
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    table.add_column("trial", no_wrap=True, min_width=7)
    table.add_column("state", no_wrap=True, min_width=9)
    table.add_column("step", no_wrap=True, min_width=4, justify="right")
    table.add_column(metric, no_wrap=True, min_width=7, justify="right")
    table.add_column("best", no_wrap=True, min_width=7, justify="right")
    table.add_column("parameters", no_wrap=True, ratio=1)
    table.add_column("time", no_wrap=True, min_width=7, justify="right")
    return table


def _cells(trial: TrialView, prefix: str = "") -> list[RenderableType]:
    return [
        f"{prefix}{trial.number}",
        trial.state.value,
        str(trial.step or "-"),
        _number(trial.value),
        _number(trial.best),
        _ParamsCell(trial.params),
        format_seconds(trial.elapsed_s) if trial.elapsed_s else "-",
    ]


class _ParamsCell:
    """A trial's parameters, as many as fit in the column."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> rich.console.RenderResult:
        yield cell(format_params(self._params, options.max_width), console.encoding)

    def __rich_measure__(self, console: rich.console.Console, options: rich.console.ConsoleOptions) -> Measurement:
        return Measurement(_MIN_PARAMS_WIDTH, options.max_width)


def _best_line(view: SweepView) -> str:
    if view.best is None:
        return ""
    best = view.best
    return f"best {view.metric} {_number(best.best)}, trial {best.number}: {format_params(best.params, 80)}"


def format_params(params: Mapping[str, Any], limit: int) -> str:
    """`lr=0.0123 optimizer=sgd`, at most `limit` characters; whole parameters as long as one fits."""
    pairs = [one_line(f"{name}={format_value(value)}") for name, value in params.items()]
    line = " ".join(pairs)
    if len(line) <= limit:
        return line
    while pairs and len(" ".join(pairs)) > limit - 2:
        pairs.pop()
    return " ".join([*pairs, "…"]) if pairs else _cut(line, limit)


def format_seconds(seconds: float) -> str:
    """`45s`, `1m 23s`, `2h 05m`, `3d 04h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def format_value(value: Any, digits: int = 3) -> str:
    """A value in the file's words, on one line: a text as it is, `null`, `true`, `[64, 64]`."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _stamp(seconds: float) -> str:
    return f"[{seconds:6.1f}s]"
