"""What a line of progress has room for."""

import logging

import pytest

from transformer_zoo.training.progress import Progress


def test_a_line_shows_losses_and_rates_and_leaves_ledgers_to_the_files(caplog: pytest.LogCaptureFixture) -> None:
    values = {"train/loss": 2.5, "lr": 1e-3, "mask_ratio": 0.15, "masking/selected": 0.1499, "validation/loss": 2.25}
    with caplog.at_level(logging.INFO, logger="transformer_zoo.training.progress"):
        Progress(bar=False).show(30, 0.25, values)
    assert caplog.messages == ["step 30 (25%)  loss 2.5  lr 0.001  mask_ratio 0.15  val loss 2.25"]
