"""Models load as they are, or say in one sentence why they do not."""

import json
import os
import shutil
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from snakesteer.config import ModelConfig, PromptConfig
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.errors import UserError
from snakesteer.models import loading
from snakesteer.models.loading import (
    describe_model,
    download_model,
    load_causal_lm,
    load_config_of,
    load_tokenizer,
    resolve_device,
    resolve_dtype,
)
from tests.loaded_models import prompt_ids, slow_generate
from tests.tiny_models import CONTEXT, HIDDEN, NUM_LAYERS, VOCABULARY, save_tiny_model, tiny_model

WEIGHT = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tiny_llama_folder, tmp_path):
    """A copy of the tiny Llama that a test may damage."""
    return shutil.copytree(tiny_llama_folder, tmp_path / "model")


def model_of(folder, **values):
    return ModelConfig(name=str(folder), **{"dtype": "float32", **values})


def edit(path, **values):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def refused(load, *patterns):
    """A `UserError` of one paragraph that says all of this."""
    with pytest.raises(UserError) as error:
        load()
    message = str(error.value)
    assert "\n" not in message
    for pattern in patterns:
        assert pattern in message
    assert error.value.remedy


class TestDownload:
    @pytest.fixture
    def calls(self, monkeypatch, tmp_path):
        made = []

        def fetch(name, revision, **patterns):
            made.append((name, revision, patterns))
            return str(tmp_path)

        monkeypatch.setattr("snakesteer.models.loading.snapshot_download", fetch)
        return made

    def test_safetensors_are_enough(self, calls, tmp_path):
        (tmp_path / "model.safetensors").touch()
        download_model(ModelConfig(name="some/model"), "abc")
        [(name, commit, patterns)] = calls
        assert (name, commit) == ("some/model", "abc")
        assert "*.bin" in patterns["ignore_patterns"]

    def test_other_weights_where_there_are_no_safetensors(self, calls):
        download_model(ModelConfig(name="some/model"), None)
        assert [call[2].get("allow_patterns") for call in calls] == [None, ["*.bin"]]

    def test_a_gguf_file(self, calls):
        download_model(ModelConfig(name="some/model", gguf_file="q4.gguf"), None)
        assert [call[2].get("allow_patterns") for call in calls] == [None, ["q4.gguf"]]

    def test_a_folder_needs_nothing(self, calls, tmp_path):
        download_model(model_of(tmp_path), None)
        assert calls == []

    def test_no_network(self):
        refused(lambda: download_model(ModelConfig(name="no/such-model"), None), "no/such-model")


