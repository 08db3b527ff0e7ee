"""What a classifier says of inputs, for people and programs; knows nothing of models or trials."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch


def predictions(inputs: Sequence[str], logits: torch.Tensor, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The most probable class of each input, and its probability; `logits` are `[n, classes]`."""
    probabilities, indices = logits.softmax(dim=1).max(dim=1)
    for given, probability, index in zip(inputs, probabilities.tolist(), indices.tolist(), strict=True):
        yield {"input": given, "class": classes[index], "probability": probability}
