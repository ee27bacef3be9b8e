"""Where a token stands: three doors, identity by default.

`embed` adds to the embeddings (learned, sinusoidal), a site's `rotate` turns queries and keys (rotary), a site's `bias` adds to the scores (ALiBi,
T5). A site is the scheme evaluated for one role of one layer; it is computed once per forward and shared by all layers with the same `site_key`.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from transformer_zoo.layers.initialization import InitializationConfig
from transformer_zoo.layers.rotation import rotate_half
from transformer_zoo.settings import Config, NaturalInt, OneOf, PositiveFloat, PositiveInt, Range


@dataclass
class Site:
    """Positions as one attention sees them: cosines and sines for queries and keys, and an additive score bias."""

    query_rotation: tuple[Tensor, Tensor] | None = None  # 2 x [B|1, 1, T, R/2]
    key_rotation: tuple[Tensor, Tensor] | None = None  # 2 x [B|1, 1, S', R/2], S' the keys computed in this forward
    bias: Tensor | None = None  # [B|1, H, T, S]

    def rotate(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [B,H,T,E] and new keys [B,H,S',E], turned by their positions."""
        if self.query_rotation is None or self.key_rotation is None:
            return queries, keys
        return rotate_half(queries, *self.query_rotation), rotate_half(keys, *self.key_rotation)


@dataclass(kw_only=True)
class PositionShape:
    """The sizes a parent gives a position scheme."""

    d_model: int
    embedding_width: int
    n_heads: int
    head_width: int
    max_length: int
    causal: bool


@dataclass(kw_only=True)
class PositionsConfig(Config):
    """How a model knows the order of its tokens."""

    slot: ClassVar[str | None] = "model/positions"

    def head_problems(self, head_width: int) -> list[str]:
        """What does not fit heads of this width, with the numbers."""
        return []

    def build(self, shape: PositionShape) -> "Positions":
        raise NotImplementedError("abstract")


class Positions(nn.Module):
    """The contract; as it stands, no position information at all."""

    max_length: int | None = None
    """The longest sequence the scheme can place; None: any."""
    biased: bool = False
    """Whether sites carry a score bias (a kernel must then be able to add one)."""

    def embed(self, x: Tensor, index: Tensor) -> Tensor:
        """Embeddings [B,T,W] with positions `index` [T] or [B,T] added."""
        return x

    def share(self, other: "Positions") -> None:
        """Uses what `other`, of the same settings, adds to embeddings; what acts inside attention stays its own."""

    def site_key(self, layer: int) -> int:
        """Layers with equal keys share one site."""
        return 0

    def site(self, key: int, query_index: Tensor, key_index: Tensor) -> Site:
        """The self-attention site for queries at `query_index` [T] or [B,T] and keys at `key_index` [S] or [B,S]."""
        return Site()


@dataclass(kw_only=True)
class NoPositionsConfig(PositionsConfig):
    """No positions: order is invisible to an encoder, and only the causal mask betrays it to a decoder."""

    def build(self, shape: PositionShape) -> Positions:
        return Positions()


@dataclass(kw_only=True)
class LearnedConfig(PositionsConfig):
    """A learned vector for each position (Gehring et al. 2017; BERT, GPT-2)."""

    offset: NaturalInt = 0
    """Rows of the table in front of the first position's, kept for padding (RoBERTa, BART: 2)."""

    def build(self, shape: PositionShape) -> "LearnedPositions":
        return LearnedPositions(self, shape)


class LearnedPositions(Positions):
    """A table [offset + max_length, W]; position i is row offset + i."""

    def __init__(self, config: LearnedConfig, shape: PositionShape) -> None:
        super().__init__()
        self.max_length, self.offset = shape.max_length, config.offset
        self.table = nn.Embedding(config.offset + shape.max_length, shape.embedding_width)

    def initialize(self, law: InitializationConfig, residual_factor: float) -> None:
        law.position_table(self.table.weight)

    def share(self, other: Positions) -> None:
        assert isinstance(other, LearnedPositions)
        self.table = other.table

    def embed(self, x: Tensor, index: Tensor) -> Tensor:
        return x + self.table(index + self.offset if self.offset else index)


@dataclass(kw_only=True)
class SinusoidalConfig(PositionsConfig):
    """Fixed sines and cosines of geometric wavelengths (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5)."""

    base: PositiveFloat = 10000.0
    """The longest wavelength is 2π times this."""
    layout: Annotated[str, OneOf("interleaved", "halves")] = "interleaved"
    """`interleaved`: sines in the even features, cosines in the odd ones (the paper); `halves`: first all sines, then all cosines (tensor2tensor,
    Marian)."""

    def build(self, shape: PositionShape) -> "SinusoidalPositions":
        return SinusoidalPositions(self, shape)


