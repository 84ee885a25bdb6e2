"""Each hint comes up where its cause is built, and nothing is said of a prompt that is right."""

import dataclasses

import pytest
from tokenizers.processors import TemplateProcessing

from snakesteer.config import PromptConfig
from snakesteer.data.prompts import Prompter
from snakesteer.evaluation.answers import Answer
from snakesteer.evaluation.checks.hints import PromptTokens, hints
from tests.chat_templates import DEEPSEEK_R1, GEMMA_2, QWEN_3
from tests.tiny_models import BOS, EOS, tiny_tokenizer

QUESTION = "How many pens?"
CHAT = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def answer(text: str = " 1+1 = 2\n#### 2", **changes) -> Answer:
    values = {
        "id": "a",
        "correct": True,
        "strict": True,
        "flexible": True,
        "extracted": "2",
        "text": text,
        "finish": "eos",
        "prompt_tokens": 20,
        "new_tokens": 9,
    }
    return Answer(**(values | changes))


INVALID = {"correct": False, "strict": False, "flexible": False, "extracted": None}


def prompt_of(tokenizer=None, end_ids=frozenset({EOS}), **config) -> PromptTokens:
    tokenizer = tiny_tokenizer() if tokenizer is None else tokenizer
    settings = PromptConfig(shots=0, **config)
    prompter = Prompter(settings, (), tokenizer)
    return PromptTokens(
        prompter.text(QUESTION),
        prompter.ids(QUESTION),
        settings,
        tokenizer,
        end_ids,
        (QUESTION, QUESTION),
        prompter.lead,
        settings.chat and prompter.chat.system_in_front,
    )


def said(answers, prompt) -> str:
    return "\n".join(f"{hint.problem}. {hint.remedy}" for hint in hints(answers, prompt))


def chat_tokenizer(add_bos: bool = False, template: str = CHAT):
    tokenizer = tiny_tokenizer(add_bos)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("add_bos", [False, True])
def test_nothing_is_said_of_what_is_right(add_bos: bool):
    wrong = answer(correct=False, extracted="3")
    assert hints([answer(), answer(), wrong], prompt_of(tiny_tokenizer(add_bos))) == []
    # An instruct model that does well without its template is left alone.
    assert hints([answer(), answer(), wrong], prompt_of(chat_tokenizer(add_bos))) == []


def test_no_answer_can_be_read():
    text = said([answer("I like pens.", **INVALID)] * 3, prompt_of())
    assert "No answer holds a final number, so that accuracy is 0" in text
    assert "prompt.template" in text
    assert "No answer" not in said([answer("I like pens.", **INVALID), answer()], prompt_of())


def test_numbers_that_are_all_wrong():
    wrong = answer(correct=False, extracted="3")
    assert "None of 3 answers is right" in said([wrong] * 3, prompt_of())


def test_empty_answers():
    text = said([answer(" ", **INVALID)] * 3, prompt_of())
    assert "Every answer is empty" in text
    assert "No answer holds a final number" not in text


@pytest.mark.parametrize("more", ["\n\nQuestion: And how", "\nQ: And", "<|im_start|>user"])
def test_run_on_texts(more: str):
    text = said([answer("#### 2" + more, finish="length")] * 3, prompt_of())
    assert "run on into the next question" in text
    assert "prompt.stop" in text
    assert "No answer ends by itself" not in text


def test_answers_that_are_cut_while_they_think_are_told_once():
    cut = said([answer("<think>7 + 11 = 18. So", finish="length", **INVALID)] * 3, prompt_of())
    assert "3 of 3 answers are still thinking" in cut
    assert cut.count("generation.max_new_tokens") == 1


def test_answers_that_are_cut_before_they_say_a_result():
    cut = said([answer("7 + 11 = 18. Then", finish="length", **INVALID)] * 3, prompt_of())
    assert "No answer comes to an end: 3 of 3 are cut at generation.max_new_tokens" in cut
    assert "Raise generation.max_new_tokens" in cut
    assert cut.count("generation.max_new_tokens") == 2  # said once
    silent = said([answer("What?", finish="length", **INVALID)] * 3, prompt_of())
    assert "No answer holds a final number" in silent
    ended = said([answer("7 + 11 = 18. Then", **INVALID)] * 3, prompt_of())
    assert "comes to an end" not in ended


def test_marks_of_the_tokenizer_end_an_answer():
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["~END~"]})
    assert "run on" in said([answer("#### 2~END~And 5")], prompt_of(tokenizer))
    assert "run on" not in said([answer("#### 2~END~And 5")], prompt_of())


def test_all_answers_are_cut_off():
    text = said([answer(finish="length")] * 3, prompt_of())
    assert "all reach generation.max_new_tokens" in text
    assert "by itself" not in said([answer(finish="length"), answer()], prompt_of())


def test_a_missing_bos():
    text = said([answer()], prompt_of(tiny_tokenizer(add_bos=True), bos="never"))
    assert "does not begin with <s>" in text
    assert "Set prompt.bos: auto" in text
    without = chat_tokenizer(add_bos=True)
    without.chat_template = CHAT.replace("<s>", "")
    text = said([answer()], prompt_of(without, chat=True))
    assert "does not begin with <s>" in text
    assert "Set prompt.bos: always" in text
    # This tokenizer has the token, but puts it in front of nothing.
    assert said([answer()], prompt_of(tiny_tokenizer())) == ""


