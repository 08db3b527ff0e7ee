"""A whole task to copy: train, evaluate on test data, export, predict; all but `train` may be left out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from torch import nn

import tuner

# What a sweep file may vary or `--set` give.
PARAMETERS = ("lr", "width", "epochs")
NAMES = ["setosa", "versicolor", "virginica"]


def load() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The same three parts in every trial."""
    x, y = map(torch.as_tensor, load_iris(return_X_y=True))
    rest, test = train_test_split(range(len(y)), test_size=30, random_state=0, stratify=y)
    train, val = train_test_split(rest, test_size=30, random_state=0, stratify=y[rest])
    return [(x[rows].float(), y[rows]) for rows in (train, val, test)]


def make_model(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


def train(trial: tuner.Trial) -> None:
    (x, y), (x_val, y_val), _ = trial.prepare(trial.shared("iris", load))
    model = trial.prepare(make_model(trial.params["width"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=trial.params["lr"])
    if saved := trial.restore():  # after an interruption; a loop without it starts again
        model.load_state_dict(saved["model"])
        trial.load_optimizer(optimizer, saved["optim"])
    for _ in range(saved.step if saved else 0, trial.params["epochs"]):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            accuracy = (model(x_val).argmax(1) == y_val).float().mean()
        trial.report({"val_accuracy": accuracy}, state={"model": model.state_dict(), "optim": optimizer.state_dict()})


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, float]:
    """On the test data, once, for the winner; the search never sees it."""
    (x, y), model = load()[2], make_model(params["width"])
    model.load_state_dict(state["model"])
    return {"test_accuracy": (model(x).argmax(1) == y).float().mean().item()}


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> tuner.Portable:
    model = make_model(params["width"])
    model.load_state_dict(state["model"])
    return tuner.Portable(model.eval(), {"x": torch.rand(2, 4)}, {"x": {0: "rows"}}, {"names": NAMES})


def predict(config: Mapping[str, Any], model: Any, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    for text in inputs:  # such as 5.1,3.5,1.4,0.2
        scores = model(torch.tensor([[float(number) for number in text.split(",")]])).softmax(1)[0]
        yield {"class": config["names"][int(scores.argmax())], "score": float(scores.max())}