class SinusoidalPositions(Positions):
    """Sines and cosines of each frequency, side by side or in two halves."""

    def __init__(self, config: SinusoidalConfig, shape: PositionShape) -> None:
        super().__init__()
        self.base, self.width = config.base, shape.embedding_width
        self._known: Tensor | None = None  # [N, W] the waves of the first positions
        self.pattern = "... w two -> ... (w two)" if config.layout == "interleaved" else "... w two -> ... (two w)"

    def embed(self, x: Tensor, index: Tensor) -> Tensor:
        if x.shape[1] == 1 and x.device.type == "cpu" and not torch.compiler.is_compiling():  # a token at a time: each of all positions, one by one
            return x + self._table(int(index.max()), x.dtype)[index]
        return x + self._waves(index, x.device).to(x.dtype)

    def _table(self, last: int, dtype: torch.dtype) -> Tensor:
        """[N, W] of the positions to `last` at least."""
        if self._known is None or len(self._known) <= last or self._known.dtype != dtype:
            self._known = self._waves(torch.arange(2 * last + 64), torch.device("cpu")).to(dtype)
        return self._known

    def _waves(self, index: Tensor, device: torch.device) -> Tensor:
        """Indices [...] -> [..., W], in double precision where there is one."""
        # In single precision an angle of some hundred turns would be off in the fifth digit; Apple's devices have nothing better.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        angles = index.unsqueeze(-1) * _frequencies(self.base, self.width, device, dtype)  # [..., ceil(W/2)]
        waves = torch.stack((angles.sin(), angles.cos()), dim=-1)  # [..., ceil(W/2), 2]
        return rearrange(waves, self.pattern)[..., : self.width]


@dataclass(kw_only=True)
class RotaryConfig(PositionsConfig):
    """Rotary embedding: queries and keys turned by angles that grow with position (Su et al. 2021, https://arxiv.org/abs/2104.09864)."""

    theta: PositiveFloat = 10000.0
    """Base of the geometric angles; larger for longer contexts."""
    rotated_share: Annotated[float, Range(0, 1, open_minimum=True)] = 1.0
    """Share of each head's features that is turned."""
    scaling: Annotated[str, OneOf("none", "linear", "llama3")] = "none"
    """How angles are stretched for longer texts than a model was first trained on. `linear`: all of them are divided by `factor` (Chen et al. 2023,
    https://arxiv.org/abs/2306.15595); `llama3`: only those that turn slowly (Grattafiori et al. 2024, https://arxiv.org/abs/2407.21783)."""
    factor: PositiveFloat = 1.0
    """By how much."""
    original_length: PositiveInt = 8192
    """`llama3`: tokens of the texts of the first training."""
    low_frequency: PositiveFloat = 1.0
    """`llama3`: angles with fewer turns than this within `original_length` are divided by the whole factor."""
    high_frequency: PositiveFloat = 4.0
    """`llama3`: angles with more turns than this stay; those between are blended."""

    def problems(self) -> list[str]:
        """Cross-field checks."""
        if self.scaling == "llama3" and self.high_frequency <= self.low_frequency:
            return [f"high_frequency={self.high_frequency:g} must exceed low_frequency={self.low_frequency:g}"]
        return []

    def head_problems(self, head_width: int) -> list[str]:
        rotated = int(head_width * self.rotated_share)
        if rotated % 2 == 0 and rotated > 0:
            return []
        return [f"rotary positions turn pairs of features, but {rotated} of {head_width} features per head would be turned; choose an even number"]

    def build(self, shape: PositionShape) -> "RotaryPositions":
        return RotaryPositions(self, shape)


class RotaryPositions(Positions):
    """Turns pairs of features of queries and keys; scores then depend on distances only."""

    def __init__(self, config: RotaryConfig, shape: PositionShape) -> None:
        super().__init__()
        self.config = config
        self.rotated_width = int(shape.head_width * config.rotated_share)

    def site(self, key: int, query_index: Tensor, key_index: Tensor) -> Site:
        # With a cache, only the newest keys are computed, and they stand where the queries stand.
        rotation = self._rotation(query_index)
        return Site(query_rotation=rotation, key_rotation=rotation)

    def _rotation(self, index: Tensor) -> tuple[Tensor, Tensor]:
        frequencies = stretched(_frequencies(self.config.theta, self.rotated_width, index.device), self.config)  # [R/2]
        angles = index.unsqueeze(-1) * frequencies  # [T or B,T, R/2]
        angles = rearrange(angles, "t r -> 1 1 t r") if angles.dim() == 2 else rearrange(angles, "b t r -> b 1 t r")
        return angles.cos(), angles.sin()