class TestGood:
    def test_spread_over_devices(self, tiny_llama_folder):
        loaded = load_causal_lm(model_of(tiny_llama_folder, device_map="auto"))
        assert loaded.device == next(loaded.model.parameters()).device
        ids = torch.tensor([prompt_ids()[3]])
        with torch.no_grad():
            assert loaded.model(ids.to(loaded.device)).logits.isfinite().all()

    def test_a_folder(self, tiny_llama_folder):
        loaded = load_causal_lm(model_of(tiny_llama_folder, device="cpu"))
        assert (loaded.device, loaded.dtype) == (torch.device("cpu"), torch.float32)
        assert (loaded.eos_ids, loaded.pad_id, loaded.context) == ({2}, 0, CONTEXT)
        assert len(loaded.blocks) == NUM_LAYERS
        assert not loaded.model.training
        ids = torch.tensor([prompt_ids()[3]])
        with torch.no_grad():
            assert torch.equal(loaded.model(ids).logits, tiny_model("llama")(ids).logits)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_dtype(self, tiny_llama_folder, dtype):
        loaded = load_causal_lm(model_of(tiny_llama_folder, device="cpu", dtype=dtype))
        assert loaded.dtype == getattr(torch, dtype)
        assert {p.dtype for p in loaded.model.parameters()} == {loaded.dtype}

    def test_description(self, tiny_llama_folder):
        description = describe_model(model_of(tiny_llama_folder, num_layers=NUM_LAYERS))
        assert description == {
            "name": str(tiny_llama_folder),
            "revision": None,
            "commit": None,
            "model_type": "llama",
            "num_layers": NUM_LAYERS,
            "hidden_size": HIDDEN,
            "context": CONTEXT,
        }

    def test_end_tokens_of_generation_config_and_tokenizer(self, folder):
        edit(folder / "generation_config.json", eos_token_id=[7, 9])
        assert load_causal_lm(model_of(folder, device="cpu")).eos_ids == {2, 7, 9}

    def test_padding_without_an_embedding_of_its_own(self, folder):
        """A padding token that was added to the tokenizer alone would be out of range."""
        tokenizer = load_tokenizer(model_of(folder))
        tokenizer.add_special_tokens({"pad_token": "<new pad>"})
        tokenizer.save_pretrained(folder)
        assert load_tokenizer(model_of(folder)).pad_token_id == len(VOCABULARY)
        loaded = load_causal_lm(model_of(folder, device="cpu"))
        assert loaded.pad_id == 0
        requests = [Request(prompt, 5) for prompt in prompt_ids()]
        assert len(ReferenceEngine(loaded, Decoding(), 4).generate(requests)) == 4

    def test_a_tokenizer_with_an_end_token_only(self, folder):
        """Neither padding nor a beginning token: GPT-2's has none of its own either."""
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text())
        for token in ("pad_token", "bos_token", "unk_token"):
            settings.pop(token)
        path.write_text(json.dumps(settings))
        loaded = load_causal_lm(model_of(folder, device="cpu"))
        tokenizer = loaded.tokenizer
        assert (tokenizer.pad_token_id, tokenizer.bos_token_id) == (None, None)
        assert (loaded.pad_id, loaded.eos_ids) == (0, {2})
        prompter = Prompter(PromptConfig(shots=0), (), tokenizer)
        requests = [Request(prompter.ids(text), 6) for text in ("1+1?", "What is 12 + 30?")]
        engines = [ReferenceEngine(loaded, Decoding(), 2), SlotsEngine(loaded, Decoding(), 4)]
        answers = [[g.token_ids for g in engine.generate(requests)] for engine in engines]
        alone = [slow_generate("llama", loaded.model, r, lambda *_: 0.0) for r in requests]
        assert answers == [alone, alone]
        always = Prompter(PromptConfig(shots=0, bos="always"), (), tokenizer)
        refused(lambda: always.ids("1+1?"), "prompt.bos is 'always'", "prompt.bos: auto")

    @pytest.mark.parametrize("threads", [1, 10_000])
    def test_threads_are_capped_at_the_cores(self, tiny_llama_folder, threads):
        try:
            load_causal_lm(model_of(tiny_llama_folder, device="cpu"), threads=threads)
            assert torch.get_num_threads() == min(threads, len(os.sched_getaffinity(0)))
        finally:
            torch.set_num_threads(1)

    def test_unused_weights_are_mentioned(self, folder, caplog):
        edit(folder / "config.json", num_hidden_layers=2)
        load_causal_lm(model_of(folder, device="cpu"))
        assert "model.layers.2" in caplog.text


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_the_models_own_generation_settings_do_not_leak(folder, file):
    """In a file of their own, or in the config as old models have them."""
    settings = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 2, "temperature": 0.1}
    edit(folder / file, **settings, do_sample=True, min_new_tokens=4, max_length=3)
    own = AutoModelForCausalLM.from_pretrained(folder)
    loaded = load_causal_lm(model_of(folder, device="cpu"))
    assert loaded.model.generation_config.repetition_penalty in (None, 1.0)
    requests = [Request(prompt, 20) for prompt in prompt_ids()]
    answers = [g.token_ids for g in ReferenceEngine(loaded, Decoding(), 4).generate(requests)]
    assert answers == [slow_generate("llama", loaded.model, r, lambda *_: 0.0) for r in requests]
    if file == "generation_config.json":  # with them, HuggingFace does say something else
        ids = torch.tensor([requests[3].prompt_ids])
        with_penalty = own.generate(ids, do_sample=False, max_new_tokens=20)[0, ids.shape[1] :]
        assert tuple(with_penalty.tolist()[: len(answers[3])]) != answers[3]


