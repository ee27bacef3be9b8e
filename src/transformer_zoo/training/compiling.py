"""Whether a model is compiled, and why."""

from dataclasses import dataclass
from importlib.util import find_spec

import torch

OLDEST_CAPABILITY = (7, 0)
"""Of CUDA devices that triton writes kernels for."""


@dataclass(frozen=True, kw_only=True)
class Compilation:
    """What was decided."""

    compiled: bool
    reason: str

    def __str__(self) -> str:
        return f"{'compiled' if self.compiled else 'not compiled'}: {self.reason}"


def choose(setting: bool | str, device: torch.device) -> Compilation:
    """What `training.compile` (true, false or auto) comes to on a device."""
    if setting != "auto":
        return Compilation(compiled=bool(setting), reason=f"training.compile={str(setting).lower()}")
    if device.type != "cuda":
        return Compilation(compiled=False, reason=f"training.compile=auto compiles on CUDA only, where it gains something; this is {device.type}")
    if find_spec("triton") is None:
        return Compilation(compiled=False, reason="training.compile=auto finds no triton, which writes the kernels: install triton")
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_CAPABILITY:
        return Compilation(
            compiled=False, reason=f"training.compile=auto finds a device of compute capability {'.'.join(map(str, capability))}, below 7.0"
        )
    return Compilation(compiled=True, reason="training.compile=auto finds a CUDA device and triton")
