"""Named, reproducible randomness. What belongs here: seeds made from names, nothing simulated.

Every quantity of the simulation draws from its own generator, named by what it stands for
(seed, purpose, symbol). Adding a quantity, asking in another order or for a later day therefore
changes no other number.
"""

import hashlib
import random

import numpy as np


def stable_hash(*names: object) -> int:
    """64-bit integer that depends on ``names`` alone, equal in every process."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def fraction(*names: object) -> float:
    """Number in [0, 1) that depends on ``names`` alone."""
    return stable_hash(*names) / 2**64


def between(low: float, high: float, *names: object) -> float:
    """Number in [low, high) that depends on ``names`` alone."""
    return low + (high - low) * fraction(*names)


def generator(*names: object) -> np.random.Generator:
    """NumPy generator seeded by ``names``."""
    return np.random.Generator(np.random.PCG64(stable_hash(*names)))


def small_random(*names: object) -> random.Random:
    """Standard-library generator seeded by ``names``; ten times cheaper to make than NumPy's."""
    return random.Random(stable_hash(*names))
