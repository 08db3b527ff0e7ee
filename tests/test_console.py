"""The live table at several widths, and the lines of a pipe."""

import errno
import io

import pytest
import rich.console
from rich.text import Text

from tuner.console import (
    LineConsole,
    LiveConsole,
    SweepView,
    Tee,
    TrialView,
    format_params,
    format_seconds,
    make_console,
    render,
)
from tuner.records import TrialState
from tuner.texts import Screen

PARAMS = {"optimizer": "sgd", "lr": 0.0123456, "layers": [64, 64], "nesterov": True, "decay": None}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def trial(number: int, state: TrialState = TrialState.RUNNING, **changes: object) -> TrialView:
    given = {"step": 3, "value": 0.87654321, "best": 0.9, "params": PARAMS, "elapsed_s": 83.0} | changes
    return TrialView(number=number, state=state, **given)


def view(running: int = 2, **changes: object) -> SweepView:
    counts = {TrialState.RUNNING: 2, TrialState.COMPLETED: 8, TrialState.PRUNED: 3, TrialState.FAILED: 1}
    given = {
        "running": tuple(trial(20 + index) for index in range(running)),
        "best": trial(7, TrialState.COMPLETED, step=27, elapsed_s=7384.0),
        "counts": counts,
        "run_cap": 64,
        "elapsed_s": 83.0,
        "remaining_s": 340.0,
        "metric": "val_accuracy",
        "slots": 4,
    }
    return SweepView(**(given | changes))


def lines(shown: SweepView, width: int = 80, height: int = 24) -> list[str]:
    console = rich.console.Console(file=io.StringIO(), width=width, height=height, record=True)
    console.print(render(shown, Text("mnist  bayes"), console))
    return [line.rstrip() for line in console.export_text().splitlines()]


def live(clock: Clock, **options: object) -> tuple[LiveConsole, Terminal]:
    file = Terminal()
    console = rich.console.Console(file=file, width=80, height=24, force_terminal=True, **options)
    return LiveConsole(console, clock=clock), file


def test_the_table_fits_80_columns_and_says_all():
    heading, summary, _, header, first, second, best = lines(view())
    assert heading == "mnist  bayes"
    assert summary == "12/64 trials, 2/4 slots, 8 completed, 3 pruned, 1 failed; 1m 23s, 5m 40s left"
    assert header.split() == ["trial", "state", "step", "val_accuracy", "best", "parameters", "time"]
    assert first.split() == [
        "20",
        "running",
        "3",
        "0.8765",
        "0.9",
        "optimizer=sgd",
        "lr=0.0123",
        "…",
        "1m",
        "23s",
    ]
    assert second.split()[0] == "21"
    assert best.split()[:5] == ["best", "7", "completed", "27", "0.8765"]
    assert best.endswith("2h 03m")


def test_a_wide_terminal_shows_all_parameters():
    assert "optimizer=sgd lr=0.0123 layers=[64, 64] nesterov=true decay=null" in lines(view(), 140)[4]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("running", [0, 1, 100])
def test_no_line_is_longer_than_the_terminal_and_the_table_no_higher(width, running):
    shown = lines(view(running, metric="a_metric_with_a_very_long_name"), width)
    assert max(map(len, shown)) <= width
    assert len(shown) <= 24


def test_trials_without_room_are_counted():
    shown = lines(view(100))
    assert any("and 85 more" in line for line in shown)
    assert shown[-1].startswith("best 7")


@pytest.mark.parametrize(
    ("changes", "filled"),
    [
        ({"run_cap": 64, "remaining_s": None}, 12 / 64),
        ({"run_cap": 64, "elapsed_s": 30.0, "remaining_s": 10.0}, 0.75),
        ({"run_cap": None, "remaining_s": None}, None),
    ],
)
def test_a_bar_says_how_much_is_done_by_trials_or_by_time(changes, filled):
    bar = lines(view(**changes))[2]
    assert bar.count("━") == (0 if filled is None else pytest.approx(60 * filled, abs=1))


