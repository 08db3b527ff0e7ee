"""Checkpoints: random generators come back bit for bit, damage is seen, two writers are not in each other's way."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tuner.errors import CheckpointError
from tuner.run_folder.checkpoints import checkpoint_path, damage, digest, trial_and_step
from tuner.trial.checkpoint import load_checkpoint, save_checkpoint, set_rng_state


@pytest.mark.parametrize("num_drawn", [0, 1, 2])
@pytest.mark.parametrize(
    "draw", [lambda: random.gauss(0, 1), lambda: float(np.random.randn()), lambda: float(torch.randn(()))]
)
def test_normal_draws_go_on_bit_for_bit(tmp_path: Path, draw: Callable[[], float], num_drawn: int) -> None:
    """Python and numpy make them in pairs: the second of a pair is kept for the next call."""
    for _ in range(num_drawn):
        draw()
    path = save_checkpoint(tmp_path, 1, {}, {})
    wanted = [draw() for _ in range(5)]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    draw()
    set_rng_state(load_checkpoint(path)[1])
    assert [draw() for _ in range(5)] == wanted


def test_a_damaged_checkpoint_is_not_loaded(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, {"weight": torch.ones(100)}, {})
    data = bytearray((path / "state.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "state.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"step-0003 is damaged: state\.pt is not what was written"):
        load_checkpoint(path)


def test_two_processes_may_save_the_same_step_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, other, found = torch.save, [{"by": "the one whose node was given up"}], []

    def save_meanwhile(value: Any, to: Any) -> None:
        if other and isinstance(to, Path):
            found.append(load_checkpoint(save_checkpoint(tmp_path, 1, other.pop(), {}))[0]["by"])
        save(value, to)

    monkeypatch.setattr(torch, "save", save_meanwhile)
    path = save_checkpoint(tmp_path, 1, {"by": "the other"}, {})
    assert found == ["the one whose node was given up"]
    assert damage(path) == ""
    assert load_checkpoint(path)[0] == {"by": "the other"}
    assert [found.name for found in path.parent.iterdir()] == ["step-0001"]


def test_what_finds_no_memory_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def save(value: Any, to: Any) -> None:
        tried.append(to)
        raise MemoryError("no room for it")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(MemoryError, match="no room for it"):
        save_checkpoint(tmp_path, 1, {"weight": torch.ones(2)}, {})
    assert len(tried) == 1


def test_a_digest_tells_apart_what_was_saved_at_one_step(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path / "trials" / "0007", 12)
    path.parents[1].mkdir(parents=True)
    assert digest(path) == ""
    found = []
    for weight in (1.0, 2.0, 1.0):
        assert save_checkpoint(path.parents[1], 12, {"weight": torch.tensor(weight)}, {}) == path
        found.append(digest(path))
    assert len(found[0]) == 16
    assert found[0] != found[1]
    assert found[0] == found[2]
    assert trial_and_step(path) == (7, 12)
