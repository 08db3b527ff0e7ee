import math

import numpy as np
import torch

from trainables.text.confidence import confidence_of, threshold_of
from trainables.text.texts import UNKNOWN


def test_the_threshold_is_the_one_that_tells_best() -> None:
    logits = torch.tensor([[4.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.2, 0.0], [0.0, 0.1]])
    labels = torch.tensor([0, 1, 0, UNKNOWN, UNKNOWN])
    threshold = threshold_of(labels, logits)
    confidence = confidence_of(logits)
    assert ((confidence < threshold) == np.array([False, False, False, True, True])).all()
    none = threshold_of(torch.zeros(5, dtype=torch.int64), logits)
    assert (confidence < none).mean() <= 0.2
    assert threshold_of(labels, torch.full((5, 2), math.nan)) == 0.0
