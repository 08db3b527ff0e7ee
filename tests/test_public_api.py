"""The public names: all of them are shown and documented, and their examples run as they stand there."""

import doctest
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import ray.train
import torch

import tuner
import tuner.errors
from tests.recorded import ran
from tests.test_readme import example
from tuner.metric import Goal, Metric
from tuner.results.best import Best
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.run_folder.trial_files import trial_dir
from tuner.study.study import Study
from tuner.trial.trial import Trial

ROOT = Path(__file__).parents[1]
CLASSES = [tuner.Trial, tuner.Sweep, tuner.Results, Best, tuner.Portable]
# What nobody copies: what others are shown by, or stands for itself.
WITHOUT_EXAMPLE = {
    "Results.exit_code",
    "Results.is_running",
    "Results.of",
    "Results.place_of",
    "Trial.has_reported",
}
# They run sweeps, the last ones that of the second.
NEED_RAY = ("Sweep", "Sweep.run", "Sweep.resume", "resume")


def public_names() -> dict[str, Any]:
    """Those of the package, and the methods and properties of its classes."""
    names: dict[str, Any] = {name: getattr(tuner, name) for name in tuner.__all__}
    names |= {"Best": Best, "TunerError": tuner.errors.TunerError}
    for cls in CLASSES:
        for name, member in vars(cls).items():
            if not name.startswith("_") and (callable(member) or isinstance(member, property | classmethod)):
                names[f"{cls.__name__}.{name}"] = member
    return names


NAMES = public_names()


def doc_of(name: str) -> str:
    return inspect.cleandoc(NAMES[name].__doc__ or "")


def function_of(name: str) -> Any:
    found = NAMES[name]
    found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    return inspect.unwrap(found) if inspect.isroutine(found) else None


def test_the_package_shows_its_public_names_and_no_others() -> None:
    assert [name for name in dir(tuner) if not name.startswith("__")] == sorted(tuner.__all__)
    assert tuner.Trial is Trial
    assert isinstance(tuner.errors, ModuleType)
    with pytest.raises(AttributeError, match="has no attribute 'Sweeps'"):
        tuner.Sweeps  # noqa: B018


def test_every_error_is_ours_and_a_builtin() -> None:
    errors = [one for one in vars(tuner.errors).values() if inspect.isclass(one) and issubclass(one, BaseException)]
    assert len(errors) > 15
    for error in errors:
        assert error.__doc__, error
        if issubclass(error, tuner.errors.StopTrial):
            assert not issubclass(error, Exception)  # an `except Exception` in a loop lets it pass
            continue
        assert issubclass(error, tuner.errors.TunerError)
        others = [base for base in error.__mro__ if base.__module__ == "builtins" and base is not object]
        assert error is tuner.errors.TunerError or others[0] is not Exception, error


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented(name: str) -> None:
    doc = doc_of(name)
    first, *rest = doc.splitlines()
    assert first.endswith((".", ":")) or not rest
    assert not rest or rest[0] == "", f"{name}: its first line is one sentence"
    assert ("Example:\n    >>> " in doc) == (name not in WITHOUT_EXAMPLE)
    function = function_of(name)
    if function is None:
        return
    signature = inspect.signature(function)
    given = [one for one in signature.parameters if one not in ("self", "cls")]
    assert ("Args:" in doc) == bool(given)
    for parameter in given:
        assert f"    {parameter}: " in doc, f"{name}: its argument {parameter}"
    assert ("Returns:" in doc) == (signature.return_annotation not in (None, "None"))


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(
        {"lr": 0.1},
        number=0,
        seed=0,
        dir=tmp_path / "trial",
        metrics=(Metric("loss", Goal.MINIMIZE),),
        deliver=lambda report, stop: None,
        device=torch.device("cpu"),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the documentation's own trainable and its sweep file, and a run."""
    (tmp_path / "mytask.py").write_text(example("docs/start/your-own-loop.md", "python", "# mytask.py"))
    (tmp_path / "mytask.yaml").write_text(example("docs/start/your-own-loop.md", "yaml", "# mytask.yaml"))
    (tmp_path / "trial").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("mytask", None)


class Checker(doctest.OutputChecker):
    """Where an example says nothing of what is printed, it may be a sweep's progress."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


def run_examples(name: str, names: dict[str, Any]) -> None:
    """As `python -m doctest` does, with these names at hand."""
    test = doctest.DocTestParser().get_doctest(doc_of(name), names, name, None, 0)
    assert test.examples or name in WITHOUT_EXAMPLE
    told: list[str] = []
    failed, _ = doctest.DocTestRunner(Checker(), optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=told.append)
    assert not failed, "".join(told)


@pytest.mark.parametrize("name", sorted(NAMES.keys() - {*NEED_RAY}))
def test_its_example_runs(name: str, folder: Path, trial: Trial) -> None:
    given = [({"lr": 0.2}, [0.4, 0.6, 0.7]), ({"lr": 0.1}, [0.5, 0.8, 0.9]), ({"lr": 0.3}, [0.2])]
    run = ran(folder / "runs" / "digits-7f3a", given)
    checkpoint = checkpoint_path(trial_dir(run, 1), 3)
    checkpoint.mkdir(parents=True)
    torch.save({"w": torch.ones(2)}, checkpoint / "state.pt")
    results = tuner.Results.read("runs/digits-7f3a")
    study = Study(run, run.name, None, results.spec.metrics, results.spec.parameters, write=True)
    study.set_summary({"ended_by": "run_cap"})
    study.close()
    results = tuner.Results.read("runs/digits-7f3a")
    run_examples(name, {"tuner": tuner, "torch": torch, "ray": ray, "trial": trial, "results": results})


@pytest.mark.slow
def test_the_examples_of_sweeps_run(folder: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster_address)
    for name in NEED_RAY:
        run_examples(name, {"tuner": tuner})
