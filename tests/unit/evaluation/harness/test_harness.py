"""Tasks of lm-evaluation-harness: our engines say what its own models say."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from snakesteer.config import EvaluationConfig, PromptConfig
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.errors import UserError
from snakesteer.steering.residual import ResidualSteering
from tests.harness_tasks import GROUP, TASKS, write_tasks
from tests.loaded_models import direction, loaded_model
from tests.unit.report.exports.chosen import candidate, make_chosen

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

from lm_eval.evaluator import evaluate
from lm_eval.models.hf_steered import SteeredModel
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from snakesteer.evaluation.harness.model import HarnessModel
from snakesteer.evaluation.harness.run import run_tasks
from snakesteer.evaluation.harness.sides import Sides
from snakesteer.evaluation.harness.tasks import check_apart, find_tasks, load_tasks, seed_draws
from snakesteer.report.exports import lm_eval as export

EVALUATION = EvaluationConfig(bootstrap_resamples=200)
ALIKE = [name for name in TASKS if name != "snake_draws"]  # random numbers differ
PROMPT = PromptConfig(shots=0)
STEERING = ResidualSteering(1, direction(), 3.0, scope="all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def engine_of(loaded):
    return lambda decoding: ReferenceEngine(loaded, decoding, 4)


def own_tasks(folder, *names):
    """Tasks of a folder alone: the index of all that the harness has takes seconds."""
    return load_tasks(TaskManager(include_path=str(folder), include_defaults=False), names)


def told(model, folder, names):
    """What the harness logs for each document of tasks, the prompts and answers included."""
    tasks = own_tasks(folder, *names)
    seed_draws(tasks)
    return evaluate(lm=model, task_dict=tasks, bootstrap_iters=0)["samples"]


def same(ours, theirs):
    for name in theirs:
        for one, other in zip(ours[name], theirs[name], strict=True):
            assert one["arguments"] == other["arguments"]
            for metric in ("resps", *other["metrics"]):
                if flat(one[metric]) != flat(other[metric]):  # texts are equal, numbers nearly so
                    assert flat(one[metric]) == pytest.approx(flat(other[metric]), rel=1e-4)


def flat(value):
    if isinstance(value, list | tuple):
        return [one for each in value for one in flat(each)]
    return [value]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_both_sides_say_what_the_harness_own_models_say(tmp_path, folder, family):
    chosen = make_chosen(tmp_path, candidate(alpha=-1.5), family)
    export.write(tmp_path, chosen)
    loaded = loaded_model(family)
    sides = Sides(loaded, chosen.steering, engine_of(loaded))
    common = {"pretrained": chosen.model.name, "device": "cpu", "dtype": "float32"}
    theirs = (
        HFLM(**common, max_length=loaded.context),
        SteeredModel(
            **common,
            max_length=loaded.context,
            steer_path=str(tmp_path / "lm_eval_steering.pt"),
        ),
    )
    found = []
    for side, other in enumerate(theirs):
        found.append(told(HarnessModel(sides, side, PROMPT), folder, ALIKE))
        same(found[side], told(other, folder, ALIKE))
    for name in ("snake_choice", "snake_text", "snake_sums"):
        assert [row["resps"] for row in found[0][name]] != [row["resps"] for row in found[1][name]]


def test_sampled_answers_share_their_random_numbers_and_repeat(folder):
    loaded = loaded_model("llama")
    off = ResidualSteering(1, direction(), 0.0, scope="all")
    texts = []
    for steering in (off, off, replace(off, alpha=2.0)):
        sides = Sides(loaded, steering, engine_of(loaded))
        texts += [
            [
                row["resps"]
                for row in told(HarnessModel(sides, n, PROMPT), folder, ["snake_draws"])[
                    "snake_draws"
                ]
            ]
            for n in (0, 1)
        ]
    assert all(text == texts[0] for text in texts[1:5])
    assert texts[5] != texts[0]
    assert len({str(text) for text in texts[0]}) == 5


def test_a_continuation_is_steered_as_generated_text_is(folder):
    """Behind the last prompt token: the likelihood of a prompt's own tokens stays as it was."""
    loaded = loaded_model("llama")
    steering = ResidualSteering(1, direction(), 3.0, scope="generated_only")
    sides = Sides(loaded, steering, engine_of(loaded))
    found = [
        told(HarnessModel(sides, n, PROMPT), folder, ["snake_letters", "snake_choice"])
        for n in (0, 1)
    ]
    # A letter is one token, which the last prompt token predicts: nothing is steered before it.
    same(*({"snake_letters": one["snake_letters"]} for one in found))
    assert found[0]["snake_choice"] != found[1]["snake_choice"]


