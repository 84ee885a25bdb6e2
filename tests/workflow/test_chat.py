"""A model that is asked in a chat template and thinks first."""

import json

import pytest

from tests.chat_templates import QWEN_3
from tests.tiny_models import save_tiny_model
from tests.workflow.project import Project, read_rows

pytestmark = pytest.mark.workflow

CHAT = {
    "data": {"train": 10, "val": 4, "test": 4},
    "prompt": {"chat": True, "system": "Be brief.", "shots": 1, "template": "{question}"},
    "steering": {"layers": [1], "methods": ["caa"], "directions": ["caa"]},
    "search": {"n_trials": 3},
    "evaluation": {"random_controls": 1, "shuffled_controls": 1},
}
TARGETS = ("results/test_final.json", "model_check")


def test_a_run_with_a_thinking_model(fresh_copy: Project):
    """From the config to the verdict; gold solutions stand behind a closed think block."""
    # A context for the marks of a tokenizer that spells them out.
    model = save_tiny_model(fresh_copy.folder / "tiny model", "llama", max_position_embeddings=1024)
    (model / "chat_template.jinja").write_text(QWEN_3, encoding="utf-8")
    run = fresh_copy.snakemake(*TARGETS, "--cores", "2", "--resources", "gpu=1", overlay=CHAT)
    assert run.code == 0, run.text
    assert "HINT     The chat template has the model think before it answers" in run.text

    results = fresh_copy.results
    check = json.loads((results / "checks" / "model_check.json").read_text(encoding="utf-8"))
    assert check["prompt"].startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert check["prompt"].endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert check["answers"][0]["question"] in check["prompt"]
    asked = {row["prompt"] for row in read_rows(results / "test_generations.jsonl")}
    assert len(asked) == CHAT["data"]["test"]
    final = json.loads((results / "test_final.json").read_text(encoding="utf-8"))
    assert final["verdict"]

    # Thinking is switched off: all that reads a prompt is made anew, and the hint goes.
    off = {**CHAT, "prompt": {**CHAT["prompt"], "chat_template_kwargs": {"enable_thinking": False}}}
    planned = fresh_copy.snakemake("-n", overlay=off).jobs
    assert planned["activations"] == 2
    assert planned["baseline"] == planned["search"] == planned["test_evaluation"] == 1
    assert not {"official_data", "val_split", "contrast_pairs", "model_info"} & set(planned)
    run = fresh_copy.snakemake("model_check", overlay=off)
    assert run.jobs == {"model_check": 1}, run.text
    assert "has the model think" not in run.text
    check = json.loads((results / "checks" / "model_check.json").read_text(encoding="utf-8"))
    assert check["prompt"].endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
