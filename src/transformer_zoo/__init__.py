"""transformer_zoo: compose any Transformer from small parts, train it with any objective, compare fairly."""

__version__ = "0.1.0"
