"""The task that people copy."""

import shutil
from pathlib import Path

import pytest

from tests.commands import tuner
from trainables import template

TEMPLATE = Path(template.__file__)
SWEEP = TEMPLATE.parents[1] / "search_spaces" / "template.yaml"


@pytest.mark.slow
def test_a_copy_of_it_is_trained_evaluated_exported_and_used(
    tmp_path: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(TEMPLATE, tmp_path / "mytask.py")
    sweep = SWEEP.read_text().replace("trainables.template:", "mytask:")
    (tmp_path / "mytask.yaml").write_text(sweep)
    monkeypatch.chdir(tmp_path)
    code, told = tuner("run", "mytask.yaml", "--id", "iris", "--address", cluster_address)
    assert code == 0, told
    assert "test_accuracy: " in told
    code, told = tuner("export", "runs/iris", "model")
    assert code == 0, told
    code, told = tuner("predict", "model", "5.1,3.5,1.4,0.2", "6.7,3.0,5.2,2.3")
    assert code == 0, told
    assert [line.partition("class=")[2].split()[0].strip(",") for line in told.splitlines()] == ["setosa", "virginica"]
