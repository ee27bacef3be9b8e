"""For the tests of training: no waiting for the disk."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test cuts the power, so that nothing has to be durable."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
