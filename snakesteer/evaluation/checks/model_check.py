"""A direct test of the model: what it reads, what it answers, and what looks wrong with that."""

import dataclasses
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from snakesteer.config import GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.data.thinking import thinking
from snakesteer.engine.interface import Engine
from snakesteer.evaluation.answers import Answer, answer_all, summary
from snakesteer.evaluation.checks.hints import PromptTokens, hints
from snakesteer.models.loading import LoadedModel

PROBLEMS = 8  # that are answered
_PIECES = 8  # tokens that are shown at either end of the prompt


def check_model(
    loaded: LoadedModel,
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    generation: GenerationConfig,
) -> dict[str, Any]:
    """Answer a few problems.

    Args:
        loaded: The model.
        engine: Answers the prompts; it is greedy.
        prompter: Builds them.
        problems: What to answer, at least one.
        generation: Of the run.

    Returns:
        What the model reads and answers, how fast, in how much memory, and hints.
    """
    started = time.perf_counter()
    answers = answer_all(engine, prompter, problems, [None], generation)[0]
    seconds = time.perf_counter() - started
    tokens = sum(answer.new_tokens for answer in answers)
    question = problems[0].question
    ids = prompter.ids(question)
    tokenizer = loaded.tokenizer
    pieces = [tokenizer.decode([token], skip_special_tokens=False) for token in ids]
    prompt = PromptTokens(
        prompter.text(question),
        ids,
        prompter.config,
        tokenizer,
        loaded.eos_ids,
        questions=tuple(problem.question for problem in problems),
        lead=prompter.lead,
        system_in_front=prompter.config.chat and prompter.chat.system_in_front,
    )
    return {
        "layers": len(loaded.blocks),
        "context": loaded.context,
        "prompt": tokenizer.decode(ids, skip_special_tokens=False),
        "prompt_tokens": len(ids),
        "first_tokens": pieces[:_PIECES],
        "last_tokens": pieces[-_PIECES:],
        "end_tokens": sorted(
            tokenizer.decode([token], skip_special_tokens=False) for token in loaded.eos_ids
        ),
        **summary(answers),
        "answers": [
            {
                "id": problem.id,
                "question": problem.question,
                "text": answer.text,
                "extracted": answer.extracted,
                "gold": problem.gold,
                "correct": answer.correct,
                "finish": answer.finish,
                "new_tokens": answer.new_tokens,
                "thinking_tokens": thinking_tokens(prompt, answer),
            }
            for problem, answer in zip(problems, answers, strict=True)
        ],
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "memory_bytes": _memory(loaded.device),
        "hints": [dataclasses.asdict(hint) for hint in hints(answers, prompt)],
    }


def thinking_tokens(prompt: PromptTokens, answer: Answer) -> int | None:
    """How many of an answer's tokens are its think block; None without one."""
    block = thinking(prompt.text, answer.text)
    if block is None:
        return None
    if not block.closed:
        return answer.new_tokens
    return len(prompt.tokenizer(block.text, add_special_tokens=False)["input_ids"])


def _memory(device: torch.device) -> int:
    """The most memory that was in use: on the GPU if there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def page(record: dict[str, Any]) -> str:
    """The record as a person wants to read it.

    Args:
        record: From `check_model`, with ``name``, ``device``, ``dtype`` and ``engine``.
    """
    lines = [
        f"Model    {record['name']}: {record['layers']} layers, {record['dtype']} on "
        f"{record['device']}, context {record['context']}, engine {record['engine']}",
        f"Prompt   {record['prompt_tokens']} tokens; the first: {_shown(record['first_tokens'])}",
        f"         the last: {_shown(record['last_tokens'])}",
        f"         ends an answer: {_shown(record['end_tokens']) or 'nothing'}",
        "-" * 78,
        record["prompt"],
        "-" * 78,
    ]
    for answer in record["answers"]:
        mark = "right" if answer["correct"] else "wrong"
        lines += [
            f"{answer['id']}: {mark}, read {answer['extracted']}, gold {answer['gold']}, "
            f"ended by {answer['finish']} after {answer['new_tokens']} tokens"
            + (f", {answer['thinking_tokens']} of them thinking" * bool(answer["thinking_tokens"])),
            *(f"    {line}" for line in answer["text"].strip().splitlines()),
        ]
    lines += [
        "-" * 78,
        f"{record['correct']} of {record['total_samples']} right; "
        f"{record['tokens_per_second']:.0f} tokens/s with so few at once; "
        f"{record['memory_bytes'] / 2**30:.1f} GiB",
    ]
    for hint in record["hints"]:
        lines.append(f"HINT     {hint['problem']}. {hint['remedy']}")
    if not record["hints"]:
        lines.append("Nothing looks wrong with the prompt.")
    return "\n".join(lines)


def _shown(pieces: Sequence[str]) -> str:
    return " ".join(repr(piece) for piece in pieces)
