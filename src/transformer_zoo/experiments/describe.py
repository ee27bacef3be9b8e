"""What an experiment would build, told without data: parts, shapes, parameters and operations by part, masks as pictures, and what
differs from the recipe's ancestor.

The model is built without memory (on PyTorch's meta device) with the heads its objective asks for, and runs once on a made-up row to
count operations.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from transformer_zoo.data.tokenizers import TokenizerConfig
from transformer_zoo.experiments import assemble, words
from transformer_zoo.experiments.catalog import kind_of
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.lineage import Step, lineage
from transformer_zoo.experiments.operations import count_step
from transformer_zoo.layers.blocks import Block
from transformer_zoo.layers.masks import Mask, MaskOperands
from transformer_zoo.models.base import Model, ModelConfig, TransformerConfig
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.records import (
    Batch,
    Collocations,
    LabelledBatch,
    MarkedTextBatch,
    Needs,
    PairBatch,
    Rows,
    SpecialTokens,
    TaggedBatch,
    TextBatch,
    TranslationBatch,
    Vocabulary,
    WordSpelling,
)
from transformer_zoo.training.optimizers import owned_parameters

DEFAULT_VOCABULARY = 8000
"""Where neither the recipe nor a tokenizer says how many."""
N_SPECIALS = 7
PICTURE = 24
"""Cells of a mask's picture, at most, on each side."""
CELLS = {0: "·", 1: "▒", 2: "█"}
"""Of a cell's pairs none, some or all may see each other."""
ROW_TOKENS = 2048
"""Operations are counted over about this many tokens, so that predicted positions, which come in multiples of 64, weigh as in a real batch."""


@dataclass(frozen=True)
class Part:
    """Modules that stand at the same place, in how many layers, and what one and all of them hold."""

    name: str
    count: int
    shapes: list[str]
    """Of one of them: `qkv 2304×768+2304`."""
    parameters: int
    """Of all together, tied ones where they first stand."""
    operations: float
    """Floating-point operations per token of a forward, of all together."""


@dataclass(frozen=True)
class Picture:
    """A mask: one row of text per group of queries (downwards), one cell per group of keys (to the right)."""

    name: str
    layers: int
    tokens: int
    rows: list[str]


@dataclass(frozen=True)
class Parameters:
    """How many parameters stand where; tied ones count once, where they first stand."""

    total: int
    body: int
    """All but the heads."""
    body_and_pooler: int
    """The body with the pooler its classifier would have, as BERT's sizes are often given; a causal model has none."""
    embeddings: int
    heads: dict[str, int]
    """By head, those of its own."""


@dataclass(frozen=True)
class TrainingLayer:
    """A head that the objective put on top."""

    name: str
    kind: str
    parameters: int


@dataclass
class Description:
    """What `describe` tells."""

    model: str
    shape: str
    """`encoder`, `decoder`, `encoder_decoder` …"""
    objective: str
    paper: str | None
    vocabulary: int
    sequence_length: int
    encoder: str | None
    """In words; None: there is none."""
    decoder: str | None
    training_layers: list[TrainingLayer]
    """What the objective put on top of them."""
    parameters: Parameters
    operations_per_token: float
    """Of a forward."""
    training_operations_per_token: float
    """Of a forward and its backward pass; the optimiser's, which come once a step, are left out."""
    parts: list[Part] = field(default_factory=list)
    masks: list[Picture] = field(default_factory=list)
    lineage: list[Step] = field(default_factory=list)
    """What differs from the ancestor, what that changed in its own, and so on."""

    def document(self) -> dict[str, Any]:
        """As plain data, for `--json`."""
        return asdict(self)


