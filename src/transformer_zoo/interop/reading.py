"""A model of a folder in our terms: its settings, its heads, and its tensors under our names."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_zoo.errors import CheckpointError, ConfigError, DataError
from transformer_zoo.interop.base import Family
from transformer_zoo.interop.config_file import ConfigFile, Plain
from transformer_zoo.interop.families import FAMILIES, family_of
from transformer_zoo.interop.files import CONFIG, DTYPES, Folder
from transformer_zoo.interop.plausible import refuse_implausible
from transformer_zoo.interop.tensors import Copy, Link, link, matches, their_shapes, to_ours
from transformer_zoo.records import HeadNeed

logger = logging.getLogger(__name__)

Skeleton = Callable[[Plain, Mapping[str, HeadNeed]], Mapping[str, Tensor]]
"""Our tensors, without memory, of a model with these settings and heads; raises ConfigError where they do not fit each other."""

ROUNDING = 1e-6
"""What numbers of a table that somebody else has computed may differ by."""
SHOWN = 5
"""Names in one message, at most."""


@dataclass(kw_only=True)
class PublicModel:
    """What a folder holds, read and checked; the tensors themselves come when they are asked for."""

    folder: Folder
    family: Family
    settings: Plain
    heads: dict[str, HeadNeed]
    primary: str | None
    """The head whose scores the file's class gives; None: a bare body."""
    links: list[Link]
    names: dict[str, str]
    """Their name as it is today → as the file has it."""
    unread: list[str]
    """Keys of `config.json` that nobody knows."""

    @property
    def extras(self) -> list[str]:
        """Their tensors without one of ours, copies and constants, that the file has."""
        known = {copy.theirs for copy in self.family.copies(self.settings)} | self.family.constants(self.settings).keys()
        linked = {name for one in self.links for name in one.theirs}
        return sorted(name for name in self.names if name in known and name not in linked)

    @property
    def prefixed(self) -> bool:
        """Whether the names of the body have the family's prefix."""
        return any(name.startswith(self.family.prefix) for name in self.names.values())

    def weights(self) -> dict[str, Tensor]:
        """Our tensors by name, in float32; a warning names the first that holds NaN or infinity."""
        used = sorted({name for one in self.links for name in one.theirs})
        theirs = {name: self.folder.weights.tensor(self.names[name]).float() for name in used}
        odd = next((self.names[name] for name, tensor in theirs.items() if not bool(tensor.isfinite().all())), None)
        if odd is not None:
            logger.warning("%s: %s holds numbers that are not finite (NaN or infinity)", self.folder.weights.label, odd)
        return to_ours(self.links, theirs)

    def idle(self) -> dict[str, Tensor]:
        """Their tensors that nothing reads, where they hold other numbers than the one they could be a copy of; as the file has them."""
        tensor, names = self.folder.weights.tensor, self.names
        idle = [copy for copy in self.family.copies(self.settings) if copy.idle and copy.theirs in self.extras and copy.of in names]
        found = {copy.theirs: (tensor(names[copy.theirs]), tensor(names[copy.of])) for copy in idle}
        return {name: one for name, (one, other) in found.items() if not torch.equal(one, other)}

    def dtypes(self) -> tuple[str, dict[str, str]]:
        """The type most of their tensors have, such as bfloat16, and those that have another one."""
        names = [*(name for one in self.links for name in one.theirs), *self.extras]
        found = {name: str(DTYPES[self.folder.weights.dtype(self.names[name])]).removeprefix("torch.") for name in names}
        usual = Counter(found.values()).most_common(1)[0][0]
        return usual, {name: dtype for name, dtype in found.items() if dtype != usual}


