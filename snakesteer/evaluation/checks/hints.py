"""What a few answers and a prompt's tokens say about a wrong template, and what to do about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from snakesteer.config import PromptConfig
from snakesteer.data.thinking import closes_block, thinking
from snakesteer.evaluation.answers import Answer
from snakesteer.evaluation.chat_marks import chat_marks
from snakesteer.evaluation.grading import runs_on

# Marks of chat formats; a tokenizer that has such a mark reads it as one token.
_MARKS = re.compile(r"<\|[A-Za-z_]+\|>|<(?:start|end)_of_turn>")


@dataclass(frozen=True)
class Hint:
    """Something that looks wrong.

    Attributes:
        problem: What was seen, and what it usually comes from.
        remedy: What to do.
    """

    problem: str
    remedy: str


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """A prompt as the model reads it.

    Attributes:
        text: Before it was tokenised.
        ids: Token ids.
        config: How it was made.
        tokenizer: What tokenised it.
        end_ids: Token ids that end an answer.
        questions: Of the problems that were asked.
        lead: What stands between the prompt and a gold solution (`Prompter.lead`).
        system_in_front: The chat template takes no system message.
    """

    text: str
    ids: tuple[int, ...]
    config: PromptConfig
    tokenizer: Any
    end_ids: frozenset[int]
    questions: tuple[str, ...] = ()
    lead: str = ""
    system_in_front: bool = False


def hints(answers: Sequence[Answer], prompt: PromptTokens) -> list[Hint]:
    """What looks wrong, the likeliest cause of all first.

    Args:
        answers: To a few problems, with prompts like this one.
        prompt: One of them.
    """
    return [
        *_of_tokens(prompt),
        *_of_questions(prompt),
        *_of_chat(prompt),
        *_of_thinking(answers, prompt),
        *_of_answers(answers, prompt),
    ]


def _of_tokens(prompt: PromptTokens) -> list[Hint]:
    found = []
    tokenizer, ids = prompt.tokenizer, prompt.ids
    bos, unknown = tokenizer.bos_token_id, tokenizer.unk_token_id
    if bos is not None and list(ids[:2]) == [bos, bos]:
        found.append(
            Hint(
                f"The prompt begins with {tokenizer.bos_token} twice: the template writes it, and "
                "the tokenizer adds it",
                "Take it out of prompt.template, or set prompt.bos: never (with prompt.bos: "
                "always, set auto).",
            )
        )
    elif bos is not None and ids[:1] != (bos,) and _adds_bos(tokenizer):
        found.append(
            Hint(
                f"The prompt does not begin with {tokenizer.bos_token}, which this tokenizer puts "
                "in front of every text, and which the model was trained with",
                "Set prompt.bos: always." if prompt.config.chat else "Set prompt.bos: auto.",
            )
        )
    if not prompt.end_ids:
        found.append(
            Hint(
                "Neither tokenizer nor model names an end token, so that answers end only at a "
                "stop string or at generation.max_new_tokens",
                "Add eos_token_id to the model's generation_config.json, or name what follows an "
                "answer in prompt.stop.",
            )
        )
    split = {mark for mark in _MARKS.findall(prompt.text) if len(_plain_ids(tokenizer, mark)) > 1}
    if split:
        found.append(
            Hint(
                f"The prompt holds {', '.join(sorted(split))}, which this tokenizer does not know "
                "as a token: the template is another model's",
                "Set prompt.chat: true if the tokenizer has a chat template, or write the format "
                "of the model's card into prompt.template.",
            )
        )
    if unknown is not None and unknown in ids:
        found.append(
            Hint(
                f"{ids.count(unknown)} of {len(ids)} prompt tokens are unknown to the tokenizer",
                "Check that model.name's folder holds the model's own tokenizer.",
            )
        )
    if not prompt.config.chat and prompt.text.endswith(" "):
        found.append(
            Hint(
                "The prompt ends with a blank, which most tokenizers make part of the next word: "
                "the model has to go on with a token that it never saw there",
                "End prompt.template without it, and begin prompt.answer_template with it.",
            )
        )
    return found


def _of_questions(prompt: PromptTokens) -> list[Hint]:
    in_front = prompt.config.template.partition("{question}")[0].strip()
    label = in_front.splitlines()[-1].strip().lower() if in_front else ""
    doubled = [q for q in prompt.questions if label and q.strip().lower().startswith(label)]
    if not doubled:
        return []
    return [
        Hint(
            f"{len(doubled)} of {len(prompt.questions)} questions begin with what prompt.template "
            f"writes in front of them, {in_front!r}, so that the model reads it twice",
            "Take it out of prompt.template or out of the data.",
        )
    ]


def _of_chat(prompt: PromptTokens) -> list[Hint]:
    if not prompt.config.chat:
        return []
    found = []
    unread = [key for key in prompt.config.chat_template_kwargs if not _reads(prompt, key)]
    if unread:
        found.append(
            Hint(
                f"The chat template does not read {', '.join(map(repr, unread))}, which "
                "prompt.chat_template_kwargs sets: it changes nothing",
                "Correct the name, or remove it.",
            )
        )
    if prompt.system_in_front:
        found.append(
            Hint(
                "The chat template takes no system message: prompt.system stands in front of the "
                "first question",
                "Remove prompt.system if that is not what the model's card says.",
            )
        )
    return found


def _of_thinking(answers: Sequence[Answer], prompt: PromptTokens) -> list[Hint]:
    found = []
    off = (
        "set prompt.chat_template_kwargs: {enable_thinking: false}"
        if prompt.config.chat and _reads(prompt, "enable_thinking")
        else "take a model that does not think first"
    )
    if closes_block(prompt.lead):
        found.append(
            Hint(
                "The chat template has the model think before it answers. Gold solutions (contrast "
                f"pairs, training) hold no thoughts: they stand behind {prompt.lead!r}; the "
                "model's own answers think, and generation.max_new_tokens must hold that, too",
                f"If it is not wanted, {off}.",
            )
        )
    endless = [answer.new_tokens for answer in answers if _still_thinks(answer, prompt)]
    if endless:
        found.append(
            Hint(
                f"{len(endless)} of {len(answers)} answers are still thinking when they end, after "
                f"up to {max(endless)} tokens: they hold no answer",
                "Raise generation.max_new_tokens (many models think for thousands of tokens), or "
                f"{off}.",
            )
        )
    return found


def _still_thinks(answer: Answer, prompt: PromptTokens) -> bool:
    block = thinking(prompt.text, answer.text)
    return block is not None and not block.closed


def _of_answers(answers: Sequence[Answer], prompt: PromptTokens) -> list[Hint]:
    found = []
    correct = sum(answer.correct for answer in answers)
    unread = [answer for answer in answers if answer.extracted is None]
    truncated = [answer for answer in answers if answer.finish == "length"]
    unfinished = [answer for answer in unread if answer.finish == "length"]
    thoughts = sum(_still_thinks(answer, prompt) for answer in answers)  # told already
    chat = chat_marks(prompt.tokenizer, prompt.text)
    empty = [answer for answer in answers if not answer.text.strip()]
    template = getattr(prompt.tokenizer, "chat_template", None) is not None
    if len(empty) == len(answers):
        found.append(
            Hint(
                "Every answer is empty: the model ends at once, or a stop string comes first",
                "Look at the end of the prompt: it must ask for an answer, as in the model's "
                "card; and at prompt.stop.",
            )
        )
    elif thoughts == len(answers):
        pass
    elif len(unread) == len(answers) and any(re.search("[0-9]", a.text) for a in unfinished):
        found.append(
            Hint(
                f"No answer comes to an end: {len(unfinished)} of {len(answers)} are cut at "
                "generation.max_new_tokens before they state a result. Half a calculation is not "
                "graded, so that accuracy is 0",
                "Raise generation.max_new_tokens; a model that thinks first may need thousands.",
            )
        )
    elif len(unread) == len(answers):
        found.append(
            Hint(
                "No answer holds a final number, so that accuracy is 0: the model does not "
                "understand that it is asked to solve a problem",
                "Use the format that the model was trained on (prompt.template, prompt.chat), or "
                "show it examples (prompt.shots).",
            )
        )
    elif correct == 0:
        found.append(
            Hint(
                f"None of {len(answers)} answers is right, though there are numbers in them: the "
                "model is too weak, or asked in another format than it was trained on",
                "Compare the texts with the gold solutions, and the prompt with the model's card.",
            )
        )
    if sum(runs_on(answer.text, chat) for answer in answers) * 2 > len(answers):
        found.append(
            Hint(
                "Answers run on into the next question, or into the next turn of a chat, and cost "
                "time without end",
                "Add what the next question begins with to prompt.stop.",
            )
        )
    elif len(truncated) == len(answers) > len(unfinished):
        found.append(
            Hint(
                "No answer ends by itself: all reach generation.max_new_tokens",
                "Raise generation.max_new_tokens if the texts are solutions that were cut off; "
                "otherwise name what follows an answer in prompt.stop.",
            )
        )
    useless = sum(answer.extracted is None or answer.finish == "length" for answer in answers)
    poor = correct == 0 or 2 * useless > len(answers)
    if template and not prompt.config.chat and poor:
        found.append(
            Hint(
                "The tokenizer has a chat template, but prompt.chat is false, and the answers are "
                "poor: an instruct model is asked in a format that it was not tuned on",
                "Set prompt.chat: true.",
            )
        )
    return found


def _adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its beginning-of-sequence token in front of a plain text."""
    return list(tokenizer("1")["input_ids"][:1]) == [tokenizer.bos_token_id]


def _reads(prompt: PromptTokens, name: str) -> bool:
    """Whether the chat template has a word of this name."""
    return re.search(rf"\b{re.escape(name)}\b", prompt.tokenizer.get_chat_template()) is not None


def _plain_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
