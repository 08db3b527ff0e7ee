import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

from tuner import export
from tuner.cli.main import cli
from tuner.errors import ControlError, ExportError, SpecError
from tuner.export import EXPORT_FILE, ONNX_FILE, PROGRAM_FILE, WEIGHTS_FILE, predict, write_model
from tuner.run_folder.marker import MARKER_FILE
from tuner.trial.portable import Portable


class Scaled(nn.Module):
    """A linear layer whose weight is needed and whose outputs depend on no neighbour."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(values * scale[:, None])
        return out


class Branching(nn.Module):
    """Python decides by the values: no program can follow it."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2 if float(values.sum()) > 0 else values


class Forgetful(nn.Module):
    """In a program the number that it has counted to stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return values * self.calls


def portable(model: nn.Module, **more: Any) -> Portable:
    return Portable(model.eval(), {"values": torch.rand(4, 3)}, {"values": {0: "rows"}}, **more)


def scaled() -> Portable:
    torch.manual_seed(0)
    inputs = {"values": torch.rand(4, 3), "scale": torch.rand(4)}
    return Portable(Scaled().eval(), inputs, {"values": {0: "rows"}, "scale": {0: "rows"}}, {"unit": "m"})


@pytest.mark.slow  # imports ONNX
def test_a_model_is_written_whole_and_gives_the_same_in_each_form(tmp_path: Path) -> None:
    given = scaled()
    told = write_model(given, {"trial": 3}, tmp_path / "out", onnx=True)
    assert set(told["largest_difference"]) == {PROGRAM_FILE, ONNX_FILE}
    assert all(difference < 1e-5 for difference in told["largest_difference"].values())
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {EXPORT_FILE, WEIGHTS_FILE, PROGRAM_FILE, ONNX_FILE} <= written
    config = json.loads((tmp_path / "out" / EXPORT_FILE).read_text())
    assert (config["trial"], config["config"]) == (3, {"unit": "m"})
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1, "all can be read by the same users"
    weights = load_file(tmp_path / "out" / WEIGHTS_FILE)
    assert weights.keys() == given.model.state_dict().keys()
    # Any number of rows, though the example had four.
    values, scale = torch.rand(9, 3), torch.rand(9)
    program = torch.export.load(tmp_path / "out" / PROGRAM_FILE).module()
    torch.testing.assert_close(program(values, scale), given.model(values, scale))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_without_onnx_the_rest_is_written(tmp_path: Path) -> None:
    write_model(scaled(), {}, tmp_path / "out", onnx=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        MARKER_FILE,
        EXPORT_FILE,
        WEIGHTS_FILE,
        PROGRAM_FILE,
    }


def test_what_can_not_be_exported_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"torch.export can't follow the model: "):
        write_model(portable(Branching()), {}, tmp_path / "out", onnx=False)
    with pytest.raises(ExportError, match=r"model.pt2 gives other outputs than the model: they differ by up to "):
        write_model(portable(Forgetful()), {}, tmp_path / "out", onnx=False)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_used_through_its_trainable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lengths.py").write_text(
        "def train(trial): ...\n"
        "def predict(config, model, inputs):\n"
        "    import torch\n"
        "    values = torch.tensor([[float(text)] * 3 for text in inputs])\n"
        "    for text, out in zip(inputs, model(values, torch.ones(len(inputs)))):\n"
        "        yield {'length': round(float(out[0]), 4), 'unit': config['unit']}\n"
    )
    monkeypatch.chdir(tmp_path)
    given = scaled()
    write_model(given, {"trainable": "lengths:train"}, tmp_path / "out", onnx=False)
    wanted = [float(given.model(torch.full((1, 3), value), torch.ones(1))[0, 0]) for value in (1.0, 2.0)]
    found = list(predict(tmp_path / "out", ["1", "2"]))
    assert [told["length"] for told in found] == pytest.approx(wanted, abs=1e-4)
    shown = CliRunner().invoke(cli, ["predict", str(tmp_path / "out"), "1", "-"], input="2\n")
    assert shown.output.splitlines() == [
        f"{text}\tlength={value:.3g} unit=m" for text, value in zip("12", wanted, strict=True)
    ]
    as_json = CliRunner().invoke(cli, ["predict", str(tmp_path / "out"), "1", "--json"])
    assert json.loads(as_json.output) == found[0]


def test_inputs_that_can_not_be_used_are_told(tmp_path: Path) -> None:
    told = {"trainable": "trainables.image_classification:train"}
    config = {"classes": ["a", "b"], "channels": 1, "image_size": 3}
    given = scaled()
    write_model(Portable(given.model, given.inputs, given.sizes, config), told, tmp_path / "out", onnx=False)
    with pytest.raises(ControlError, match=r"these inputs can't be used: unreadable images.*nothing\.png"):
        list(predict(tmp_path / "out", ["nothing.png"]))


@pytest.mark.parametrize("onnx", [True, False])
def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, onnx: bool) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ControlError, match=r"export needs safetensors.*: pip install safetensors") as caught:
        export._check_installed(onnx)
    assert ("onnxscript" in str(caught.value), "--no-onnx" in str(caught.value)) == (onnx, onnx)


def test_what_is_no_exported_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="is no exported model"):
        list(predict(tmp_path, ["1"]))
    write_model(scaled(), {"trainable": "tests.loops:descent"}, tmp_path / "out", onnx=False)
    with pytest.raises(SpecError, match=r"its module has no predict\(config, model, inputs\)"):
        list(predict(tmp_path / "out", ["1"]))