def run(folder, names, steering=STEERING, questions=(), limit=None):
    loaded = loaded_model("llama")
    tasks = own_tasks(folder, *names)
    engine = engine_of(loaded)
    return run_tasks(tasks, loaded, engine, steering, PROMPT, EVALUATION, questions, limit)


def test_the_record_has_every_task_metric_and_pair(folder):
    record, rows = run(folder, [GROUP, "snake_cloze", "snake_sums"])
    json.dumps([record, rows], allow_nan=False)
    assert list(record["tasks"]) == ["snake_choice", "snake_letters", "snake_cloze", "snake_sums"]
    assert record["tasks"]["snake_choice"]["shots"] == 1
    assert (record["chat"], record["limit"], record["not_finite"]) == (False, None, 0)
    metrics = {one["metric"]: one for one in record["tasks"]["snake_choice"]["metrics"]}
    assert set(metrics) == {"acc", "acc_norm"}
    own = [row for row in rows if row["task"] == "snake_choice"]
    assert len(own) == record["tasks"]["snake_choice"]["documents"] == 4
    for side in ("baseline", "steered"):
        assert metrics["acc"][side] == np.mean([row[f"{side}_acc"] for row in own])
    changed = [row["steered_acc"] - row["baseline_acc"] for row in own]
    assert metrics["acc"]["difference"] == np.mean(changed)
    assert metrics["acc"]["mcnemar"]["gained"] == changed.count(1.0)
    group = record["groups"][GROUP]
    assert group["tasks"] == ["snake_choice", "snake_letters"]
    both = [row["steered_acc"] for row in rows if "steered_acc_norm" in row]
    assert group["metrics"][0]["steered"] == np.mean(both)
    assert len(both) == 8
    perplexity = record["tasks"]["snake_cloze"]["metrics"][0]
    values = [row["steered_perplexity"] for row in rows if row["task"] == "snake_cloze"]
    assert perplexity["steered"] == pytest.approx(math.exp(-np.mean(values)))
    assert perplexity["higher_is_better"] is False
    low, high = perplexity["difference_ci"]
    assert low < perplexity["difference"] < high
    assert "mcnemar" not in perplexity


def test_only_so_many_documents(folder):
    record, rows = run(folder, ["snake_choice"], limit=2)
    assert record["tasks"]["snake_choice"]["documents"] == len(rows) == 2


def test_no_steering_changes_nothing(folder):
    off = ResidualSteering(1, direction(), 0.0, scope="all")
    record, rows = run(folder, ALIKE, off)
    for task in record["tasks"].values():
        for one in task["metrics"]:
            assert one["baseline"] == one["steered"]
            assert (one["difference"], one["difference_ci"]) == (0.0, [0.0, 0.0])
    for row in rows:
        for key, value in row.items():
            if key.startswith("baseline_"):
                assert value == row[key.replace("baseline", "steered")]


def test_broken_numbers_are_told(folder):
    broken = ResidualSteering(1, direction() * torch.inf, 1.0, scope="all")
    record, rows = run(folder, ["snake_choice", "snake_cloze", "snake_text"], broken)
    json.dumps([record, rows], allow_nan=False)
    assert record["not_finite"] > 0
    for task in ("snake_cloze", "snake_text"):
        found = record["tasks"][task]["metrics"][0]
        assert found["baseline"] > 0
        assert found["steered"] is found["difference"] is found["difference_ci"] is None


