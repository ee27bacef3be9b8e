"""What a user would pick instead, at the same sizes: models of other packages with their own losses.

Every maker takes a shape and one rate of dropout, which it applies at the places where ours is: embeddings, the output of each residual
branch, and attention weights. Vocabulary matrices are tied to the embeddings, as ours are.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_zoo.benchmark.jobs import CAUSAL, MASKED, SPECIALS, Tokens
from transformer_zoo.benchmark.shapes import Shape
from transformer_zoo.errors import MissingExtraError
from transformer_zoo.records import IGNORED

EXTRA = "bench"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A model of another package."""

    module: nn.Module
    loss: Callable[[Tokens], Tensor]
    """The mean over what is predicted, made by the package's own means where it has any."""


Maker = Callable[[Shape, float], Peer]


def package(name: str) -> Any:
    """A package that only the benchmark needs.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # what others use of PyTorch is theirs to change
            return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name.replace("_", "-"), EXTRA, "the benchmark") from error


# --- transformers -------------------------------------------------------------------------------------------------------------------


def hugging_face_bert(shape: Shape, dropout: float) -> Peer:
    """`BertForMaskedLM` with SDPA."""
    transformers = package("transformers")
    config = transformers.BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.d_model,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        intermediate_size=shape.d_ff,
        max_position_embeddings=shape.length,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=SPECIALS.pad,
        attn_implementation="sdpa",
    )
    module = transformers.BertForMaskedLM(config)
    return Peer(module=module, loss=lambda tokens: module(input_ids=tokens.seen, labels=tokens.targets).loss)


def hugging_face_gpt2(shape: Shape, dropout: float) -> Peer:
    """`GPT2LMHeadModel` with SDPA."""
    transformers = package("transformers")
    config = transformers.GPT2Config(
        vocab_size=shape.vocab_size,
        n_embd=shape.d_model,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        n_inner=shape.d_ff,
        n_positions=shape.length,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=SPECIALS.begin,
        eos_token_id=SPECIALS.end,
        use_cache=False,
        attn_implementation="sdpa",
    )
    module = transformers.GPT2LMHeadModel(config)

    def loss(tokens: Tokens) -> Tensor:
        # The targets are shifted already; given as `labels` alone they would be shifted once more, at the same cost.
        found: Tensor = module(input_ids=tokens.seen, labels=tokens.targets, shift_labels=tokens.targets.flatten()).loss
        return found

    return Peer(module=module, loss=loss)


# --- x-transformers -----------------------------------------------------------------------------------------------------------------


def x_encoder(flash: bool) -> Maker:
    """x-transformers' `Encoder`, with its own attention or through PyTorch's SDPA."""
    return lambda shape, dropout: _x_transformer("Encoder", shape, dropout, flash)


def x_decoder(flash: bool) -> Maker:
    """x-transformers' `Decoder`, likewise, its logits scored by one call of PyTorch's cross-entropy."""
    return lambda shape, dropout: _x_transformer("Decoder", shape, dropout, flash)


def x_wrapped(flash: bool) -> Maker:
    """The same in x-transformers' own `AutoregressiveWrapper`, by which its README trains a decoder."""
    return lambda shape, dropout: _x_wrapped(shape, dropout, flash)


def _x_wrapped(shape: Shape, dropout: float, flash: bool) -> Peer:
    decoder = _x_transformer("Decoder", replace(shape, length=shape.length + 1), dropout, flash).module
    module = package("x_transformers").AutoregressiveWrapper(decoder, ignore_index=IGNORED)

    def loss(tokens: Tokens) -> Tensor:
        # It cuts inputs and targets itself, after the forward, and so reads one token more.
        found: Tensor = module(torch.cat((tokens.seen, tokens.targets[:, -1:]), dim=1))
        return found

    return Peer(module=module, loss=loss)


