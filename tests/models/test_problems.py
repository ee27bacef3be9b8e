"""Sizes that do not fit are told with their numbers before anything is built."""

from contracts.builders import attention, config
from transformer_zoo.layers.positions import RotaryConfig
from transformer_zoo.layers.stacks import SharedStackConfig
from transformer_zoo.models.parts import LayerConfig


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


def test_a_pattern_and_its_kinds_must_name_each_other():
    made = config("encoder", layers={"near": LayerConfig(), "idle": LayerConfig()}, pattern=["near", "far"])
    assert made.problems() == [
        "pattern names 'far', which layers does not describe (it has near, idle)",
        "layers describes 'idle', which pattern does not name",
    ]


def test_a_kind_of_layer_is_checked_too():
    made = config("encoder", d_model=27, layers={"turned": LayerConfig(positions=RotaryConfig())}, pattern=["turned"])
    (problem,) = made.problems()
    assert problem.startswith("layers.turned: rotary positions turn pairs")


def test_more_groups_than_layers():
    (problem,) = config("encoder", stack=SharedStackConfig(n_groups=3)).problems()
    assert problem == "stack.n_groups=3 is more than n_layers=2: choose at most 2"
