"""Plain tensors, as the Hugging Face classes take them, as records of ours, with every mistake told in one line."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.loaded import LoadedModel
from transformer_zoo.layers.masks import GlobalTokens, Mask
from transformer_zoo.records import SequenceInputs

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class InputChecks:
    """What one model can read."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.device = loaded.device

    def sequence(
        self,
        name: str,
        token_ids: Tensor,
        mask: Tensor | None = None,
        segments: Tensor | None = None,
        global_mask: Tensor | None = None,
        *,
        rows: int | None = None,
    ) -> SequenceInputs:
        """One side's record. `rows` is how many there must be.

        Raises:
            ConfigError: a tensor has a wrong shape, type or value.
        """
        ids = self._token_ids(name, token_ids, rows)
        if global_mask is not None and not self._knows_global_tokens():
            raise ConfigError("global_attention_mask is given, but this model has no attention with global tokens: leave it out")
        valid = self._flags("attention_mask", mask, name, ids)
        valid = None if valid is None or bool(valid.all()) else valid
        family = self.loaded.family
        sees_all = self._flags("global_attention_mask", global_mask, name, ids)
        return SequenceInputs(
            token_ids=ids,
            valid=valid,
            any_padding=valid is not None,
            positions=None if family is None else family.positions(ids, self.loaded.pad),
            last_at=None if family is None else family.last_at(ids, self.loaded.pad),
            segment_ids=self._segments(segments, name, ids),
            global_positions=sees_all if sees_all is None or valid is None else sees_all & valid,
        )

    def _token_ids(self, name: str, ids: Tensor, rows: int | None) -> Tensor:
        ids = self._whole(name, ids)
        if ids.dim() != 2 or 0 in ids.shape:
            raise ConfigError(f"{name} has the shape {list(ids.shape)}: expected [batch, length], neither of them 0")
        if rows is not None and len(ids) != rows:
            raise ConfigError(f"{name} has {len(ids)} rows, but input_ids has {rows}")
        size = len(self.loaded.model.get_parameter("embeddings.token.weight"))
        self._within(name, ids, size, f"the vocabulary has {size} tokens")
        limit = self.loaded.model.max_length
        if limit is not None and ids.shape[1] > limit:
            raise ConfigError(f"{name} has rows of {ids.shape[1]} tokens, but the model reads at most {limit}: shorten them")
        return ids

    def _knows_global_tokens(self) -> bool:
        masks = [getattr(module, "own_mask", None) for module in self.loaded.model.modules()]
        return any(GlobalTokens() in mask.leaves() for mask in masks if isinstance(mask, Mask))

    def _segments(self, segments: Tensor | None, name: str, ids: Tensor) -> Tensor | None:
        if segments is None:
            return None
        segments = self._whole("token_type_ids", segments)
        self._same_shape("token_type_ids", segments, name, ids)
        kinds = to_dict(self.loaded.model_config)["embeddings"].get("n_segments", 0)
        if not kinds:
            raise ConfigError("token_type_ids is given, but this model knows no segments: leave it out")
        self._within("token_type_ids", segments, kinds, f"the model knows {kinds} kinds of segment")
        return segments

    def _flags(self, what: str, flags: Tensor | None, name: str, ids: Tensor) -> Tensor | None:
        """0 and 1, or False and True, as booleans."""
        if flags is None:
            return None
        if not isinstance(flags, Tensor) or flags.dtype.is_complex:
            raise ConfigError(f"{what} is {_kind(flags)}: expected a tensor of 0 and 1, numbers or booleans")
        self._same_shape(what, flags, name, ids)
        if flags.dtype != torch.bool and not bool(((flags == 0) | (flags == 1)).all()):
            wrong = flags[(flags != 0) & (flags != 1)][0]
            raise ConfigError(f"{what} holds {wrong.item()}: expected only 0 and 1")
        return flags.to(self.device).bool()

    def _whole(self, name: str, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, Tensor) or tensor.dtype not in WHOLE:
            raise ConfigError(f"{name} is {_kind(tensor)}: expected a tensor of whole numbers, such as torch.int64")
        return tensor.to(self.device).long()

    def _same_shape(self, what: str, tensor: Tensor, name: str, ids: Tensor) -> None:
        if tensor.shape != ids.shape:
            raise ConfigError(f"{what} has the shape {list(tensor.shape)}, but {name} has {list(ids.shape)}: they must be equal")

    def _within(self, name: str, tensor: Tensor, size: int, why: str) -> None:
        outside = (tensor < 0) | (tensor >= size)
        if bool(outside.any()):
            row, column = (int(i) for i in outside.nonzero()[0])
            raise ConfigError(f"{name}[{row}, {column}] is {int(tensor[row, column])}, but {why}: expected 0 to {size - 1}")


def whole_number(name: str, value: object) -> int:
    """An argument that must be a whole number at least 1.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name}={value!r}: expected a whole number at least 1")
    return value


def text_of(value: object) -> str:
    """An argument that must be a text.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, str):
        raise ConfigError(f"text={value!r}: expected a text")
    return value


def _kind(value: object) -> str:
    return f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"of the type {type(value).__name__}"


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as ids [N,T] padded at the end, and where they are no padding [N,T]."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.int64)
    valid = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)], valid[i, : len(row)] = torch.tensor(row), True
    return ids, valid
