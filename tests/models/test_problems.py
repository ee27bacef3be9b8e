"""Sizes that do not fit are told with their numbers before anything is built."""

from contracts.builders import attention, config
from transformer_zoo.layers.positions import RotaryConfig


def test_width_that_heads_do_not_divide_names_the_nearest():
    (problem,) = config("encoder", d_model=25).problems()
    assert problem == "d_model=25 is not divisible by n_heads=3; the nearest widths are 24 and 27"


def test_groups_that_do_not_divide_heads():
    (problem,) = config("encoder", attention=attention(n_kv_heads=2)).problems()
    assert problem == "n_heads=3 is not divisible by attention.n_kv_heads=2; choose one of 1, 3"


def test_a_side_of_an_encoder_decoder_is_checked_too():
    made = config("encoder_decoder", d_model=27)
    assert made.problems() == []
    made.decoder.positions = RotaryConfig()
    (problem,) = made.problems()
    assert problem.startswith("decoder: rotary positions turn pairs")
