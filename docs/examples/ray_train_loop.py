"""A Ray Train loop, unchanged, as a trainable: `ray.train.report` reports to tuner."""

import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

import tuner


def loop(config: dict[str, Any]) -> None:
    model = ray.train.torch.prepare_model(torch.nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    x = torch.linspace(0, 1, 32).reshape(-1, 1)
    for epoch in range(5):
        loss = ((model(x) - 2 * x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with tempfile.TemporaryDirectory() as folder:
            torch.save(model.state_dict(), Path(folder) / "model.pt")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"loss": loss.item(), "epoch": epoch}, checkpoint=checkpoint)


if __name__ == "__main__":
    sweep = tuner.Sweep(
        tuner.from_ray_train(loop),
        parameters={"lr": {"min": 0.01, "max": 1.0, "distribution": "log_uniform_values"}},
        metric={"name": "loss"},
        resources={"workers": 1, "cpu": 1},  # workers: 4 trains each trial on four processes
        run_cap=4,
    )
    print(sweep.run().best)