def read_model(folder: Folder, skeleton: Skeleton) -> PublicModel:
    """What a folder holds.

    Raises:
        ConfigError: `config.json` asks for something that is not built here, or belongs to other weights.
        CheckpointError: tensors are missing, left over, of another shape or type, or a copy differs from its original.
        DataError: the tokenizer has more tokens than the model.
    """
    config = ConfigFile(folder.config, str(folder.path / CONFIG))
    family = family_of(folder.config.get("model_type"), config.where)
    refuse_implausible(config, folder.weights)
    declared = _declared(family, config)
    settings = family.read(config)
    needs = {head: family.need(head, config) for head in family.heads}
    config.check()
    names = today(family, settings, folder.weights.files, folder.weights.label)
    _refuse_other_family(family, names, folder)
    settings = family.settle(settings, FileTensors(folder, names))
    try:
        ours = skeleton(settings, needs)
    except ConfigError as error:
        raise ConfigError(*(f"{config.where}: {problem}" for problem in error.problems)) from None
    except RuntimeError as error:  # torch counts the bytes even of tensors without memory
        raise ConfigError(f"{config.where}: no model can have these sizes ({' '.join(str(error).split())})") from None
    links, left = link(family.rules(settings), ours)
    assert not left, f"{family.model_type} has no rule for {left}"
    heads = _heads(family, settings, links, names, declared, guess=not config.get("architectures"))
    model = PublicModel(
        folder=folder,
        family=family,
        settings=settings,
        heads={head: needs[head] for head in heads},
        primary=next((head for head in [*declared, *heads] if head != "pooler"), None),
        links=[one for one in links if _head_of(one) in ("", *heads)],
        names=names,
        unread=config.unread(),
    )
    _check_tensors(model, skeleton(settings, model.heads))
    _check_tokenizer(model)
    return model


