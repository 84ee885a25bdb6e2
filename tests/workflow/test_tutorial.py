"""The tutorial's code, run in its order and as written, on a tiny model."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from snakesteer.config import Config
from snakesteer.config.load import load_config
from snakesteer.data.sources import load_official
from snakesteer.data.splits import carve_test, carve_train_val
from snakesteer.vectors.imported import read_user_vector
from tests import warm
from tests.tiny_models import HIDDEN, tiny_config, tiny_tokenizer
from tests.workflow.project import CHECKOUT

pytestmark = pytest.mark.workflow

TUTORIAL = (CHECKOUT / "docs" / "tutorial.md").read_text(encoding="utf-8")
# Where the tutorial looks for a hub model, a folder of that name comes first.
MODEL = Path("HuggingFaceTB/SmolLM2-135M-Instruct")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TUTORIAL, re.M | re.S)


def configs() -> list[Config]:
    return [load_config(yaml.safe_load(block)) for block in blocks("yaml")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in it with a model of that name: tiny, but as deep as the tutorial asks for."""
    config = tiny_config("llama")
    config.num_hidden_layers, config.max_position_embeddings = 15, 2048
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / MODEL)
    tiny_tokenizer().save_pretrained(tmp_path / MODEL)
    monkeypatch.chdir(tmp_path)
    for name, value in {**warm.environment(), "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_the_python_blocks_run_as_written(folder, capfd):
    codes = blocks("python")
    assert len(codes) == 5
    namespace = {}
    for code in codes:
        exec(compile(code, "docs/tutorial.md", "exec"), namespace)
    said = capfd.readouterr().out
    final = json.loads((folder / "results/tutorial/test_final.json").read_text(encoding="utf-8"))
    assert f"Improvement: {final['accuracy_improvement']:+.4f}" in said
    texts = re.findall(r"^dose ([+-]0\.[02]): (.*)$", said, re.M)
    assert [dose for dose, _ in texts] == ["-0.2", "+0.0", "+0.2"]
    assert re.search(r"^trained, dose 0\.\d\d: ", said, re.M)
    assert namespace["trained"].layer == 12
    assert (folder / "results/tutorial/config.yaml").is_file()

    _, problems, vector = configs()
    train, val = carve_train_val(load_official(problems.data, "train"), 16, 10, 0)
    test, left_out = carve_test(load_official(problems.data, "test"), 10, 0, train, val)
    assert (problems.data.train, problems.data.val, problems.data.test) == (16, 10, 10)
    assert (len(train), len(val), len(test), left_out) == (16, 10, 10, [])
    [layer] = vector.steering.layers
    found = read_user_vector(vector.steering.vector_file, layer, HIDDEN)
    assert (found == namespace["noise"]).all()


def test_the_example_by_hand_has_ten_lines():
    _, by_hand, trained, *_ = blocks("python")
    for block in (by_hand, trained):
        lines = [line for line in block.splitlines() if line]
        assert len(lines) <= 10
        assert lines[0].startswith("from snakesteer import ")


def test_the_commands_exist():
    shell = "\n".join(blocks("sh"))
    for module in re.findall(r"python -m snakesteer\.(\w+)", shell):
        assert (CHECKOUT / "snakesteer" / f"{module}.py").is_file()
    assert "snakesteer.compare" in shell
    assert "snakesteer.reproduce" in shell
