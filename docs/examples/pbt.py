"""Population based training whose learning rate is the trial's own, also after it copied another trial's state."""

import torch

import tuner


def train(trial: tuner.Trial) -> None:
    model = trial.prepare(torch.nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.params["lr"], momentum=0.9)
    saved = trial.restore()  # its own last state, or that of the better trial which it copies
    if saved:
        model.load_state_dict(saved["model"])
        # Not optimizer.load_state_dict: that brings back the other trial's learning rate.
        trial.load_optimizer(optimizer, saved["optimizer"])
    x = torch.linspace(0, 1, 64).reshape(-1, 1).to(trial.device)
    for _ in range(saved.step if saved else 0, 12):
        loss = ((model(x) - 2 * x - 1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        trial.report({"loss": loss, "lr": optimizer.param_groups[0]["lr"]}, state=state)


if __name__ == "__main__":
    sweep = tuner.Sweep(
        train,
        parameters={"lr": {"min": 0.001, "max": 0.3, "distribution": "log_uniform_values"}},
        metric={"name": "loss"},
        method="random",
        early_terminate={"type": "pbt", "interval": 3, "max_iter": 12},
        parallel=4,
        resources={"cpu": 0.5},
        run_cap=4,
    )
    results = sweep.run()
    for trial in results.trials:
        print(trial.number, [(step, params["lr"]) for step, params in trial.changes])
