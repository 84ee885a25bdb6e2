"""Chat templates that fail, that drop what is put into them, or that are merely unusual."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from snakesteer.config import PromptConfig
from snakesteer.config.params import leaves
from snakesteer.data.problem import Problem, write_problems
from snakesteer.data.prompts import open_prompter
from snakesteer.records.files import write_jsonl
from tests import chat_templates as templates
from tests.tiny_models import tiny_tokenizer
from tests.unit.hard_knocks.harm import Harm, Knocks, check_knock, written

SHOT = Problem("e-0", "What is 1+1?", "1+1 = 2\n#### 2", "2")
QUESTION, SYSTEM = "How many pens?", "Be brief."
FILE = "chat_template.jinja"


def write_prompt(folder: Path, **prompt: Any) -> str:
    """A prompt and what follows a reply, as the rules that read a model make them."""
    config = PromptConfig(chat=True, shots=1, **{"system": SYSTEM, **prompt})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompter, _ = open_prompter(leaves("prompt", config), folder / "train.jsonl", tokenizer)
    text = prompter.text(QUESTION)
    write_jsonl(folder / "out", [{"text": text, "end": prompter.end()}])
    return text


def several(folder: Path) -> None:
    """Named templates, none of which is called default."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = {"rag": templates.CHATML, "tool_use": templates.CHATML}
    (folder / FILE).unlink()
    tokenizer.save_pretrained(folder)


def of(template: str) -> Harm:
    return written(FILE, template)


PLAIN = "prompt.chat: false"
BAD_TEMPLATES: Knocks = {
    "no chat template": (lambda folder: (folder / FILE).unlink(), ("no chat template", PLAIN)),
    "several chat templates without a default": (
        several,
        ("several chat templates (rag, tool_use)", "none of which is called default"),
    ),
    "a template that loses the question": (
        of(templates.DROPS_QUESTIONS),
        ("drops the question", "the model would never see it", PLAIN),
    ),
    "a template that loses examples": (
        of(templates.DROPS_EXAMPLES),
        ("drops the question of few-shot example 1", "prompt.shots: 0"),
    ),
    "a template that loses solutions": (
        of(templates.DROPS_REPLIES),
        ("drops the solution of few-shot example 1", "prompt.shots: 0"),
    ),
    "a template that takes no solution at the end": (
        of(templates.WANTS_A_QUESTION_LAST),
        ("refuses the prompt (TemplateError: ask something)", PLAIN),
    ),
    **{
        f"a template with an error: {name}": (of(template), ("refuses the prompt", said, PLAIN))
        for name, (template, said) in templates.FAILING.items()
    },
}
FINE_TEMPLATES = {
    "a template that drops the system message": (
        templates.DROPS_SYSTEM,
        "fine: it stands in front of the first question, with a warning",
    ),
    "a template that refuses a system message": (
        templates.GEMMA_2,
        "fine: it stands in front of the first question, with a warning",
    ),
    "a template that finds nothing in a text, only in lists of parts": (
        templates.VISION,
        "fine: it gets lists of parts",
    ),
    "a template that takes old thoughts away": (templates.QWEN_3, "fine"),
    "a prompt that ends in an open think block": (
        templates.DEEPSEEK_R1,
        "fine: gold solutions stand behind its end",
    ),
    "a template that escapes and trims": (templates.ESCAPING, "fine"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer with its chat template, and a train split."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = templates.CHATML
    tokenizer.save_pretrained(tmp_path / "model ü")
    write_problems(tmp_path / "model ü" / "train.jsonl", [SHOT])
    return tmp_path / "model ü"


@pytest.mark.parametrize("name", BAD_TEMPLATES)
def test_bad_templates(folder: Path, capsys: pytest.CaptureFixture[str], name: str):
    check_knock(folder, write_prompt, *BAD_TEMPLATES[name], capsys)


@pytest.mark.parametrize("name", FINE_TEMPLATES)
def test_odd_templates_that_are_fine(folder: Path, name: str):
    template, outcome = FINE_TEMPLATES[name]
    written(FILE, template)(folder)
    text = write_prompt(folder)
    for part in (QUESTION, SYSTEM, SHOT.question, SHOT.answer):
        assert text.count(part) == 1, part
    in_front = f"{SYSTEM}\n\nQuestion: {SHOT.question}" in text
    assert in_front == ("in front" in outcome)
