"""Loops as Ray Train's guide writes them, that know nothing of tuner but in their last lines."""

import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch.utils.data import DataLoader, TensorDataset

import tuner


def fit_line(config: dict[str, Any]) -> None:
    inputs = torch.arange(32.0).reshape(-1, 1) / 32
    loader = ray.train.torch.prepare_data_loader(DataLoader(TensorDataset(inputs, 2 * inputs), batch_size=4))
    model = ray.train.torch.prepare_model(torch.nn.Linear(1, 1))
    network = model.module if hasattr(model, "module") else model
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    context = ray.train.get_context()
    first = 1
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder) / "model.pt")
        network.load_state_dict(saved["model"])
        first = saved["epoch"] + 1
    for epoch in range(first, 6):
        for batch, wanted in loader:
            optimizer.zero_grad()
            loss = ((model(batch) - wanted) ** 2).mean()
            loss.backward()
            optimizer.step()
        mark = Path(config["marks"]) / "died"
        if config["dies"] and epoch == 4 and context.get_world_rank() == 0 and not mark.exists():
            mark.touch()
            os._exit(3)
        metrics = {"loss": loss.item(), "epoch": epoch, "world": context.get_world_size(), "pid": os.getpid()}
        metrics |= {"host": platform.node(), "classes": ["a", "b"]}
        with tempfile.TemporaryDirectory() as folder:
            if context.get_world_rank() == 0:
                torch.save({"model": network.state_dict(), "epoch": epoch}, Path(folder) / "model.pt")
                ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
            else:
                # As Lightning's callback does.
                ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))


train = tuner.from_ray_train(fit_line)
train_afresh = tuner.from_ray_train(fit_line, warm=False)
