"""Tensors by name: which of ours is which of theirs, and how one is laid out as the other."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor


class Layout:
    """How one tensor of ours and one or several of theirs hold the same numbers; as it stands, they are the same tensor."""

    def ours(self, theirs: Sequence[Tensor]) -> Tensor:
        """Our tensor from theirs."""
        (tensor,) = theirs
        return tensor

    def theirs(self, ours: Tensor) -> list[Tensor]:
        """Their tensors from ours, in the order of the rule."""
        return [ours]


class Transposed(Layout):
    """Matrices stand the other way round (GPT-2's [in, out]); vectors are the same."""

    def ours(self, theirs: Sequence[Tensor]) -> Tensor:
        (tensor,) = theirs
        return tensor.T if tensor.dim() == 2 else tensor

    def theirs(self, ours: Tensor) -> list[Tensor]:
        return [self.ours([ours])]


class Reversed(Layout):
    """Classes are counted the other way round: BERT's published head says 0 where the second segment follows, ours says 1."""

    def ours(self, theirs: Sequence[Tensor]) -> Tensor:
        (tensor,) = theirs
        return tensor.flip(0)

    def theirs(self, ours: Tensor) -> list[Tensor]:
        return [ours.flip(0)]


class Row(Layout):
    """A vector of ours is a matrix of one row (Marian's `final_logits_bias`)."""

    def ours(self, theirs: Sequence[Tensor]) -> Tensor:
        (tensor,) = theirs
        return tensor.squeeze(0)

    def theirs(self, ours: Tensor) -> list[Tensor]:
        return [ours.unsqueeze(0)]


@dataclass(frozen=True)
class Joined(Layout):
    """Ours is several of theirs on top of each other: queries, keys and values; a gate and what it opens. `shares` are their heights in
    proportion, such as (n_heads, n_kv_heads, n_kv_heads)."""

    shares: tuple[int, ...] = (1, 1, 1)

    def ours(self, theirs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(theirs))

    def theirs(self, ours: Tensor) -> list[Tensor]:
        unit = len(ours) // sum(self.shares)
        return list(ours.split([unit * share for share in self.shares]))


COPY, TRANSPOSED, REVERSED, ROW = Layout(), Transposed(), Reversed(), Row()


@dataclass(frozen=True)
class Rule:
    """A line of a family's table. `{layer}` (any word in braces) stands for a number, `*` for one last word such as weight or bias; their names are
    written whole, with the prefix of the base model."""

    ours: str
    theirs: str | tuple[str, ...]
    layout: Layout = COPY

    @property
    def all_theirs(self) -> tuple[str, ...]:
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs


@dataclass(frozen=True)
class Copy:
    """A tensor of theirs that is another one once more, as tied weights are; where a file has it, it must be equal."""

    theirs: str
    of: str
    head: str = ""
    """The head it belongs to: a file that has it has the head, even one with no tensor of its own."""
    written: bool = False
    """Whether it stands in the files that transformers writes."""
    idle: bool = False
    """Whether nothing reads it: a file may hold other numbers there, which an export gives back as they were."""


@dataclass(frozen=True)
class Link:
    """One tensor of ours and those of theirs that hold it."""

    ours: str
    theirs: tuple[str, ...]
    layout: Layout


@cache
def pattern(name: str) -> re.Pattern[str]:
    """A name of a rule as an expression: `{layer}` finds a number, `*` a word."""
    parts = re.split(r"(\{\w+\}|\*)", name)
    found = [rf"(?P<{part[1:-1]}>\d+)" if part.startswith("{") else r"(?P<word>\w+)" if part == "*" else re.escape(part) for part in parts]
    return re.compile("".join(found))


def matches(name: str, names: Iterable[str]) -> bool:
    """Whether a tensor's name is one of these, which may have `{layer}` and `*`."""
    return any(pattern(one).fullmatch(name) for one in names)


def link(rules: Sequence[Rule], names: Iterable[str]) -> tuple[list[Link], list[str]]:
    """A link for each of our tensors, by the first rule that fits; and the names for which there is none."""
    links, left = [], []
    for name in names:
        found = next(((rule, match) for rule in rules if (match := pattern(rule.ours).fullmatch(name))), None)
        if found is None:
            left.append(name)
            continue
        rule, match = found
        links.append(Link(name, tuple(_filled(one, match) for one in rule.all_theirs), rule.layout))
    return links, left


def _filled(name: str, match: re.Match[str]) -> str:
    """A name of theirs with the numbers and the word that one of ours has."""
    for key, value in match.groupdict().items():
        name = name.replace("*" if key == "word" else f"{{{key}}}", value)
    return name


def to_ours(links: Sequence[Link], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors by name, contiguous, of the type theirs have."""
    return {one.ours: one.layout.ours([theirs[name] for name in one.theirs]).contiguous() for one in links}


def to_theirs(links: Sequence[Link], ours: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Their tensors by name; and those that two of ours would fill with different numbers."""
    found: dict[str, Tensor] = {}
    clashes = []
    for one in links:
        for name, tensor in zip(one.theirs, one.layout.theirs(ours[one.ours]), strict=True):
            if name in found and (found[name].shape != tensor.shape or not torch.equal(found[name], tensor)):
                clashes.append(name)
            found[name] = tensor.contiguous()
    return found, clashes


def their_shapes(links: Sequence[Link], ours: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """The shape of each of their tensors, from ours (which may be on the meta device)."""
    return {name: list(part.shape) for one in links for name, part in zip(one.theirs, one.layout.theirs(ours[one.ours]), strict=True)}