class FileTensors(Mapping[str, Tensor]):
    """A file's tensors by the names they have today, each read when it is asked for."""

    def __init__(self, folder: Folder, names: Mapping[str, str]) -> None:
        self.folder, self.names = folder, names

    def __getitem__(self, name: str) -> Tensor:
        return self.folder.weights.tensor(self.names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


# --- names --------------------------------------------------------------------------------------------------------------------------


def today(family: Family, settings: Plain, names: Iterable[str], label: str) -> dict[str, str]:
    """Tensors by the names they have today: old spellings replaced, and the prefix of the base model where a file leaves it out."""
    known = [name for rule in family.rules(settings) for name in rule.all_theirs]
    known += [copy.theirs for copy in family.copies(settings)] + [*family.buffers, *family.constants(settings)]
    found: dict[str, str] = {}
    for name in names:
        current = next((name.removesuffix(old) + new for old, new in family.spellings.items() if name.endswith(old)), name)
        if not matches(current, known) and matches(family.prefix + current, known):
            current = family.prefix + current
        if current in found:
            raise CheckpointError(f"{label}: {found[current]} and {name} are the same tensor")
        found[current] = name
    for copy in family.copies(settings):  # a file that holds tied weights once may have kept any of their names
        if copy.theirs in found:
            found.setdefault(copy.of, found[copy.theirs])
    return found


def _refuse_other_family(family: Family, names: Collection[str], folder: Folder) -> None:
    """Weights most of which another family knows, and this one does not."""

    def share(other: Family) -> float:
        settings = other.read(ConfigFile({}))
        known = [name for rule in other.rules(settings) for name in rule.all_theirs] + list(other.buffers)
        return sum(matches(name, known) or matches(other.prefix + name, known) for name in names) / max(len(names), 1)

    if share(family) > 0.5:
        return
    best = max(FAMILIES.values(), key=share)
    if best is not family and share(best) > 0.5:
        raise ConfigError(
            f"{folder.path / CONFIG}: model_type={family.model_type!r}, but {folder.weights.label} holds the weights of {best.model_type}"
        )


# --- heads --------------------------------------------------------------------------------------------------------------------------


def _declared(family: Family, config: ConfigFile) -> list[str]:
    """The heads of the classes that `config.json` names."""
    named = config.get("architectures", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        config.wrong("architectures", named, "expected a list of names")
        return []
    for name in named:
        if name not in family.architectures:
            config.wrong("architectures", name, f"classes that can be read are {', '.join(family.architectures)}")
    return list(dict.fromkeys(head for name in named for head in family.architectures.get(name, ())))


def _heads(family: Family, settings: Plain, links: Sequence[Link], names: Collection[str], declared: Sequence[str], *, guess: bool) -> list[str]:
    """The declared heads, and those besides whose tensors are all there and not another head's."""
    own = {head: {name for one in links if _head_of(one) == head for name in one.theirs} for head in family.heads}
    heads = list(declared)
    claimed = {name for head in heads for name in own[head]}
    copies = {copy.head for copy in family.copies(settings) if copy.theirs in names}
    for head in family.heads:
        complete = own[head] <= set(names) and not own[head] <= claimed if own[head] else head in copies
        if head not in heads and complete:
            heads.append(head)
            claimed |= own[head]
    if guess and not heads:
        heads = [head for head in family.heads if not own[head]][:1]  # a tied head has no tensors by which it could be found
    return heads


def _head_of(one: Link) -> str:
    """The head a tensor of ours belongs to; "" for the body."""
    root, _, rest = one.ours.partition(".")
    return rest.partition(".")[0] if root == "heads" else ""


# --- checks -------------------------------------------------------------------------------------------------------------------------


def _check_tensors(model: PublicModel, ours: Mapping[str, Tensor]) -> None:
    family, weights, label = model.family, model.folder.weights, model.folder.weights.label
    wanted = their_shapes(model.links, ours)
    copies = [copy for copy in family.copies(model.settings) if copy.of in wanted]
    constants = family.constants(model.settings)
    allowed = {copy.theirs for copy in copies} | constants.keys() | wanted.keys()
    missing = [name for name in wanted if name not in model.names]
    extra = [given for name, given in model.names.items() if name not in allowed and not matches(name, family.buffers)]
    shapes = {name: weights.shape(given) for name, given in model.names.items() if name in wanted}
    other = [f"{model.names[name]} {shape}, where {CONFIG} asks for {wanted[name]}" for name, shape in shapes.items() if shape != wanted[name]]
    told = [f"{what} {listed(found)}" for what, found in (("missing:", missing), ("left over:", extra), ("of another shape:", other)) if found]
    if told:
        raise CheckpointError(f"{label} does not fit {CONFIG} (model_type {family.model_type}): {'; '.join(told)}")
    types = [f"{given} ({weights.dtype(given)})" for name, given in model.names.items() if name in wanted and weights.dtype(given) not in DTYPES]
    if types:
        raise CheckpointError(f"{label}: tensors of other types than {', '.join(DTYPES)} are not read: {listed(types)}")
    _check_equal(model, copies, constants)


def _check_equal(model: PublicModel, copies: Sequence[Copy], constants: Mapping[str, Tensor]) -> None:
    weights, names = model.folder.weights, model.names
    for copy in copies:
        if copy.theirs in names and not copy.idle and not torch.equal(weights.tensor(names[copy.theirs]), weights.tensor(names[copy.of])):
            raise CheckpointError(f"{weights.label}: {names[copy.theirs]} must equal {names[copy.of]}, to which {CONFIG} ties it, and does not")
    for name, constant in constants.items():
        if name in names:
            found = weights.tensor(names[name])
            if found.shape != constant.shape or not torch.allclose(found.float(), constant.to(found.dtype).float(), rtol=0, atol=ROUNDING):
                raise CheckpointError(f"{weights.label}: {names[name]} holds other numbers than the constant that this model can have there")


def _check_tokenizer(model: PublicModel) -> None:
    tokenizer, size = model.folder.tokenizer, model.settings["vocab_size"]
    if tokenizer is not None and tokenizer.vocabulary.size > size:
        raise DataError(
            f"{model.folder.path}: the tokenizer has ids up to {tokenizer.vocabulary.size - 1}, but the model has a vocabulary of {size} "
            f"(vocab_size in {CONFIG}): they do not belong together"
        )


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