def test_a_doubled_bos():
    template = "<s>Question: {question}\nAnswer:"
    prompt = prompt_of(tiny_tokenizer(add_bos=True), template=template)
    assert prompt.ids[:2] == (BOS, BOS)
    assert "begins with <s> twice" in said([answer()], prompt)
    once = prompt_of(tiny_tokenizer(add_bos=True), template=template, bos="never")
    assert once.ids[:1] == (BOS,)
    assert said([answer()], once) == ""


def test_a_doubled_bos_of_a_chat_template():
    doubled = chat_tokenizer(add_bos=True)
    doubled.chat_template = "<s>" + CHAT
    assert "twice" in said([answer()], prompt_of(doubled, chat=True))
    assert said([answer()], prompt_of(chat_tokenizer(add_bos=True), chat=True)) == ""


def test_no_end_token():
    text = said([answer()], prompt_of(end_ids=frozenset()))
    assert "names an end token" in text


@pytest.mark.parametrize(
    "poor", [answer(correct=False, extracted="3"), answer(**INVALID), answer(finish="length")]
)
def test_a_chat_model_without_chat(poor: Answer):
    assert "prompt.chat: true" in said([poor] * 3, prompt_of(chat_tokenizer()))
    for prompt in (prompt_of(chat_tokenizer(), chat=True), prompt_of(tiny_tokenizer())):
        assert "chat template" not in said([poor] * 3, prompt)


def test_the_template_of_another_model():
    template = "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    text = said([answer()], prompt_of(template=template))
    assert "<|im_end|>, <|im_start|>, which this tokenizer does not know" in text
    knows = tiny_tokenizer()
    knows.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    assert said([answer()], prompt_of(knows, template=template)) == ""


def test_unknown_tokens():
    text = said([answer()], prompt_of(template="Frage: {question}\nAntwört:"))
    assert "prompt tokens are unknown" in text


def test_a_blank_at_the_end():
    assert "ends with a blank" in said([answer()], prompt_of(template="Q: {question}\nA: "))


def test_a_tokenizer_that_closes_texts_has_its_bos():
    """What is asked is whether plain text gets the token, not what the flag says."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    assert said([answer()], prompt_of(tokenizer)) == ""
    assert "does not begin with" in said([answer()], prompt_of(tokenizer, bos="never"))


def test_a_label_that_the_question_has_already():
    twice = dataclasses.replace(prompt_of(), questions=(f" question: {QUESTION}", QUESTION))
    text = said([answer()], twice)
    assert "1 of 2 questions begin with what prompt.template writes" in text
    assert "'Question:'" in text
    own = dataclasses.replace(
        prompt_of(template="[MATH_TASK]\nProblem: {question}\nSolution:"),
        questions=(f"Problem: {QUESTION}",),
    )
    assert "1 of 1 questions" in said([answer()], own)
    assert said([answer()], prompt_of()) == ""
    bare = dataclasses.replace(prompt_of(template="{question}"), questions=("Question: 1?",))
    assert said([answer()], bare) == ""


def test_a_switch_that_the_template_does_not_read():
    switches = {"enable_thinkin": False, "enable_thinking": False}
    prompt = prompt_of(chat_tokenizer(template=QWEN_3), chat=True, chat_template_kwargs=switches)
    text = said([answer()], prompt)
    assert "does not read 'enable_thinkin', which" in text
    right = {"enable_thinking": False}
    prompt = prompt_of(chat_tokenizer(template=QWEN_3), chat=True, chat_template_kwargs=right)
    assert "does not read" not in said([answer()], prompt)


def test_a_system_text_that_is_no_system_message():
    gemma = chat_tokenizer(template=GEMMA_2)
    assert "stands in front" in said([answer()], prompt_of(gemma, chat=True, system="Hi."))
    assert "stands in front" not in said([answer()], prompt_of(gemma, chat=True))


def test_a_model_that_thinks_first():
    text = said([answer()], prompt_of(chat_tokenizer(template=QWEN_3), chat=True))
    assert "has the model think before it answers" in text
    assert "{enable_thinking: false}" in text
    text = said([answer()], prompt_of(chat_tokenizer(template=DEEPSEEK_R1), chat=True))
    assert repr("\n</think>\n\n") in text
    assert "enable_thinking" not in text
    off = {"enable_thinking": False}
    prompt = prompt_of(chat_tokenizer(template=QWEN_3), chat=True, chat_template_kwargs=off)
    assert "think" not in said([answer()], prompt)


@pytest.mark.parametrize(
    ("template", "begun"), [(QWEN_3, "<think>\n"), (DEEPSEEK_R1, ""), (None, "<think>")]
)
def test_thinking_that_does_not_end(template, begun):
    tokenizer = tiny_tokenizer() if template is None else chat_tokenizer(template=template)
    prompt = prompt_of(tokenizer, chat=template is not None)
    ended = answer(f"{begun}1+1\n</think>\n\n2")
    endless = answer(f"{begun}1+1, hm", finish="length", new_tokens=40, **INVALID)
    text = said([ended, endless, endless], prompt)
    assert "2 of 3 answers are still thinking when they end, after up to 40 tokens" in text
    assert "Raise generation.max_new_tokens" in text
    assert ("{enable_thinking: false}" in text) == (template == QWEN_3)
    assert "still thinking" not in said([ended, ended], prompt)
