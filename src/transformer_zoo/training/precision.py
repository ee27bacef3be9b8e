"""Device and number format: which device is meant, and the autocast context a forward runs in."""

import contextlib
import logging
from contextlib import AbstractContextManager

import torch

from transformer_zoo.errors import ConfigError
from transformer_zoo.training.parallel import World

logger = logging.getLogger(__name__)


def resolve_device(name: str, world: World | None = None) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; a device asked for by name must be there. Under torchrun a process takes its own GPU.

    Raises:
        ConfigError: the device is not on this machine, or its name is unknown.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if name == "mps" and world is not None and world.size > 1:
            name = "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name}: unknown device; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"device={name}: no CUDA device is usable here (torch {torch.__version__}); use device=cpu or device=auto")
        index = device.index if device.index is not None else (world.local_rank if world is not None else 0)
        if index >= torch.cuda.device_count():
            raise ConfigError(f"device=cuda:{index}: this machine has {torch.cuda.device_count()} CUDA devices, numbered from 0")
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps: no Apple GPU is usable here; use device=cpu or device=auto")
    if device.type not in ("cpu", "mps"):
        raise ConfigError(f"device={name}: not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


class Precision:
    """`fp32`, `bf16` (autocast: weights stay float32) or `auto` (bf16 on a CUDA device that computes in it, fp32 elsewhere)."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.device = device
        able = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
        if name == "auto":
            name = "bf16" if device.type == "cuda" and able else "fp32"
        if name == "bf16" and not able:
            raise ConfigError(f"training.precision=bf16: {torch.cuda.get_device_name(device)} cannot; use training.precision=fp32")
        self.name = name

    def autocast(self) -> AbstractContextManager[None]:
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)
