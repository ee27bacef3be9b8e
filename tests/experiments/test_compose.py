"""From overrides to settings: what a user types, what comes out, and what is said when it is wrong."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transformer_zoo
from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.mask_grid import MaskGridConfig
from transformer_zoo.experiments import catalog, compose, config_tree
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import from_dict, to_dict
from transformer_zoo.layers.norms import LayerNormConfig, RMSNormConfig
from transformer_zoo.layers.positions import RotaryConfig, SinusoidalConfig
from transformer_zoo.models.base import ModelConfig
from transformer_zoo.models.encoder_decoder import EncoderDecoderConfig


def problems_of(*overrides: str, config_dirs: tuple[Path, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose.experiment(overrides, config_dirs=config_dirs)
    problems = list(caught.value.problems)
    assert not any("\n" in problem for problem in problems), "one line each"
    return problems


def refused(*overrides: str) -> str:
    (problem,) = problems_of(*overrides)
    return problem


# --- what comes out -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "shape"), [("tiny", (2, 128, 2, 512)), ("base", (12, 768, 12, 3072)), ("large", (24, 1024, 16, 4096))])
def test_generic_sizes(size: str, shape: tuple[int, ...]) -> None:
    model = transformer_zoo.recipe("bert", f"model/size={size}")
    assert (model.n_layers, model.d_model, model.n_heads, model.d_ff) == shape


def test_a_familys_own_sizes_win() -> None:
    large = transformer_zoo.recipe("gpt2", "model/size=large")
    assert (large.n_layers, large.d_model, large.n_heads) == (36, 1280, 20)
    base = transformer_zoo.recipe("transformer")
    assert (base.n_layers, base.d_model, base.n_heads, base.d_ff) == (6, 512, 8, 2048)


def test_a_single_shape_setting_beats_the_size() -> None:
    model = transformer_zoo.recipe("gpt2", "model/size=large", "model.n_layers=2")
    assert (model.n_layers, model.d_model) == (2, 1280)


def test_a_part_is_swapped_by_one_override() -> None:
    assert transformer_zoo.recipe("bert").norm == LayerNormConfig(eps=1e-12)
    assert transformer_zoo.recipe("bert", "model/norm=rmsnorm").norm == RMSNormConfig(), "the recipe's eps was LayerNorm's"
    assert transformer_zoo.recipe("bert", "model/positions=rotary", "model.positions.theta=500").positions == RotaryConfig(theta=500.0)
    assert transformer_zoo.recipe("bert", "model/attention/qk_norm=rmsnorm").attention.qk_norm == RMSNormConfig()


@pytest.mark.parametrize("plus", ["", "+"])
def test_a_part_is_swapped_on_one_side(plus: str) -> None:
    model = transformer_zoo.recipe(
        "transformer",
        f"{plus}model/positions@model.decoder.positions=rotary",
        f"{plus}model/attention@model.decoder.attention=multihead",
        f"{plus}model/attention/qk_norm@model.decoder.attention.qk_norm=layernorm",
        "model.encoder.n_layers=3",
    )
    assert isinstance(model, EncoderDecoderConfig)
    assert (model.positions, model.decoder.positions, model.encoder.positions) == (SinusoidalConfig(), RotaryConfig(), None)
    assert model.decoder.attention.qk_norm == LayerNormConfig()
    assert model.encoder.n_layers == 3


RECIPES = list(config_tree.options("model", config_tree.roots()))
SLOTS = [(group, name) for group in catalog.groups() if group.startswith("model/") for name in config_tree.options(group, config_tree.roots())]


QUICK = ("bert", "gpt2", "t5", "electra", "longformer")
"""Of every shape one; with the others it takes a minute."""


@pytest.mark.parametrize("model", [pytest.param(model, marks=[] if model in QUICK else [pytest.mark.slow]) for model in RECIPES])
@pytest.mark.parametrize(("group", "name"), SLOTS)
def test_every_part_fits_into_every_recipe(model: str, group: str, name: str) -> None:
    needed = ["model.attention.dropout=0"] if name == "flex" else []  # it drops nothing, and says so
    config = compose.recipe(model, f"{group}={name}", "model/size=tiny", *needed)
    assert isinstance(config, ModelConfig)
    part = config
    for step in group.split("/")[1:]:
        part = getattr(part, step)
    assert catalog.kind_of(type(part)) == name


def test_the_recipe_chooses_the_objective_unless_somebody_else_does() -> None:
    objective = {model: catalog.kind_of(type(compose.experiment([f"model={model}"]).objective)) for model in ("bert", "gpt2", "transformer")}
    assert objective == {"bert": "mlm_nsp", "gpt2": "clm", "transformer": "translation"}
    chosen = compose.experiment(["model=bert", "objective=mlm", "objective.mask_ratio=0.3"]).objective
    assert (catalog.kind_of(type(chosen)), chosen.mask_ratio) == ("mlm", 0.3)


def test_it_works_inside_a_hydra_job(tmp_path: Path) -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import getbase

    (tmp_path / "theirs.yaml").write_text("a: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        before, base = GlobalHydra.instance().hydra, getbase()
        transformer_zoo.recipe("bert", "model/size=tiny")
        assert GlobalHydra.instance().hydra is before
        assert getbase() == base
        assert hydra_compose("theirs").a == 1


def test_plain_hydra_forms_keep_working(tmp_path: Path) -> None:
    config = compose.experiment(
        ["+seed=3", "++name=abc", "model.max_length=1e3", "hydra.run.dir=.", "hydra.output_subdir=null", "name=${oc.env:NAME,x}"]
    )
    assert (config.seed, config.name, config.model.max_length) == (3, "x", 1000)
    assert compose.recipe("bert", "~model.dropout").dropout == 0.0
    (tmp_path / "model" / "size").mkdir(parents=True)
    (tmp_path / "model" / "size" / "mine.yaml").write_text("# Mine\nn_layers: 1\nd_model: 8\nn_heads: 2\nd_ff: 16\n")
    for given_ in ({"config_dirs": [tmp_path]}, {}):
        searchpath = [] if given_ else [f"hydra.searchpath=[file://{tmp_path}]"]
        assert compose.experiment(["model/size=mine", *searchpath], **given_).model.d_model == 8


def test_an_experiment_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n# Mine\ndefaults:\n  - override /model: gpt2\n  - override /model/positions: rotary\n  - override /objective: clm\n"
        "model:\n  dropout: 0.0\n  positions:\n    theta: 50\nseed: 7\n"
    )
    config = compose.experiment(["experiment=mine"], config_dirs=[tmp_path])
    assert (config.seed, config.model.dropout, config.model.positions) == (7, 0.0, RotaryConfig(theta=50.0))
    swapped = compose.experiment(["experiment=mine", "model/positions=sinusoidal", "seed=8"], config_dirs=[tmp_path])
    assert (swapped.seed, swapped.model.positions) == (8, SinusoidalConfig())


def test_what_every_choice_of_a_group_has_outlives_a_swap(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n# Mine\ndefaults:\n  - override /data: pocket\n  - override /optimizer: adamw\n"
        "data:\n  sequence_length: 48\n  n_documents: 10\noptimizer:\n  lr: 0.5\n  beta1: 0.5\n"
    )
    swapped = compose.experiment(["experiment=mine", "data=text", "data.train=a.txt", "optimizer=sgd"], config_dirs=[tmp_path])
    assert (swapped.data.sequence_length, swapped.optimizer.lr) == (48, 0.5)


def test_the_home_folder_is_understood() -> None:
    config = compose.experiment(["run_dir=~/runs/my-run"])
    assert config.run_dir == str(Path.home() / "runs/my-run")


# --- sweeps -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "logarithmic", "whole"),
    [
        ("a.b=interval(1e-4,1e-2)", True, False),
        ("a.b=interval(0.1,0.5)", False, False),
        ("a.b=interval(0,100)", False, False),
        ("a.b=tag(linear,interval(1,100))", False, False),
        ("a.b=tag(log,interval(1,2))", True, False),
        ("a.b=int(interval(1,100))", True, True),
    ],
)
def test_ranges_go_by_orders_of_magnitude_where_they_span_some(word: str, logarithmic: bool, whole: bool) -> None:
    found, others = compose.spans([word, "c=1,2", "d=3"])
    assert others == ["c=1,2", "d=3"]
    span = found["a.b"]
    assert (span.logarithmic, span.whole) == (logarithmic, whole)
    assert (float(span.at(0.0)), float(span.at(1.0))) == (span.low, span.high)
    assert span.share(float(span.at(0.5))) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a=interval(2,1)", "a range goes from the smaller to the larger number, got 2 and 1"),
        ("a=tag(log,interval(0,1))", "a range by orders of magnitude begins above 0, got 0"),
        ("a=tag(cubic,interval(1,2))", "a range is tagged log or linear, got cubic"),
    ],
)
def test_ranges_that_are_none_are_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose.spans([word])


def test_a_sweep_is_the_product_of_its_lists() -> None:
    assert compose.expand(["model=bert,gpt2", "seed=range(1,3)", "name=a"]) == [
        ["model=bert", "seed=1", "name=a"],
        ["model=bert", "seed=2", "name=a"],
        ["model=gpt2", "seed=1", "name=a"],
        ["model=gpt2", "seed=2", "name=a"],
    ]
    assert compose.expand(["model=glob(gpt*,exclude=*3)"]) == [["model=gpt1"], ["model=gpt2"]]
    assert compose.expand(["data.train=[a,b]", "name='x,y'"]) == [["data.train=[a,b]", "name='x,y'"]]
    with pytest.raises(ConfigError, match=r"seed=interval\(0,1\): an interval has no list of values"):
        compose.expand(["seed=interval(0,1)"])


# --- what is wrong ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dropuot=0.1", "model.dropuot: model (encoder) has no setting 'dropuot'; did you mean model.dropout?"),
        ("+model.dropuot=0.1", "model.dropuot: model (encoder) has no setting 'dropuot'; did you mean model.dropout?"),
        ("mdoel=gpt2", "mdoel: the configuration has no setting 'mdoel'; did you mean model?"),
        ("model=brt", "model has no 'brt'; did you mean bert? (it has albert, bart"),
        ("model/postions=rotary", "model/postions=rotary: there is no group 'model/postions'; did you mean model/positions?"),
        ("model/positions=rotray", "model/positions has no 'rotray'; did you mean rotary? (it has alibi, learned"),
        ("model.positions=rotary", "model.positions: expected settings (a mapping), got the text 'rotary'; choose with model/positions=rotary"),
        ("model/attention.n_kv_heads=2", "'model/attention.n_kv_heads=2' is no override: a slash chooses a part (model/norm=rmsnorm), dots set"),
        ("data.train=a.txt", "data.train: data (pocket) has no setting 'train'; data=text and data=pairs and data=labelled have it"),
        ("model/size=175b", "bert has no size 175b; it has tiny, mini, small, medium, base, large"),
        ("model/size=xl", "bert has no size xl; it has tiny, mini, small, medium, base, large"),
        ("experiment=nope", "experiment has no 'nope'"),
        ("model.n_layers=abc", "model.n_layers: expected a whole number at least 1, got the text 'abc'"),
        ("model.n_layers=null", "model.n_layers: expected a whole number at least 1, got null"),
        ("model.n_layers=???", "model.n_layers: a value is needed here: set model.n_layers=… (a whole number at least 1)"),
        ("model.dropout=1", "model.dropout: expected a number in [0, 1), got 1"),
        ("model.n_heads=7", "model: d_model=768 is not divisible by n_heads=7; the nearest widths are 763 and 770"),
        ("device=gpu", "device: expected one of auto, cpu, cuda, mps, got the text 'gpu'; did you mean cpu?"),
        ("seed=1,2", "seed=1,2: several values for one setting; write seed=[1,2] for a list"),
        ("model=bert,gpt2", "model=bert,gpt2: several values for one setting"),
        ("model=[bert,gpt2]", "model=[bert,gpt2]: model takes the name of one choice"),
        ("model=null", "model=null: model takes the name of one choice"),
        ("model", "'model' is no override: write key=value or group=choice; did you mean model?"),
        ("name=a(b", "'name=a(b' cannot be read"),
        ("~nothing.here", "~nothing.here: there is no nothing.here to take away"),
        ("~model/norm", "model.norm: nothing is chosen for model/norm; choose with model/norm=layernorm|rmsnorm|none"),
        ("hydra.run.dir=../escape", "hydra.run.dir=../escape: settings of Hydra itself are not used here"),
        ("hydra.searchpath=[file://nowhere]", "the configuration folder "),
        ("hydra.searchpath=[pkg://nowhere]", "the configuration package pkg://nowhere is not there"),
        ("hydra.searchpath=nowhere", "hydra.searchpath: expected a list such as [file://my_configs], got 'nowhere'"),
        ("name=${nope}", "Interpolation key 'nope' not found"),
    ],
)
def test_each_mistake_says_what_and_where(override: str, message: str) -> None:
    assert refused(override).startswith(message)


def test_all_mistakes_of_values_at_once() -> None:
    found = problems_of("model.n_layers=0", "model.dropuot=1", "seed=x", "+foo=1", "device=tpu")
    assert len(found) == 5


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"seed: 1\nname: [a\n", 3, "expected ',' or ']'"),
        (b"seed: 1\nseed: 2\n", 2, "found duplicate key seed"),
        (b"seed: 1\n# caf\xe9\n", 2, "not UTF-8 text (byte 13)"),
        (b"- a\n- b\n", 1, "expected settings (key: value), found a list"),
        (b"seed: 1\n\tname: x\n", 2, "found character"),
    ],
)
def test_a_broken_file_is_told_with_its_line(tmp_path: Path, content: bytes, line: int, message: str) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_bytes(b"# @package _global_\n" + content)
    (problem,) = problems_of("experiment=mine", config_dirs=(tmp_path,))
    expected = line if line == 1 and content.startswith(b"-") else line + 1
    assert problem.startswith(f"{path}:{expected}: {message}".replace("(byte 13)", "(byte "))


def test_an_unknown_choice_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\ndefaults:\n  - override /model: brt\n")
    (problem,) = problems_of("experiment=mine", config_dirs=(tmp_path,))
    assert problem.startswith("In 'train': model has no 'brt'; did you mean bert?")


@pytest.mark.parametrize("key", ["_target_", "_partial_", "model._target_", "model.norm._target_", "+objective._args_"])
def test_nothing_is_run_because_a_setting_names_it(key: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (problem,) = problems_of(f"{key}='os.system(\"touch {canary}\")'")
    assert "has no setting" in problem
    assert not canary.exists()


@pytest.mark.parametrize("content", ["!!python/object/apply:os.system ['touch CANARY']", "a: !!python/name:os.system x"])
def test_yaml_tags_run_nothing(content: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\n" + content.replace("CANARY", str(tmp_path / "canary")) + "\n")
    (problem,) = problems_of("experiment=mine", config_dirs=(tmp_path,))
    assert problem.startswith(f"{path}:2: could not determine a constructor")
    assert not (tmp_path / "canary").exists()


def test_a_file_cannot_widen_the_search(tmp_path: Path) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\nhydra:\n  searchpath: [pkg://antigravity]\n")
    (problem,) = problems_of("experiment=mine", config_dirs=(tmp_path,))
    assert problem.startswith("hydra: the configuration has no setting 'hydra'")


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="./\\abAB01-_ ~$", min_size=1, max_size=12))
def test_choices_never_leave_their_folder(name: str) -> None:
    (problem,) = problems_of(f"experiment='../{name}'")
    assert "no good name" in problem or "cannot be read" in problem


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_an_override_or_one_clear_error(text: str) -> None:
    try:
        assert isinstance(compose.experiment([text]), ExperimentConfig)
    except ConfigError as error:
        assert all(problem and "\n" not in problem for problem in error.problems)


# --- what is measured at the end where nobody chose ---------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [["model=bert"], ["model=roberta"], ["model=albert"], ["model=electra"]], ids=" ".join)
def test_models_that_predict_hidden_tokens_are_measured_on_the_mask_grid(overrides: list[str]) -> None:
    config = compose.experiment([*overrides, "evaluation.split=test", "evaluation.batch_size=8"])
    assert config.final_evaluation == MaskGridConfig(split="test", batch_size=8, max_samples=256)
    assert compose.experiment([*overrides, "evaluation.max_samples=9"]).final_evaluation == MaskGridConfig(max_samples=9)
    assert from_dict(ExperimentConfig, to_dict(config)) == config


@pytest.mark.parametrize("overrides", [["model=gpt2"], ["model=transformer"], ["model=t5"], ["model=bert", "objective=classification"]], ids=" ".join)
def test_others_are_not(overrides: list[str]) -> None:
    assert compose.experiment(overrides).final_evaluation is None


def test_what_is_chosen_for_the_end_stays() -> None:
    assert compose.experiment(["model=bert", "final_evaluation=null"]).final_evaluation is None
    chosen = compose.experiment(["model=bert", "evaluation@final_evaluation=mask_grid", "final_evaluation.ratios=[0.2,0.6]"]).final_evaluation
    assert chosen == MaskGridConfig(ratios=[0.2, 0.6])
    assert compose.experiment(["model=bert", "training.parallel=fsdp"]).final_evaluation is None


def test_ratios_of_the_grid() -> None:
    grid = ["model=bert", "evaluation@final_evaluation=mask_grid"]
    assert refused(*grid, "final_evaluation.ratios=[0.5,1.0]") == "final_evaluation.ratios[1]: expected a number in (0, 1), got 1.0"
    assert refused(*grid, "final_evaluation.ratios=[]") == "final_evaluation: ratios is empty; give at least one, such as [0.15]"
    assert refused(*grid, "final_evaluation.ratios=[0.3,0.5,0.3]") == "final_evaluation: ratios names 0.3 twice"
    assert "expected a list of a number in (0, 1), got 0.3" in refused(*grid, "final_evaluation.ratios=0.3")
