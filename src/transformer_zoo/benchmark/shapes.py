"""The shapes that are measured."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a model and of a batch."""

    name: str
    n_layers: int
    """Layers; of each side, where there are two."""
    d_model: int
    n_heads: int
    vocab_size: int
    length: int = 128
    """Tokens of a row."""
    batch_size: int = 32
    """Rows of a batch."""

    @property
    def d_ff(self) -> int:
        return 4 * self.d_model

    @property
    def overrides(self) -> list[str]:
        """The same as settings of a recipe."""
        sizes = {"n_layers": self.n_layers, "d_model": self.d_model, "n_heads": self.n_heads, "d_ff": self.d_ff}
        return [f"model.{key}={value}" for key, value in sizes.items()]


SMALL = Shape(name="small", n_layers=4, d_model=256, n_heads=4, vocab_size=8192)
LARGER = Shape(name="larger", n_layers=6, d_model=512, n_heads=8, vocab_size=30522)
TINY = Shape(name="tiny", n_layers=1, d_model=16, n_heads=2, vocab_size=64, length=8, batch_size=4)
"""For a quick look whether everything works."""


def shapes(quick: bool) -> tuple[Shape, ...]:
    """Those of language models."""
    return (TINY,) if quick else (SMALL, LARGER)
