"""The contract of a family: what a file in `families/` says of one `model_type`, and nothing else has to know."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from transformer_zoo.interop.config_file import ConfigFile, Plain
from transformer_zoo.interop.tensors import Copy, Rule
from transformer_zoo.records import HeadNeed

KINDS = {
    "vocabulary": "vocabulary",
    "pooler": "pooler",
    "detector": "detector",
    "nsp": "pair",
    "sop": "pair",
    "classification": "sequence",
    "tagging": "token",
}
"""Heads as our objectives name them → how they are built."""

Classes: TypeAlias = Mapping[str, tuple[str, ...]]


class Family(ABC):
    """One `model_type`, between its files and our settings and tensors.

    `read` and `write` are each other's inverse: a model of ours can be written as this family where `read(write(settings))` gives the settings
    back, so neither has to look for what the other cannot express.
    """

    model_type: ClassVar[str]
    """As `config.json` says it."""
    recipes: ClassVar[tuple[str, ...]]
    """Our named models that are of this family, the most usual first."""
    prefix: ClassVar[str]
    """What stands before the names of the body's tensors wherever there are heads, with its dot; files of a bare body lack it."""
    architectures: ClassVar[Classes]
    """Their classes that can be read, each with its heads by our names; the first head is the one whose scores `logits` gives. The bare body has
    none."""
    heads: ClassVar[tuple[str, ...]]
    """Heads to look for in a file besides those of its class, in this order."""
    buffers: ClassVar[tuple[str, ...]] = ()
    """Their tensors that hold nothing learnt, which older files have and which are passed over."""
    spellings: ClassVar[Mapping[str, str]] = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    """Ends of names as older files have them, and as they are now."""
    special_ids: ClassVar[Mapping[str, int]] = {}
    """Special tokens by their keys of `config.json`, for files that do not name them."""
    reversed_classes: ClassVar[frozenset[str]] = frozenset()
    """Heads whose classes they count the other way round; their rules have the layout REVERSED."""

    @abstractmethod
    def read(self, config: ConfigFile) -> Plain:
        """Our settings of the model from theirs: plain data with a `kind` on every node of a slot. Every field whose default is not theirs is set,
        and what the file asks for and we cannot do goes to `config.wrong` (all its methods but `get` do that by themselves)."""

    @abstractmethod
    def write(self, settings: Plain) -> Plain:
        """Their keys from our settings; all that decide what the model computes. What cannot be expressed is left out: the caller reads the result
        back and refuses what differs."""

    def fitted(self, settings: Plain, weights: Mapping[str, Tensor], pad: int) -> tuple[Plain, Mapping[str, Tensor]]:
        """The same model as `read` would describe it beside a tokenizer with this padding token, where settings or tensors can say it in two ways."""
        return settings, weights

    @abstractmethod
    def rules(self, settings: Plain) -> list[Rule]:
        """The table of tensors. Rules of parts that a model does not have (a bias, an untied matrix) simply find nothing."""

    def settle(self, settings: Plain, tensors: Mapping[str, Tensor]) -> Plain:
        """The settings once more, where only the tensors (by their names, some of the body's perhaps missing) tell what `config.json` leaves open."""
        return settings

    def copies(self, settings: Plain) -> list[Copy]:
        """Their tensors that stand in some files although they are another one once more."""
        return []

    def constants(self, settings: Plain) -> dict[str, Tensor]:
        """Their tensors that we have no place for, because they always hold the same numbers; written, and checked where a file has them. Those that
        do not stand in the body belong to a head."""
        return {}

    def remarks(self, settings: Plain) -> list[str]:
        """What is knowingly done otherwise here than there, for the log."""
        return []

    def recipe(self, settings: Plain) -> str:
        """The name of our model with these settings."""
        return self.recipes[0]

    def need(self, head: str, config: ConfigFile) -> HeadNeed:
        """How a head of `heads` is built."""
        kind = KINDS[head]
        classes = {"pair": 2, "sequence": config.n_classes(), "token": config.n_classes()}
        return HeadNeed(kind=kind, n_classes=classes.get(kind))

    def positions(self, token_ids: Tensor, pad: int | None) -> Tensor | None:
        """Where each token [B,T] stands, for families that count otherwise than 0, 1, 2 …"""
        return None

    def last_at(self, token_ids: Tensor, pad: int | None) -> Tensor | None:
        """Which token [B] of each row a classifier of its last token takes, for families that look at ids and not at a mask."""
        return None

    def targets(self, token_ids: Tensor, ids: Mapping[str, Any]) -> Tensor | None:
        """What an encoder-decoder takes as the target of a source [B,S] where none is given; `ids` are special tokens by their keys. None: there must
        be one."""
        return None

    def global_positions(self, head: str | None, token_ids: Tensor, valid: Tensor | None) -> Tensor | None:
        """Which tokens [B,T] see and are seen by all where a caller names none, for the scores of a head; None: none do. Padding (where `valid` [B,T]
        is False) never does."""
        return None

    def classes(self, heads: Collection[str]) -> list[str] | None:
        """Their classes that together have exactly these heads, the one that has most of them first; None where there are none. A pooler alone needs
        no class of its own: a bare body has it."""
        wanted, found = set(heads) - {"pooler"}, list[str]()
        fitting = [name for name, own in self.architectures.items() if set(own) <= wanted]
        while wanted or not found:
            best = max(fitting, key=lambda name: len(wanted & set(self.architectures[name])), default=None)
            if best is None or (wanted and not wanted & set(self.architectures[best])):
                return None
            found.append(best)
            wanted -= set(self.architectures[best])
        return found
