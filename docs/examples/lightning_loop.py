"""PyTorch Lightning: a callback reports each validation, and early stopping ends the fit."""

from pathlib import Path

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tuner


class Line(lightning.LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr, self.layer = lr, nn.Linear(1, 1)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Report(lightning.Callback):
    def __init__(self, trial: tuner.Trial) -> None:
        self.trial = trial

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.trial.dir / "saved" / "last.ckpt")
            self.trial.report(trainer.callback_metrics, state={}, files=self.trial.dir / "saved")


def train(trial: tuner.Trial) -> None:
    x = torch.linspace(0, 1, 64).reshape(-1, 1)
    data = DataLoader(TensorDataset(x, 2 * x), batch_size=16)
    trainer = lightning.Trainer(
        max_epochs=5,
        callbacks=[Report(trial)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    saved = trial.restore()
    last: Path | None = saved.files / "last.ckpt" if saved and saved.files else None
    trainer.fit(Line(trial.params["lr"]), data, data, ckpt_path=last)


if __name__ == "__main__":
    parameters = {"lr": {"min": 0.001, "max": 0.5, "distribution": "log_uniform_values"}}
    print(tuner.Sweep(train, parameters=parameters, metric={"name": "val_loss"}, run_cap=4).run().best)