def _x_transformer(layers: str, shape: Shape, dropout: float, flash: bool) -> Peer:
    x_transformers = package("x_transformers")
    stack = getattr(x_transformers, layers)(
        dim=shape.d_model,
        depth=shape.n_layers,
        heads=shape.n_heads,
        attn_dim_head=shape.d_model // shape.n_heads,
        ff_mult=shape.d_ff / shape.d_model,
        attn_dropout=dropout,
        attn_sublayer_dropout=dropout,
        ff_sublayer_dropout=dropout,
        attn_flash=flash,
    )
    module = x_transformers.TransformerWrapper(
        num_tokens=shape.vocab_size, max_seq_len=shape.length, emb_dropout=dropout, tie_embedding=True, attn_layers=stack
    )
    return Peer(module=module, loss=lambda tokens: _mean_loss(module(tokens.seen), tokens))


# --- torch.nn -----------------------------------------------------------------------------------------------------------------------


class TorchLanguageModel(nn.Module):
    """`torch.nn.TransformerEncoder` between an embedding with learned positions and a tied vocabulary matrix, as its tutorials build it.

    Its layers drop inside the feed-forward, too, which cannot be left out. The causal one has a causal mask and the norm in front, as GPT-2;
    `torch.nn.TransformerDecoder` needs a memory and is of no use here.
    """

    def __init__(self, shape: Shape, dropout: float, causal: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocab_size, shape.d_model)
        self.positions = nn.Embedding(shape.length, shape.d_model)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            shape.d_model, shape.n_heads, shape.d_ff, dropout=dropout, activation="gelu", batch_first=True, norm_first=causal
        )
        norm = nn.LayerNorm(shape.d_model)
        self.stack = nn.TransformerEncoder(layer, shape.n_layers, norm=norm, enable_nested_tensor=False)
        self.causal = causal

    def forward(self, token_ids: Tensor) -> Tensor:
        """[B,T] -> logits [B,T,V]."""
        length = token_ids.shape[1]
        x = self.dropout(self.tokens(token_ids) + self.positions.weight[:length])  # [B,T,D]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=x.device) if self.causal else None
        return F.linear(self.stack(x, mask=mask, is_causal=self.causal), self.tokens.weight)


def torch_encoder(shape: Shape, dropout: float) -> Peer:
    """`torch.nn.TransformerEncoder`, bidirectional."""
    module = TorchLanguageModel(shape, dropout, causal=False)
    return Peer(module=module, loss=lambda tokens: _mean_loss(module(tokens.seen), tokens))


def torch_decoder(shape: Shape, dropout: float) -> Peer:
    """The same with a causal mask."""
    module = TorchLanguageModel(shape, dropout, causal=True)
    return Peer(module=module, loss=lambda tokens: _mean_loss(module(tokens.seen), tokens))


def _mean_loss(logits: Tensor, tokens: Tokens) -> Tensor:
    """The mean cross-entropy of logits [B,T,V]."""
    return F.cross_entropy(logits.flatten(0, 1), tokens.targets.flatten(), ignore_index=IGNORED)


PEERS: Mapping[str, Mapping[str, Mapping[str, Maker]]] = {
    MASKED.name: {
        "BertForMaskedLM": {"": hugging_face_bert},
        "x-transformers Encoder": {"attn_flash=True": x_encoder(True), "attn_flash=False": x_encoder(False)},
        "torch.nn.TransformerEncoder": {"": torch_encoder},
    },
    CAUSAL.name: {
        "GPT2LMHeadModel": {"": hugging_face_gpt2},
        "x-transformers Decoder": {"attn_flash=True": x_wrapped(True), "attn_flash=False": x_wrapped(False)},
        "x-transformers Decoder, plain cross-entropy": {"attn_flash=True": x_decoder(True), "attn_flash=False": x_decoder(False)},
        "torch.nn.TransformerEncoder, causal": {"": torch_decoder},
    },
}
"""Job → peer → its variants; of several the fastest is taken."""


def parameters_of(module: nn.Module) -> int:
    """How many are trained, tied ones once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
