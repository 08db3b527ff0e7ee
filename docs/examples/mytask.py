# mytask.py
import torch
from torch import nn

import tuner


def load_data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(-3, 3, 256).unsqueeze(1)
    return x, torch.sin(x)


def train(trial: tuner.Trial) -> None:
    x, y = trial.prepare(trial.cached("sine", load_data))
    width = trial.params["width"]
    model = trial.prepare(nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)))
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.params["lr"])
    state = trial.restore()
    if state is not None:
        model.load_state_dict(state["model"])
        trial.load_optimizer(optimizer, state["optimizer"])
    for step in range(state.step + 1 if state else 1, trial.params["epochs"] + 1):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        trial.report(
            {"loss": loss},
            step=step,
            state={"model": model.state_dict(), "optimizer": optimizer.state_dict()},
        )