class TestDevice:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch):
        def with_devices(cuda, mps):
            monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
            monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

        self.with_devices = with_devices

    @pytest.mark.parametrize(
        ("cuda", "mps", "gpus", "expected"),
        [
            (True, False, 1, "cuda"),
            (True, True, 1, "cuda"),
            (False, True, 1, "mps"),
            (False, False, 1, "cpu"),
            (True, True, 0, "cpu"),
        ],
    )
    def test_auto(self, cuda, mps, gpus, expected):
        self.with_devices(cuda, mps)
        assert resolve_device("auto", gpus).type == expected

    @pytest.mark.parametrize("variable", ["SLURM_JOB_GPUS", "SLURM_STEP_GPUS"])
    def test_a_gpu_that_slurm_has_handed_out_must_be_seen(self, monkeypatch, variable):
        monkeypatch.setenv(variable, "0,1")
        self.with_devices(False, False)
        refused(lambda: resolve_device("auto", 1), f"{variable}=0,1", "model.device: cpu")
        assert resolve_device("auto", 0).type == "cpu"
        assert resolve_device("cpu", 1).type == "cpu"
        self.with_devices(True, False)
        assert resolve_device("auto", 1).type == "cuda"

    def test_by_name(self):
        self.with_devices(True, False)
        assert resolve_device("cpu", 1).type == "cpu"
        assert resolve_device("cuda", 1).type == "cuda"
        refused(lambda: resolve_device("mps", 1), "model.device is 'mps'", "model.device: auto")

    def test_dtype(self):
        assert resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16
        assert resolve_dtype("auto", torch.device("mps")) == torch.float32
        assert resolve_dtype("float32", torch.device("cuda")) == torch.float32
        assert resolve_dtype("float16", torch.device("cpu")) == torch.float16

    @pytest.mark.parametrize(
        ("features", "processor", "dtype"),
        [
            (["amx_tile", "avx512_bf16"], "Intel(R) Xeon(R) Processor", "bfloat16"),
            (["avx512_bf16"], "Intel(R) Xeon(R) Processor", "float32"),
            (["avx512_bf16"], "AMD EPYC 9654 96-Core Processor", "bfloat16"),
            ([], "AMD EPYC 7763 64-Core Processor", "float32"),
        ],
    )
    def test_bfloat16_where_the_cpu_is_fast_in_it(self, monkeypatch, features, processor, dtype):
        for name in ("avx512_bf16", "amx_tile"):
            ask = partial(features.__contains__, name)
            monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", ask, raising=False)
        monkeypatch.setattr(loading, "processor", lambda: processor)
        assert resolve_dtype("auto", torch.device("cpu")) == getattr(torch, dtype)


