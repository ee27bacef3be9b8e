"""The matrix products of a model, from its sizes alone: which shapes occur, and how many operations they are.

Only products count, a multiplication and an addition as two operations. Scores over the vocabulary count where a target is predicted and
nowhere else; attention counts all pairs of positions, also where a causal mask hides half of them, as is usual (Chowdhery et al. 2022,
https://arxiv.org/abs/2204.02311, appendix B).
"""

from collections.abc import Iterable
from dataclasses import dataclass

PROJECTIONS, SCORES, FEEDFORWARD, VOCABULARY = "attention projections", "attention scores", "feed-forward", "vocabulary"
TRAINING_PASSES = 3
"""A backward pass has two products for each of the forward's: one for the input's gradient, one for the weight's."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """`[rows, inner] · [inner, columns]`, `batch` of them at once, `times` in a forward pass."""

    part: str
    rows: int
    inner: int
    columns: int
    batch: int = 1
    """Above 1 both factors are activations, in attention."""
    times: int = 1

    @property
    def operations(self) -> int:
        """Of a forward pass."""
        return 2 * self.rows * self.inner * self.columns * self.batch * self.times


def stack(
    *,
    n_layers: int,
    d_model: int,
    d_ff: int,
    n_heads: int,
    n_rows: int,
    length: int,
    memory: int | None = None,
    gated: bool = False,
    predicted: int | None = None,
) -> list[Product]:
    """The layers over `n_rows` rows of `length` tokens; with cross-attention to `memory` tokens where that is given. Of an encoder that predicts
    `predicted` tokens of all rows the last layer goes on after attention with those alone."""
    tokens, width = n_rows * length, d_model // n_heads
    after_attention = [(tokens, n_layers)] if predicted is None else [(tokens, n_layers - 1), (predicted, 1)]
    products = [
        Product(part=PROJECTIONS, rows=tokens, inner=d_model, columns=3 * d_model, times=n_layers),
        Product(part=SCORES, rows=length, inner=width, columns=length, batch=n_rows * n_heads, times=n_layers),
        Product(part=SCORES, rows=length, inner=length, columns=width, batch=n_rows * n_heads, times=n_layers),
    ]
    for rows, layers in after_attention:
        if layers:
            products += [
                Product(part=PROJECTIONS, rows=rows, inner=d_model, columns=d_model, times=layers),
                Product(part=FEEDFORWARD, rows=rows, inner=d_model, columns=d_ff, times=layers * (1 + gated)),
                Product(part=FEEDFORWARD, rows=rows, inner=d_ff, columns=d_model, times=layers),
            ]
    if memory is not None:
        products += [
            Product(part=PROJECTIONS, rows=tokens, inner=d_model, columns=d_model, times=2 * n_layers),
            Product(part=PROJECTIONS, rows=n_rows * memory, inner=d_model, columns=2 * d_model, times=n_layers),
            Product(part=SCORES, rows=length, inner=width, columns=memory, batch=n_rows * n_heads, times=n_layers),
            Product(part=SCORES, rows=length, inner=memory, columns=width, batch=n_rows * n_heads, times=n_layers),
        ]
    return products


def vocabulary(*, d_model: int, vocab_size: int, scored: int, transform: bool = False) -> list[Product]:
    """The head at `scored` positions; with BERT's projection in front where `transform`."""
    products = [Product(part=VOCABULARY, rows=scored, inner=d_model, columns=vocab_size)]
    if transform:
        products.insert(0, Product(part=VOCABULARY, rows=scored, inner=d_model, columns=d_model))
    return products


def forward_operations(products: Iterable[Product]) -> int:
    return sum(product.operations for product in products)


def training_operations(products: Iterable[Product]) -> int:
    """Of a forward and a backward pass."""
    return TRAINING_PASSES * forward_operations(products)


def by_part(products: Iterable[Product]) -> dict[str, int]:
    """Operations of a forward pass by part of the model."""
    found: dict[str, int] = {}
    for product in products:
        found[product.part] = found.get(product.part, 0) + product.operations
    return found
