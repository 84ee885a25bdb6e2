"""The direct model test: what is shown is what the model reads and answers."""

import dataclasses

from snakesteer.config import GenerationConfig, PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.evaluation.answers import Answer
from snakesteer.evaluation.checks.hints import PromptTokens
from snakesteer.evaluation.checks.model_check import check_model, page, thinking_tokens
from tests.chat_templates import DEEPSEEK_R1
from tests.loaded_models import loaded_model
from tests.tiny_models import NUM_LAYERS, tiny_tokenizer

NEW_TOKENS = 5


def problems(count: int = 3) -> list[Problem]:
    return [
        Problem(id=f"val-{n}", question=f"What is {n}+1?", answer=f"#### {n + 1}", gold=str(n + 1))
        for n in range(count)
    ]


def checked(template=None, **prompt):
    loaded = dataclasses.replace(loaded_model("llama"), tokenizer=tiny_tokenizer(add_bos=True))
    loaded.tokenizer.chat_template = template
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


def test_how_long_the_model_thinks():
    assert {a["thinking_tokens"] for a in checked()["answers"]} == {None}
    record = checked(DEEPSEEK_R1, chat=True)  # its prompt opens a think block, random words go on
    assert [a["thinking_tokens"] for a in record["answers"]] == [
        a["new_tokens"] for a in record["answers"]
    ]
    text = page(record | {"name": "tiny", "dtype": "float32", "device": "cpu", "engine": "x"})
    first = record["answers"][0]["new_tokens"]
    assert f"after {first} tokens, {first} of them thinking" in text
    assert "HINT     The chat template has the model think before it answers" in text
    assert "HINT     3 of 3 answers are still thinking" in text


def test_the_tokens_of_a_closed_think_block():
    tokenizer = tiny_tokenizer()
    prompt = PromptTokens("Q", (), PromptConfig(), tokenizer, frozenset())
    thoughts = "<think>1+1 is 2.</think>"
    answer = Answer("a", True, True, True, "2", thoughts + "\n2", "eos", 9, 99)
    assert thinking_tokens(prompt, answer) == len(tokenizer.encode(thoughts))