def stretched(frequencies: Tensor, config: RotaryConfig) -> Tensor:
    """Angles per token [R/2] as the scaling makes them."""
    if config.scaling == "none":
        return frequencies
    if config.scaling == "linear":
        return frequencies / config.factor
    turns = config.original_length * frequencies / (2 * math.pi)
    kept = ((turns - config.low_frequency) / (config.high_frequency - config.low_frequency)).clamp(0, 1)  # 0: divided, 1: as it is
    return kept * frequencies + (1 - kept) * frequencies / config.factor


@dataclass(kw_only=True)
class AlibiConfig(PositionsConfig):
    """Linear penalties on distance, one slope per head (Press et al. 2022, https://arxiv.org/abs/2108.12409)."""

    def build(self, shape: PositionShape) -> "AlibiPositions":
        return AlibiPositions(shape)


class AlibiPositions(Positions):
    """bias = -slope · |distance|; symmetric in an encoder."""

    biased = True
    slopes: Tensor

    def __init__(self, shape: PositionShape) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(shape.n_heads), persistent=False)

    def site(self, key: int, query_index: Tensor, key_index: Tensor) -> Site:
        distance = (_distance(query_index, key_index)).abs()  # [1|B,T,S]
        return Site(bias=-rearrange(self.slopes, "h -> 1 h 1 1") * rearrange(distance, "b t s -> b 1 t s"))


def alibi_slopes(n_heads: int) -> Tensor:
    """[H]: 2^(-8/n), 2^(-16/n) …; where H is no power of two, the missing ones are every second slope of twice the next smaller power."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    slopes += [2 ** (-4 * (2 * head + 1) / power) for head in range(n_heads - power)]
    return torch.tensor(slopes)


@dataclass(kw_only=True)
class T5Config(PositionsConfig):
    """A learned bias per head and bucket of distances, shared by all layers of a stack (Raffel et al. 2020, https://arxiv.org/abs/1910.10683)."""

    n_buckets: Annotated[int, Range(4)] = 32
    """Half for exact small distances, half for logarithmic ones; in an encoder half of both for each direction."""
    max_distance: PositiveInt = 128
    """Beyond this distance, in tokens, all fall into the last bucket."""

    def problems(self) -> list[str]:
        """Cross-field checks."""
        problems = [f"n_buckets={self.n_buckets} must be a multiple of 4"] if self.n_buckets % 4 else []
        if self.max_distance <= self.n_buckets // 2:
            problems.append(f"max_distance={self.max_distance} must exceed half of n_buckets={self.n_buckets}")
        return problems

    def build(self, shape: PositionShape) -> "T5Positions":
        return T5Positions(self, shape)


class T5Positions(Positions):
    """A table [buckets, H]."""

    biased = True

    def __init__(self, config: T5Config, shape: PositionShape) -> None:
        super().__init__()
        self.n_buckets, self.max_distance, self.causal = config.n_buckets, config.max_distance, shape.causal
        self.table = nn.Embedding(config.n_buckets, shape.n_heads)
        self.d_model = shape.d_model

    def initialize(self, law: InitializationConfig, residual_factor: float) -> None:
        law.bias_table(self.table.weight, self.d_model)

    def site(self, key: int, query_index: Tensor, key_index: Tensor) -> Site:
        buckets = t5_buckets(_distance(query_index, key_index), causal=self.causal, n_buckets=self.n_buckets, max_distance=self.max_distance)
        return Site(bias=rearrange(self.table(buckets), "b t s h -> b h t s"))


def t5_buckets(distance: Tensor, *, causal: bool, n_buckets: int, max_distance: int) -> Tensor:
    """Bucket of each `distance` = key position - query position, of any shape."""
    offset = torch.zeros_like(distance)
    if causal:
        distance = (-distance).clamp(min=0)
    else:
        n_buckets //= 2
        offset = (distance > 0) * n_buckets
        distance = distance.abs()
    exact = n_buckets // 2
    logarithmic = exact + (torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact) * (n_buckets - exact)).long()
    return offset + torch.where(distance < exact, distance, logarithmic.clamp(max=n_buckets - 1))


def _frequencies(base: float, width: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """[ceil(width/2)]: 1, base^(-2/width), base^(-4/width) …"""
    return 1.0 / base ** (torch.arange(0, width, 2, device=device, dtype=dtype) / width)


def _distance(query_index: Tensor, key_index: Tensor) -> Tensor:
    """[1|B, T, S] = key position - query position, from indices [T] or [B,T] and [S] or [B,S]."""
    queries = query_index if query_index.dim() == 2 else repeat(query_index, "t -> 1 t")
    keys = key_index if key_index.dim() == 2 else repeat(key_index, "s -> 1 s")
    return rearrange(keys, "b s -> b 1 s") - rearrange(queries, "b t -> b t 1")
