"""Tasks for lm-evaluation-harness, one of each kind, of files beside them: no hub is asked."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TASKS = ("snake_choice", "snake_letters", "snake_cloze", "snake_text", "snake_sums", "snake_draws")
GROUP = "snake_both"

_CHOICES = [
    {"question": "Is ice hot?", "choices": ["no", "yes, it is"], "answer": 0},
    {"question": "Which is red?", "choices": ["the sky", "blood", "in"], "answer": 1},
    {"question": "What flies", "choices": ["an owl", "a stone"], "answer": 0},
    {"question": "Which of these is a large number?", "choices": ["3", "9000"], "answer": 1},
]
_LETTERS = [{**row, "choices": ["A", "B"], "answer": row["answer"]} for row in _CHOICES]
# The last one is read in three windows by a model whose context has 256 tokens.
_TEXTS = [
    {"text": "The man in hat."},
    {"text": "Tom has 3 apples and eats one. " * 2},
    {"text": "Tom has 3 apples and eats one. " * 20},
]
_SUMS = [{"question": f"{n} + {n} =", "answer": str(2 * n)} for n in range(1, 6)]

_CHOICE = """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
"""
_SUM = """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: answer
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
  - metric: chrf
    aggregation: chrf
    higher_is_better: true
"""
_KINDS = {
    "snake_choice": (_CHOICES, _CHOICE + "num_fewshot: 1\nfewshot_split: test\n"),
    "snake_letters": (_LETTERS, _CHOICE + "target_delimiter: ''\n"),
    "snake_cloze": (
        _SUMS,
        """
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: "{{' ' ~ answer}}"
metric_list:
  - metric: perplexity
    aggregation: perplexity
    higher_is_better: false
  - metric: acc
    aggregation: mean
    higher_is_better: true
""",
    ),
    "snake_text": (
        _TEXTS,
        """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: word_perplexity
  - metric: bits_per_byte
""",
    ),
    "snake_sums": (
        _SUMS,
        _SUM + "generation_kwargs: {until: ['e', '</s>'], max_gen_toks: 8, do_sample: false}\n",
    ),
    "snake_draws": (
        _SUMS,
        _SUM + "generation_kwargs: {max_gen_toks: 6, do_sample: true, temperature: 1.0}\n",
    ),
}


def write_one(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], text: str) -> None:
    """Write a task: its documents, and YAML that lacks what says where these are."""
    data = folder / f"{name}.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    head = (
        f"task: {name}\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
        "metadata: {version: 1.0}\n"
    )
    (folder / f"{name}.yaml").write_text(head + text.lstrip(), encoding="utf-8")


def write_tasks(folder: Path) -> Path:
    """Write all tasks and a group into a folder, as YAML with JSONL beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (rows, text) in _KINDS.items():
        write_one(folder, name, rows, text)
    members = "group: snake_both\ntask: [snake_choice, snake_letters]\n"
    weights = (
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\nmetadata: {version: 1}\n"
    )
    (folder / "snake_both.yaml").write_text(members + weights, encoding="utf-8")
    return folder
