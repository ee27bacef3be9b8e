"""Plans are told without pricing them, which takes data and seconds; what prices are is tested where they are made."""

from typing import Any

import pytest

from transformer_zoo.studies import planning


@pytest.fixture(autouse=True)
def priced_plans(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What every plan is said to cost."""
    found = {"contestants": [], "seconds": 90.0, "runs": 0, "basis": "a guess"}
    monkeypatch.setattr(planning, "estimate", lambda *_: found)
    return found
