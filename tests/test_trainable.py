"""From "module:function" to the function, and the sentences where there is none."""

import sys

import pytest

from tuner.errors import SpecError
from tuner.trainable import import_trainable

MODULE = """
import functools
LIMIT = 3
def train(trial): return "trained"
def train_more(trial, extra=1): ...
def train_two(config, lr): ...
def train_none(): ...
async def train_later(trial): ...
def train_lazily(trial): yield 1
class Task:
    @staticmethod
    def train(trial): ...
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that only `tmp_path` holds; `sys.path` is put back afterwards."""
    monkeypatch.setattr("sys.path", sys.path.copy())
    name = f"spec_case_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("raise RuntimeError('no\\n  data')\n")
    return name


@pytest.mark.parametrize("function", ["train", "train_more", "Task.train"])
def test_a_trainable_is_imported_from_the_search_path(module, tmp_path, function):
    assert callable(import_trainable(f"{module}:{function}", tmp_path))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{m}", "trainable must be module:function, such as"),
        ("{m}.py:train", "trainable must be module:function, such as"),
        ("{m}:tarin", "has no tarin, did you mean train; name a function of it."),
        ("{m}:LIMIT", "must be a function; it is a int."),
        ("{m}:train_later", "makes a coroutine and trains nothing when called: use a plain function."),
        ("{m}:train_lazily", "makes a generator and trains nothing when called: use a plain function."),
        ("{m}:train_two", "must take one argument, as `def train(trial)`; it takes (config, lr)."),
        ("{m}:train_none", "must take one argument, as `def train(trial)`; it takes ()."),
        ("{m}:test.<locals>.train", "is inside a function: move it to the top of its module."),
        ("{m}_broken:train", "_broken can't be imported: RuntimeError: no data."),
        ("{m}_absent:train", "_absent can't be imported: ModuleNotFoundError: No module named"),
        ("{m}_absent.sub:train", "; the working directory, {p}, is searched first."),
    ],
)
def test_trainables_that_can_not_be_used(module, tmp_path, given, sentence):
    with pytest.raises(SpecError) as caught:
        import_trainable(given.format(m=module), tmp_path)
    (problem,) = caught.value.problems
    assert sentence.replace("{p}", str(tmp_path)) in problem
    assert "\n" not in problem
