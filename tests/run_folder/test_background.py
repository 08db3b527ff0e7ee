"""Work beside a loop: in order, all of it, and what fails is told."""

import errno
import threading

import pytest

from tuner.errors import StorageError
from tuner.run_folder.background import Beside


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_asked_for_is_done_in_order_while_the_loop_goes_on() -> None:
    beside, done, may_go = Beside(), [], threading.Event()

    def work(index: int) -> None:
        may_go.wait(60)
        done.append(index)

    for index in range(5):
        beside.do(lambda index=index: work(index))  # type: ignore[misc]
    assert done == []
    may_go.set()
    beside.finish()
    assert done == [0, 1, 2, 3, 4]
    beside.close()
    beside.close()
    beside.do(lambda: done.append(5))
    beside.finish()
    assert done[-1] == 5
    beside.close()


@pytest.mark.parametrize("is_asked_again", [False, True])
def test_what_can_not_be_written_is_told_to_who_asks_next_and_nothing_after_it_is_done(is_asked_again: bool) -> None:
    beside, done = Beside(), []
    beside.do(full)
    with pytest.raises(StorageError, match="No space left"):
        while True:
            if is_asked_again:
                beside.do(lambda: None)
            else:
                beside.finish()
    beside.finish()
    beside.do(lambda: done.append(1))
    beside.finish()
    assert done == [1]
    beside.close()


def test_what_was_not_begun_is_given_up() -> None:
    beside, done, begun, may_go = Beside(), [], threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        may_go.wait(60)
        done.append("slow")

    beside.do(slow)
    beside.do(lambda: done.append("never"))
    assert begun.wait(60)
    threading.Timer(0.1, may_go.set).start()
    beside.close()
    assert done == ["slow"]