def test_what_is_not_known_yet_is_left_out():
    nothing = trial(0, step=0, value=None, best=None, params={})
    shown = lines(view(running=0, best=None, run_cap=None, remaining_s=None, counts={}))
    assert shown[1] == "0 trials, 0/4 slots; 1m 23s"
    assert lines(view(running=0, best=None))[-1].split()[0] == "trial"
    assert lines(view(best=nothing))[-1].split() == ["best", "0", "running", "-", "-", "-", "1m", "23s"]


def test_parameters_that_look_like_markup_are_shown_as_they_are():
    assert "[red]x" in lines(view(best=trial(1, params={"a": "[red]x"})))[-1]


def test_the_live_table_refreshes_four_times_a_second_and_ends_with_the_last_view():
    clock = Clock()
    console, file = live(clock)
    console.start("mnist", "bayes")
    for tenth in range(20):
        clock.now = 100 + tenth / 10
        console.update(view(elapsed_s=1000.0 + 60 * tenth))
    before_stop = file.getvalue().count("parameters")
    console.stop()
    assert 6 <= before_stop <= 9
    assert "35m 40s" in file.getvalue()
    written = file.getvalue()
    console.stop()
    assert file.getvalue() == written


def test_events_stand_above_the_live_table():
    clock = Clock()
    console, file = live(clock)
    console.start("mnist", "bayes")
    console.update(view())
    clock.now += 12.34
    console.event("trial 3 failed [oom]: " + 100 * "x")
    console.stop()
    assert "[  12.3s] trial 3 failed [oom]: " + 100 * "x" in file.getvalue()


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console, file = live(Clock())
    console.start("mnist", "bayes")
    console.update(view())
    console.stop()
    assert "\x1b[32m" not in file.getvalue()


def test_lines_of_a_pipe():
    clock, file = Clock(), io.StringIO()
    console = LineConsole(Screen(file), clock=clock)
    console.start("mnist", "bayes")
    for second in range(65):
        clock.now = 100.0 + second
        console.update(view())
    console.event("new best: trial 7")
    console.stop()
    progress = (
        "12/64 trials, 2/4 slots, 8 completed, 3 pruned, 1 failed; 1m 23s, 5m 40s left; "
        "best val_accuracy 0.9, trial 7: optimizer=sgd lr=0.0123 layers=[64, 64] nesterov=true decay=null"
    )
    assert file.getvalue().splitlines() == [
        "[   0.0s] mnist  bayes",
        f"[  30.0s] {progress}",
        f"[  60.0s] {progress}",
        "[  64.0s] new best: trial 7",
        f"[  64.0s] {progress}",
    ]
    assert "\r" not in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_which_console_an_output_gets(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert isinstance(make_console(Terminal()), LiveConsole)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_console(Terminal()), LineConsole)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(make_console(io.StringIO()), LineConsole)


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (80, "optimizer=sgd lr=0.0123 layers=[64, 64] nesterov=true decay=null"),
        (25, "optimizer=sgd lr=0.0123 …"),
        (24, "optimizer=sgd …"),
        (10, "optimizer…"),
        (1, "…"),
    ],
)
def test_parameters_are_cut_between_them(limit, shown):
    assert format_params(PARAMS, limit) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (83, "1m 23s"),
        (7500, "2h 05m"),
        (274000, "3d 04h"),
    ],
)
def test_seconds(seconds, shown):
    assert format_seconds(seconds) == shown


def test_a_console_that_can_not_write_does_not_keep_the_others_from_it() -> None:
    class Full(Terminal):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    file = Terminal()
    tee = Tee(LineConsole(Screen(Full())), make_console(Full()), LineConsole(Screen(file)))
    tee.start("name", "")
    tee.event("something")
    tee.update(SweepView((), None, {}, None, 1.0, None, "loss", 1))
    tee.stop()
    assert "something" in file.getvalue()
    assert "0 trials" in file.getvalue()
