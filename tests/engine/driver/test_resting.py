"""Nodes that rest, by a clock of the test's."""

from tuner.engine.driver.resting import REST_S, RestingNodes


def test_a_node_rests_for_a_while_and_one_is_always_left() -> None:
    now = [100.0]
    resting = RestingNodes(lambda: now[0])
    assert resting.rest("a", ["a", "b"])
    assert resting.ids == {"a"}
    assert not resting.rest("b", ["a", "b"]), "none would be left"
    assert not resting.rest("c", []), "none could run a trial"
    assert resting.ids == {"a"}
    now[0] += REST_S
    assert resting.ids == frozenset()
    assert resting.rest("b", ["a", "b"])
