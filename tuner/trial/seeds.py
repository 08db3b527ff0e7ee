"""Seeds of trials and of the random generators.

Every process of a trial imports this, so it must not import samplers.
"""

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, number: int) -> int:
    """A 32-bit seed for trial `number`, unrelated to the seeds of other trials."""
    digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def seed_everything(seed: int) -> None:
    """Seed `random`, `numpy` and `torch` (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
