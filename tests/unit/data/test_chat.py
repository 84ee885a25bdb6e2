"""What goes into a chat template comes out of it, or an error says what does not."""

import html
import inspect
import re

import pytest
from transformers import PreTrainedTokenizerBase

from snakesteer.config import PromptConfig
from snakesteer.config.generation import NOT_FOR_TEMPLATES
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.errors import UserError
from tests import chat_templates as templates
from tests.tiny_models import tiny_tokenizer

EXAMPLES = (
    Problem("e-0", "Is 1 < 2?", "1 < 2, so 1.\n#### 1", "1"),
    Problem("e-1", "What is 2*3?", "2*3 = <<2*3=6>>6\n#### 6", "6"),
)
QUESTION = "Ada has 7 pens & gets 11.\nHow many?"
SYSTEM = "Be brief.\n\nShow your work."


def prompter(template, shots=2, **config) -> Prompter:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    settings = PromptConfig(chat=True, template="{question}", **config)
    return Prompter(settings, EXAMPLES[:shots], tokenizer)


def words(text: str) -> str:
    """A text without blanks, as far as they matter to nobody."""
    return re.sub(r"\s+", "", html.unescape(text))


@pytest.mark.parametrize("instruction", [None, "Think step by step."])
@pytest.mark.parametrize("system", [None, SYSTEM])
@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("name", templates.HONEST)
def test_everything_is_in_the_prompt(name: str, shots: int, system: str | None, instruction):
    one = prompter(templates.HONEST[name], shots, system=system)
    if instruction is not None:
        one = one.instructed(instruction)
    text = words(one.text(QUESTION))
    parts = [QUESTION, *filter(None, [system, instruction])]
    for example in EXAMPLES[:shots]:
        parts += [example.question, example.answer.replace("<<2*3=6>>", "")]
    assert [part for part in parts if text.count(words(part)) != 1] == []
    asked = system is not None or instruction is not None
    assert one.chat.system_in_front == (asked and name in templates.TAKE_NO_SYSTEM)
    assert one.chat.in_parts == (name == "vision")
    assert one.ids(QUESTION) != one.ids("What else?")


@pytest.mark.parametrize("name", templates.HONEST)
def test_a_solution_stands_where_the_template_puts_it(name: str):
    """Prompt, solution and end are the conversation that the template writes of them."""
    one = prompter(templates.HONEST[name])
    answer = EXAMPLES[0].answer
    whole = one.text(QUESTION) + one.response(answer) + one.end()
    turns = [turn for e in EXAMPLES for turn in (e.question, e.answer.replace("<<2*3=6>>", ""))]
    written = one.chat.write(None, [*turns, QUESTION, answer], answer_next=False).rstrip()
    if name == "deepseek r1":  # its prompt opens a think block, which its own replies lack
        whole = whole.replace("<think>\n\n</think>\n\n", "")
    if name == "nemotron":  # its own last reply is thoughts and answer in one
        whole = whole.replace("</think>\n\n", "")
    if name == "glm":  # nothing follows a reply but the next question
        whole = whole.removesuffix("</s>")
    if name == "escaping":  # a model's own reply is not escaped
        written = "1 < 2".join(written.rsplit("1 &lt; 2", 1))
    assert whole == written


@pytest.mark.parametrize(
    ("name", "switches", "lead"),
    [
        ("qwen 3", {}, "<think>\n\n</think>\n\n"),
        ("qwen 3", {"enable_thinking": True}, "<think>\n\n</think>\n\n"),
        ("qwen 3", {"enable_thinking": False}, ""),
        ("deepseek r1", {}, "\n</think>\n\n"),
        ("deepseek v3", {}, ""),
        ("deepseek v3", {"thinking": True}, "</think>"),
        ("nemotron", {}, "</think>\n\n"),
        ("glm", {}, "\n<think></think>\n"),
        ("glm", {"enable_thinking": False}, "\n"),
        ("gpt-oss", {}, "<|channel|>final<|message|>"),
        ("mistral", {}, " "),
        ("no generation prompt", {}, "<|im_start|>assistant\n"),
        ("llama 3", {}, ""),
    ],
)
@pytest.mark.parametrize("shots", [0, 2])
def test_what_leads_to_a_solution(name: str, switches, lead: str, shots: int):
    one = prompter(templates.HONEST[name], shots, chat_template_kwargs=switches)
    assert one.lead == lead
    assert one.response("7 + 11 = <<7+11=18>>18") == lead + "7 + 11 = 18"
    ids, before = one.with_response(QUESTION, one.response("18"))
    assert one.tokenizer.decode(ids[before:]) == "18"
    assert ids[:before] == one.ids(QUESTION, lead)


def test_an_own_solution_has_thoughts_of_its_own():
    for name, own in (
        ("qwen 3", "<think>\n7 + 11\n</think>\n\n18"),
        ("deepseek r1", "7 + 11\n</think>\n\n18"),
        ("deepseek v3", "7 + 11</think>18"),
        ("glm", "<think>7 + 11</think>\n18"),
        ("glm", "<think>7 + 11, so"),
        ("gpt-oss", "<|channel|>analysis<|message|>7<|end|><|channel|>final<|message|>18"),
    ):
        one = prompter(templates.HONEST[name])
        assert one.response(own) == own
        ids, before = one.with_response(QUESTION, own)
        assert one.tokenizer.decode(ids[before:]) == own


