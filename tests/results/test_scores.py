import json
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import tabular
from tuner.results.scores import find_evaluate, score, write_report

CPU = torch.device("cpu")


def test_evaluate_is_found_in_the_trainables_module() -> None:
    assert find_evaluate(tabular.train) is tabular.evaluate
    assert find_evaluate(json.dumps) is None


def test_scores_and_report_are_told_apart_and_fit_for_json(tmp_path: Path) -> None:
    def evaluate(params: Any, state: Any, device: Any) -> dict[str, Any]:
        report = {"classes": {"a": {"auc": float("nan")}}, "rows": [(1, 2.5)], "text": "all is well\n"}
        return {"test_loss": params["x"] + state["y"], "test_auc": float("inf"), "report": report}

    scored = score(evaluate, {"x": 1}, {"y": 0.5}, CPU)
    assert scored.scores == {"test_loss": 1.5, "test_auc": None}
    write_report(tmp_path, scored.report)
    assert json.loads((tmp_path / "report.json").read_text()) == {"classes": {"a": {"auc": None}}, "rows": [[1, 2.5]]}
    assert (tmp_path / "report.txt").read_text() == "all is well\n"


def test_without_a_report_none_is_written(tmp_path: Path) -> None:
    scored = score(lambda params, state, device: {"test_loss": 1.0}, {}, {}, CPU)
    write_report(tmp_path, scored.report)
    assert list(tmp_path.iterdir()) == []


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError):
        score(lambda params, state, device: {"test_loss": "low"}, {}, {}, CPU)
