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


def test_a_config_that_is_no_json(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        depth_before_download(ModelConfig(name=str(tmp_path)))
