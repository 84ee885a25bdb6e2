"""From problems to token ids: few-shot examples, chat templates, and where a response starts."""

import json
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from snakesteer.config import PromptConfig
from snakesteer.config.params import Params, section
from snakesteer.data.chat import Chat, find_chat
from snakesteer.data.problem import Problem, read_problems, strip_calculator
from snakesteer.data.thinking import closes_block, thinking
from snakesteer.errors import UserError
from snakesteer.records.files import sha256_text

logger = logging.getLogger(__name__)

Ids = tuple[int, ...]  # of tokens


@dataclass(frozen=True)
class Prompter:
    """Builds prompts in one format with one set of few-shot examples.

    Attributes:
        config: The prompt section of the config.
        examples: Few-shot examples, the same for every prompt.
        tokenizer: The model's tokenizer.
        instruction: A part of its own in front of all others; in a chat, of the system message.
    """

    config: PromptConfig
    examples: tuple[Problem, ...]
    tokenizer: Any
    instruction: str | None = None

    def text(self, question: str) -> str:
        """The prompt for a question, as text.

        Raises:
            UserError: The chat template fails, or drops a part of the prompt.
        """
        if self.config.chat:
            turns = [
                turn
                for e in self.examples
                for turn in (self._turn(e.question), self._solution(e.answer))
            ]
            return self.chat.write(self._system, [*turns, self._turn(question)])
        parts = [self._turn(e.question) + self._solution(e.answer) for e in self.examples]
        if self.instruction is not None:
            parts.insert(0, self.instruction)
        return self.config.separator.join([*parts, self._turn(question)])

    def response(self, answer: str) -> str:
        """A solution as it follows the prompt, calculator annotations removed.

        In a chat `lead` comes first, unless the text is the model's own and holds such marks.
        """
        solution = self._solution(answer)
        thought = thinking("", solution) is not None or closes_block(solution)
        own = thought or any(mark in solution for mark in self.lead.split())
        return solution if own else self.lead + solution

    def end(self) -> str:
        """What follows a solution: as in a chat's earlier turns, or as between few-shot examples.

        Outside a chat that is the separator with the start of the next question, at which
        generation stops.

        Raises:
            UserError: The chat template refuses or drops a solution behind the question.
        """
        if not self.config.chat:
            return self.config.separator + self.config.template.partition("{question}")[0].rstrip()
        behind = self.chat.end(self._system is not None, len(self.examples)).rstrip()
        return behind or self.tokenizer.eos_token or ""

    @cached_property
    def chat(self) -> Chat:
        """The chat template, filled so that nothing is lost.

        Raises:
            UserError: It fails, or drops a part of the prompt.
        """
        return find_chat(
            self.tokenizer,
            self.config.chat_template_kwargs,
            self.config.separator,
            self._system is not None,
            len(self.examples),
        )

    @cached_property
    def lead(self) -> str:
        """What stands between a prompt and a solution that is not the model's own.

        In the chat of a model that thinks first this is an empty think block, or the end of the one
        that the prompt opens.
        """
        if not self.config.chat:
            return ""
        return self.chat.lead(self._system is not None, len(self.examples))

    def ids(self, question: str, response: str = "") -> tuple[int, ...]:
        """Token ids of the prompt for a question, with a response behind it if given."""
        return self.encode(self.text(question) + response)

    def with_response(self, question: str, response: str) -> tuple[Ids, int]:
        """Token ids of prompt and response, and how many of them stand before the solution.

        What `lead` says belongs to the prompt. A token that joins the prompt's end with the
        solution's start belongs to the solution.

        Args:
            question: The question.
            response: From `response`, or a text of the model's own.
        """
        whole = self.ids(question, response)
        before = self.ids(question, self.lead if response.startswith(self.lead) else "")
        return whole, len(common_prefix([before, whole]))

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that the model is to go on with, special tokens included.

        Raises:
            UserError: ``prompt.bos`` asks for a token that the tokenizer lacks.
        """
        # A chat template writes its special tokens itself.
        ids = list(self.tokenizer(text, add_special_tokens=not self.config.chat)["input_ids"])
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if ids and ids[-1] == eos and not text.endswith(self.tokenizer.eos_token):
            ids.pop()  # some tokenizers close every text; a prompt stays open
        if self.config.bos == "always":
            if bos is None:
                raise UserError(
                    "prompt.bos is 'always', but the tokenizer has no beginning-of-sequence token",
                    "Set prompt.bos: auto.",
                )
            if ids[:1] != [bos]:
                ids.insert(0, bos)
        elif self.config.bos == "never" and bos is not None and ids[:1] == [bos]:
            ids.pop(0)
        return tuple(ids)

    def encode_start(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that stands at the start of a prompt, position for position.

        A chat template writes its beginning-of-sequence token itself; the text gets it, too.
        """
        ids, bos = self.encode(text), self.tokenizer.bos_token_id
        if bos is not None and self.ids("A")[0] == bos and ids[:1] != (bos,):
            return (bos, *ids)
        return ids

    def shared_prefix(self) -> tuple[int, ...]:
        """Token ids that all prompts start with: the few-shot examples."""
        return common_prefix([self.ids("A"), self.ids("7")])

    def fingerprint(self) -> str:
        """A hash of everything that shapes a prompt and the response behind it.

        Stop strings and the like leave it alone: they do not change what the model reads.
        """
        blank = "\N{REPLACEMENT CHARACTER}"
        config = self.config
        parts = [self.text(blank), self.response(blank), config.chat, config.bos]
        return sha256_text(json.dumps(parts))

    def instructed(self, instruction: str) -> "Prompter":
        """A prompter whose prompts start with an instruction: in the system message of a chat.

        Where the chat template takes no system message, the first question's starts with it.
        """
        return replace(self, instruction=instruction)

    @property
    def _system(self) -> str | None:
        given = [text for text in (self.config.system, self.instruction) if text is not None]
        return "\n".join(filter(None, given)) if given else None

    def _turn(self, question: str) -> str:
        return self.config.template.replace("{question}", question)

    def _solution(self, answer: str) -> str:
        # In a chat the template itself sets the reply apart, so blanks around it go.
        solution = self.config.answer_template.replace("{answer}", strip_calculator(answer))
        return solution.strip() if self.config.chat else solution


