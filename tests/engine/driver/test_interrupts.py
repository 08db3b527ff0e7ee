"""Which signals end a sweep, and how."""

import os
import signal
import threading

import pytest

from tuner.engine.driver.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_asks_once_and_what_was_there_before_is_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert not interrupts.is_asked
        os.kill(os.getpid(), number)
        assert interrupts.is_asked
    assert signal.getsignal(number) is before


def test_the_second_ends_at_once_but_for_a_terminal_that_tells_its_end_twice() -> None:
    with Interrupts():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_nohup_is_heard() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts.is_asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_beside_the_main_thread_there_are_none() -> None:
    asked: list[bool] = []

    def enter() -> None:
        with Interrupts() as interrupts:
            asked.append(interrupts.is_asked)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert asked == [False]
