"""What is known of a trial that runs."""

from typing import Any

from tuner.running import Running


def test_lost_nodes_count_from_the_last_checkpoint_on() -> None:
    nothing: Any = None
    running = Running(0, {}, nothing, nothing)
    assert [running.lose_node(), running.lose_node()] == [1, 2]
    assert running.is_preempted
    running.restore_step = 4
    assert [running.lose_node(), running.lose_node()] == [1, 2]
