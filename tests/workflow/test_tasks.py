"""Another task than GSM8K, with field names of its own and bare numbers.

All sizes are the smallest there are: one test problem, answers of one token, a validation split
smaller than a chunk. The results folder has every odd character that a path may have. What comes
behind these rules sees no difference between tasks.
"""

import pytest

from tests.workflow.project import Project, problem_rows, read_rows, write_rows

pytestmark = pytest.mark.workflow

RESULTS = """results/a'b "c" #d %e $(HOME);f 数据"""
OVERLAY = {
    "results": RESULTS,
    "data": {
        "folder": "${TASK_DATA}/problems",
        "task": "pens",
        "question_fields": ["Body", "Question"],
        "answer_field": "Answer",
        "train": 5,
        "val": 4,
        "validation_from": "test",
        "test": 1,
    },
    "generation": {"max_new_tokens": 1},
    "search": {"chunk_size": 16},
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


def test_a_task_with_bare_numbers(fresh_copy: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TASK_DATA", str(fresh_copy.folder))
    rows = list(rows_of_the_task())
    write_rows(fresh_copy.folder / "problems" / "train.jsonl", rows[:40])
    write_rows(fresh_copy.folder / "problems" / "test.jsonl", rows[40:])
    targets = ("baseline/val.jsonl", "pairs/train.jsonl", "splits/manifest.json")
    run = fresh_copy.snakemake(*(f"{RESULTS}/{target}" for target in targets), overlay=OVERLAY)
    assert run.code == 0, run.text
    results = fresh_copy.folder / RESULTS
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
        assert pair["positive"][0].startswith("#### ")
        assert pair["negative"] != pair["positive"]
        assert len(pair["negative"][0]) == len(pair["positive"][0])
    [problem] = read_rows(results / "splits" / "test.jsonl")
    assert problem["id"].startswith("pens-test-")
    assert problem["id"] not in {row["id"] for row in read_rows(results / "splits" / "val.jsonl")}
    golds = {row["id"]: row["gold"] for row in read_rows(results / "splits" / "val.jsonl")}
    answers = read_rows(results / "baseline" / "val.jsonl")
    assert {answer["id"] for answer in answers} == set(golds)
    assert all(name.startswith("pens-test-") for name in golds)
    for answer in answers:
        assert answer["new_tokens"] == 1
        assert answer["correct"] == (answer["extracted"] == golds[answer["id"]])
