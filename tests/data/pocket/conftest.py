"""The built-in language, and one small enough to sum over all its paths by hand."""

import pytest

from data.pocket.enumeration import Enumeration
from data.pocket.tiny_language import tiny_grammar
from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import Floors


@pytest.fixture(scope="session")
def tiny() -> PocketLanguage:
    return PocketLanguage(tiny_grammar())


@pytest.fixture(scope="session")
def tiny_floors(tiny: PocketLanguage) -> Floors:
    return Floors(tiny)


@pytest.fixture(scope="session")
def pocket() -> PocketLanguage:
    return PocketLanguage()


@pytest.fixture(scope="session")
def pocket_floors(pocket: PocketLanguage) -> Floors:
    return Floors(pocket)


@pytest.fixture(scope="session")
def paths(tiny: PocketLanguage) -> Enumeration:
    return Enumeration(tiny)
