"""Loops as Ray Train's guide writes them, that know nothing of tuner but in their last lines."""

import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed.checkpoint as dcp
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
            first = load(network, Path(folder)) + 1
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
            if epoch > 1:
                dcp.save({"model": network.state_dict(), "epoch": epoch}, checkpoint_id=folder)
            # Each worker holds a part of it, in the first epoch an empty one, as Lightning's callback has them.
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({} if context.get_world_rank() else metrics, checkpoint=checkpoint)
        if epoch > 1:
            with ray.train.get_checkpoint().as_directory() as folder:
                assert load(network, Path(folder)) == epoch, "not what was reported last"


def load(network: torch.nn.Module, folder: Path, *, alone: bool = False) -> int:
    """Put a checkpoint's weights into the network; its epoch."""
    saved: dict[str, Any] = {"model": network.state_dict(), "epoch": 0}
    dcp.load(saved, checkpoint_id=folder, no_dist=alone)
    network.load_state_dict(saved["model"])
    return int(saved["epoch"])


train = tuner.from_ray_train(fit_line)
train_afresh = tuner.from_ray_train(fit_line, warm=False)
