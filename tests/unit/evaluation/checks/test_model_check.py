"""The direct model test: what is shown is what the model reads and answers."""

import dataclasses

from snakesteer.config import GenerationConfig, PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.evaluation.checks.model_check import check_model, page
from tests.loaded_models import loaded_model
from tests.tiny_models import NUM_LAYERS, tiny_tokenizer

NEW_TOKENS = 5


def problems(count: int = 3) -> list[Problem]:
    return [
        Problem(id=f"val-{n}", question=f"What is {n}+1?", answer=f"#### {n + 1}", gold=str(n + 1))
        for n in range(count)
    ]


def checked(**prompt):
    loaded = dataclasses.replace(loaded_model("llama"), tokenizer=tiny_tokenizer(add_bos=True))
    prompter = Prompter(PromptConfig(shots=0, **prompt), (), loaded.tokenizer)
    engine = ReferenceEngine(loaded, Decoding(), 2)
    generation = GenerationConfig(max_new_tokens=NEW_TOKENS)
    return check_model(loaded, engine, prompter, problems(), generation)


def test_what_is_recorded():
    record = checked()
    assert record["layers"] == NUM_LAYERS
    assert record["prompt"] == "<s>Question: What is 0+1?\nAnswer:"
    assert record["first_tokens"][0] == "<s>"
    assert record["last_tokens"][-1] == ":"
    assert record["end_tokens"] == ["</s>"]
    assert [answer["gold"] for answer in record["answers"]] == ["1", "2", "3"]
    tokens = sum(answer["new_tokens"] for answer in record["answers"])
    assert record["tokens_per_second"] == tokens / record["seconds"]
    assert 2**20 < record["memory_bytes"] < 2**40
    for answer in record["answers"]:
        assert answer["finish"] == "length" or answer["new_tokens"] <= NEW_TOKENS


def test_the_page_holds_it_all():
    record = checked(bos="never") | {
        "name": "tiny",
        "dtype": "float32",
        "device": "cpu",
        "engine": "reference",
    }
    text = page(record)
    assert "tiny: 4 layers, float32 on cpu" in text
    assert record["prompt"] in text
    for answer in record["answers"]:
        assert f"{answer['id']}: {'right' if answer['correct'] else 'wrong'}" in text
    assert "HINT     The prompt does not begin with <s>" in text
    assert "tokens/s" in text
    assert "Nothing looks wrong" not in text