class TestBad:
    """Every one of these stops with a `UserError`."""

    @pytest.mark.parametrize("name", ["/no/such/folder", "./no/such", "../nothing", "a/b/c"])
    def test_missing_folder(self, name):
        for load in (describe_model, load_causal_lm, load_tokenizer):
            refused(lambda load=load: load(ModelConfig(name=name)), name, "no such folder")

    @pytest.mark.parametrize("name", ["no/such-model", "nosuchmodel"])
    def test_unknown_hub_id(self, name):
        for load in (load_config_of, load_causal_lm):
            said = ("cannot be reached", "model.name", "HF_HOME")
            refused(lambda load=load: load(ModelConfig(name=name)), name, *said)

    def test_wrong_num_layers(self, folder):
        refused(
            lambda: describe_model(model_of(folder, num_layers=3)),
            "model.num_layers is 3",
            "has 4 layers",
            "model.num_layers: 4",
        )

    @pytest.mark.parametrize("size", [0, 4, 5000])
    def test_truncated_weights(self, folder, size):
        os.truncate(folder / "model.safetensors", size)
        refused(
            lambda: load_causal_lm(model_of(folder)), "cannot be loaded", "complete weight files"
        )

    def test_no_weights(self, folder):
        (folder / "model.safetensors").unlink()
        refused(lambda: load_causal_lm(model_of(folder)), "cannot be loaded", "model.safetensors")

    def test_missing_weights(self, folder):
        edit_weights(folder, lambda weights: weights.pop(WEIGHT))
        refused(lambda: load_causal_lm(model_of(folder)), "lacks weights", WEIGHT, "random")

    def test_a_config_with_more_layers_than_the_file(self, folder):
        edit(folder / "config.json", num_hidden_layers=5)
        refused(lambda: load_causal_lm(model_of(folder)), "lacks weights", "model.layers.4")

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_numbers_that_are_not_finite(self, folder, value):
        edit_weights(folder, lambda weights: weights[WEIGHT][0, 3:4].fill_(value))
        refused(lambda: load_causal_lm(model_of(folder, device="cpu")), "not finite", WEIGHT)

    def test_numbers_too_large_for_the_dtype(self, folder):
        edit_weights(folder, lambda weights: weights[WEIGHT][0, 3:4].fill_(1e9))
        load_causal_lm(model_of(folder, device="cpu"))
        refused(lambda: load_causal_lm(model_of(folder, device="cpu", dtype="float16")), "float32")

    def test_weights_of_another_shape(self, folder):
        edit_weights(folder, lambda weights: weights.update({WEIGHT: torch.zeros(3, 3)}))
        refused(lambda: load_causal_lm(model_of(folder)), "cannot be loaded")

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"hidden_size": 3}'])
    def test_bad_config(self, folder, content):
        (folder / "config.json").write_text(content)
        for load in (describe_model, load_causal_lm):
            refused(lambda load=load: load(model_of(folder)), "cannot be loaded", "config.json")

    def test_config_values_of_a_wrong_type(self, folder):
        edit(folder / "config.json", hidden_size="wide")
        refused(lambda: describe_model(model_of(folder)), "hidden_size")

    def test_unknown_architecture(self, folder):
        edit(folder / "config.json", model_type="no-such-type")
        refused(lambda: describe_model(model_of(folder)), "no-such-type")

    @pytest.mark.parametrize("content", ["", "{", "{}", '{"version": "1.0", "model": 3}'])
    def test_bad_tokenizer(self, folder, content):
        (folder / "tokenizer.json").write_text(content)
        refused(lambda: load_tokenizer(model_of(folder)), "cannot be loaded", "tokenizer")

    def test_no_tokenizer(self, folder):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
        refused(lambda: load_tokenizer(model_of(folder)), "cannot be loaded", "tokenizer")

    def test_missing_gguf_file(self, folder):
        refused(lambda: load_causal_lm(model_of(folder, gguf_file="no.gguf")), "no.gguf")

    def test_code_of_a_model_does_not_run(self, folder):
        edit(
            folder / "config.json",
            model_type="own",
            auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"},
        )
        (folder / "own.py").write_text(
            f"open({str(folder / 'ran')!r}, 'w')\n"
            "from transformers import LlamaConfig as Own, LlamaForCausalLM as Model\n"
        )
        for load in (describe_model, load_causal_lm):
            refused(lambda load=load: load(model_of(folder)), "model.trust_remote_code: true")
        assert not (folder / "ran").exists()

    def test_a_model_that_is_no_causal_lm(self, folder):
        edit(folder / "config.json", model_type="t5", num_layers=2)
        refused(lambda: load_causal_lm(model_of(folder)), "no causal language model")


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "opt"])
def test_other_families_load(family, tmp_path):
    loaded = load_causal_lm(model_of(save_tiny_model(tmp_path, family), device="cpu"))
    assert loaded.context == CONTEXT
    assert describe_model(model_of(tmp_path))["num_layers"] == NUM_LAYERS
