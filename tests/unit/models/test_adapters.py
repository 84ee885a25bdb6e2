"""A LoRA adapter is no model: it is merged first."""

import json

import huggingface_hub
import pytest
import transformers.utils.hub
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import LlamaForCausalLM

from snakesteer.config import ModelConfig
from snakesteer.errors import UserError
from snakesteer.models.depth import depth_before_download
from snakesteer.models.loading import describe_model, load_causal_lm
from tests.tiny_models import save_tiny_model

BASE = "some/base"


def write_adapter(folder, base=BASE):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": base})
    )
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def check_said(error, name, merged):
    text = str(error.value)
    assert f"model.name is {name!r}, which holds a LoRA adapter" in text
    assert "Merge it" in text
    assert "pip install peft" in text
    # The lines are Python as they stand.
    lines = [line.strip() for line in text.splitlines()[1:]]
    compile("\n".join(lines), "merge.py", "exec")
    assert f"AutoPeftModelForCausalLM.from_pretrained({name!r})" in lines[2]
    assert f"merge_and_unload().save_pretrained({merged!r})" in lines[3]


@pytest.mark.parametrize("look", [depth_before_download, describe_model, load_causal_lm])
def test_a_folder(tmp_path, look):
    folder = write_adapter(tmp_path / "my 'lora'")
    with pytest.raises(UserError) as error:
        look(ModelConfig(name=str(folder)))
    check_said(error, str(folder), "my 'lora'-merged")
    assert f"AutoTokenizer.from_pretrained({BASE!r})" in str(error.value)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError) as error:
        look(ModelConfig(name=str(folder)))
    assert f"AutoTokenizer.from_pretrained({str(folder)!r})" in str(error.value)
    assert f"for the model {BASE!r}" in str(error.value)


@pytest.mark.parametrize("base", [None, 3])
def test_a_base_that_is_not_named(tmp_path, base):
    folder = write_adapter(tmp_path / "lora", base)
    with pytest.raises(UserError, match=r"a LoRA adapter \(adapter_config"):
        depth_before_download(ModelConfig(name=str(folder)))
    (folder / "adapter_config.json").write_text("[")
    with pytest.raises(UserError, match=r"a LoRA adapter \(adapter_config"):
        depth_before_download(ModelConfig(name=str(folder)))


def test_a_merged_model_may_keep_the_adapters_config(tmp_path):
    write_adapter(tmp_path)
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 3}')
    assert depth_before_download(ModelConfig(name=str(tmp_path))) == 3


def test_an_adapter_beside_a_model_is_left_out_or_refused(tmp_path, monkeypatch, caplog):
    model = ModelConfig(name=str(save_tiny_model(tmp_path / "both", "llama")), device="cpu")
    write_adapter(tmp_path / "both")
    load_causal_lm(model)
    assert "a LoRA adapter beside its model, which is left out" in caplog.text
    # What transformers says of a model that it has put one into, as it does with peft.
    monkeypatch.setattr(LlamaForCausalLM, "_hf_peft_config_loaded", True)
    with pytest.raises(UserError, match=r"beside a model, and transformers .* remove adapter_con"):
        load_causal_lm(model)


def test_on_the_hub(tmp_path, monkeypatch):
    folder = write_adapter(tmp_path)

    def download(name, file, **_others):
        assert name == "some/lora"
        if file == "adapter_config.json":
            return str(folder / file)
        raise LocalEntryNotFoundError(f"{name} has no {file}")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(transformers.utils.hub, "hf_hub_download", download)
    with pytest.raises(UserError) as error:
        describe_model(ModelConfig(name="some/lora"))
    check_said(error, "some/lora", "lora-merged")


def test_a_hub_that_does_not_answer_is_what_is_told(monkeypatch):
    def download(*_names, **_others):
        raise LocalEntryNotFoundError("we are offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(transformers.utils.hub, "hf_hub_download", download)
    with pytest.raises(UserError, match=r"The hub cannot be reached|the hub cannot be reached"):
        describe_model(ModelConfig(name="some/lora"))
