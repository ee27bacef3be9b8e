"""A number of the device that the host asks for only later."""

import torch
from torch import Tensor


class Later:
    """Travels to the host while the device goes on with what it is given next. Asking for it on a CUDA device waits for what was queued before it,
    and for nothing that came after."""

    def __init__(self, value: Tensor) -> None:
        self._value = value.detach()
        self._arrived: torch.cuda.Event | None = None
        if value.device.type == "cuda":
            self._value = torch.empty((), dtype=value.dtype, pin_memory=True).copy_(self._value, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def __float__(self) -> float:
        if self._arrived is not None:
            self._arrived.synchronize()
        return float(self._value)