def test_old_thoughts_are_taken_out_without_alarm():
    """A few-shot solution with a think block, as the model's own may have one."""
    thought = Problem("e-2", "What is 3+4?", "<think>Easy.</think>3+4 = 7\n#### 7", "7")
    for name in ("qwen 3", "deepseek r1"):
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = templates.HONEST[name]
        config = PromptConfig(chat=True, template="{question}")
        text = Prompter(config, (thought,), tokenizer).text(QUESTION)
        assert "3+4 = 7\n#### 7" in text
        assert "Easy" not in text


def test_switches_reach_the_template():
    for value, end in (
        (True, "<|im_start|>assistant\n"),
        (False, "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    ):
        one = prompter(templates.QWEN_3, chat_template_kwargs={"enable_thinking": value})
        assert one.text(QUESTION).endswith(end)
    on, off = (
        prompter(templates.QWEN_3, chat_template_kwargs={"enable_thinking": value}).fingerprint()
        for value in (True, False)
    )
    assert on != off
    assert on == prompter(templates.QWEN_3).fingerprint()


def test_what_the_program_sets_itself_is_not_for_templates():
    parameters = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    own = set(parameters) - {"self", "kwargs"}
    assert own <= NOT_FOR_TEMPLATES
    assert "enable_thinking" not in NOT_FOR_TEMPLATES


def test_an_empty_system_message_is_one():
    """Qwen 2.5 has a system message of its own, which it takes away."""
    assert "You are helpful" in prompter(templates.QWEN_2).text(QUESTION)
    empty = prompter(templates.QWEN_2, system="").text(QUESTION)
    assert empty.startswith("<|im_start|>system\n<|im_end|>\n")
    told = prompter(templates.QWEN_2, system="").instructed("Think.").text(QUESTION)
    assert told.startswith("<|im_start|>system\nThink.<|im_end|>\n")
    assert prompter(templates.GEMMA_2, system="").text("A") == prompter(templates.GEMMA_2).text("A")


@pytest.mark.parametrize("template", [templates.DROPS_SYSTEM, templates.GEMMA_2])
def test_a_system_message_that_is_dropped_or_refused_goes_to_the_first_question(template: str):
    plain = prompter(template).text(QUESTION)
    both = prompter(template, system="Be kind.").instructed("Think.")
    first = EXAMPLES[0].question
    assert both.text(QUESTION) == plain.replace(first, f"Be kind.\nThink.\n\n{first}", 1)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (templates.DROPS_QUESTIONS, ("the question,", "the question of few-shot example 1")),
        (
            templates.DROPS_EXAMPLES,
            (
                "drops the question of few-shot example 1, the solution of few-shot example 1",
                "Set prompt.shots: 0",
            ),
        ),
        (
            templates.DROPS_REPLIES,
            (
                "drops the solution of few-shot example 1, the solution of few-shot example 2: ",
                "Set prompt.shots: 0",
            ),
        ),
        ("Hello!", ("drops the question", "prompt.template")),
    ],
)
@pytest.mark.parametrize("system", [None, SYSTEM])
def test_what_a_template_drops_is_named(template: str, said, system: str | None):
    with pytest.raises(UserError) as caught:
        prompter(template, system=system).text(QUESTION)
    assert [word for word in (*said, "prompt.chat: false") if word not in str(caught.value)] == []


def test_a_list_printed_as_it_is_holds_nothing():
    """Not a word of the question in front of ``{'type': 'text'`` would be the model's format."""
    lists_only = "{% for m in messages %}{{ [] + m.content }}{% endfor %}"
    with pytest.raises(UserError, match="TypeError"):
        prompter(lists_only).text(QUESTION)
    with pytest.raises(UserError, match="TypeError"):
        prompter(lists_only.replace("[] + m.content", "([] + m.content) | tojson")).text(QUESTION)


def test_an_end_that_the_template_does_not_write():
    dropping = prompter(templates.DROPS_REPLIES, shots=0)
    assert QUESTION in dropping.text(QUESTION)
    with pytest.raises(UserError, match="drops the solution behind the question"):
        dropping.end()
    refusing = prompter(templates.WANTS_A_QUESTION_LAST)
    assert refusing.response("18") == "18"
    with pytest.raises(UserError, match="ask something"):
        refusing.end()


@pytest.mark.parametrize("name", templates.FAILING)
def test_whatever_a_template_raises_is_a_paragraph(name: str):
    template, said = templates.FAILING[name]
    with pytest.raises(UserError) as caught:
        prompter(template).text(QUESTION)
    message = str(caught.value)
    assert "chat template refuses the prompt" in message
    assert said in message
    assert "prompt.chat: false" in message
    assert "chat_template_kwargs" not in message


def test_a_switch_that_the_template_cannot_take():
    numbers = "{% if budget > 3 %}{% endif %}" + templates.CHATML
    assert prompter(numbers, chat_template_kwargs={"budget": 5}).text(QUESTION)
    with pytest.raises(UserError, match=r"TypeError.*Check prompt\.chat_template_kwargs"):
        prompter(numbers, chat_template_kwargs={"budget": "much"}).text(QUESTION)


def test_several_named_templates():
    named = {"tool_use": templates.PHI_3, "rag": templates.CHATML}
    with pytest.raises(UserError, match=r"several chat templates \(rag, tool_use\)"):
        prompter(named).text(QUESTION)
    default = prompter({**named, "default": templates.CHATML})
    assert default.text(QUESTION) == prompter(templates.CHATML).text(QUESTION)


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch):
    one = prompter(templates.CHATML)
    monkeypatch.setattr("snakesteer.data.chat.Chat._message", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        one.text(QUESTION)
