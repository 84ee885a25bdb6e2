"""The depth of a model before it is loaded."""

import json

import pytest

from snakesteer.config import EMBEDDED_MODEL_LAYERS, ModelConfig
from snakesteer.errors import UserError
from snakesteer.models.depth import depth_before_download
from tests.tiny_models import FAMILIES, NUM_LAYERS, tiny_config


@pytest.mark.parametrize("family", FAMILIES)
def test_a_local_folder_says_it(tmp_path, family):
    tiny_config(family).save_pretrained(tmp_path)
    assert depth_before_download(ModelConfig(name=str(tmp_path))) == NUM_LAYERS


def test_the_text_part_of_a_larger_config_counts(tmp_path):
    config = {"num_hidden_layers": 9, "text_config": {"num_hidden_layers": 5}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert depth_before_download(ModelConfig(name=str(tmp_path))) == 5


def test_the_embedded_model_and_names_on_the_hub(tmp_path):
    assert depth_before_download(ModelConfig()) == EMBEDDED_MODEL_LAYERS
    assert depth_before_download(ModelConfig(name="someone/model")) is None
    assert depth_before_download(ModelConfig(name="someone/model", num_layers=7)) == 7
    (tmp_path / "config.json").write_text("{}")
    assert depth_before_download(ModelConfig(name=str(tmp_path), num_layers=7)) == 7


@pytest.mark.parametrize("name", ["/no/such", "./no/such", "../nothing", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused_before_anything_runs(name):
    with pytest.raises(UserError, match=rf"model\.name is '{name}', but there is no such folder"):
        depth_before_download(ModelConfig(name=name))


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "q4.gguf").write_text("x")
    with pytest.raises(UserError, match=r"q4\.gguf', which is a file.*model\.gguf_file"):
        depth_before_download(ModelConfig(name=str(tmp_path / "q4.gguf")))


def test_a_gguf_file_that_is_not_in_its_folder(tmp_path):
    (tmp_path / "q8.gguf").write_text("x")
    with pytest.raises(UserError, match=r"'q4\.gguf', but .* has no such file.*: q8\.gguf"):
        depth_before_download(ModelConfig(name=str(tmp_path), gguf_file="q4.gguf"))


def test_a_config_that_is_no_json(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        depth_before_download(ModelConfig(name=str(tmp_path)))
