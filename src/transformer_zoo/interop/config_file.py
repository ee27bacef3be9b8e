"""Reading a `config.json`: every value is taken by name and checked, and what cannot be done is a problem that names key and value."""

from collections.abc import Collection, Mapping
from typing import Any

from transformer_zoo.errors import ConfigError

Plain = dict[str, Any]
"""Settings as nested plain data, with a `kind` on every node of a slot."""

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Their name → ours. `gelu_new`, `gelu_fast` and their like are one function, the tanh form, spelt in several ways."""
ACTIVATION_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu", "tanh": "tanh"}
"""Our name → the one of theirs that is written."""

PASSIVE = {
    "_name_or_path", "architectures", "auto_map", "bos_token_id", "chunk_size_feed_forward", "decoder_start_token_id", "dtype",
    "eos_token_id", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "id2label",
    "is_encoder_decoder", "label2id", "model_type", "num_labels", "output_attentions", "output_hidden_states", "output_past",
    "pad_token_id", "prefix", "problem_type", "pruned_heads", "return_dict", "sep_token_id", "task_specific_params", "tokenizer_class",
    "torch_dtype", "torchscript", "transformers_version", "use_bfloat16", "use_cache",
}  # fmt: skip
"""Keys that say nothing about what a model computes from token ids, or that are read elsewhere; they are kept and written again."""

DECODING: Mapping[str, tuple[Any, str | None]] = {
    "num_beams": (1, "beam_size"),
    "length_penalty": (1.0, "length_penalty"),
    "early_stopping": (False, "early_stopping"),
    "no_repeat_ngram_size": (0, "no_repeat_ngram"),
    "max_new_tokens": (None, "max_new_tokens"),
    "min_new_tokens": (None, "min_new_tokens"),
    "max_length": (20, "max_new_tokens"),
    "min_length": (0, "min_new_tokens"),
    "do_sample": (False, "temperature"),
    "repetition_penalty": (1.0, None),
    "encoder_no_repeat_ngram_size": (0, None),
    "suppress_tokens": (None, None),
    "begin_suppress_tokens": (None, None),
}
"""Their wishes of how a model should write, in `generation_config.json` or, in older files, in `config.json` → the value that wishes nothing, and our
setting of generation (None: we have none)."""


class ConfigFile:
    """The values of one `config.json`. A key that is absent or null has the default that the format gives it; each method returns a usable value
    and remembers what was wrong, so that `check` tells all problems at once."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json") -> None:
        self.values, self.where = dict(values), where
        self.problems: list[str] = []
        self._used: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it is."""
        self._used.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def count(self, key: str, default: int | None) -> Any:
        """A whole number at least 1, or the default."""
        return self._checked(key, default, "a whole number at least 1", lambda value: _is_whole(value) and value >= 1)

    def natural(self, key: str, default: int) -> int:
        """A whole number at least 0."""
        return self._checked(key, default, "a whole number at least 0", lambda value: _is_whole(value) and value >= 0)

    def positive(self, key: str, default: float) -> float:
        """A number above 0."""
        return self._checked(key, default, "a number above 0", lambda value: _is_number(value) and value > 0)

    def rate(self, key: str, default: float) -> float:
        """A rate of dropout: from 0 to below 1."""
        return self._checked(key, default, "a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        return self._checked(key, default, "true or false", lambda value: isinstance(value, bool))

    def word(self, key: str, default: str, choices: Collection[str]) -> str:
        """One of the words that can be done."""
        return self._checked(key, default, f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)

    def activation(self, key: str, default: str, names: Mapping[str, str] = ACTIVATIONS) -> str:
        """Our name of an activation that is given by theirs."""
        return names[self.word(key, default, names)]

    def only(self, key: str, *supported: Any) -> None:
        """A key of which only some values can be done, the first of them the default."""
        value = self.get(key, supported[0])
        if value not in supported or isinstance(value, bool) != isinstance(supported[0], bool):
            self.wrong(key, value, f"supported is {' or '.join(_shown(one) for one in supported)}")

    def passive(self, *keys: str) -> None:
        """Keys of the format that say nothing about the classes that can be read."""
        self._used |= set(keys)

    def n_classes(self) -> int:
        """Classes of a classifier: what `num_labels` or `id2label` say, else 2."""
        named = self.get("id2label")
        return self.count("num_labels", len(named) if isinstance(named, dict) and named else 2)

    def wrong(self, key: str, value: Any, expected: str) -> None:
        """Remembers a problem."""
        problem = f"{self.where}: {key}={_shown(value)} is not supported: {expected}"
        if problem not in self.problems:  # a key may be looked at several times
            self.problems.append(problem)

    def check(self) -> None:
        """Raises ConfigError with every problem found."""
        if self.problems:
            raise ConfigError(*self.problems)

    def unread(self) -> list[str]:
        """Keys that nobody has looked at and that are not known to be without effect."""
        return sorted(self.values.keys() - self._used - PASSIVE - DECODING.keys())

    def _checked(self, key: str, default: Any, expected: str, holds: Any) -> Any:
        value = self.get(key, default)
        if value is None or holds(value):
            return value
        self.wrong(key, value, f"expected {expected}")
        return default


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return {True: "true", False: "false", None: "null"}.get(value, repr(value)) if isinstance(value, bool | None) else repr(value)


def at(settings: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The value at a dotted path of nested settings; the default where a part of the path is missing."""
    node: Any = settings
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return default
        node = node[key]
    return node
