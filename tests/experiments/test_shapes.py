"""What is remembered of tensors without memory is what PyTorch itself would give."""

from typing import Any

import pytest
import torch
from torch import Tensor

from transformer_zoo.experiments import shapes
from transformer_zoo.experiments.shapes import run_on_meta

aten = torch.ops.aten


def told(result: Any) -> Any:
    """Shape, strides and kind of every tensor."""
    parts = result if isinstance(result, tuple) else (result,)
    return [(part.shape, part.stride(), part.dtype, part.device.type) if isinstance(part, Tensor) else part for part in parts]


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


CALLS: list[tuple[Any, tuple[Any, ...]]] = [
    (aten.mul.Tensor, (meta(4, 1, 5), meta(3, 5))),
    (aten.mul.Tensor, (meta(4, dtype=torch.int64), 2)),
    (aten.mul.Tensor, (meta(4, dtype=torch.int64), 2.0)),
    (aten.add.Tensor, (meta(6, 4).t(), meta(6, 4).t())),
    (aten.native_layer_norm.default, (meta(2, 3, 8), [8], meta(8), meta(8), 1e-5)),
    (aten.cat.default, ([meta(2, 3), meta(2, 5)], 1)),
    (aten.cat.default, ([meta(2, 3), meta(4, 3)], 0)),
    (aten.sum.dim_IntList, (meta(2, 3, 4), [0, 2], True)),
    (aten._softmax.default, (meta(2, 3, 3), -1, False)),
    (aten.embedding.default, (meta(10, 4), meta(2, 3, dtype=torch.int64))),
]


class Counted:
    """An operator that counts how often it is asked."""

    def __init__(self, function: Any) -> None:
        self.function, self._schema, self.asked = function, function._schema, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return self.function(*args, **kwargs)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_known", {})


@pytest.mark.parametrize(("function", "args"), CALLS)
def test_the_second_answer_is_the_first_and_torchs_own(function: Any, args: tuple[Any, ...]) -> None:
    counted = Counted(function)
    assert told(run_on_meta(counted, args, {})) == told(run_on_meta(counted, args, {})) == told(function(*args))
    assert counted.asked == 1


def test_other_values_and_kinds_are_other_questions() -> None:
    for function, args in CALLS:
        run_on_meta(function, args, {})
    assert [told(run_on_meta(function, args, {})) for function, args in CALLS] == [told(function(*args)) for function, args in CALLS]


def test_what_shares_memory_or_has_values_is_never_answered_from_memory() -> None:
    x, real = meta(4, 6), torch.arange(3.0)
    for function, args, kwargs in (
        (aten.view.default, (x, [24]), {}),
        (aten.add_.Tensor, (x, 1.0), {}),
        (aten.mul.Tensor, (real, 2.0), {}),
        (aten.arange.default, (3,), {"device": torch.device("cpu")}),
    ):
        counted = Counted(function)
        run_on_meta(counted, args, kwargs)
        run_on_meta(counted, args, kwargs)
        assert counted.asked == 2