def describe(config: ExperimentConfig, *, vocab_size: int | None = None) -> Description:
    """What `config` would build. `vocab_size` stands for a tokenizer; None: the recipe's published vocabulary.

    Raises:
        ConfigError: model, objective and data do not fit each other.
    """
    assemble.check(config)
    published = getattr(config.model, "vocab_size", None)
    size = vocab_size or published or DEFAULT_VOCABULARY
    vocabulary = made_up_vocabulary(config.objective, size)
    length = config.data.sequence_length
    n_classes = 2  # where the data would say how many
    objective = config.objective.build(vocabulary=vocabulary, n_classes=n_classes)
    model = assemble.build_on_meta(config.model, size, objective.needs().heads).eval()
    n_rows = -(-ROW_TOKENS // length)
    example = objective.prepare(made_up_batch(objective.needs(), n_rows, length)).to("meta", non_blocking=False)
    counted = count_step(model, example.inputs)
    operations = {place: count / (n_rows * length) for place, count in counted.forward.items()}
    sides = {name: words.side(config.model, parts) for name, parts in config.model.sides().items() if isinstance(config.model, TransformerConfig)}
    parameters = count_parameters(config.model, model)
    return Description(
        model=" ".join(word for word in (config.recipe.model or config.recipe.name, config.recipe.size) if word) or "model",
        shape=kind_of(type(config.model)),
        objective=kind_of(type(config.objective)),
        paper=config.recipe.paper,
        vocabulary=size,
        sequence_length=length,
        encoder=sides.get("encoder"),
        decoder=sides.get("decoder"),
        training_layers=[TrainingLayer(name, need.kind, parameters.heads[name]) for name, need in objective.needs().heads.items()],
        parameters=parameters,
        operations_per_token=operations[""],
        training_operations_per_token=operations[""] + counted.backward[""] / (n_rows * length),
        parts=parts_of(model, operations),
        masks=pictures_of(model, length),
        lineage=lineage(config),
    )


# --- what it is counted on ---------------------------------------------------------------------------------------------------------------------


def made_up_vocabulary(objective: ObjectiveConfig, size: int) -> Vocabulary:
    """A vocabulary that has every special token an objective may ask for, and else words of one token each, without collocations."""
    return Vocabulary(
        size=size,
        specials=SpecialTokens(pad=0, unknown=1, begin=2, end=3, cls=4, sep=5, mask=6),
        full_stops=(N_SPECIALS,),
        words=WordSpelling(),
        collocations=Collocations(by_length={}),
        sentinels=tuple(range(size - objective.needs().sentinels, size)),
    )


def made_up_batch(needs: Needs, n_rows: int, length: int) -> Batch:
    """Full rows of whatever record an objective reads."""
    index = torch.arange(n_rows)
    progress = (index.double() + 0.5) / n_rows if needs.progress else None  # the rows stand for the whole training
    rows = Rows(seed=0, epoch=torch.zeros_like(index), index=index, progress=progress)

    def ids(width: int) -> Tensor:
        return torch.full((n_rows, width), N_SPECIALS, dtype=torch.int64)

    def valid(width: int) -> Tensor:
        return torch.ones(n_rows, width, dtype=torch.bool)

    one, width = torch.ones(n_rows, dtype=torch.int64), length + needs.lookahead
    makers = {
        TextBatch: lambda: TextBatch(rows=rows, token_ids=ids(width), valid=valid(width)),
        MarkedTextBatch: lambda: MarkedTextBatch(rows=rows, token_ids=ids(width), valid=valid(width), continues=~valid(width)),
        PairBatch: lambda: PairBatch(rows=rows, token_ids=ids(width), valid=valid(width), segment_ids=ids(width) * 0, is_next=one),
        LabelledBatch: lambda: LabelledBatch(rows=rows, token_ids=ids(width), valid=valid(width), labels=one),
        TaggedBatch: lambda: TaggedBatch(rows=rows, token_ids=ids(width), valid=valid(width), tags=ids(width) * 0),
        TranslationBatch: lambda: TranslationBatch(
            rows=rows, source_ids=ids(width), source_valid=valid(width), target_ids=ids(width + 1), target_valid=valid(width + 1)
        ),
    }
    return makers[needs.batch]()


# --- parameters ---------------------------------------------------------------------------------------------------------------------


def count_parameters(config: ModelConfig, model: Model) -> Parameters:
    """The parameters of a model by where they stand; those of its heads are the ones that no other part has."""

    def size(parameters: Iterable[nn.Parameter]) -> int:
        return sum(parameter.numel() for parameter in parameters)

    body = [parameter for name, parameter in model.named_parameters() if "heads" not in name.split(".")]
    of_body = {id(parameter) for parameter in body}
    own = {name: [parameter for parameter in head.parameters() if id(parameter) not in of_body] for name, head in model.all_heads().items()}
    pooler = 0
    if isinstance(config, TransformerConfig) and config.classifier.transform and not config.causal:
        with torch.device("meta"):
            pooler = size(config.classifier.build_transform(config.d_model, config.norm).parameters())
    return Parameters(
        total=size(model.parameters()),
        body=size(body),
        body_and_pooler=size(body) + pooler,
        embeddings=sum(owned.parameter.numel() for owned in owned_parameters(model) if owned.is_embedding),
        heads={name: size(parameters) for name, parameters in own.items()},
    )


# --- parts --------------------------------------------------------------------------------------------------------------------------


def parts_of(model: nn.Module, operations: dict[str, float]) -> list[Part]:
    """The model's parameters by part in the order of its modules; layers that are alike are one part."""
    shapes: dict[str, dict[str, str]] = {}
    parameters: Counter[str] = Counter()
    members: dict[str, set[str]] = {}
    first_place: dict[int, str] = {}
    inner_models = [f"{name}." for name, module in model.named_modules() if name and isinstance(module, Model)]
    for path, parameter in model.named_parameters(remove_duplicate=False):
        prefix = next((name for name in inner_models if path.startswith(name)), "")
        place, inner = _place(path.removeprefix(prefix))
        place = prefix + place
        part = re.sub(r"\.\d+(?=\.|$)", ".*", place)
        members.setdefault(part, set()).add(place)
        tied_to = first_place.setdefault(id(parameter), place)
        parameters[part] += parameter.numel() if tied_to == place else 0
        owner, _, leaf = inner.rpartition(".")
        known = shapes.setdefault(part, {})
        if place == min(members[part], key=_numbers):
            size = "×".join(map(str, parameter.shape)) + (f" (tied to {tied_to})" if tied_to != place else "")
            known[owner] = f"{known[owner]}+{size}" if owner in known and leaf == "bias" else size
    found = []
    for part, places in members.items():
        own = sum(operations.get(place, 0.0) for place in places)
        found.append(
            Part(
                name=part,
                count=len(places),
                shapes=[f"{owner} {size}".strip() for owner, size in shapes[part].items()],
                parameters=parameters[part],
                operations=own,
            )
        )
    scores = operations[""] - sum(part.operations for part in found)  # which no module with parameters of its own makes
    return [*found, Part("scores over the vocabulary", 1, [], 0, scores)] if scores else found


def _place(path: str) -> tuple[str, str]:
    """A parameter's path as the place of its part and what lies inside: `stack.blocks.0.attention` and `qkv.weight`."""
    steps = path.split(".")
    numbers = [i for i, step in enumerate(steps[:-2]) if step.isdigit()]  # of a layer; not of a projection in a sequence
    end = numbers[0] + 2 if numbers else 2
    end = min(end, len(steps) - 1)
    return ".".join(steps[:end]), ".".join(steps[end:])


def _numbers(place: str) -> list[int]:
    return [int(step) for step in place.split(".") if step.isdigit()]


# --- masks --------------------------------------------------------------------------------------------------------------------------


def pictures_of(model: nn.Module, length: int) -> list[Picture]:
    """Every distinct self-attention mask of every stack, as a batch without padding meets it; and the memory's, where there is one."""
    layers: Counter[tuple[str, Mask]] = Counter()
    crossing: Counter[str] = Counter()
    for path, module in model.named_modules():
        if isinstance(module, Block):
            stack = path.partition(".blocks")[0]
            layers[(stack, module.mask)] += 1
            crossing[stack] += module.cross_attention is not None
    found = [Picture(f"{stack}: self-attention", count, length, picture(mask, length)) for (stack, mask), count in layers.items()]
    return found + [Picture(f"{stack}: attention to the source", n, length, ["█"]) for stack, n in crossing.items() if n]


def picture(mask: Mask, length: int) -> list[str]:
    """A mask over `length` tokens as lines of text, at most PICTURE by PICTURE cells; of its first head where heads differ."""
    slots = torch.arange(length)
    operands = MaskOperands(query_slots=slots, key_slots=slots)
    seen = mask.simplify(operands).dense(operands)[0, 0].expand(length, length)
    edges = torch.linspace(0, length, min(length, PICTURE) + 1).round().int().tolist()
    spans = list(pairwise(edges))

    def cell(queries: tuple[int, int], keys: tuple[int, int]) -> str:
        block = seen[slice(*queries), slice(*keys)]
        return CELLS[int(block.any()) + int(block.all())]

    return ["".join(cell(queries, keys) for keys in spans) for queries in spans]


def vocabulary_of(tokenizer: TokenizerConfig, needs: Needs) -> int:
    """Tokens of a tokenizer before it is trained: as many as it may have, and what the objective adds."""
    added = needs.sentinels if tokenizer.grows else 0
    if not tokenizer.trained:
        return tokenizer.build([]).with_sentinels(added).vocabulary.size
    return int(getattr(tokenizer, "vocab_size", DEFAULT_VOCABULARY)) + added
