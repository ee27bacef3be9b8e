"""What a run tells of its masks: how much was hidden, how it was shown, how much was predicted."""

from collections.abc import Mapping

import numpy as np

ROWS, TOKENS, ORDINARY, SELECTED, PREDICTED = "masking rows", "masking tokens", "masking ordinary", "masking selected", "masking predicted"
AS_MASK, AS_RANDOM, AS_IS = "masking as mask", "masking as random", "masking as is"
RATIO, SPECIALS, UNPREDICTED = "masking ratio", "masking specials", "masking unpredicted"

LEDGER: Mapping[str, tuple[str, str | None]] = {
    "mask_ratio": (RATIO, ROWS),
    "masking/selected": (SELECTED, ORDINARY),
    "masking/predicted": (PREDICTED, ORDINARY),
    "masking/shown_as_mask": (AS_MASK, SELECTED),
    "masking/shown_as_random": (AS_RANDOM, SELECTED),
    "masking/shown_as_is": (AS_IS, SELECTED),
    "masking/predicted_tokens": (PREDICTED, None),
    "masking/seen_tokens": (TOKENS, None),
    "masking/rows_without_prediction": (UNPREDICTED, None),
    "masking/specials_selected": (SPECIALS, None),
}
"""What is told: name → the sum that is told and the sum it is a share of; None: the total so far.

- `mask_ratio`: the share to hide that was asked for, as the schedule had it.
- `selected`, `predicted`: shares of the ordinary tokens (those that may be hidden).
- `shown_as_…`: shares of the selected tokens.
- `predicted_tokens`, `seen_tokens` (special tokens included), `rows_without_prediction`, `specials_selected` (must be 0): so far.
"""


def tally(
    *,
    ratios: np.ndarray,
    valid: np.ndarray,
    n_ordinary: np.ndarray,
    n_predicted: np.ndarray,
    n_specials: int,
    n_as_mask: int,
    n_as_random: int,
    n_as_is: int,
) -> dict[str, float]:
    """The sums of one batch; arrays are by row, `valid` [B,T]."""
    return {
        ROWS: len(ratios),
        TOKENS: int(valid.sum()),
        ORDINARY: int(n_ordinary.sum()),
        SELECTED: n_as_mask + n_as_random + n_as_is,
        PREDICTED: int(n_predicted.sum()),
        AS_MASK: n_as_mask,
        AS_RANDOM: n_as_random,
        AS_IS: n_as_is,
        RATIO: float(ratios.sum()),
        SPECIALS: n_specials,
        UNPREDICTED: len(n_predicted) - int(np.count_nonzero(n_predicted)),
    }
