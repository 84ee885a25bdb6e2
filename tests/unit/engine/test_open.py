"""What scripts work with, from rule parameters."""

import dataclasses

import pytest
import torch

from snakesteer.config import (
    EMBEDDED_MODEL,
    EngineConfig,
    GenerationConfig,
    ModelConfig,
    PromptConfig,
)
from snakesteer.config.params import leaves
from snakesteer.data.problem import write_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.open import (
    busy_share,
    check_same_run,
    decoding_of,
    open_engine,
    open_sampler,
    run_record,
    settled,
)
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.stopping import StopRule
from snakesteer.errors import UserError
from snakesteer.models.open import open_model
from snakesteer.records.files import write_json
from tests.loaded_models import loaded_model, prompt_ids
from tests.tiny_models import EOS, tiny_tokenizer
from tests.unit.evaluation.test_final import PROBLEMS


def params(**engine):
    return {
        **leaves("prompt", PromptConfig(shots=2, stop=["X"])),
        **leaves("generation", GenerationConfig(do_sample=True, temperature=0.5, top_k=3)),
        **leaves("engine", EngineConfig(**{"name": "reference", **engine})),
    }


@pytest.fixture
def prompter(tmp_path):
    write_problems(tmp_path / "train.jsonl", PROBLEMS)
    found, rest = open_prompter(params(), tmp_path / "train.jsonl", tiny_tokenizer())
    assert len(found.examples) == 2
    assert sorted((*found.examples, *rest), key=lambda p: p.id) == sorted(
        PROBLEMS, key=lambda p: p.id
    )
    return found


def test_the_engine_that_the_config_asks_for(prompter):
    engine = open_engine(params(batch_size=3), loaded_model("llama"), prompter)
    assert isinstance(engine, ReferenceEngine)
    assert engine.batch_size == 3
    assert (engine.decoding.temperature, engine.decoding.top_k) == (0.5, 3)
    assert engine.decoding.stop == ("X",)


def test_the_sampler_samples_from_the_whole_distribution(prompter):
    engine = open_sampler(params(), loaded_model("llama"), prompter, temperature=0.7)
    assert (engine.decoding.temperature, engine.decoding.top_k) == (0.7, 0)
    assert engine.decoding.stop == ("X",)


@pytest.mark.parametrize("chat", [False, True])
def test_a_chat_may_say_the_question_again(chat):
    """Outside a chat that is the next question."""
    decoding = decoding_of(GenerationConfig(), PromptConfig(chat=chat))
    rule = StopRule(tiny_tokenizer(), frozenset({EOS}), decoding.stop)
    for text in ("Question: Ada has 7.\nAnswer: 7", "7, Question:"):
        ids = rule.tokenizer.encode(text)
        ends = [n for n in range(1, len(ids) + 1) if rule.finish(ids[:n], 99)]
        assert bool(ends) == (not chat)
        assert (rule.generation(ids, "length").text == text) == chat


def test_the_slots_of_the_baseline_are_kept(prompter):
    loaded = loaded_model("llama")
    baseline = open_engine(params(name="slots", slots=8), loaded, prompter)
    record = run_record(baseline, loaded)
    assert (record["engine"], record["slots"]) == ("slots", 8)
    assert (record["device"], record["dtype"]) == ("cpu", "float32")
    assert record["threads"] == torch.get_num_threads()
    search = open_engine(params(name="slots"), loaded, prompter, record)
    other = {"accuracy": 0.5, "threads": 64}  # a run may go on with other cores
    check_same_run({**record, **other}, run_record(search, loaded), "val.json")


def test_runs_that_do_not_compare(prompter):
    loaded = loaded_model("llama")
    one = run_record(open_engine(params(batch_size=3), loaded, prompter), loaded)
    two = run_record(open_engine(params(batch_size=4), loaded, prompter), loaded)
    with pytest.raises(UserError, match=r"of a\.json .*\(batch_size 3 against 4") as refused:
        check_same_run(one, two, "a.json")
    assert "delete a.json" in refused.value.remedy
    with pytest.raises(UserError, match="device cuda against cpu"):
        check_same_run({**one, "device": "cuda"}, one, "a.json")


def test_work_is_done_again_where_the_engine_changed_in_the_middle(prompter):
    engine = open_engine(params(batch_size=8), loaded_model("llama"), prompter)
    seen = []

    def work():
        seen.append(engine.batch_size)
        if len(seen) < 3:
            engine.batch_size //= 2
        return len(seen)

    assert settled(engine, work) == 3
    assert seen == [8, 4, 2]


def test_a_model_is_loaded_as_the_first_rule_found_it(tiny_llama_folder, tmp_path):
    write_json(tmp_path / "info.json", {"name": str(tiny_llama_folder), "commit": None})
    model = ModelConfig(name=EMBEDDED_MODEL, dtype="float32", device="cpu")
    loaded = open_model(leaves("model", model), tmp_path / "info.json", gpus=0, threads=1)
    assert len(loaded.blocks) == 4
    assert loaded.device.type == "cpu"


def test_the_share_of_busy_slots():
    loaded = loaded_model("llama")
    assert busy_share(ReferenceEngine(loaded, Decoding(), 4)) is None
    engine = SlotsEngine(loaded, Decoding(), 4)
    assert busy_share(engine) == 0.0
    prompt = prompt_ids()[0]
    limit = dataclasses.replace(loaded, eos_ids=frozenset())
    engine = SlotsEngine(limit, Decoding(), 4)
    engine.generate([Request(prompt, 8), Request(prompt, 4)])
    assert busy_share(engine) == pytest.approx((4 * 2 + 4 * 1) / (8 * 4))
