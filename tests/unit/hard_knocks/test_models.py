"""Models that are incomplete, damaged, malicious, or not what their files say."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
import torch
import transformers.utils.hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from snakesteer.config import ModelConfig, PromptConfig
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.models import loading
from snakesteer.models.depth import depth_before_download
from snakesteer.models.loading import describe_model, load_causal_lm
from snakesteer.records.files import write_jsonl
from snakesteer.records.logs import script_log
from tests.tiny_models import CONTEXT, VOCABULARY, save_tiny_model, tiny_tokenizer
from tests.unit.hard_knocks.harm import Harm, Knocks, Payload, check_knock, truncated, written


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_weights(name: str, change: Callable[[torch.Tensor], object]) -> Harm:
    def harm(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights[name])
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return harm


def overflowing(folder: Path) -> None:
    """Weights that are finite, and numbers computed from them that are not."""
    edit_weights("model.norm.weight", lambda w: w.fill_(1e38))(folder)
    edit_weights("lm_head.weight", lambda w: w.fill_(1e38))(folder)


def as_bin(write: Callable[[dict[str, torch.Tensor], Path], object]) -> Harm:
    """The weights in PyTorch's old format, written in some way."""

    def harm(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        write(weights, folder / "pytorch_model.bin")

    return harm


def malicious(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.save({**weights, "extra": Payload(path.with_name("ran"))}, path)


def malicious_pickle(_weights: dict[str, torch.Tensor], path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(path.with_name("ran"))))


def huge_header(folder: Path) -> None:
    """A safetensors file that claims a header of 2^60 bytes."""
    (folder / "model.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}")


def without(pattern: str) -> Harm:
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def other_tokenizer(folder: Path) -> None:
    """A tokenizer with a token that the model has no embedding for, in every prompt."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["Question"])
    tokenizer.save_pretrained(folder)


def changed(file: str, **values: Any) -> Harm:
    return lambda folder: edit_json(folder / file, **values)


def answer_with(folder: Path, question: str = "1+1?", new: int = 3, **model: Any) -> None:
    """From the config to an answer, as the rules that read the model do it."""
    section = ModelConfig(name=str(folder), dtype="float32", device="cpu", **model)
    depth_before_download(section)
    describe_model(section)
    loaded = load_causal_lm(section)
    prompter = Prompter(PromptConfig(shots=0), (), loaded.tokenizer)
    engine = ReferenceEngine(loaded, Decoding(), 4)
    [answer] = engine.generate([Request(prompter.ids(question), new)])
    write_jsonl(folder / "out", [{"text": answer.text}])


def in_shards(harm: Callable[[Path], object]) -> Harm:
    """The same weights in several files, of which the second is harmed."""

    def harmed(folder: Path) -> None:
        weights = AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        weights.save_pretrained(folder, max_shard_size="40kB")
        harm(sorted(folder.glob("model-*.safetensors"))[1])

    return harmed


def as_encoder(folder: Path) -> None:
    """A model that reads texts in both directions, with the tokenizer of the other."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"initializer_range": 0.5, "vocab_size": len(VOCABULARY)}
    config = AutoConfig.for_model("bert", **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def as_adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')


def as_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("hello")


def with_code(folder: Path) -> None:
    """A model that comes with code, which leaves a trace where it runs."""
    edit_json(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"})
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def of_kind(name: str) -> Harm:
    """A tokenizer of a kind that needs another package."""

    def harm(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(b"\x0a\x0e")
        edit_json(folder / "tokenizer_config.json", tokenizer_class=name)

    return harm


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
NOT_LOADED = "cannot be loaded"
TOKENIZER = ("The tokenizer of the model", NOT_LOADED)
DAMAGED = ("a weight file is damaged or incomplete", "complete weight files", "git lfs pull")
BAD_MODELS: Knocks = {
    "no folder": (shutil.rmtree, ("there is no such folder", "Name a folder")),
    "an empty folder": (without("*"), (NOT_LOADED, "a local folder needs config.json")),
    "a config that is a list": (written("config.json", "[]"), (NOT_LOADED, "config.json")),
    "a config that is no JSON": (
        written("config.json", "{"),
        ("config.json is not a JSON file", "that the file is whole"),
    ),
    "a config without model_type": (written("config.json", "{}"), (NOT_LOADED, "config.json")),
    "a file in place of the folder": (as_file, ("which is a file", "Set model.name to its folder")),
    "a LoRA adapter": (
        as_adapter,
        ("a LoRA adapter for the model 'some/base'", "Merge it", "AutoPeftModelForCausalLM"),
    ),
    "Python code that comes with it": (
        with_code,
        ("Python code of its own", "model.trust_remote_code: true"),
    ),
    "layers that are no number": (
        changed("config.json", num_hidden_layers="many"),
        ("'many' layers", "the whole model"),
    ),
    "a negative number of layers": (
        changed("config.json", num_hidden_layers=-1),
        ("-1 layers", "the whole model"),
    ),
    "an architecture of a wrong kind": (
        changed("config.json", model_type="t5"),
        (NOT_LOADED, "no causal language model"),
    ),
    "a model of images": (
        written("config.json", '{"model_type": "resnet"}'),
        ("no causal language model, but 'resnet'", "continues texts (decoder only)"),
    ),
    "an encoder": (
        as_encoder,
        ("says of a token changes with later ones", "decoder-only causal language model"),
    ),
    "an unknown architecture": (
        changed("config.json", model_type="abacus"),
        (NOT_LOADED, "abacus", "pip install --upgrade transformers"),
    ),
    "fewer weights than layers": (changed("config.json", num_hidden_layers=9), ("lacks weights",)),
    "weights of another width": (
        changed("config.json", intermediate_size=48),
        (NOT_LOADED, "do not fit together"),
    ),
    "truncated weights": (truncated("model.safetensors"), DAMAGED),
    "empty weights": (truncated("model.safetensors", 0.0), DAMAGED),
    "a header of 2^60 bytes": (huge_header, DAMAGED),
    "weights that are a pointer of Git LFS": (written("model.safetensors", POINTER), DAMAGED),
    "no weights": (without("*.safetensors"), ("files are missing", "complete weight files")),
    "a missing part of the weights": (
        in_shards(Path.unlink),
        ("files are missing", "model-00002", "all parts of them"),
    ),
    "a truncated part of the weights": (in_shards(lambda part: os.truncate(part, 99)), DAMAGED),
    "an index of parts that is no JSON": (
        lambda folder: (
            (folder / "model.safetensors").unlink(),
            written("model.safetensors.index.json", "{")(folder),
        ),
        (NOT_LOADED, "complete weight files"),
    ),
    "NaN in the weights": (
        edit_weights("model.layers.1.mlp.up_proj.weight", lambda w: w[0, 0].fill_(torch.nan)),
        ("not finite", "layers.1.mlp.up_proj"),
    ),
    "numbers that overflow on their way": (overflowing, ("computes numbers", "model.dtype")),
    "weights that are a text file": (written("model.safetensors", "hello"), DAMAGED),
    "a pickle with code among the weights": (
        as_bin(malicious),
        (NOT_LOADED, "holds more than numbers", "safetensors"),
    ),
    "a pickle that is code": (as_bin(malicious_pickle), (NOT_LOADED,)),
    "no tokenizer": (without("tokenizer*"), TOKENIZER),
    "a truncated tokenizer": (truncated("tokenizer.json"), TOKENIZER),
    "a tokenizer.json of something else": (written("tokenizer.json", '{"a": 1}'), TOKENIZER),
    "a tokenizer_config.json that is no JSON": (written("tokenizer_config.json", "{"), TOKENIZER),
    "a damaged tokenizer.model": (of_kind("LlamaTokenizer"), TOKENIZER),
    "a tokenizer of another model": (
        other_tokenizer,
        ("('Question')", "embeddings for 108 tokens only", "tokenizer files beside the weights"),
    ),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model ü", "llama")


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models(model: Path, capsys: pytest.CaptureFixture[str], name: str):
    check_knock(model, answer_with, *BAD_MODELS[name], capsys)
    assert not (model / "ran").exists()


def test_weights_in_the_old_format_are_read_without_running_anything(model: Path):
    as_bin(torch.save)(model)
    answer_with(model)
    assert (model / "out").exists()


def test_a_prompt_longer_than_the_context(model: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit), script_log(model.with_name("rule.log")):
        answer_with(model, "9" * CONTEXT)
    assert f"do not fit into the model's context of {CONTEXT}" in capsys.readouterr().err
    answer_with(model, "9" * (CONTEXT - 30), new=1)


HUB: dict[str, tuple[Callable[[], Exception], tuple[str, ...]]] = {
    "a gated model": (
        lambda: GatedRepoError("403 Client Error", response=_answer(403)),
        ("is gated", "Ask for access", "hf auth login"),
    ),
    "a private or unknown model": (
        lambda: RepositoryNotFoundError("401 Client Error", response=_answer(401)),
        ("no folder of this name here, and no public repository", "HF_TOKEN"),
    ),
    "an unknown revision": (
        lambda: RevisionNotFoundError("404 Client Error", response=_answer(404)),
        ("no such revision", "model.revision"),
    ),
    "a hub that is down": (
        lambda: HfHubHTTPError("503 Server Error", response=_answer(503)),
        ("hub cannot be reached", "HF_HOME"),
    ),
    "a model that is not in the cache, offline": (
        lambda: LocalEntryNotFoundError("an error happened while trying to locate the file"),
        ("hub cannot be reached", "fill the cache (HF_HOME)"),
    ),
    "a cache on a read-only disk": (
        lambda: OSError(errno.EROFS, "Read-only file system", "/cache"),
        ("does not permit", "set HF_HOME"),
    ),
}


def _answer(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/a/b"))


@pytest.mark.parametrize("name", HUB)
def test_the_hubs_refusals(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, name: str):
    """As transformers words them."""
    make, said = HUB[name]

    def fetch(*_arguments: Any, **_others: Any) -> str:
        raise make()

    for module in (huggingface_hub, transformers.utils.hub):
        monkeypatch.setattr(module, "hf_hub_download", fetch)
    with pytest.raises(SystemExit), script_log(tmp_path / "rule.log"):
        describe_model(ModelConfig(name="some/model"))
    message = capsys.readouterr().err
    assert message.startswith("error: The model 'some/model' cannot be loaded")
    assert [word for word in said if word not in message] == [], message


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path):
    def fetch(*_arguments: Any, **_others: Any) -> str:
        raise PermissionError(13, "Permission denied", "/cache/hub")

    monkeypatch.setattr(loading, "snapshot_download", fetch)
    with pytest.raises(SystemExit), script_log(tmp_path / "rule.log"):
        loading.download_model(ModelConfig(name="some/model"), None)
    assert "Permission denied" in (said := capsys.readouterr().err)
    assert "HF_HOME" in said
