"""What a model's own format may add to an answer, from its tokenizer and its prompt."""

from typing import Any

from snakesteer.data.prompts import Prompter
from snakesteer.evaluation.shown_text import ChatMarks, open_block


def marks_of(prompter: Prompter) -> ChatMarks:
    """The marks of the format that a prompter writes."""
    return chat_marks(prompter.tokenizer, prompter.text("A"))


def chat_marks(tokenizer: Any, prompt: str) -> ChatMarks:
    """The marks of a format.

    Args:
        tokenizer: Its special tokens end turns or start them, but for those that stand for text.
        prompt: Any prompt; it may end in a think block that the answer goes on with.
    """
    added = tokenizer.added_tokens_decoder.values()
    special = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    special -= {tokenizer.unk_token, tokenizer.mask_token}
    turns = sorted(token for token in special if not token.isalnum())
    return ChatMarks(tuple(turns), open_block(prompt))
