"""Chat templates: how a conversation goes into one so that nothing of it is lost.

A template is a program that comes with the model. It may refuse a system message, or drop it; it
may take contents as lists of parts, and find nothing in a plain text. A prompt without its question
looks like any other, so that every way of filling a template is tried with marks in place of the
texts, and only one that writes all of them is used. Marks rather than the texts themselves: an
honest template may trim a text, escape it, or take an old think block out of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snakesteer.data.thinking import closing_of
from snakesteer.errors import UserError

# Some chat templates print today's date (Llama 3, SmolLM3), which would change every prompt, and
# with it the results, from day to day. The date is the one that Llama 3 falls back to. The empty
# expression keeps Jinja from taking away a newline that the template starts with.
_FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}{{ '' }}"

_PLAIN_FORMAT = "Set prompt.chat: false and write the format into prompt.template."
_SYSTEM, _QUESTION, _REPLY = "zqsystemqz", "zqquestionqz", "zqreplyqz"


@dataclass(frozen=True)
class Chat:
    """A tokenizer's chat template and how it is filled.

    Attributes:
        tokenizer: The model's.
        switches: Further variables of the template.
        separator: Between the system text and the first question, where they share a message.
        in_parts: Contents are lists of one part, as models that see images take them.
        system_in_front: The system text is the start of the first question's message.
    """

    tokenizer: Any
    switches: Mapping[str, bool | int | float | str]
    separator: str
    in_parts: bool = False
    system_in_front: bool = False

    def write(self, system: str | None, turns: Sequence[str], answer_next: bool = True) -> str:
        """The conversation as the template writes it.

        Args:
            system: The system text, if any.
            turns: Questions and replies in turn, a question first.
            answer_next: End where a reply is to begin.

        Raises:
            UserError: There is no template, or it fails.
        """
        template = _FIXED_DATE + _template_of(self.tokenizer)
        messages = list(self._messages(system, turns))
        try:  # what a template raises is its author's choice
            text: str = self.tokenizer.apply_chat_template(
                messages,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=answer_next,
                **self.switches,
            )
        except Exception as error:
            switches = " Check prompt.chat_template_kwargs." if self.switches else ""
            raise UserError(
                f"The tokenizer's chat template refuses the prompt ({type(error).__name__}: "
                f"{error})",
                _PLAIN_FORMAT + switches,
            ) from error
        return text

    def lead(self, has_system: bool, shots: int) -> str:
        """What stands between a prompt and a reply that is not the model's own; mostly nothing.

        It is what the template itself writes there (Qwen3's an empty think block, GPT-OSS' the name
        of a channel), or what closes the think block that the prompt ends in.

        Args:
            has_system: Whether there is a system text.
            shots: How many examples there are.

        Raises:
            UserError: The template fails.
        """
        system, turns = _marks(has_system, shots)
        prompt = self.write(system, turns)
        try:
            before, found, _ = self.write(system, [*turns, _REPLY], False).rpartition(_REPLY)
        except UserError:  # some templates want a question at the end
            before = found = ""
        written = before[len(prompt) :] if found and before.startswith(prompt) else ""
        # Some write a reply into the block, as a place for thoughts and answer.
        return written + closing_of(prompt.rpartition(_QUESTION)[2] + written)

    def end(self, has_system: bool, shots: int) -> str:
        """What follows a reply at the end.

        Args:
            has_system: Whether there is a system text.
            shots: How many examples there are.

        Raises:
            UserError: The template refuses or drops such a reply.
        """
        system, turns = _marks(has_system, shots)
        _, found, behind = self.write(system, [*turns, _REPLY], False).rpartition(_REPLY)
        if not found:
            raise _lost(["the solution behind the question"])
        return behind

    def _messages(self, system: str | None, turns: Sequence[str]) -> Iterator[dict[str, Any]]:
        first, *rest = turns
        if system is not None and not self.system_in_front:
            yield self._message("system", system)
        elif system:
            first = system + self.separator + first
        for number, text in enumerate([first, *rest]):
            yield self._message("assistant" if number % 2 else "user", text)

    def _message(self, role: str, text: str) -> dict[str, Any]:
        return {
            "role": role,
            "content": [{"type": "text", "text": text}] if self.in_parts else text,
        }


def find_chat(
    tokenizer: Any,
    switches: Mapping[str, bool | int | float | str],
    separator: str,
    has_system: bool,
    shots: int,
) -> Chat:
    """The first way of filling a tokenizer's chat template that loses nothing.

    They are: contents as texts, contents as parts, and both with the system text at the start of
    the first question's message.

    Args:
        tokenizer: The model's.
        switches: Further variables of the template.
        separator: See `Chat`.
        has_system: Whether there is a system text.
        shots: How many examples there are.

    Raises:
        UserError: There is none: there is no template, it fails, or it drops something.
    """
    system, turns = _marks(has_system, shots)
    refusals: list[UserError] = []
    losses: list[list[str]] = []
    for in_front in (False, True) if has_system else (False,):
        for in_parts in (False, True):
            chat = Chat(tokenizer, switches, separator, in_parts, in_front)
            try:
                text = chat.write(system, turns)
            except UserError as error:
                refusals.append(error)
                continue
            lost = _missing(text, system, turns)
            if not lost:
                return chat
            if not in_parts:
                losses.append(lost)
    # What a template says itself is worth more than what it does to parts that it was not made for.
    raise _lost(min(losses, key=len)) if losses else refusals[0]


def _template_of(tokenizer: Any) -> str:
    """The tokenizer's chat template."""
    found = getattr(tokenizer, "chat_template", None)
    if found is None:
        raise UserError(
            "prompt.chat is true, but the tokenizer has no chat template", _PLAIN_FORMAT
        )
    if isinstance(found, dict) and "default" not in found:
        raise UserError(
            f"The tokenizer has several chat templates ({', '.join(sorted(found))}), none of which "
            "is called default",
            "Save the tokenizer with one of them as its chat_template and name that folder in "
            "model.name, or set prompt.chat: false and write the format into prompt.template.",
        )
    template: str = tokenizer.get_chat_template()
    return template


def _marks(has_system: bool, shots: int) -> tuple[str | None, list[str]]:
    """A conversation of words that no template holds; none is part of another."""
    turns = [text for n in range(shots) for text in (f"zqexample{n}qz", f"zqsolution{n}qz")]
    return _SYSTEM if has_system else None, [*turns, _QUESTION]


def _missing(text: str, system: str | None, turns: Sequence[str]) -> list[str]:
    """Names of what a template did not write."""
    names = {_QUESTION: "the question"}
    if system is not None:
        names[system] = "the system message"
    for number, mark in enumerate(turns[:-1]):
        kind = "solution" if number % 2 else "question"
        names[mark] = f"the {kind} of few-shot example {number // 2 + 1}"
    return [name for mark, name in names.items() if not _holds(text, mark)]


def _holds(text: str, mark: str) -> bool:
    """Whether a text holds a mark, other than in a list of parts printed as it is."""
    printed = [quote + "text" + quote + ": " + quote + mark for quote in "'\""]
    return mark in text and not any(one in text for one in printed)


def _lost(names: Sequence[str]) -> UserError:
    remedy = _PLAIN_FORMAT
    if all("few-shot" in name for name in names):
        remedy = f"Set prompt.shots: 0 (the method dac_heads needs examples). Or: {_PLAIN_FORMAT}"
    return UserError(
        f"The tokenizer's chat template drops {', '.join(names)}: the model would never see it",
        remedy,
    )
