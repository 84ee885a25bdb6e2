"""Another task than GSM8K, with field names of its own and bare numbers.

All sizes are the smallest there are: one test problem, answers of one token, a validation split
smaller than a chunk. The results folder has every odd character that a path may have. What comes
behind these rules sees no difference between tasks.
"""

import pytest
import yaml

from snakesteer.data.duplicates import check_disjoint
from snakesteer.data.problem import read_problems
from tests.task_files import SETS, write_set
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


@pytest.mark.parametrize("name", SETS)
def test_the_overlay_of_a_task_is_planned(fresh: Project, name: str):
    """Nothing is looked up on the hub before the first job."""
    run = fresh.snakemake("-n", "--configfile", f"config/tasks/{name}.yaml")
    assert run.code == 0, run.text
    assert {"official_data": 2, "train_split": 1, "test_evaluation": 1}.items() <= run.jobs.items()
    assert f"results/{name}/test_final.json" in run.text


GSM_PLUS = {"source": "folder", "folder": "plus", "train": 5, "val": 4, "test": 6}


def test_a_set_with_a_test_part_only_and_with_groups(fresh_copy: Project):
    """GSM-Plus: perturbations of one problem stay in one split, through the real rules."""
    write_set("gsm-plus", fresh_copy.folder / "plus")
    overlay = fresh_copy.folder / "config" / "tasks" / "gsm-plus.yaml"
    values = yaml.safe_load(overlay.read_text(encoding="utf-8"))
    values["data"] |= GSM_PLUS
    run = fresh_copy.snakemake("splits", overlay=values)
    assert run.code == 0, run.text
    results = fresh_copy.folder / "results" / "gsm-plus"
    splits = {
        name: read_problems(results / "splits" / f"{name}.jsonl")
        for name in ("train", "val", "test")
    }
    assert [len(split) for split in splits.values()] == [5, 4, 6]
    check_disjoint(splits, "names")
    groups = [{each.group for each in split} for split in splits.values()]
    assert [len(each) for each in groups] == [5, 4, 6]
    assert len(set.union(*groups)) == 15
    assert all(each.id.startswith("gsm-plus-test-") for each in splits["train"])
    log = (results / "logs" / "official_data_test.log").read_text(encoding="utf-8")
    assert "left out: plus/test.jsonl, lines 3, 6, 9, 12, 15, 18, 21, 24, 27, 30: no ####" in log
    assert "('None'); and 6 more (16 of 48 rows)" in log
    assert "32 problems" in log

    values["data"]["test"] = 15
    target = "results/gsm-plus/splits/train.jsonl"
    assert fresh_copy.snakemake("-n", target, overlay=values).idle
    (results / "splits" / "train.jsonl").unlink()
    run = fresh_copy.snakemake(target, overlay=values)
    assert run.code != 0  # before the search, not behind it
    assert "data.test is 15, but the source's test part has 14 problems" in run.text


def test_a_set_with_a_test_part_only_says_what_to_do(fresh_copy: Project):
    (fresh_copy.folder / "problems" / "train.jsonl").unlink()
    run = fresh_copy.snakemake("-n")
    assert run.code != 0
    text = " ".join(run.text.split())
    assert "problems/train.jsonl is not a file. Put it there" in text
    assert "data.train_part and data.test_part name the files" in text
    assert "Traceback (most recent call last)" not in text