def split_examples(
    train: Sequence[Problem], shots: int, seed: int
) -> tuple[tuple[Problem, ...], list[Problem]]:
    """Draw few-shot examples from the train split.

    Args:
        train: The train split.
        shots: How many examples.
        seed: Of the draw.

    Returns:
        The examples, and the train problems that are left for contrast pairs (a problem must not
        stand in its own prompt).
    """
    chosen = random.Random(f"few-shot {seed}").sample(range(len(train)), shots)
    examples = tuple(train[index] for index in chosen)
    rest = [problem for index, problem in enumerate(train) if index not in chosen]
    return examples, rest


def open_prompter(
    params: Params, train: str | Path, tokenizer: Any
) -> tuple[Prompter, list[Problem]]:
    """The prompter with its few-shot examples, and the train problems that are not among them.

    Raises:
        UserError: The chat template fails, or drops a part of the prompt.
    """
    prompt = section(PromptConfig, "prompt", params)
    examples, rest = split_examples(read_problems(train), prompt.shots, prompt.shots_seed)
    prompter = Prompter(prompt, examples, tokenizer)
    if prompt.chat and prompter.chat.system_in_front:
        logger.warning(
            "The chat template takes no system message: prompt.system stands in front of the first "
            "question."
        )
    return prompter, rest


def common_prefix(sequences: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The tokens that all sequences start with; none where there is no sequence."""
    found = [tuple(sequence) for sequence in sequences]
    if not found:
        return ()
    first, last = min(found), max(found)  # what these share, all between them share, too
    length = min(len(first), len(last))
    return first[: next((i for i in range(length) if first[i] != last[i]), length)]
