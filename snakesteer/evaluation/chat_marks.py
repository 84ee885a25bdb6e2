"""What a model's own format may add to an answer, from its tokenizer and its prompt."""

from snakesteer.data.prompts import Prompter
from snakesteer.evaluation.shown_text import ChatMarks, open_block


def chat_marks(prompter: Prompter) -> ChatMarks:
    """The marks of a format: the tokenizer's special tokens, and the think block of the prompt."""
    tokenizer = prompter.tokenizer
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    inside = {tokenizer.unk_token, getattr(tokenizer, "mask_token", None)}  # of any text
    turns = {str(token) for token in special - inside if not str(token).isalnum()}
    return ChatMarks(tuple(sorted(turns)), open_block(prompter.text("A")))
