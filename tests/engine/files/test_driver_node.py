"""How processes on other machines reach the driver's: through the real Ray, on one machine."""

import secrets
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from ray._private import state as ray_state

from tests.faults.scenes import wait_for
from tuner.engine.files.driver_node import DriverNode, _Caller
from tuner.engine.files.transfer import Message, Part

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]

PARTS = 400


def keeper_of(node: DriverNode) -> int:
    """The process that the actor runs in now, 0 before it has one."""
    found = ray_state.actors(node._actor._actor_id.hex())
    return int(found["Pid"]) if found["State"] == "ALIVE" else 0


def test_an_upload_outlives_the_process_that_takes_it(tmp_path: Path) -> None:
    node, target = DriverNode(tmp_path), tmp_path / "trials" / "0000" / "checkpoints" / "step-0001"
    call, errors = _Caller(node.token), list[BaseException]()
    data = np.frombuffer(secrets.token_bytes(PARTS << 10), dtype=np.uint8)

    def send() -> None:
        try:
            for index in range(PARTS):
                part = Part("state.pt", index << 10, 1 << 10)
                message: Message = [(part, data[part.offset : part.offset + part.size])]
                path = str(target.relative_to(tmp_path))
                call("write", path, "key", True, message, index == 0, index == PARTS - 1)
        except BaseException as error:
            errors.append(error)

    def size() -> int:
        return sum(path.stat().st_size for path in target.parent.glob(".*.tmp/state.pt"))

    sender = threading.Thread(target=send)
    sender.start()
    wait_for(lambda: node.poll() or node._actor is not None, "the actor to be asked for")
    killed: set[int] = set()
    for part_bytes in (len(data) // 3, 2 * len(data) // 3):
        wait_for(lambda part_bytes=part_bytes: size() >= part_bytes, "a part of the file")  # type: ignore[misc]
        wait_for(lambda: keeper_of(node) not in {0, *killed}, "the actor's process")
        killed.add(keeper_of(node))
        psutil.Process(keeper_of(node)).kill()
    sender.join(60)
    assert not sender.is_alive()
    assert errors == []
    assert (target / "state.pt").read_bytes() == data.tobytes()
    assert [path.name for path in target.parent.iterdir()] == ["step-0001"]
    node.close()
