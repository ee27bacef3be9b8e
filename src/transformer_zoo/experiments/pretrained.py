"""The door for people with a model in a folder: `transformer_zoo.from_pretrained(path)`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import ConfigError, RunNotFoundError
from transformer_zoo.experiments.config import GenerateConfig
from transformer_zoo.experiments.convert import from_dict
from transformer_zoo.experiments.imported import is_imported, load_imported
from transformer_zoo.experiments.inputs import InputChecks, padded, text_of, whole_number
from transformer_zoo.experiments.loaded import WANTED, LoadedModel
from transformer_zoo.experiments.loaded_run import load_run
from transformer_zoo.experiments.public import load_public, open_public
from transformer_zoo.generation.base import GenerationConfig, inference
from transformer_zoo.generation.fill_mask import FilledText
from transformer_zoo.interop.files import is_public
from transformer_zoo.models.base import Model
from transformer_zoo.records import Inputs, SequenceInputs, TranslationInputs

BEAM = ("beam_size", "length_penalty", "length_penalty_form", "early_stopping")
SAMPLING = ("temperature", "top_k", "top_p")


def from_pretrained(path: str | Path, *, device: str = "auto", checkpoint: str = "best") -> "Pretrained":
    """A model with its weights and tokenizer, from a run (trained or imported) or from a folder in the Hugging Face format. It computes in float32.
    `checkpoint` is for runs: best, latest, or a name.

    Raises:
        RunNotFoundError: there is no such folder.
        ConfigError, CheckpointError, DataError: it does not hold a model that can be read, in one line.
    """
    if not isinstance(path, str | Path):
        raise ConfigError(f"path={path!r}: expected the folder of a model, as a text or a Path")
    path = Path(path)
    if is_imported(path):
        return Pretrained(load_imported(path, device=device, checkpoint=checkpoint))
    if (path / "config.yaml").is_file():
        return Pretrained(load_run(path, device=device, checkpoint=checkpoint).kept())
    if is_public(path) or (path.is_dir() and any(path.glob("*.safetensors"))):
        if checkpoint != "best":
            raise ConfigError(f"checkpoint={checkpoint!r}: {path} is a folder in the Hugging Face format, which has no checkpoints: leave it out")
        return Pretrained(load_public(open_public(path), device=device))
    raise RunNotFoundError(f"{path}: there is no model there (no config.yaml, imported.yaml or config.json; looked in {path.absolute()})")


class Pretrained:
    """A model ready for use. All calls run without dropout and without gradients.

    For gradients, and for training loops of one's own, use the model itself: `output = zoo.model(zoo.inputs(input_ids, attention_mask))`, then
    `output.hidden` and `output.heads["vocabulary"].logits()`. It is in evaluation mode until `zoo.model.train()`.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded

    @property
    def model(self) -> Model:
        return self.loaded.model

    @property
    def tokenizer(self) -> Tokenizer | None:
        """None where a model came without one; it then reads token ids only."""
        return self.loaded.tokenizer

    # --- tensors -------------------------------------------------------------------------------------------------------------------

    def logits(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        global_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """What the model's class scores: tokens [B,T,V] (of an encoder-decoder at the positions of `decoder_input_ids`), classes of texts [B,C] or of
        tokens [B,T,C], whether segments follow each other [B,2] (class 0: they do), whether tokens were replaced [B,T] (above 0: they were). On the
        device of `input_ids`, in float32.

        Raises:
            ConfigError: the model is a bare body, or an argument has a wrong shape, type or value.
        """
        name = self.loaded.primary
        if name is None:
            raise ConfigError(f"{self.loaded.path} holds a bare body without a head, so there are no logits: use hidden(…) or embed(…)")
        record = self.inputs(input_ids, attention_mask, token_type_ids, decoder_input_ids, global_attention_mask)
        if self.loaded.family is not None and global_attention_mask is None and isinstance(record, SequenceInputs):
            record = replace(record, global_positions=self.loaded.family.global_positions(name, record.token_ids, record.valid))
        with inference(self.model):
            scores = self.model(record).heads[name]
            if self.loaded.heads[name].kind == "vocabulary":
                scores = rearrange(scores.logits(), "(b t) v -> b t v", b=len(input_ids))
        if self.loaded.family is not None and name in self.loaded.family.reversed_classes:
            scores = scores.flip(-1)
        return scores.to(input_ids.device)

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        global_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """The last hidden states [B,T,D] (of an encoder-decoder those of the target), on the device of `input_ids`; arguments as for `logits`."""
        record = self.inputs(input_ids, attention_mask, token_type_ids, decoder_input_ids, global_attention_mask)
        with inference(self.model):
            return self.model(record).hidden.to(input_ids.device)

    def inputs(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        global_attention_mask: Tensor | None = None,
    ) -> Inputs:
        """The record that `model` takes, on its device, from tensors as the Hugging Face classes take them.

        `input_ids` [B,T]: whole numbers below the vocabulary's size. `attention_mask` [B,T]: 1 or True for tokens, 0 or False for padding, which may
        stand on either side. `token_type_ids` [B,T]: the segment of each token. `decoder_input_ids` [B,T']: the target, for encoder-decoders only.
        `global_attention_mask` [B,T]: 1 where a token sees, and is seen by, all.

        Raises:
            ConfigError: one of them has a wrong shape, type or value.
        """
        checks = InputChecks(self.loaded)
        source = checks.sequence("input_ids", input_ids, attention_mask, token_type_ids, global_attention_mask)
        if self.loaded.model_config.accepts is TranslationInputs:
            family = self.loaded.family
            if decoder_input_ids is None and family is not None:
                decoder_input_ids = family.targets(source.token_ids, self.loaded.ids)
            if decoder_input_ids is None:
                raise ConfigError("decoder_input_ids is missing: this model reads a source (input_ids) and the target so far (decoder_input_ids)")
            return TranslationInputs(source=source, target=checks.sequence("decoder_input_ids", decoder_input_ids, rows=len(input_ids)))
        if decoder_input_ids is not None:
            raise ConfigError("decoder_input_ids is given, but this model reads one sequence only: leave it out")
        return source

    # --- texts ---------------------------------------------------------------------------------------------------------------------

    def embed(self, texts: Sequence[str], pooling: str = "mean", batch_size: int = 32) -> Tensor:
        """One vector a text [N,D], on the CPU: the mean of the last hidden states over its tokens, or with `pooling="cls"` that of its first token.
        What else stands in the batch changes nothing. Of an encoder-decoder the source side is taken.

        Raises:
            ConfigError: an unknown pooling; `cls` for a causal model, whose first token has seen nothing of the text; what is no text, or
                has no tokens; a batch_size below 1.
            DataError: the model has no tokenizer.
        """
        if pooling not in ("mean", "cls"):
            raise ConfigError(f"pooling={pooling!r}: choose mean or cls")
        if pooling == "cls" and self.loaded.model_config.causal and self.loaded.model_config.accepts is not TranslationInputs:
            raise ConfigError("pooling='cls' takes the first token, which in a causal model sees nothing of the text: choose mean")
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise ConfigError("texts: give a list of texts, such as [text]")
        whole_number("batch_size", batch_size)
        rows = [self._row(text_of(text)) for text in texts]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # texts of one length share a batch
        vectors: dict[int, Tensor] = {}
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            vectors |= dict(zip(chosen, self._vectors([rows[i] for i in chosen], pooling).unbind(0), strict=True))
        width: Any = self.loaded.model_config
        return torch.stack([vectors[i] for i in range(len(rows))]) if rows else torch.zeros(0, width.d_model)

    def fill_mask(self, text: str, top_k: int = 5) -> FilledText:
        """The likeliest tokens for every `[MASK]` of a text, each mask by itself, and the text with the likeliest ones put in.

        Raises:
            ConfigError: the model fills no masks, `text` is no text or has no mask, or `top_k` is below 1.
            DataError: the model has no tokenizer.
        """
        self._wants("text")
        return self.loaded.texts.filled(text_of(text), whole_number("top_k", top_k))

    def generate(
        self,
        text: str,
        *,
        max_new_tokens: int | None = None,
        min_new_tokens: int = 0,
        no_repeat_ngram: int = 0,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        length_penalty_form: str | None = None,
        early_stopping: str | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> str:
        """A decoder continues the text (and gives it back with what follows), an encoder-decoder translates or answers it. Greedy, unless settings of
        beam search (`beam_size` and others) or of sampling (`temperature`, `top_k`, `top_p`) are given; see `BeamConfig` and `SamplingConfig`.

        Raises:
            ConfigError: the model does not write, or settings do not fit each other.
            DataError: the model has no tokenizer.
        """
        text_of(text)
        given = {
            "beam_size": beam_size,
            "length_penalty": length_penalty,
            "length_penalty_form": length_penalty_form,
            "early_stopping": early_stopping,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
        }
        given = {name: value for name, value in given.items() if value is not None}
        wants = self._wants("prompt", "source")
        shared = {"max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens, "no_repeat_ngram": no_repeat_ngram}
        settings = _decoding(given | shared)
        self.loaded.say_what_is_not_done(settings)
        generator = settings.build(seed=seed)
        texts = self.loaded.texts
        (written,) = texts.continued([text], generator) if wants == "prompt" else texts.answered([text], generator)
        return written

    def _wants(self, *fitting: str) -> str:
        wants = self.loaded.wanted()
        if wants not in fitting:
            call = {"text": "fill_mask(…)"}.get(wants, "generate(…)")
            raise ConfigError(f"{self.loaded.path} holds a model that takes {WANTED[wants]}: use {call}")
        return wants

    def _row(self, text: str) -> list[int]:
        ids = self.loaded.texts.token_ids(text)
        if not ids:
            raise ConfigError(f"the text {text!r} has no tokens")
        limit = self.model.max_length
        if limit is not None and len(ids) > limit:
            raise ConfigError(f"a text has {len(ids)} tokens and the model reads at most {limit}: shorten or split it ({text[:40]!r}…)")
        return ids

    def _vectors(self, rows: Sequence[Sequence[int]], pooling: str) -> Tensor:
        """[n,D] of rows of one batch."""
        ids, valid = padded(rows, self.loaded.pad or 0)
        source = InputChecks(self.loaded).sequence("texts", ids, valid)
        with inference(self.model):
            hidden = self._read(source).cpu()  # [n,T,D]
        if pooling == "cls":
            return hidden[:, 0]
        weights = rearrange(valid, "n t -> n t 1").to(hidden.dtype)
        return reduce(hidden * weights, "n t d -> n d", "sum") / reduce(weights, "n t 1 -> n 1", "sum")

    def _read(self, source: SequenceInputs) -> Tensor:
        model: Any = self.model
        return model.encode(source) if self.loaded.model_config.accepts is TranslationInputs else model(source).hidden


def _decoding(given: dict[str, Any]) -> GenerationConfig:
    """The settings of the one way of decoding that has all that is given."""
    beam, sampling = [name for name in BEAM if name in given], [name for name in SAMPLING if name in given]
    if beam and sampling:
        raise ConfigError(f"{', '.join(beam)} belong to beam search and {', '.join(sampling)} to sampling: give settings of one of them")
    kind = "beam" if beam else "sampling" if sampling else "greedy"
    config = from_dict(GenerateConfig, {"generation": given | {"kind": kind}}).generation
    assert config is not None
    return config
