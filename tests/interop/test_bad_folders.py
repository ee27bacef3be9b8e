"""Folders that are not what they should be: one line that names file and key or tensor, the exit code of its kind, and nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from interop.builders import bert, change_config, change_weights, gpt2
from transformer_zoo.errors import CheckpointError, ConfigError, DataError, RunNotFoundError, ZooError
from transformer_zoo.experiments.imported import import_model
from transformer_zoo.experiments.pretrained import from_pretrained


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("public") / "whole")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def refuse(folder: Path, kind: type[ZooError]) -> str:
    """The message with which both doors refuse the folder."""
    with pytest.raises(kind) as told:
        import_model(folder, folder.parent / "run")
    assert sorted(path.name for path in folder.parent.iterdir()) in ([folder.name], [])  # nothing was written
    with pytest.raises(kind) as told_too:
        from_pretrained(folder)
    assert type(told.value) is type(told_too.value) is kind
    message = str(told.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_act": "mish"}, "config.json: hidden_act='mish' is not supported: expected one of gelu, gelu_python, gelu_new,"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key' is not supported: supported is 'absolute'"),
        ({"is_decoder": True}, "is_decoder=true is not supported: supported is false"),
        ({"add_cross_attention": True}, "add_cross_attention=true is not supported"),
        ({"hidden_size": "wide"}, "hidden_size='wide' is not supported: expected a whole number at least 1"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob=1.5 is not supported: expected a number from 0 to below 1"),
        ({"layer_norm_eps": 0}, "layer_norm_eps=0 is not supported: expected a number above 0"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings='yes' is not supported: expected true or false"),
        ({"num_attention_heads": 5}, "config.json: model: d_model=12 is not divisible by n_heads=5"),
        ({"architectures": ["BertForQuestionAnswering"]}, "architectures='BertForQuestionAnswering' is not supported: classes that can be read are"),
        ({"architectures": "BertModel"}, "architectures='BertModel' is not supported: expected a list of names"),
        ({"model_type": "brt"}, "config.json: model_type='brt' cannot be read; did you mean bert? (known are"),
        ({"model_type": "xlnet"}, "model_type='xlnet' cannot be read: its two streams of attention are not built here"),
        ({"model_type": ...}, "config.json: there is no model_type in it"),
        ({"model_type": ["bert"]}, "config.json: model_type=['bert'] is no text, such as \"bert\"; known are"),
        ({"model_type": 3}, "config.json: model_type=3 is no text"),
        ({"architectures": [["x"]]}, "architectures=[['x']] is not supported: expected a list of names"),
        ({"hidden_size": 2**40}, "hidden_size=1099511627776 is not supported: .*numbers only, which cannot belong to a model of this size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000 is not supported: .*tensors only, which cannot belong to a model of this size"),
        ({"max_position_embeddings": 2**60}, "config.json: no model can have these sizes (Storage size calculation overflowed"),
        ({"num_labels": "x"}, "num_labels='x' is not supported: expected a whole number at least 1"),
        ({"pad_token_id": "x"}, "config.json: pad_token_id='x' names no tokens: expected a whole number, or a list of them"),
        ({"eos_token_id": [1, 0.5]}, "config.json: eos_token_id=[1, 0.5] names no tokens"),
        ({"bad_words_ids": [1]}, "config.json: bad_words_ids=[1] names no tokens: expected a list of lists of whole numbers"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "model_type='gpt2', but .*model.safetensors holds the weights of bert"),
    ],
)
def test_what_config_json_asks_for_and_cannot_be_done(folder: Path, values: dict, message: str):
    change_config(folder, **values)
    told = refuse(folder, ConfigError)
    assert str(folder / "config.json") in told
    assert _found(message, told), told


def _found(message: str, told: str) -> bool:
    before, _, after = message.partition(".*")
    return before in told and after in told


def test_gpt2_with_another_scale_for_every_layer(tmp_path: Path):
    gpt2(tmp_path / "model")
    change_config(tmp_path / "model", scale_attn_by_inverse_layer_idx=True)
    assert "scale_attn_by_inverse_layer_idx=true is not supported" in refuse(tmp_path / "model", ConfigError)


@pytest.mark.parametrize("text", ["{", "[1]", "", "\xff", "[" * 100000])
@pytest.mark.parametrize(
    ("name", "kind"), [("config.json", ConfigError), ("tokenizer_config.json", DataError), ("generation_config.json", ConfigError)]
)
def test_broken_json(folder: Path, text: str, name: str, kind: type[ZooError]):
    (folder / name).write_bytes(text.encode("latin-1"))
    assert refuse(folder, kind).startswith(f"{folder / name}: ")


def test_folders_that_are_not_there_or_hold_no_model(tmp_path: Path, folder: Path):
    with pytest.raises(RunNotFoundError, match="there is no such folder"):
        import_model(tmp_path / "nothing", tmp_path / "run")
    with pytest.raises(RunNotFoundError, match="there is no model there"):
        from_pretrained(tmp_path / "nothing")
    (folder / "config.json").unlink()
    assert "there is no config.json in this folder" in refuse(folder, ConfigError)


def test_pickled_weights_are_not_read(folder: Path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refuse(folder, CheckpointError)
    assert "only pytorch_model.bin, which can run code" in message
    assert "save_pretrained" in message
    (folder / "pytorch_model.bin").unlink()
    assert "there are no weights in this folder" in refuse(folder, CheckpointError)


def without(*names: str) -> Callable[[dict], dict]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


def test_missing_tensors_are_listed(folder: Path):
    change_weights(folder, without("bert.encoder.layer.1.output.dense.bias", "cls.predictions.bias"))
    message = refuse(folder, CheckpointError)
    assert message.startswith(f"{folder / 'model.safetensors'} does not fit config.json (model_type bert): missing: ")
    assert "bert.encoder.layer.1.output.dense.bias" in message
    assert "cls.predictions.bias" in message
    change_config(folder, num_hidden_layers=3)
    assert " and 13 more" in refuse(folder, CheckpointError)


def test_tensors_that_are_left_over_or_of_another_shape(folder: Path):
    def change(tensors: dict) -> dict:
        return tensors | {"bert.encoder.layer.7.output.dense.bias": torch.zeros(2), "cls.predictions.bias": torch.zeros(4)}

    change_weights(folder, change)
    message = refuse(folder, CheckpointError)
    assert "left over: bert.encoder.layer.7.output.dense.bias" in message
    assert "of another shape: cls.predictions.bias [4], where config.json asks for [23]" in message


def test_a_tied_copy_must_be_equal(folder: Path):
    change_weights(folder, lambda tensors: tensors | {"cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"] + 1})
    assert "cls.predictions.decoder.weight must equal bert.embeddings.word_embeddings.weight" in refuse(folder, CheckpointError)


def test_the_same_tensor_twice(folder: Path):
    change_weights(folder, lambda tensors: tensors | {"bert.embeddings.LayerNorm.gamma": torch.zeros(12)})
    assert "bert.embeddings.LayerNorm.gamma are the same tensor" in refuse(
        folder, CheckpointError
    ) or "LayerNorm.weight are the same tensor" in refuse(folder, CheckpointError)


def test_types_that_are_not_read(folder: Path):
    change_weights(folder, lambda tensors: tensors | {"cls.predictions.bias": tensors["cls.predictions.bias"].double()})
    assert "are not read: cls.predictions.bias (F64)" in refuse(folder, CheckpointError)


@pytest.mark.parametrize("length", [0, 4, 100, -10])
def test_damaged_weights(folder: Path, length: int):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:length])
    assert f"{folder / 'model.safetensors'} is damaged or no safetensors file" in refuse(folder, CheckpointError)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"bert.embeddings.LayerNorm.bias": "model-00001-of-00002.safetensors"}}, "model-00001-of-00002.safetensors is missing"),
        ({"weight_map": {"a": "../secret.safetensors"}}, "'../secret.safetensors' is no safetensors file of this folder"),
        ({"weight_map": {"a": "model.bin"}}, "'model.bin' is no safetensors file of this folder"),
        ({"weight_map": {"a": "shard.safetensors"}}, "a should stand in shard.safetensors, which does not hold it"),
        ({}, "there is no weight_map in it"),
    ],
)
def test_an_index_that_is_wrong(folder: Path, index: dict, message: str):
    (folder / "model.safetensors").unlink()
    save_file({"b": torch.zeros(1)}, folder / "shard.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert message in refuse(folder, CheckpointError)


def test_tokenizers_that_do_not_fit(folder: Path, tmp_path: Path):
    whole = (folder / "tokenizer.json").read_text()
    bert(tmp_path / "model", vocab_size=12)
    (folder / "tokenizer.json").write_text(whole)
    message = refuse(folder, DataError)
    assert "the tokenizer has ids up to 19, but the model has a vocabulary of 12" in message
    (folder / "tokenizer.json").write_text("{}")
    assert "is no tokenizer.json" in refuse(folder, DataError)
