"""A size that is wanted is found, in proportion."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_zoo.experiments import assemble, compose
from transformer_zoo.models.base import ModelConfig
from transformer_zoo.studies.sizing import apply, size_to


def model(name: str, *overrides: str) -> ModelConfig:
    return compose.experiment([f"model={name}", "model/size=mini", *overrides]).model


MODELS = {name: model(name) for name in ("bert", "gpt2", "t5", "bart", "albert", "electra", "llama")}


def parameters(config: ModelConfig) -> int:
    return sum(p.numel() for p in assemble.build_on_meta(config, 500, {}).parameters())


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(sorted(MODELS)), factor=st.floats(0.3, 6))
@pytest.mark.slow
def test_any_size_within_reach_is_met_within_a_per_cent_with_whole_even_heads(name: str, factor: float) -> None:
    config = MODELS[name]
    wanted = factor * parameters(config)
    found = size_to(config, wanted, parameters, near=0.01)
    made = apply(config, found.values)
    assert parameters(made) == found.reached == pytest.approx(wanted, rel=0.01)
    assert made.problems() == []
    width, before = made.d_model // made.n_heads, config.d_model // config.n_heads  # type: ignore[attr-defined]
    assert made.d_model % made.n_heads == width % 2 == made.d_ff % 8 == 0
    assert before / 2 <= width <= 2 * before
    assert made.d_ff / made.d_model == pytest.approx(config.d_ff / config.d_model, rel=0.6)  # type: ignore[attr-defined]


def test_what_is_typed_stays_and_the_rest_moves() -> None:
    config = MODELS["bert"]
    wanted = 2 * parameters(config)
    deep = size_to(config, wanted, parameters, pinned=["d_model", "n_heads"], near=0.01)
    assert set(deep.values) <= {"n_layers", "d_ff"}
    assert deep.values["n_layers"] > 4
    wide = size_to(config, wanted, parameters, pinned=["n_layers", "n_heads"], near=0.01)
    assert "n_layers" not in wide.values
    assert deep.reached == pytest.approx(wanted, rel=0.01)
    assert wide.reached == pytest.approx(wanted, rel=0.01)
    still = size_to(config, wanted, parameters, pinned=["d_model", "n_layers", "n_heads", "d_ff"], near=0.01)
    assert (still.values, still.reached) == ({}, parameters(config))


def test_the_last_per_cent_is_made_up_by_d_ff() -> None:
    config = MODELS["bert"]
    wanted = 1.012 * parameters(config)
    found = size_to(config, wanted, parameters, near=0.01)
    assert "d_ff" in found.values
    assert found.values.keys() <= {"d_model", "d_ff"}
    assert found.reached == pytest.approx(wanted, rel=0.003)


def test_the_sides_of_an_encoder_decoder_move_together() -> None:
    config = model("bart", "model.decoder.d_ff=512", "model.decoder.n_layers=2")
    found = size_to(config, 1.15 * parameters(config), parameters, pinned=["d_model", "n_layers", "n_heads"], near=0.01)
    made = apply(config, found.values)
    assert set(found.values) == {"d_ff", "decoder.d_ff"}
    assert made.decoder.d_ff == pytest.approx(made.d_ff / 2, abs=8)  # type: ignore[attr-defined]
