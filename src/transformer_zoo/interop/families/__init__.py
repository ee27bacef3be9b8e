"""Every family that can be read and written. A new one is a file beside this one and a line in the table."""

import difflib

from transformer_zoo.errors import ConfigError
from transformer_zoo.interop.base import Family
from transformer_zoo.interop.families.albert import Albert
from transformer_zoo.interop.families.bart import Bart
from transformer_zoo.interop.families.bert import Bert
from transformer_zoo.interop.families.big_bird import BigBird
from transformer_zoo.interop.families.electra import Electra
from transformer_zoo.interop.families.gpt1 import GPT1
from transformer_zoo.interop.families.gpt2 import GPT2
from transformer_zoo.interop.families.llama import Llama
from transformer_zoo.interop.families.longformer import Longformer
from transformer_zoo.interop.families.marian import Marian
from transformer_zoo.interop.families.modernbert import ModernBert
from transformer_zoo.interop.families.roberta import Roberta
from transformer_zoo.interop.families.t5 import T5

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Albert(),
        Bart(),
        Bert(),
        BigBird(),
        Electra(),
        GPT1(),
        GPT2(),
        Llama(),
        Longformer(),
        Marian(),
        ModernBert(),
        Roberta(),
        T5(),
    )
}
"""`model_type` → family."""

WITHOUT_COUNTERPART = {
    "transformer": "transformers has no class for the 2017 Transformer: the nearest, marian, orders its sinusoids otherwise",
    "gpt3": "transformers has no class for GPT-3, whose layers are banded by turns",
}
"""Our named models that the format cannot hold, and why."""


UNREADABLE = {
    "xlnet": "its two streams of attention are not built here",
    "deberta-v2": "its disentangled attention is not built here",
    "reformer": "its hashed attention is not built here",
    "vision-encoder-decoder": "images are not read here",
}
"""Types that many models have and that cannot be read, and why."""


def family_of(model_type: object, where: str) -> Family:
    """The family that reads a `model_type`.

    Raises:
        ConfigError: there is none.
    """
    known = f"known are {', '.join(sorted(FAMILIES))}"
    if model_type is not None and not isinstance(model_type, str):
        raise ConfigError(f'{where}: model_type={model_type!r} is no text, such as "bert"; {known}')
    if model_type is None:
        raise ConfigError(f"{where}: there is no model_type in it, which says what kind of model this is; {known}")
    if model_type not in FAMILIES:
        near = difflib.get_close_matches(model_type.lower(), FAMILIES, n=1)
        reason = f": {UNREADABLE[model_type]}" if model_type in UNREADABLE else f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{where}: model_type={model_type!r} cannot be read{reason} ({known})")
    return FAMILIES[model_type]


def family_for(recipe: str | None, where: str) -> Family:
    """The family as which a named model of ours is written.

    Raises:
        ConfigError: the format has none for it.
    """
    found = next((family for family in FAMILIES.values() if recipe in family.recipes), None)
    if found is None:
        reason = WITHOUT_COUNTERPART.get(recipe or "", "there is no counterpart of it in the format")
        named = sorted(name for family in FAMILIES.values() for name in family.recipes)
        raise ConfigError(f"{where}: model={recipe or '(no named model)'} cannot be written: {reason}; those that can be are {', '.join(named)}")
    return found
