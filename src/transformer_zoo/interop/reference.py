"""What the package `transformers` makes of a folder, where it is installed: the outside check of an export."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transformer_zoo.errors import CheckpointError
from transformer_zoo.interop.precision import InDouble

logger = logging.getLogger(__name__)

SCORES = ("logits", "prediction_logits", "seq_relationship_logits", "last_hidden_state")
"""Where their outputs hold what a class is for, the first that is there."""
FLOAT32_ONLY = {"reorder_and_upcast_attn"}
"""Settings that only order sums otherwise, and refuse to be computed in float64."""


def reference_output(folder: Path, class_name: str, inputs: dict[str, Tensor]) -> Tensor | None:
    """What their class gives for the inputs, in float64: scores, or hidden states where it has no head. None where the package or this class of it is
    not there.

    Raises:
        CheckpointError: it does not load the folder.
    """
    if find_spec("transformers") is None:
        return None
    import transformers

    chosen: Any = getattr(transformers, class_name, None)
    if chosen is None:
        return None
    progress, verbosity = transformers.utils.logging.is_progress_bar_enabled(), transformers.utils.logging.get_verbosity()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        with torch.random.fork_rng(devices=[]):
            config = chosen.config_class.from_pretrained(folder, local_files_only=True)
            for name in FLOAT32_ONLY & vars(config).keys():
                setattr(config, name, False)
            model = (
                chosen.from_pretrained(folder, config=config, local_files_only=True, dtype=torch.float32, attn_implementation="eager").double().eval()
            )
        with torch.no_grad(), InDouble():
            output = model(**inputs)
    except Exception as error:  # whatever another package raises is told in one line
        raise CheckpointError(f"{folder}: transformers.{class_name} does not load what was written ({' '.join(str(error).split())})") from error
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
        if progress:
            transformers.utils.logging.enable_progress_bar()
    return next(getattr(output, name) for name in SCORES if hasattr(output, name))
