"""A sweep that is resumed in another space: what is taken, what is refused, and that nothing tried is lost."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LOSS, report
from tuner.errors import SpecError
from tuner.methods.table import METHODS
from tuner.records import TrialRecord, TrialState
from tuner.results.results import Results
from tuner.run_folder.folder import make_run_folder
from tuner.run_folder.provenance import PROVENANCE, provenance
from tuner.run_folder.trial_files import SPEC_FILE, trial_dir
from tuner.spec.file import read_spec
from tuner.spec.space import SearchSpace
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.yaml_text import to_yaml
from tuner.study.revision import open_study
from tuner.study.study import Study

PARAMETERS: dict[str, Any] = {
    "lr": {"min": 1e-3, "max": 0.1, "distribution": "log_uniform_values"},
    "width": {"min": 8, "max": 32},
    "drop": {"min": 0.0, "max": 0.4, "distribution": "q_uniform", "q": 0.1},
    "optimizer": {"values": ["sgd", [1, 2], None]},
    "momentum": {"min": 0.1, "max": 0.9, "when": {"optimizer": "sgd"}},
    "epochs": 9,
}
WIDER: dict[str, Any] = {
    "lr": {"min": 1e-4, "max": 10.0, "distribution": "log_uniform_values"},
    "width": {"min": 4, "max": 64},
    "drop": {"min": 0.0, "max": 0.9, "distribution": "q_uniform", "q": 0.1},
    "optimizer": {"values": ["adam", "sgd", [1, 2], None, "rmsprop"]},
    "momentum": {"min": 0.0, "max": 1.0, "when": {"optimizer": "sgd"}},
    "epochs": 9,
}


def spec_of(parameters: dict[str, Any], method: str = "random") -> SweepSpec:
    data = {"trainable": "tests.loops:descent", "metric": {"name": "loss"}, "run_cap": 99, "early_terminate": "none"}
    return SweepSpec.from_dict({**data, "name": "s", "method": method, "parameters": parameters})


def begun(folder: Path, spec: SweepSpec, url: str | None = None) -> Path:
    description = {**spec.to_dict(), PROVENANCE: provenance("s", url, 0, [])}
    make_run_folder(folder, folder, to_yaml(description), "")
    return folder


def opened(folder: Path, spec: SweepSpec, told: list[str] | None = None) -> Study:
    space = spec.parameters.as_grid() if spec.method == "grid" else spec.parameters
    tell = (lambda sentence: None) if told is None else told.append
    return open_study(folder, folder, spec, space, read_spec(folder)[1]["storage"], (), tell)


def ask(folder: Path, study: Study, method: str, count: int) -> list[TrialRecord]:
    """So many more trials, all of which end but every third, which is left running."""
    for _ in range(count):
        asked = study.ask(method, seed=0)
        if asked is None:
            break
        trial_dir(folder, asked.number).mkdir(exist_ok=True)
        study.report(asked.number, [report(1, 1.0 + asked.number, name="loss")])
        if asked.number % 3:
            study.tell(asked.number, TrialState.COMPLETED, values=[1.0 + asked.number], last_step=1)
    return study.records()


@pytest.mark.parametrize("method", [name for name in METHODS if name != "grid"])
def test_every_method_goes_on_in_a_wider_space_with_what_was_tried(tmp_path: Path, method: str) -> None:
    folder = begun(tmp_path / "r", spec_of(PARAMETERS, method))
    study = opened(folder, spec_of(PARAMETERS, method))
    before = ask(folder, study, method, 16)
    study.close()
    told: list[str] = []
    wider = spec_of(WIDER, method)
    study = opened(folder, wider, told)
    assert told == [f"{folder} continues with other parameters than before; all of its 16 trials fit them"]
    assert study.records() == before
    study.recover()
    records = ask(folder, study, method, 24)
    study.close()
    assert [record.params for record in records[:16]] == [record.params for record in before]
    assert len(records) == 16 + 24 - 6
    for record in records:
        assert wider.parameters.problems_of(record.params) == []
        assert record.params["epochs"] == 9
    new = [record.params for record in records[16:]]
    assert any(PARAMETERS_SPACE.problems_of(params) for params in new), "nothing beyond the space of before"
    # And once more; whoever reads it sees the same.
    told.clear()
    study = opened(folder, wider, told)
    assert told == []
    assert study.records() == records
    study.close()
    assert [trial.params for trial in Results(folder).trials] == [record.params for record in records]


PARAMETERS_SPACE = SearchSpace.from_dict(PARAMETERS)


def test_a_study_in_a_database_is_taken_along(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    folder = begun(tmp_path / "r", spec_of(PARAMETERS), url)
    study = opened(folder, spec_of(PARAMETERS))
    study.set_summary({"ended_by": "run_cap"})
    before = ask(folder, study, "random", 4)
    study.close()
    study = opened(folder, spec_of(WIDER))
    assert study.records() == before
    assert study.summary() == {"ended_by": "run_cap"}
    assert study.recover() == [0, 3]
    study.close()
    assert read_spec(folder)[1]["study"] == "s+1"
    # A driver that was killed in the middle has left half a copy of the next name.
    Study(folder, "s+2", url, [LOSS], SearchSpace.from_dict(WIDER), write=True).close()
    study = opened(folder, spec_of({**WIDER, "width": {"min": 2, "max": 64}}))
    assert [record.params for record in study.records()] == [record.params for record in before]
    study.close()
    assert read_spec(folder)[1]["study"] == "s+2"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lr": {"min": 1e-3, "max": 0.1}}, "lr had a logarithmic scale and has a plain one"),
        ({"width": {"min": 8.0, "max": 32.5}}, "width was a range of whole numbers and is a range of numbers"),
        ({"width": {"values": [8, 16, 32]}}, "width was a range of whole numbers and is a list of values"),
        ({"width": None, "depth": {"min": 8, "max": 32}}, "width is gone"),
        ({"width": None, "depth": {"min": 8, "max": 32}}, "depth is new"),
        ({"more": {"min": 0, "max": 9}}, "more is new"),
        ({"optimizer": {"values": ["sgd", "adam"]}, "momentum": PARAMETERS["momentum"]}, "which is no longer allowed"),
        ({"lr": {"min": 1e-3, "max": 1.1e-3, "distribution": "log_uniform_values"}}, "which is no longer allowed"),
        ({"drop": {"min": 0.0, "max": 0.4, "distribution": "q_uniform", "q": 0.15}}, "which is no longer allowed"),
        ({"epochs": 12}, "epochs was 9 and is 12"),
        ({"width": 16}, "width was a whole number from 8 to 32 and is 16"),
        ({"epochs": {"min": 9, "max": 12}}, "epochs was 9 and is a whole number from 9 to 12"),
        ({"momentum": {"min": 0.1, "max": 0.9}}, "momentum has another `when`"),
    ],
)
def test_what_would_make_another_thing_of_what_was_tried_is_refused(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    folder = begun(tmp_path / "r", spec_of(PARAMETERS))
    study = opened(folder, spec_of(PARAMETERS))
    before = ask(folder, study, "random", 12)
    study.close()
    parameters = {name: node for name, node in {**PARAMETERS, **change}.items() if node is not None}
    # As a user changes it in the run folder.
    text, origin = (folder / SPEC_FILE).read_text(), read_spec(folder)[1]
    with pytest.raises(SpecError) as refused:
        opened(folder, spec_of(parameters))
    assert told in str(refused.value)
    assert f"start_from: [{folder}]" in str(refused.value)
    assert (folder / SPEC_FILE).read_text() == text
    assert read_spec(folder)[1] == origin
    # Nothing is left half done, and the reader of a file that was changed sees what was tried.
    reader = Study(folder, "s", None, [LOSS], SearchSpace.from_dict(parameters), write=False)
    assert reader.records() == before
    study = opened(folder, spec_of(PARAMETERS))
    assert study.records() == before
    study.close()


def test_a_range_may_become_narrower_where_nothing_was_tried_beyond(tmp_path: Path) -> None:
    folder = begun(tmp_path / "r", spec_of(PARAMETERS))
    study = opened(folder, spec_of(PARAMETERS))
    before = ask(folder, study, "random", 2)
    study.close()
    widths = [record.params["width"] for record in before]
    narrower = {**PARAMETERS, "width": {"min": min(widths), "max": max(widths)}}
    study = opened(folder, spec_of(narrower))
    assert study.records() == before
    study.recover()
    assert all(min(widths) <= record.params["width"] <= max(widths) for record in ask(folder, study, "random", 20))
    study.close()


def test_before_the_first_trial_anything_may_change(tmp_path: Path) -> None:
    folder = begun(tmp_path / "r", spec_of(PARAMETERS))
    opened(folder, spec_of(PARAMETERS)).close()
    other = spec_of({"depth": {"min": 1, "max": 3}})
    study = opened(folder, other)
    assert set(ask(folder, study, "random", 1)[0].params) == {"depth"}
    study.close()
    assert opened(folder, other).records()[0].params.keys() == {"depth"}


@pytest.mark.parametrize("method", ["grid", "random"])
def test_a_grid_that_has_grown_is_tried_whole_and_once(tmp_path: Path, method: str) -> None:
    kind = "values" if method == "grid" else "grid"
    small = spec_of({"a": {kind: [1, 2]}, "b": {kind: ["x", "y"]}, "fixed": 3}, method)
    large = spec_of({"a": {kind: [0, 1, 2]}, "b": {kind: ["x", "z", "y"]}, "fixed": 3}, method)
    folder = begun(tmp_path / "r", small)
    study = opened(folder, small)
    ask(folder, study, method, 3)
    study.close()
    study = opened(folder, large)
    study.recover()
    records = ask(folder, study, method, 99)
    study.close()
    cells = [(record.params["a"], record.params["b"]) for record in records]
    assert sorted(cells) == [(a, b) for a in (0, 1, 2) for b in ("x", "y", "z")]


def test_a_study_of_before_spaces_were_kept_is_known_by_its_trials(tmp_path: Path) -> None:
    folder = begun(tmp_path / "r", spec_of(PARAMETERS))
    study = Study(folder, "s", None, [LOSS], SearchSpace.from_dict(PARAMETERS), write=True)
    before = ask(folder, study, "random", 12)
    study.close()
    plain = copy.deepcopy(PARAMETERS)
    plain["lr"] = {"min": 1e-3, "max": 0.1}
    with pytest.raises(SpecError, match="lr had a logarithmic scale"):
        opened(folder, spec_of(plain))
    study = opened(folder, spec_of(WIDER))
    assert study.records() == before
    study.close()
