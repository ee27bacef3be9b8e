"""A model's settings in words: what each slot holds, what its encoder and decoder are."""

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from transformer_zoo.experiments.catalog import kind_of
from transformer_zoo.models.base import TransformerConfig
from transformer_zoo.models.parts import LayerConfig, Parts

SIZES = {"head_width", "n_kv_heads"}
"""Settings that belong to a model's size."""
RATES = {"dropout", "input_dropout"}
"""Settings of training more than of architecture."""


def choice(config: Any, *, hidden: frozenset[str] = frozenset(RATES)) -> str:
    """A choice of a slot and what it sets otherwise than by default: `multihead (bias=false, scale=none)`."""
    told = [
        f"{f.name}={_value(value)}"
        for f in fields(config)
        if f.name not in hidden and not is_dataclass(value := getattr(config, f.name)) and value != _default(f)
    ]
    return kind_of(type(config)) + (f" ({', '.join(told)})" if told else "")


def side(config: TransformerConfig, parts: Parts) -> str:
    """A stack in a sentence: `12 layers of width 768, 12 heads, feed-forward 3072; attention multihead; …`."""
    shape = f"{parts.n_layers} layers of width {config.d_model}, {parts.n_heads} heads, feed-forward {parts.d_ff}"
    slots = [
        f"attention {choice(parts.attention)}",
        f"positions {choice(parts.positions)}",
        f"norm {choice(parts.norm)}, {choice(parts.norm_placement)}",
        f"feed-forward {choice(parts.feedforward)}",
    ]
    if kind_of(type(config.stack)) != "plain":
        slots.append(f"layers {choice(config.stack)}")
    return "; ".join([shape, *slots, *extras(config)])


def extras(config: TransformerConfig) -> list[str]:
    """What a stack does not tell: kinds of layer that follow each other, what is trained beside it."""
    return [*pattern(config), *([f"beside a {beside}"] if (beside := config.beside()) else [])]


def pattern(config: TransformerConfig) -> list[str]:
    """Which kinds of layer follow each other, and where each differs: `layers global, local, local …; local: attention …`; empty without."""
    if not config.pattern:
        return []
    kinds = [f"{name}: {different}" for name, kind in config.layers.items() if (different := differing(kind))]
    return [f"layers {', '.join(config.pattern)} …", *kinds]


def differing(kind: LayerConfig) -> str:
    """Where a kind of layer differs from its model: `positions rotary, attention multihead (window=64)`; empty where it does not."""
    return ", ".join(f"{f.name} {choice(value)}" for f in fields(kind) if (value := getattr(kind, f.name)) is not None)


def _default(f: Any) -> Any:
    return f.default_factory() if f.default_factory is not MISSING else f.default


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
