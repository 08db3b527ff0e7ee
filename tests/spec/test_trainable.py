"""From "module:function" to the function, and the sentences where there is none."""

import functools
import sys

import pytest

from tuner.errors import SpecError
from tuner.spec.trainable import import_trainable, label_of, name_of

MODULE = """
import functools
LIMIT = 3
def train(trial): return "trained"
def train_more(trial, extra=1): ...
def train_two(config, lr): ...
def train_none(): ...
async def train_later(trial): ...
async def train_lazily_later(trial): yield 1
small = functools.partial(train_more, extra=3)
small_later = functools.partial(train_later)
cached = functools.lru_cache(train)
anonymous = lambda trial: 1
def train_lazily(trial): yield 1
def logged(function):
    @functools.wraps(function)
    def wrapper(trial): return function(trial)
    return wrapper
decorated = logged(train_none)
class Task:
    @staticmethod
    def train(trial): ...
    @classmethod
    def make(cls, trial): ...
    def fit(self, trial): ...
    def alone(self): ...
    def __call__(self, trial): ...
class Later:
    async def __call__(self, trial): ...
task = Task()
later = Later()
bound = Task().fit
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that only `tmp_path` holds; `sys.path` is put back afterwards."""
    monkeypatch.setattr("sys.path", sys.path.copy())
    name = f"spec_case_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("raise RuntimeError('no\\n  data')\n")
    (tmp_path / f"{name}_reads.py").write_text("import argparse\nargparse.ArgumentParser().parse_args(['--lr'])\n")
    (tmp_path / f"{name}_ends.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / f"{name}_relative.py").write_text("from .other import train\n")
    return name


GOOD = (
    *("train", "train_more", "small", "cached", "anonymous", "decorated"),
    *("Task.train", "Task.make", "task", "task.fit", "bound"),
)


@pytest.mark.parametrize("function", GOOD)
def test_a_trainable_is_imported_from_the_search_path(module, tmp_path, function):
    assert callable(import_trainable(f"{module}:{function}", tmp_path))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{m}", "trainable must be module:function, such as"),
        ("{m}.py:train", "trainable must be module:function, such as"),
        (".{m}:train", "trainable must be module:function, such as"),
        ("{m}_relative:train", "; name it with its package, such as package.module, and start in the folder"),
        ("{m}:tarin", "has no tarin, did you mean train; name one of its functions."),
        ("{m}:LIMIT.real.x", "has no x; name one of its functions."),
        ("{m}:Task", "Task is a class, and calling it trains nothing: give a callable instance of it"),
        ("{m}:Task.fit", "is a method, which needs an object: write `fit = Task(...).fit`"),
        ("{m}:Task.alone", "is a method, which needs an object: write `alone = Task(...).alone`"),
        ("{m}:later", "returns a coroutine and trains nothing when called"),
        ("{m}:small_later", "returns a coroutine and trains nothing when called"),
        ("{m}:train_lazily_later", "returns an asynchronous generator and trains nothing when called"),
        ("{m}:partial(train)", "has no name to import it by: resume with Sweep(...).resume(folder) in Python"),
        ("__main__:train", "it is in the script that was run, which can't be imported: resume in Python"),
        ("{m}_reads:train", "it reads the command line when it is imported (argparse), and ends the program over"),
        ("{m}_ends:train", "it ends the program when it is imported (SystemExit: 3): move that into a function."),
        ("{m}:LIMIT", "must be a function; it is a int."),
        ("{m}:train_later", "returns a coroutine and trains nothing when called: use a plain function."),
        ("{m}:train_lazily", "returns a generator and trains nothing when called: use a plain function."),
        ("{m}:train_two", "must take one argument, as `def train(trial)`; it takes (config, lr)."),
        ("{m}:train_none", "must take one argument, as `def train(trial)`; it takes ()."),
        ("{m}:test.<locals>.train", "is inside a function: move it to the top of its module."),
        ("{m}_broken:train", "_broken can't be imported: RuntimeError: no data."),
        ("{m}_absent:train", "_absent can't be imported: ModuleNotFoundError: No module named"),
        ("{m}_absent.sub:train", "; the working directory, {p}, is searched first."),
    ],
)
def test_trainables_that_can_not_be_used(module, tmp_path, given, sentence, capsys):
    with pytest.raises(SpecError) as caught:
        import_trainable(given.format(m=module), tmp_path)
    (problem,) = caught.value.problems
    assert sentence.replace("{p}", str(tmp_path)) in problem
    assert "\n" not in problem
    assert capsys.readouterr().err == ""


def test_what_is_handed_over_has_the_name_it_can_be_imported_by(module, tmp_path):
    for function in GOOD:
        train = import_trainable(f"{module}:{function}", tmp_path)
        name = name_of(train)
        assert name == f"{module}:{function}"
        again = import_trainable(name, tmp_path)
        assert again is train or again == train


def test_what_has_no_name_is_named_for_people(module, tmp_path):
    import_trainable(f"{module}:train", tmp_path)
    home = sys.modules[module]
    for train, name, label in [
        (functools.partial(home.train, x=1), "partial(train)", "train"),
        (functools.partial(home.Task(), x=1), "partial(Task)", "Task"),
        (home.Task(), "object(Task)", "Task"),
        (home.Task().fit, "method(Task.fit)", "Task.fit"),
        (home.logged(home.train), "function(train)", "train"),
    ]:
        assert name_of(train) == f"{module}:{name}"
        assert label_of(name_of(train)) == label
    here = name_of(lambda trial: None)
    assert here.startswith(f"{__name__}:test_what_has_no_name")
    assert here.endswith("<lambda>")


@pytest.mark.parametrize("name", ["ray.py", "optuna/__init__.py", "torch.py"])
def test_a_file_that_is_named_as_a_library_is_told(module, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    with pytest.raises(SpecError, match=r"it would be imported instead of the library .*: rename it"):
        import_trainable(f"{module}:train", tmp_path)
    # Names that nothing else of ours has, and what only looks like one.
    path.unlink()
    for other in ("utils.py", "proto/__init__.py", "ray.txt", "raytracing.py"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_text("")
    import_trainable(f"{module}:train", tmp_path)
