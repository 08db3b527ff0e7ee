"""What is known of a trial that runs."""

from tuner.study.running_trial import Attempts


def test_lost_nodes_count_from_the_last_checkpoint_on() -> None:
    attempts = Attempts()
    counted = []
    for restore_step in (0, 0, 4, 4, 4):
        attempts.count_lost_node(restore_step)
        counted.append(attempts.lost_nodes)
    assert counted == [1, 2, 1, 2, 3]
