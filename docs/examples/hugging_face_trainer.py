"""Hugging Face's Trainer: a callback reports each evaluation."""

from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

import tuner


class Report(TrainerCallback):
    def __init__(self, trial: tuner.Trial) -> None:
        self.trial = trial

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **rest: Any) -> None:
        self.trial.report({name: value for name, value in metrics.items() if name.startswith("eval_")})


def rows(seed: int, count: int) -> list[dict[str, Any]]:
    """Toy texts: the label says whether token 7 is in it. Put your tokenized data set here."""
    tokens = torch.randint(5, 12, (count, 8), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": text, "labels": int((text == 7).any())} for text in tokens]


def train(trial: tuner.Trial) -> None:
    config = BertConfig(vocab_size=32, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    args = TrainingArguments(
        output_dir=str(trial.dir / "trainer"),
        learning_rate=trial.params["lr"],
        per_device_train_batch_size=trial.params["batch_size"],
        num_train_epochs=3,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=trial.seed,
    )
    trainer = Trainer(
        BertForSequenceClassification(config),
        args,
        train_dataset=rows(0, 128),
        eval_dataset=rows(1, 64),
        callbacks=[Report(trial)],
    )
    trainer.train()


if __name__ == "__main__":
    sweep = tuner.Sweep(
        train,
        parameters={
            "lr": {"min": 1e-4, "max": 1e-2, "distribution": "log_uniform_values"},
            "batch_size": {"values": [8, 32]},
        },
        metric={"name": "eval_loss"},
        run_cap=4,
    )
    print(sweep.run().best)
