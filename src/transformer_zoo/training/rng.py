"""The random generators a forward may draw from (dropout and the like): seeding, saving and putting back.

Data never draws from them; see `transformer_zoo.randomness`.
"""

import random
from typing import Any

import numpy as np
import torch

from transformer_zoo.randomness import hash_words, purpose_key
from transformer_zoo.training.parallel import World

_BITS = 63


def seed_generators(seed: int, world: World) -> None:
    """Seed Python, NumPy and torch (every device) from the run's seed and the process's rank."""
    key = int(hash_words(seed, purpose_key("forward"), world.rank)) % 2**_BITS
    random.seed(key)
    np.random.seed(key % 2**32)
    torch.manual_seed(key)


def generator_states(device: torch.device, world: World) -> dict[str, Any]:
    """The states of all processes, as tensors, ints and tuples that `torch.load(weights_only=True)` reads. All processes must ask."""
    legacy: Any = np.random.get_state(legacy=True)
    _, keys, place, has_gauss, gauss = legacy
    own = {
        "python": random.getstate(),
        "numpy": {"keys": torch.from_numpy(keys.astype(np.int64)), "place": int(place), "has_gauss": int(has_gauss), "gauss": float(gauss)},
        "cpu": torch.get_rng_state(),
        "device": _device_state(device),
    }
    return {"ranks": world.collect(own)}


def restore_generators(states: dict[str, Any], seed: int, device: torch.device, world: World) -> None:
    """Put back this process's states; a process that is new since then is seeded."""
    if world.rank >= len(states["ranks"]):
        seed_generators(seed, world)
        return
    own = states["ranks"][world.rank]
    random.setstate(own["python"])
    numpy_state = own["numpy"]
    keys = numpy_state["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, numpy_state["place"], numpy_state["has_gauss"], numpy_state["gauss"]))
    torch.set_rng_state(own["cpu"])
    if own["device"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(own["device"], device)
    if own["device"] is not None and device.type == "mps":
        torch.mps.set_rng_state(own["device"])


def _device_state(device: torch.device) -> torch.Tensor | None:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    if device.type == "mps":
        return torch.mps.get_rng_state()
    return None
