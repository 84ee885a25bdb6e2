"""Another task than GSM8K, with its own field names and bare numbers, from files to the verdict."""

import json

import pytest

from tests.workflow.project import Project, problem_rows, read_rows, write_rows

pytestmark = pytest.mark.workflow

OVERLAY = {
    "data": {
        "task": "pens",
        "question_fields": ["Body", "Question"],
        "answer_field": "Answer",
    },
    "steering": {"layers": [1], "methods": ["caa"], "directions": ["caa"]},
    "search": {"n_trials": 2},
}


def rows_of_the_task():
    """The rows of the other tests, laid out as SVAMP's; answers are numbers or texts."""
    for index, row in enumerate(problem_rows()):
        body, question = row["question"].split(". ")
        answer = int(row["answer"].rpartition("####")[2])
        yield {
            "ID": f"chal-{index}",
            "Body": f"{body}.",
            "Question": question,
            "Answer": [answer, float(answer), f"{answer}.0", f"{answer} (pens)"][index % 4],
        }


def test_a_task_with_bare_numbers(fresh_copy: Project):
    rows = list(rows_of_the_task())
    write_rows(fresh_copy.folder / "problems" / "train.jsonl", rows[:40])
    write_rows(fresh_copy.folder / "problems" / "test.jsonl", rows[40:])
    run = fresh_copy.snakemake("results/test_final.json", overlay=OVERLAY)
    assert run.code == 0, run.text
    results = fresh_copy.results
    assert (
        "gold answers are bare numbers" in (results / "logs/contrast_pairs_train.log").read_text()
    )

    [first, *_] = read_rows(results / "data" / "train.jsonl")
    assert first == {
        "id": "pens-train-00000",
        "question": problem_rows()[0]["question"],
        "answer": "#### 2",
        "gold": "2",
    }
    for pair in read_rows(results / "pairs" / "train.jsonl"):
        assert pair["positive"].startswith("#### ")
        assert pair["negative"] != pair["positive"]
        assert len(pair["negative"]) == len(pair["positive"])
    golds = {row["id"]: row["gold"] for row in read_rows(results / "splits" / "test.jsonl")}
    final = json.loads((results / "test_final.json").read_text(encoding="utf-8"))
    assert final["num_test_samples"] == len(golds) == 8
    for row in read_rows(results / "test_generations.jsonl"):
        assert row["id"] in golds
