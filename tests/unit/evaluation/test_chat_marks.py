from snakesteer.evaluation.chat_marks import chat_marks
from tests.tiny_models import tiny_tokenizer


def test_special_tokens_that_stand_for_no_text():
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["~END~", "Turn", "<think>"]})
    tokenizer.add_special_tokens({"unk_token": "~UNK~", "mask_token": "~MASK~"})
    tokenizer.add_tokens(["~WORD~"])
    turns = chat_marks(tokenizer, "").turns
    assert {"~END~", tokenizer.eos_token, tokenizer.bos_token} <= set(turns)
    assert not {"~UNK~", "~MASK~", "~WORD~", "Turn"} & set(turns)


def test_the_block_that_a_prompt_opens():
    tokenizer = tiny_tokenizer()
    assert chat_marks(tokenizer, "5?\nassistant:\n<think>\n").thinking == "think"
    assert chat_marks(tokenizer, "5?\nassistant:\n<think>\n\n</think>\n").thinking is None
