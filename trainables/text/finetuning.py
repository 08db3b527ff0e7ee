"""The parameters of a trial that fine-tunes a pretrained transformer, whatever its task."""

from dataclasses import dataclass

from torch import nn

from trainables.text.pretrained import FINETUNES, MINILM, PretrainedEncoder, find_pretrained, layered_groups
from trainables.training.optim import ParamGroups
from trainables.training.settings import POSITIVE, SHARE, Allowed, Range
from trainables.training.training import RECIPE, Recipe


@dataclass(frozen=True)
class FineTuning(Recipe):
    """How a transformer is trained on, and a new head on it.

    Attributes:
        pretrained: minilm, the folder of a transformer, or its name on the hub.
        finetune: full trains all of the transformer, lora small matrices in it, head none of it.
        head_lr: learning rate of the head where the transformer learns with `lr`.
        layer_decay: factor of the learning rate from each layer of the transformer to the one below.
        lora_rank, lora_alpha: as in `PretrainedEncoder`.
    """

    pretrained: str = MINILM
    finetune: str = "full"
    dropout: float = 0.1
    head_lr: float = 3e-3
    layer_decay: float = 1.0
    lora_rank: int = 8
    lora_alpha: int = 16

    def make_encoder(self) -> PretrainedEncoder:
        """The transformer; blocks for a download where it is on the hub."""
        return PretrainedEncoder(
            self.pretrained,
            finetune=self.finetune,
            dropout=self.dropout,
            lora_rank=self.lora_rank,
            lora_alpha=self.lora_alpha,
        )

    def param_groups(self, model: nn.Module, encoder: PretrainedEncoder) -> ParamGroups:
        """Of a model that holds the encoder."""
        return layered_groups(
            model,
            encoder,
            lr=self.lr,
            head_lr=self.head_lr,
            layer_decay=self.layer_decay,
            weight_decay=self.weight_decay,
        )


FINE_TUNING: dict[str, Allowed] = {
    **RECIPE,
    "pretrained": find_pretrained,
    "finetune": FINETUNES,
    "dropout": SHARE,
    "head_lr": POSITIVE,
    "layer_decay": Range(0, 1, (True, False)),
    "lora_rank": Range(1, 256),
    "lora_alpha": Range(1),
}