def test_a_chat_model_is_asked_in_its_template(folder):
    loaded = loaded_model("llama")
    seen = []

    class Asked(Sides):
        def likelihoods(self, texts, side):
            seen.extend(loaded.tokenizer.decode(text.token_ids) for text in texts)
            return super().likelihoods(texts, side)

    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    tokenizer = type(loaded.tokenizer)(tokenizer_object=loaded.tokenizer.backend_tokenizer)
    tokenizer.chat_template = template
    for name in ("pad_token", "bos_token", "eos_token", "unk_token"):
        setattr(tokenizer, name, getattr(loaded.tokenizer, name))
    chat = PromptConfig(shots=0, chat=True, system="Be short.")
    sides = Asked(
        replace(loaded, tokenizer=tokenizer),
        ResidualSteering(1, direction(), 1.0, scope="all"),
        engine_of(loaded),
    )
    tasks = own_tasks(folder, "snake_choice")
    seed_draws(tasks)
    evaluate(
        lm=HarnessModel(sides, 0, chat),
        task_dict=tasks,
        bootstrap_iters=0,
        apply_chat_template=True,
        system_instruction=chat.system,
        fewshot_as_multiturn=True,
    )
    assert len(seen) == 9
    for text in seen:
        assert "<system>Be short.</system><user>Question:" in text
        assert text.count("<assistant>") == 2
        assert text.count("</assistant>") == 1


def test_tasks_are_found_by_name_or_named(folder):
    find_tasks(["arc_easy", "mmlu", "ai2_arc", "snake_choice"], folder)
    with pytest.raises(UserError) as caught:
        find_tasks(["snake_choise", "arc_easy", "zzz"], folder)
    assert "names snake_choise, zzz, which" in str(caught.value)
    assert "Close to snake_choise: snake_choice" in str(caught.value)
    assert "harness_folder" in str(caught.value)


def test_a_task_of_the_run_s_own_test_problems_is_refused(folder):
    with pytest.raises(UserError, match=r"snake_sums .* own test split"):
        run(folder, ["snake_choice", "snake_sums"], questions=["9 + 9?", "3  + 3 =\n"])
    tasks = own_tasks(folder, "snake_choice")
    check_apart(tasks, ["3 + 3 ="])


def write_task(folder, text):
    write_tasks(folder)
    path = folder / "snake_sums.yaml"
    path.write_text(path.read_text().replace("do_sample: false", text), encoding="utf-8")
    return folder


def test_what_the_engines_cannot_do_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.delattr(Sides, "likelihoods")
    beams = write_task(tmp_path / "beams", "num_beams: 4")
    with pytest.raises(UserError, match="num_beams"):
        run(beams, ["snake_choice", "snake_sums"])
    long = write_task(tmp_path / "long", "max_new_tokens: 9")
    path = long / "snake_sums.yaml"
    text = path.read_text(encoding="utf-8")
    for limit in (256, 0):
        path.write_text(text.replace("max_gen_toks: 8", f"max_gen_toks: {limit}"), encoding="utf-8")
        with pytest.raises(UserError, match=f"answers of {limit} tokens"):
            run(long, ["snake_choice", "snake_sums"])
    code = write_task(tmp_path / "code", "do_sample: false}\nunsafe_code: true #")
    with pytest.raises(UserError, match="snake_sums runs code"):
        run(code, ["snake_sums"])


def test_long_contexts_lose_their_start():
    loaded = loaded_model("llama")
    sides = Sides(loaded, ResidualSteering(1, direction(), 1.0), partial(engine_of, loaded))
    model = HarnessModel(sides, 0, PROMPT)
    text = model._text(list(range(4, 80)) * 5, [7, 8, 9])
    assert len(text.token_ids) == loaded.context + 1  # the last one is not read
    assert text.generated == (7, 8, 9)
    with pytest.raises(UserError, match="has 300 tokens"):
        model._text([5], [6] * 300)
    assert model._decoding({"until": ["x", "</s>"], "max_gen_toks": 3})[0] == Decoding(stop=("x",))
