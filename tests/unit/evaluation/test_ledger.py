"""What makes two configurations of the ledger the same, and what makes them two."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from snakesteer.config import (
    Config,
    GenerationConfig,
    ModelConfig,
    PromptConfig,
    SettledGate,
)
from snakesteer.config.params import leaves
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.errors import UserError
from snakesteer.evaluation.ledger import Ledger, open_ledger
from snakesteer.records.files import write_json
from snakesteer.records.ledger import read_ledger
from snakesteer.steering.dac import Dac
from snakesteer.steering.gates import Gate
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from tests.tiny_models import tiny_tokenizer

PROMPTER = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
EXAMPLE = Problem("p", "1+1?", "#### 2", "2")
GREEDY = GenerationConfig()
DRAWN = GenerationConfig(do_sample=True, temperature=0.7)
VECTOR = torch.linspace(-1.0, 1.0, 8)
STEERING = ResidualSteering(1, VECTOR, 0.7)
LEDGER = Ledger("ledger.jsonl", "results", "tiny", {"files": {"a": "b"}, "dtype": "torch.float32"})


def key(prompter=PROMPTER, generation=GREEDY, steering=STEERING, control=None, ledger=LEDGER):
    return ledger.configuration(prompter, generation, steering, control)


def asking(**changes):
    return replace(PROMPTER, config=PromptConfig(shots=0, **changes))


def test_the_same_configuration_is_the_same():
    again = ResidualSteering(1, VECTOR.clone(), 0.7)
    assert key(steering=again) == key()
    elsewhere = replace(LEDGER, path="other.jsonl", run="results-reproduced", name="../tiny")
    assert key(ledger=elsewhere) == key()
    # What is not drawn has no seed, and without examples nothing stands between them.
    assert key(generation=GenerationConfig(seed=1)) == key()
    assert key(asking(separator="\n")) == key()


def almost(vector):
    """The vector with the last bit of one number changed."""
    found = vector.clone()
    found.view(torch.int32).view(-1)[0] += 1
    return found


HEADS = HeadSteering((0, 1), torch.ones(3, 2, 4), 0.5)
DYNAMIC = ResidualSteering(1, VECTOR, 0.7, dac=Dac(0.5, 0.4, 2.0, 1.5))
BAND = ResidualSteering(1, VECTOR, 0.7, more=(Place(2, VECTOR, 0.3),))
GATE = Gate(1, VECTOR, "cosine", 0.1, "above", "token")
OTHERS = {
    "no steering": {"steering": None},
    "strength": {"steering": replace(STEERING, alpha=0.71)},
    "layer": {"steering": replace(STEERING, layer=2)},
    "a bit of the vector": {"steering": replace(STEERING, vector=almost(VECTOR))},
    "scope": {"steering": replace(STEERING, scope="all")},
    "window": {"steering": replace(STEERING, scope="generated_window", window=(0, 4))},
    "other window": {"steering": replace(STEERING, scope="generated_window", window=(0, 5))},
    "tokens": {"steering": replace(STEERING, scope="at_tokens", tokens=(7, "a"))},
    "other tokens": {"steering": replace(STEERING, scope="at_tokens", tokens="a")},
    "gate": {"steering": replace(STEERING, gate=GATE)},
    "other threshold": {"steering": replace(STEERING, gate=replace(GATE, threshold=0.2))},
    "a bit of the gate": {"steering": replace(STEERING, gate=replace(GATE, vector=almost(VECTOR)))},
    "operator": {"steering": replace(STEERING, operator="clamp")},
    "a band": {"steering": BAND},
    "a bit of the band": {"steering": replace(BAND, more=(Place(2, almost(VECTOR), 0.3),))},
    "dynamic": {"steering": DYNAMIC},
    "other dynamics": {"steering": replace(DYNAMIC, dac=Dac(0.5, 0.4, 2.0, 1.6))},
    "heads": {"steering": HEADS},
    "a bit of the heads": {"steering": replace(HEADS, delta=almost(HEADS.delta))},
    "start of the prompt": {"steering": PromptStartSteering(1, VECTOR[None], 0.7)},
    "template": {"prompter": asking(template="{question}")},
    "examples": {"prompter": replace(PROMPTER, examples=(EXAMPLE,))},
    "instruction": {"prompter": PROMPTER.instructed("Think.")},
    "stop": {"prompter": asking(stop=["Q"])},
    "length": {"generation": GenerationConfig(max_new_tokens=41)},
    "drawn": {"generation": DRAWN},
    "drawn otherwise": {"generation": DRAWN.model_copy(update={"seed": 1})},
    "weights": {"ledger": replace(LEDGER, model={**LEDGER.model, "files": {"a": "c"}})},
    "dtype": {"ledger": replace(LEDGER, model={**LEDGER.model, "dtype": "torch.bfloat16"})},
    "a control": {"control": {"name": "random_1", "kind": "random", "of": "a" * 64}},
    "another control": {"control": {"name": "random_2", "kind": "random", "of": "a" * 64}},
    "a control of another": {"control": {"name": "random_1", "kind": "random", "of": "b" * 64}},
}


def test_what_changes_answers_is_another_configuration():
    found = {name: key(**change) for name, change in OTHERS.items()} | {"itself": key()}
    assert len(set(found.values())) == len(found)


def info(**changes):
    return {"name": "a/b", "commit": "c0ffee", "revision": None, "sha256": {}, **changes}


def opened(tmp_path, problems=(EXAMPLE,), model=None, dtype=torch.float32, folder="reads", **told):
    write_json(tmp_path / "info.json", info(**told))
    params = {**leaves("model", model or ModelConfig(name="a/b")), "ledger": tmp_path / folder}
    loaded = SimpleNamespace(dtype=dtype)
    return open_ledger(params, tmp_path / "info.json", loaded, problems, "results/x/final.json")


def test_the_ledger_of_a_run(tmp_path):
    ledger = opened(tmp_path)
    assert (ledger.run, ledger.name) == ("results/x", "a/b")
    assert ledger.path.parent == tmp_path / "reads"
    # The solution's words are not what is asked or graded; the number is.
    reworded = replace(EXAMPLE, answer="It is 2.\n#### 2")
    assert opened(tmp_path, [reworded]).path == ledger.path
    assert opened(tmp_path, [replace(EXAMPLE, gold="3")]).path != ledger.path
    counts = ledger.enter("final", {key(): "words"}, [EXAMPLE], 3)
    assert counts["ledger"] == ledger.path.as_posix()
    [read], unreadable = read_ledger(ledger.path)
    assert (read.configuration, read.description, unreadable) == (key(), "words", 0)
    assert (read.purpose, read.problems, read.samples, read.run) == ("final", 1, 3, "results/x")
    assert read.date.endswith("+00:00")


def test_a_model_is_known_by_its_content(tmp_path):
    def model(**changes):
        return opened(tmp_path, **changes).model

    assert model() != model(commit="f00d")
    assert model(commit=None, revision="main") != model()
    moved = ModelConfig(name="elsewhere/b")
    files = {"model.safetensors": "a" * 64}
    assert model(sha256=files, name="x") == model(sha256=files, name="y", model=moved)
    assert model(sha256=files) != model(sha256={"model.safetensors": "b" * 64})
    assert model(dtype=torch.bfloat16) != model()
    assert model(model=ModelConfig(name="a/b", quantization="nf4")) != model()
    assert model(model=ModelConfig(name="a/b", device="cpu")) == model()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Set evaluation\.ledger to another folder"):
        opened(tmp_path, folder="file/reads")


def test_words_for_a_reader():
    params = {
        **{"steering_method": "caa", "steering_direction": "pca", "layer_id": 3},
        **{"steering_alpha": 1.25, "scope": "all"},
    }
    assert LEDGER.words(params) == "tiny: caa, direction pca, layer 3, α = 1.25, scope all"
    band = {**params, "band_layers": [3, 4]}
    assert ", layers 3, 4, α" in LEDGER.words(band)
    window = {**params, "scope": "generated_window", "generated_window": [2, 6]}
    assert LEDGER.words(window).endswith("scope generated_window 2 to 5")
    tokens = {**params, "scope": "at_tokens", "at_tokens": [7, "\n\n"]}
    assert LEDGER.words(tokens).endswith("scope at_tokens [7, '\\n\\n']")
    gate = SettledGate(layer=2, threshold=0.3).model_dump()
    told = LEDGER.words({**params, "gate": gate})
    assert told.endswith(", gate token cosine caa layer 2 above 0.5")
    assert LEDGER.words({**params, "steering_alpha": 0.0}) == "tiny: no steering"
    assert Config().evaluation.ledger == "test_ledger"
