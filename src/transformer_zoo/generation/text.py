"""From text to text: continuing prompts and translating sources with a tokenizer around a decoder."""

import logging
from collections.abc import Sequence

import torch

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import ConfigError
from transformer_zoo.generation.base import Continuation, DecodableModel, Generated, Generator, Translation

logger = logging.getLogger(__name__)


def continue_prompts(
    model: DecodableModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    generator: Generator,
    *,
    begins_document: bool = False,
    prefix: bool = False,
    reads_sentinels: bool = False,
    window: int | None = None,
    device: torch.device | str = "cpu",
) -> list[str]:
    """Each prompt with what the model makes of it, up to the end of the document or the generator's limit.

    `begins_document` sets the token in front that begins a document in training; an empty prompt always has it. Without it a prompt is
    text from anywhere in a document. With `prefix` the tokens of a prompt see each other, as in training by prefixes. With `reads_sentinels` a
    sentinel spelled in a prompt is that token, and is spelled out in what comes back. `window` is how many tokens are read at once, where that
    should be fewer than the model can: the length it was trained on, beyond which it knows no positions. A longer text goes on from its last half.

    Raises:
        ConfigError: a prompt is empty and the tokenizer has no token that begins a document.
    """
    specials = tokenizer.vocabulary.specials
    begin = specials.begin if specials.begin is not None else specials.cls
    end = specials.end if specials.end is not None else specials.sep
    encoded = tokenizer.encode_batch(prompts, specials=reads_sentinels)
    framed = [[begin, *ids] if begin is not None and (begins_document or not ids) else ids for ids in encoded]
    request = Continuation(
        prefixes=framed,
        pad=specials.pad,
        end=end,
        forbidden=never_written(tokenizer, end),
        prefix=prefix,
        window=window,
        probabilities=False,
        device=device,
    )
    rows = generator.generate(model, request)
    # Decoded as one text: where prompt and continuation meet, some tokenizers join words.
    whole = [[*ids, *row.token_ids] for ids, row in zip(encoded, rows, strict=True)]
    return [written(tokenizer, ids) if reads_sentinels else tokenizer.decode(ids) for ids in whole]


def translate(
    model: DecodableModel,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    generator: Generator,
    *,
    start: str = "begin",
    reads_specials: bool = False,
    index: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> list[str]:
    """The translation of each source, or whatever else a model writes that was trained to read one text and to write another. `start` names the
    special token it begins with; with `reads_specials` a special token spelled in a source is that token. `index` numbers the rows, as the
    key of random draws.

    Raises:
        ConfigError: the tokenizer has no such token, or no end token.
    """
    rows = translate_rows(
        model, tokenizer, sources, generator, start=start, reads_specials=reads_specials, index=index, device=device, probabilities=False
    )
    return [written(tokenizer, row.token_ids) for row in rows]


def translate_rows(
    model: DecodableModel,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    generator: Generator,
    *,
    start: str = "begin",
    reads_specials: bool = False,
    index: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    probabilities: bool = True,
) -> list[Generated]:
    """As `translate`, with token ids and, where they are wanted, log-probabilities."""
    specials = tokenizer.vocabulary.specials
    first: int | None = getattr(specials, start)
    if first is None or specials.end is None:
        raise ConfigError("this tokenizer has no begin and end token: translation needs a model trained with objective=translation")
    encoded = [[*ids, specials.end] for ids in tokenizer.encode_batch(sources, specials=reads_specials)]
    limit = model.max_length
    if limit is not None and any(len(ids) > limit for ids in encoded):
        logger.warning("%d of %d sources are cut to the %d tokens the model reads", sum(len(i) > limit for i in encoded), len(encoded), limit)
        encoded = [ids if len(ids) <= limit else [*ids[: limit - 1], specials.end] for ids in encoded]
    request = Translation(
        prefixes=[[first]] * len(encoded),
        sources=encoded,
        pad=specials.pad,
        end=specials.end,
        forbidden=never_written(tokenizer, specials.end),
        index=index,
        probabilities=probabilities,
        device=device,
    )
    return generator.generate(model, request)


def written(tokenizer: Tokenizer, token_ids: Sequence[int]) -> str:
    """The text of token ids; sentinels are spelled out, since they say where what follows belongs."""
    sentinels = set(tokenizer.vocabulary.sentinels)
    pieces: list[str] = []
    rest: list[int] = []
    for token in [*token_ids, None]:
        if token is None or token in sentinels:
            pieces += [tokenizer.decode(rest)] if rest else []
            pieces += [tokenizer.token(token)] if token is not None else []
            rest = []
        else:
            rest.append(token)
    return " ".join(pieces)


def never_written(tokenizer: Tokenizer, end: int | None) -> tuple[int, ...]:
    """Special tokens, which are no text: all but the one that ends it."""
    return tuple(token for token in tokenizer.vocabulary.specials.ids() if token != end)
