"""From problems to token ids: few-shot examples, chat templates, and where a response starts."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from snakesteer.config import PromptConfig
from snakesteer.config.params import Params, section
from snakesteer.data.problem import Problem, read_problems, strip_calculator
from snakesteer.errors import UserError
from snakesteer.records.files import sha256_text

# Some chat templates print today's date (Llama 3, SmolLM3), which would change every prompt, and
# with it the results, from day to day. The date is the one that Llama 3 falls back to. The empty
# expression keeps Jinja from taking away a newline that the template starts with.
_FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}{{ '' }}"

Ids = tuple[int, ...]  # of tokens


@dataclass(frozen=True)
class Prompter:
    """Builds prompts in one format with one set of few-shot examples.

    Attributes:
        config: The prompt section of the config.
        examples: Few-shot examples, the same for every prompt.
        tokenizer: The model's tokenizer.
        instruction: A part of its own in front of all others; in a chat, of the first message.
    """

    config: PromptConfig
    examples: tuple[Problem, ...]
    tokenizer: Any
    instruction: str | None = None

    def text(self, question: str) -> str:
        """The prompt for a question, as text."""
        if self.config.chat:
            return self._chat_text(question)
        parts = [self._turn(e.question) + self.response(e.answer) for e in self.examples]
        return self._instructed(self.config.separator.join([*parts, self._turn(question)]))

    def response(self, answer: str) -> str:
        """A solution as it follows the prompt, calculator annotations removed.

        In a chat the template itself sets the reply apart, so blanks around it go.
        """
        response = self.config.answer_template.replace("{answer}", strip_calculator(answer))
        return response.strip() if self.config.chat else response

    def end(self) -> str:
        """What follows a solution: as in a chat's earlier turns, or as between few-shot examples.

        Outside a chat that is the separator with the start of the next question, at which
        generation stops.
        """
        if not self.config.chat:
            return self.config.separator + self.config.template.partition("{question}")[0].rstrip()
        mark = "\N{REPLACEMENT CHARACTER}"
        reply = {"role": "assistant", "content": mark}
        behind = self._rendered([*self._messages(""), reply], False).rpartition(mark)[2].rstrip()
        return behind or self.tokenizer.eos_token or ""

    def ids(self, question: str, response: str = "") -> tuple[int, ...]:
        """Token ids of the prompt for a question, with a response behind it if given."""
        return self.encode(self.text(question) + response)

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

    def _turn(self, question: str) -> str:
        return self.config.template.replace("{question}", question)

    def instructed(self, instruction: str) -> "Prompter":
        """A prompter whose prompts start with an instruction: the system message in a chat.

        Where the chat template knows no system message, the first message starts with it.
        """
        in_front = replace(self, instruction=instruction)
        if not self.config.chat:
            return in_front
        system = "\n".join(filter(None, [self.config.system, instruction]))
        as_system = replace(self, config=self.config.model_copy(update={"system": system}))
        try:
            as_system.text("")
        except UserError:
            return in_front
        return as_system

    def _instructed(self, text: str) -> str:
        return text if self.instruction is None else self.instruction + self.config.separator + text

    def _chat_text(self, question: str) -> str:
        return self._rendered(self._messages(question), True)

    def _messages(self, question: str) -> list[dict[str, str]]:
        messages = []
        if self.config.system is not None:
            messages.append({"role": "system", "content": self.config.system})
        for example in self.examples:
            messages.append({"role": "user", "content": self._turn(example.question)})
            messages.append({"role": "assistant", "content": self.response(example.answer)})
        messages.append({"role": "user", "content": self._turn(question)})
        first = next(message for message in messages if message["role"] == "user")
        first["content"] = self._instructed(first["content"])
        return messages

    def _rendered(self, messages: list[dict[str, str]], to_be_answered: bool) -> str:
        if getattr(self.tokenizer, "chat_template", None) is None:
            raise UserError(
                "prompt.chat is true, but the tokenizer has no chat template",
                "Set prompt.chat: false and write the format into prompt.template.",
            )
        template = _FIXED_DATE + self.tokenizer.get_chat_template()
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=to_be_answered,
            )
        except TemplateError as error:
            raise UserError(
                f"The tokenizer's chat template refuses the prompt ({error})",
                "Some models know no system message: remove prompt.system. Otherwise set "
                "prompt.chat: false and write the format into prompt.template.",
            ) from error
        return text


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
    """The prompter with its few-shot examples, and the train problems that are not among them."""
    prompt = section(PromptConfig, "prompt", params)
    examples, rest = split_examples(read_problems(train), prompt.shots, prompt.shots_seed)
    return Prompter(prompt, examples, tokenizer), rest


def common_prefix(sequences: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The tokens that all sequences start with; none where there is no sequence."""
    found = [tuple(sequence) for sequence in sequences]
    if not found:
        return ()
    first, last = min(found), max(found)  # what these share, all between them share, too
    length = min(len(first), len(last))
    return first[: next((i for i in range(length) if first[i] != last[i]), length)]
