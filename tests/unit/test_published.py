"""Published numbers: the data, its page, and the command that compares a run with them."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from snakesteer.errors import UserError
from snakesteer.published import EXPECTED, beside_published, boxed_number
from snakesteer.records.files import write_json, write_jsonl

CHECKOUT = Path(__file__).parents[2]
KNOWN = json.loads(EXPECTED.read_text(encoding="utf-8"))
PAGE = (CHECKOUT / "docs" / "published.md").read_text(encoding="utf-8")
NAME = "sinii-qwen2.5-math-1.5b"  # 29.26 unsteered (boxed), 79.89 steered


def test_every_overlay_has_its_numbers_and_its_model():
    overlays = {path.stem: path for path in EXPECTED.parent.glob("*.yaml")}
    assert sorted(overlays) == sorted(KNOWN)
    for name, path in overlays.items():
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert values["model"]["name"] == KNOWN[name]["model"]


@pytest.mark.parametrize("name", KNOWN)
def test_the_page_says_what_the_data_say(name):
    entry = KNOWN[name]
    numbers = [
        f"{entry[side]['accuracy']:.2f} ± {entry[side]['tolerance']:g}"
        for side in ("unsteered", "steered")
    ]
    source = f"[{entry['source']['paper']}]({entry['source']['url']}), {entry['source']['place']}"
    cells = (f"`{name}`", f"`{entry['model']}`", *numbers, source)
    assert f"| {' | '.join(cells)} |\n" in PAGE
    for side in ("unsteered", "steered"):
        assert entry[side]["graded"] in ("numeric", "boxed")
        assert entry[side]["reason"]
        if "tokens" in entry[side]:
            tokens = entry[side]["tokens"]
            assert f"{tokens['mean']} ± {tokens['tolerance']}" in PAGE
            assert tokens["reason"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (r"So it is \boxed{18}.", 18),
        (r"\boxed{3} or rather \boxed{\$1,080.50}", Decimal("1080.50")),
        (r"\boxed{x = -5 \text{ degrees}}", -5),
        (r"\boxed{\text{none}} 18", None),
        ("The answer is 18.", None),
        (r"\boxed{", None),
    ],
)
def test_only_what_is_in_the_last_box_counts(text, number):
    assert boxed_number(text) == number


def write_run(folder: Path, steered: float, boxed: int, model: str = KNOWN[NAME]["model"]) -> Path:
    """A finished run as far as the command reads it.

    Args:
        folder: Where to.
        steered: Accuracy of the run's own grading, a fraction.
        boxed: How many of 10 unsteered answers are right in a box; all are right without.
        model: Its name.
    """
    final = {
        "config": {"model": {"name": model}},
        "baseline_benchmark_metrics": {"accuracy": 1.0},
        "steered_benchmark_metrics": {"accuracy": steered},
    }
    write_json(folder / "test_final.json", final)
    texts = [r"\boxed{7}" if number < boxed else "7" for number in range(10)]
    rows = [{"gold": "7", "baseline_text": text, "steered_text": "7"} for text in texts]
    write_jsonl(folder / "test_generations.jsonl", rows)
    return folder


@pytest.mark.parametrize(
    ("steered", "boxed", "within"),
    [(0.78, 3, [True, True]), (0.70, 3, [True, False]), (0.84, 4, [False, True])],
)
def test_numbers_are_judged_one_by_one(tmp_path, steered, boxed, within):
    found = beside_published(write_run(tmp_path, steered, boxed), NAME)
    assert [number.within for number in found] == within
    assert [number.found for number in found] == pytest.approx([10.0 * boxed, 100.0 * steered])


def test_lengths_are_judged_where_a_paper_has_them(tmp_path):
    name = "seal-r1-distill-qwen-1.5b"
    run = write_run(tmp_path, 0.79, 3, model=KNOWN[name]["model"])
    final = json.loads((run / "test_final.json").read_text(encoding="utf-8"))
    for side, mean in (("baseline", 2600.0), ("steered", 2600.4)):
        final[f"{side}_benchmark_metrics"]["mean_new_tokens"] = mean
    write_json(run / "test_final.json", final)
    found = beside_published(run, name)
    assert [(one.side, one.graded) for one in found] == [
        *(("unsteered", "numeric"), ("unsteered", "tokens")),
        *(("steered", "numeric"), ("steered", "tokens")),
    ]
    assert [one.within for one in found] == [False, True, True, False]
    assert str(found[3]) == (
        "steered (tokens): 2600, published 1757 ± 400: NOT within (+843 tokens)"
    )


def test_another_model_and_an_unknown_name_are_refused(tmp_path):
    run = write_run(tmp_path / "run", 0.8, 3, model="some/other")
    with pytest.raises(UserError, match=r"some/other.*Qwen/Qwen2\.5-Math-1\.5B"):
        beside_published(run, NAME)
    with pytest.raises(UserError, match=f"'nobody'.*{NAME}"):
        beside_published(run, "nobody")
    with pytest.raises(UserError, match=r"test_final\.json cannot be read: it does not exist"):
        beside_published(tmp_path / "not there", NAME)


def test_the_command(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "snakesteer.published", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    done = run(write_run(tmp_path / "near", 0.78, 3), NAME)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "unsteered (boxed): 30.00%, published 29.26% ± 5: within (+0.74 points)",
        "steered (numeric): 78.00%, published 79.89% ± 5: within (−1.89 points)",
    ]
    done = run(write_run(tmp_path / "far", 0.5, 3), NAME)
    assert done.returncode == 1
    assert "NOT within (−29.89 points)" in done.stdout
    done = run(tmp_path / "far", "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
