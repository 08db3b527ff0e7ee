"""What is asked of a running sweep, and what its driver sees of it."""

import errno
from pathlib import Path

import pytest

from tuner.errors import ControlError
from tuner.run_folder.control import CONTROL_FILE, Control, Verb, asked, clear
from tuner.run_folder.lock import RunLock
from tuner.run_folder.run import Run


def test_a_driver_sees_what_was_asked_last(tmp_path: Path) -> None:
    control = Control(tmp_path)
    assert control.look() is Verb.RESUME
    with RunLock(tmp_path):
        for verb in (Verb.PAUSE, Verb.RESUME, Verb.PAUSE, Verb.STOP, Verb.CANCEL):
            Run(tmp_path).ask(verb)
            assert control.look() is verb is asked(tmp_path)
        clear(tmp_path)
        # Of a driver that ends itself nobody asks otherwise; the next one starts afresh.
        assert control.look() is Verb.CANCEL
        assert Control(tmp_path).look() is Verb.RESUME


def test_a_file_that_cannot_be_read_for_a_moment_is_read_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = Control(tmp_path)
    with RunLock(tmp_path):
        Run(tmp_path).ask(Verb.PAUSE)
        assert control.look() is Verb.PAUSE
        Run(tmp_path).ask(Verb.STOP)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", _stale)
            assert control.look() is Verb.PAUSE
        assert control.look() is Verb.STOP


def _stale(*_: object, **__: object) -> str:
    raise OSError(errno.ESTALE, "Stale file handle")


@pytest.mark.parametrize("verb", Verb)
def test_a_sweep_that_is_not_running_is_asked_for_nothing(tmp_path: Path, verb: Verb) -> None:
    with pytest.raises(ControlError, match="not running"):
        Run(tmp_path).ask(verb)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [(b, a) for b in (Verb.STOP, Verb.CANCEL) for a in Verb if (b, a) != (Verb.STOP, Verb.CANCEL) and a is not b],
)
def test_a_sweep_that_ends_does_not_come_back(tmp_path: Path, before: Verb, after: Verb) -> None:
    with RunLock(tmp_path):
        Run(tmp_path).ask(before)
        with pytest.raises(ControlError, match="is being"):
            Run(tmp_path).ask(after)
        assert asked(tmp_path) is before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"verb": "sleep"}', "{}", "null"])
def test_a_file_with_a_mistake_in_it_asks_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / CONTROL_FILE).write_text(text)
    assert Control(tmp_path).look() is Verb.RESUME
