"""Tasks of lm-evaluation-harness that are rare: what they keep, draw, ask and are grouped by."""

import json
from dataclasses import replace

import pytest

from snakesteer.config import EvaluationConfig, PromptConfig
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.errors import UserError
from snakesteer.report.harness_text import harness_sentences, harness_table
from snakesteer.steering.residual import ResidualSteering
from tests.harness_tasks import write_one, write_tasks
from tests.loaded_models import direction, loaded_model

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

from lm_eval.tasks import TaskManager

from snakesteer.evaluation.harness.record import compare_metric
from snakesteer.evaluation.harness.run import run_tasks
from snakesteer.evaluation.harness.tasks import load_tasks

EVALUATION = EvaluationConfig(bootstrap_resamples=100)
OFF = ResidualSteering(1, direction(), 0.0, scope="all")
STEERING = replace(OFF, alpha=3.0)
ROWS = [
    {"about": {"asked": f"Is {n} hot?"}, "choices": ["no", "yes, it is"], "answer": n % 2}
    for n in range(4)
]
CHOICE = """
output_type: multiple_choice
doc_to_text: "{{about.asked}}"
doc_to_choice: choices
doc_to_target: answer
"""
CODE = """
import random

def keeps(doc, results):
    last = doc["answer"] == 1
    whole = {"dict": {"id": last, "of": doc["choices"]}, "none": None if last else 1.0}
    return {**whole, "nan": float("nan") if last else 1.0, "mean": 2.0}

def there(items):
    return sum(one for one in items if one is not None and one == one) / len(
        [one for one in items if one is not None and one == one]
    )

def shuffled(documents):
    def shuffle(doc):
        choices = random.sample(doc["choices"] * 4, 8)
        return {"choices": choices, "answer": choices.index("no")}
    return documents.map(shuffle, load_from_cache_file=False)
"""


def metrics(**named):
    """A list of metrics in YAML, by the aggregation of each."""
    listed = (f"{{metric: {name}, aggregation: {how}}}" for name, how in named.items())
    return f"metric_list: [{', '.join(listed)}]\n".replace("}", ", higher_is_better: true}")


def run(folder, names, steering=STEERING, questions=()):
    loaded = loaded_model("llama")
    (folder / "code.py").write_text(CODE, encoding="utf-8")
    tasks = load_tasks(TaskManager(include_path=str(folder), include_defaults=False), names)
    prompt = PromptConfig(shots=0)

    def engine(decoding):
        return ReferenceEngine(loaded, decoding, 4)

    record, rows = run_tasks(tasks, loaded, engine, steering, prompt, EVALUATION, questions)
    json.dumps([record, rows], allow_nan=False)
    return record, rows


def test_documents_may_keep_anything(tmp_path):
    """Arrays, None, NaN, dicts; what names no aggregation has its mean, as in the harness."""
    write_one(tmp_path, "brier", ROWS, CHOICE + metrics(brier_score="brier_score"))
    own = dict.fromkeys(("none", "nan"), "!function code.there")
    kept = "process_results: !function code.keeps\n" + metrics(**own)
    # Tuples and dicts have no mean; theirs is a count.
    kept = kept.replace("[{", "[{metric: dict, aggregation: !function builtins.len}, {", 1)
    write_one(tmp_path, "kept", ROWS, CHOICE + kept)
    record, rows = run(tmp_path, ["brier", "kept"])
    assert [len(row["steered_brier_score"][1]) for row in rows[:4]] == [2] * 4
    assert rows[5]["baseline_dict"] == {"id": True, "of": ["no", "yes, it is"]}
    assert rows[5]["baseline_none"] is rows[5]["baseline_nan"] is None
    found = {one["metric"]: one for one in record["tasks"]["kept"]["metrics"]}
    assert set(found) == {"dict", "none", "nan", "mean"}
    assert (found["none"]["baseline"], found["mean"]["steered"]) == (1.0, 2.0)
    # Sixteen draws of four have no value among them.
    assert found["nan"]["difference_ci"] is None
    assert "not finite" in {row[-1] for row in harness_table(record).rows}


def test_less_may_be_better():
    values = ([0.0] * 40, [1.0] * 40)

    def mean(items):
        return sum(items) / len(items)

    assert compare_metric("acc", values, mean, EVALUATION)["verdict"] == "helps"
    less = compare_metric("acc", values, mean, EVALUATION, less_is_better=True)
    assert (less["verdict"], less["difference"]) == ("hurts", 1.0)


def test_groups_of_tasks_with_nothing_in_common_are_told_by_their_parts(tmp_path):
    for name, metric in (("one", "acc"), ("two", "acc"), ("three", "acc_norm")):
        write_one(tmp_path, name, ROWS, CHOICE + metrics(**{metric: "mean"}))
    for name, members in (("pair", "[one, two]"), ("mixed", "[pair, three]")):
        text = f"group: {name}\ntask: {members}\n"
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    record, _ = run(tmp_path, ["mixed"])
    assert list(record["groups"]) == ["pair"]
    assert [row[:2] for row in harness_table(record).rows] == [
        ("pair", "acc"),
        ("three", "acc_norm"),
    ]
    assert "three (acc_norm): " in harness_sentences(record)[0]
    with pytest.raises(UserError, match=r"in two ways .*'one'"):
        run(tmp_path, ["mixed", "pair"])


def test_what_a_task_draws_is_the_same_on_both_sides_and_again(tmp_path):
    drawn = "process_docs: !function code.shuffled\n" + metrics(
        acc="mean", likelihood="!function builtins.len"
    )
    write_one(tmp_path, "drawn", ROWS, CHOICE + drawn)
    _, rows = run(tmp_path, ["drawn"], OFF)
    assert all(row["baseline_likelihood"] == row["steered_likelihood"] for row in rows)
    assert rows == run(tmp_path, ["drawn"], OFF)[1]


def test_questions_deep_in_a_document_are_found(tmp_path):
    write_one(tmp_path, "deep", ROWS, CHOICE + metrics(acc="mean"))
    with pytest.raises(UserError, match="own test split"):
        run(tmp_path, ["deep"], questions=["Is  2 hot?"])


def test_pictures_are_refused(tmp_path):
    write_one(tmp_path, "seen", ROWS, CHOICE + metrics(acc="mean") + "doc_to_image: [about]\n")
    with pytest.raises(UserError, match="seen shows pictures"):
        run(tmp_path, ["seen"])


def test_a_perplexity_that_no_float_holds_is_not_finite(tmp_path):
    """One word of hundreds of tokens: exp of its −log p overflows, with steering and without."""
    write_tasks(tmp_path)
    data = tmp_path / "snake_text.jsonl"
    data.write_text(json.dumps({"text": "qX7#" * 150}) + "\n", encoding="utf-8")
    record, _ = run(tmp_path, ["snake_text"])
    words, by_byte = record["tasks"]["snake_text"]["metrics"]
    assert words["metric"] == "word_perplexity"
    assert words["baseline"] is words["steered"] is words["difference"] is None
    assert by_byte["baseline"] > 0.0
