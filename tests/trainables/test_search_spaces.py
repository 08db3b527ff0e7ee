"""The sweep files that come along: each describes configurations that its trainable takes."""

import importlib
import random
from pathlib import Path

import pytest

from tuner.spec.sweep_spec import SweepSpec

FILES = sorted(Path(__file__).parents[2].glob("search_spaces/*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_configuration_of_a_sweep_file_is_one_that_its_trainable_takes(path: Path) -> None:
    spec = SweepSpec.from_yaml(path)
    module = importlib.import_module(spec.trainable.partition(":")[0])
    if path.stem == "template":  # which checks its parameters as its copies do, not at all
        assert {parameter.name for parameter in spec.parameters.parameters} == set(module.PARAMETERS)
        return
    settings = module.Settings
    rng = random.Random(0)
    sampled = [spec.parameters.sample(rng) for _ in range(50)]
    known = [spec.parameters.complete(params, rng) for params in spec.start_with]
    for params in [*sampled, *known]:
        # Its data need not be at hand, nor a teacher.
        settings.from_params({name: value for name, value in params.items() if name not in ("dataset", "teacher")})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_usual_is_tried_first(path: Path) -> None:
    """It is what `tuner evaluate` compares the winner with."""
    spec = SweepSpec.from_yaml(path)
    assert spec.start_with
    varied = {parameter.name for parameter in spec.parameters.parameters if parameter.is_sampled}
    assert set(spec.start_with[0]) <= varied


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_weights_of_classes_are_not_searched_by_what_they_work_against(path: Path) -> None:
    spec = SweepSpec.from_yaml(path)
    varied = {parameter.name for parameter in spec.parameters.parameters if parameter.is_sampled}
    assert "class_weight" not in varied or "accuracy" not in {
        metric.name.removeprefix("val_") for metric in spec.metrics
    }
