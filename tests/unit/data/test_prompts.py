"""Prompts are exactly what the config says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from snakesteer.config import PromptConfig
from snakesteer.config.params import leaves
from snakesteer.data.problem import Problem, write_problems
from snakesteer.data.prompts import Prompter, common_prefix, open_prompter, split_examples
from snakesteer.errors import UserError
from tests.tiny_models import BOS, EOS, tiny_tokenizer

EXAMPLES = (
    Problem("e-0", "What is 1+1?", "1+1=<<1+1=2>>2\n#### 2", "2"),
    Problem("e-1", "What is 2*3?", "2*3 = <<2*3=6>>6\n#### 6", "6"),
)
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def chat_tokenizer(template=CHAT_TEMPLATE, add_bos=False):
    tokenizer = tiny_tokenizer(add_bos)
    tokenizer.chat_template = template
    return tokenizer


def closing_tokenizer():
    """Puts ``<s>`` in front of every text and ``</s>`` behind it."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return tokenizer


def prompter(examples=EXAMPLES, tokenizer=None, **config):
    return Prompter(PromptConfig(**config), tuple(examples), tokenizer or tiny_tokenizer())


def encode(text):
    return tiny_tokenizer().encode(text)


class TestText:
    def test_few_shot(self):
        assert prompter().text("How many?") == (
            "Question: What is 1+1?\nAnswer: 1+1=2\n#### 2\n\n"
            "Question: What is 2*3?\nAnswer: 2*3 = 6\n#### 6\n\n"
            "Question: How many?\nAnswer:"
        )

    def test_without_examples(self):
        assert prompter(()).text("How many?") == "Question: How many?\nAnswer:"

    def test_own_format(self):
        own = prompter(
            EXAMPLES[:1],
            template="[MATH_TASK] Problem:\n{question}\n\nSolution:",
            answer_template="\n{answer}\n",
            separator="\n\n\n",
        )
        assert own.text("How many?") == (
            "[MATH_TASK] Problem:\nWhat is 1+1?\n\nSolution:\n1+1=2\n#### 2\n\n\n\n"
            "[MATH_TASK] Problem:\nHow many?\n\nSolution:"
        )
        assert own.response("3*3=<<3*3=9>>9\n#### 9") == "\n3*3=9\n#### 9\n"

    @pytest.mark.parametrize("text", ["{question}", "{answer}", "{0}", "100%", "\\1 {", "<<1>>"])
    def test_braces_in_a_question_or_answer_are_text(self, text):
        assert prompter(()).text(text) == f"Question: {text}\nAnswer:"
        if text != "<<1>>":
            assert prompter(()).response(text) == f" {text}"


class TestChat:
    def test_system_examples_and_question_are_turns(self):
        chat = prompter(tokenizer=chat_tokenizer(), chat=True, system="Be brief.")
        assert chat.text("How many?") == (
            "<|system|>Be brief.\n"
            "<|user|>Question: What is 1+1?\nAnswer:\n<|assistant|>1+1=2\n#### 2\n"
            "<|user|>Question: What is 2*3?\nAnswer:\n<|assistant|>2*3 = 6\n#### 6\n"
            "<|user|>Question: How many?\nAnswer:\n<|assistant|>"
        )

    def test_a_response_is_written_as_in_the_example_turns(self):
        """No blank of the plain format between ``<|assistant|>`` and the reply."""
        chat = prompter(tokenizer=chat_tokenizer(), chat=True)
        assert chat.response(EXAMPLES[0].answer) == "1+1=2\n#### 2"
        assert chat.text("x").count("<|assistant|>" + chat.response(EXAMPLES[0].answer)) == 1

    def test_the_template_writes_the_special_tokens(self):
        """The tokenizer adds no second ``<s>``."""
        chat = prompter(
            (),
            chat_tokenizer("<s>" + CHAT_TEMPLATE, add_bos=True),
            chat=True,
            template="{question}",
        )
        assert chat.text("x") == "<s><|user|>x\n<|assistant|>"
        assert chat.ids("x").count(BOS) == 1

    def test_today_does_not_show(self):
        """Llama 3 and others print the date; prompts must be the same tomorrow."""
        dated = "\n{{ strftime_now('%d %B %Y') }}|" + CHAT_TEMPLATE
        chat = prompter((), chat_tokenizer(dated), chat=True, template="{question}")
        assert chat.text("x") == "\n26 Jul 2024|<|user|>x\n<|assistant|>"

    def test_no_template(self):
        with pytest.raises(UserError, match=r"no chat template.*prompt\.chat: false"):
            prompter(chat=True).text("x")

    def test_a_template_that_refuses_system_messages(self):
        refusing = (
            "{% if messages[0].role == 'system' %}"
            "{{ raise_exception('System role not supported') }}{% endif %}" + CHAT_TEMPLATE
        )
        plain = prompter(tokenizer=chat_tokenizer(refusing), chat=True).text("x")
        told = prompter(tokenizer=chat_tokenizer(refusing), chat=True, system="Hi").text("x")
        assert told == plain.replace("<|user|>", "<|user|>Hi\n\n", 1)


class TestIds:
    def test_response_follows(self):
        plain = prompter()
        assert list(plain.ids("How?")) == encode(plain.text("How?"))
        assert list(plain.ids("How?", " 42")) == encode(plain.text("How?") + " 42")

    @pytest.mark.parametrize("add_bos", [False, True])
    @pytest.mark.parametrize("bos", ["auto", "always", "never"])
    def test_bos(self, bos, add_bos):
        wanted = {"auto": add_bos, "always": True, "never": False}[bos]
        one = prompter((), tiny_tokenizer(add_bos), bos=bos)
        assert list(one.ids("How?")) == [BOS] * wanted + encode(one.text("How?"))

    @pytest.mark.parametrize("template", [CHAT_TEMPLATE, "<s>" + CHAT_TEMPLATE])
    @pytest.mark.parametrize(("bos", "count"), [("always", 1), ("never", 0)])
    def test_bos_in_a_chat(self, template, bos, count):
        ids = prompter((), chat_tokenizer(template), chat=True, bos=bos).ids("x")
        assert ids.count(BOS) == count

    @pytest.mark.parametrize("bos", ["auto", "always", "never"])
    @pytest.mark.parametrize("written", ["<s>", ""])
    @pytest.mark.parametrize("chat", [True, False])
    def test_a_text_at_the_start_begins_as_prompts_do(self, chat, written, bos):
        tokenizer = chat_tokenizer(written + CHAT_TEMPLATE, add_bos=True)
        one = prompter((), tokenizer, chat=chat, bos=bos)
        begins = one.ids("How?")[:1] == (BOS,)
        assert begins == {"auto": not chat or bool(written), "always": True, "never": False}[bos]
        assert list(one.encode_start("Think.")) == [BOS] * begins + encode("Think.")

    def test_bos_that_the_tokenizer_lacks(self):
        tokenizer = tiny_tokenizer()
        tokenizer.bos_token = None
        assert prompter((), tokenizer).ids("x")
        assert prompter((), tokenizer, bos="never").ids("x")
        with pytest.raises(UserError, match=r"prompt\.bos is 'always'.*prompt\.bos: auto"):
            prompter((), tokenizer, bos="always").ids("x")

    def test_a_prompt_stays_open(self):
        """Some tokenizers close every text; only an end token of one's own stays."""
        one = prompter((), closing_tokenizer())
        assert list(one.ids("x")) == [BOS, *encode(one.text("x"))]
        assert list(one.ids("x", " 4")) == [BOS, *encode(one.text("x") + " 4")]
        assert one.ids("x", " 4</s>")[-1] == EOS

    def test_an_end_token_that_doubles_as_the_first(self):
        """GPT-2 has one token for both."""
        tokenizer = tiny_tokenizer()
        tokenizer.bos_token = tokenizer.eos_token
        assert list(prompter((), tokenizer, bos="always").ids("x")) == [
            EOS,
            *encode("Question: x\nAnswer:"),
        ]


class TestFingerprint:
    def test_it_is_stable(self):
        assert prompter().fingerprint() == prompter().fingerprint()
        assert len(prompter().fingerprint()) == 64

    @pytest.mark.parametrize(
        "changed",
        [
            {"examples": EXAMPLES[:1]},
            {"examples": EXAMPLES[::-1]},
            {"examples": ()},
            {"template": "Q: {question}\nAnswer:"},
            {"answer_template": "{answer}"},
            {"separator": "\n"},
            {"bos": "always"},
            {"chat": True},
        ],
        ids=str,
    )
    def test_what_shapes_a_prompt_changes_it(self, changed):
        tokenizer = chat_tokenizer()
        base = prompter(tokenizer=tokenizer).fingerprint()
        assert prompter(tokenizer=tokenizer, **changed).fingerprint() != base

    def test_the_response_counts_without_examples(self):
        one, other = (prompter((), answer_template=t) for t in (" {answer}", "\n{answer}"))
        assert one.text("x") == other.text("x")
        assert one.fingerprint() != other.fingerprint()

    def test_chats(self):
        prints = {
            prompter(tokenizer=chat_tokenizer(template), chat=True, system=system).fingerprint()
            for template in (CHAT_TEMPLATE, CHAT_TEMPLATE.replace("|", "!"))
            for system in (None, "Be brief.", "Be long.")
        }
        assert len(prints) == 6

    @pytest.mark.parametrize("changed", [{"stop": ["x"]}, {"shots": 2}, {"shots_seed": 3}], ids=str)
    def test_nothing_else_does(self, changed):
        """Shots and their seed count through the examples that they draw."""
        assert prompter(**changed).fingerprint() == prompter().fingerprint()


class TestOpenPrompter:
    def opened(self, tmp_path, template, **prompt):
        write_problems(tmp_path / "train.jsonl", EXAMPLES)
        params = leaves("prompt", PromptConfig(shots=1, chat=True, **prompt))
        return open_prompter(params, tmp_path / "train.jsonl", chat_tokenizer(template))

    def test_a_system_text_in_front_of_the_question_is_told(self, tmp_path, caplog):
        refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        self.opened(tmp_path, refuses + CHAT_TEMPLATE)
        self.opened(tmp_path, CHAT_TEMPLATE, system="Hi")
        assert caplog.text == ""
        opened, rest = self.opened(tmp_path, refuses + CHAT_TEMPLATE, system="Hi")
        assert len(opened.examples) == len(rest) == 1
        assert "takes no system message" in caplog.text

    def test_a_dropped_piece_stops_before_any_prompt(self, tmp_path):
        with pytest.raises(UserError, match="drops the question"):
            self.opened(tmp_path, "Hello!")


class TestSplitExamples:
    train = tuple(Problem(f"t-{i}", f"q{i}", f"#### {i}", str(i)) for i in range(20))

    @given(st.integers(0, 20), st.integers(0, 99))
    def test_examples_never_stand_among_the_rest(self, shots, seed):
        examples, rest = split_examples(self.train, shots, seed)
        assert len(examples) == shots
        assert sorted([*examples, *rest], key=lambda p: int(p.gold)) == list(self.train)
        assert rest == sorted(rest, key=lambda p: int(p.gold))  # in the order of the split

    def test_the_seed_draws(self):
        draws = [split_examples(self.train, 4, seed)[0] for seed in range(10)]
        assert len(set(draws)) > 5
        assert split_examples(self.train, 4, 3)[0] == draws[3]


class TestCommonPrefix:
    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            ([], [1], ()),
            ([1, 2, 3], [1, 2, 4], (1, 2)),
            ([1, 2], [1, 2, 3], (1, 2)),
            ([5], [6], ()),
        ],
    )
    def test_cases(self, first, second, expected):
        assert common_prefix([first, second]) == common_prefix([second, first]) == expected

    @given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
    def test_property(self, first, second):
        n = len(common_prefix([first, second]))
        assert first[:n] == second[:n] == list(common_prefix([first, second]))
        assert first[: n + 1] != second[: n + 1] or n == min(len(first), len(second))

    def test_many_sequences(self):
        assert common_prefix([(1, 2, 3), (1, 2), (1, 2, 4), (1, 3)]) == (1,)
        assert common_prefix([(1, 2, 3)]) == (1, 2, 3)
        assert common_prefix([]) == ()

    @pytest.mark.parametrize(
        ("prompts", "expected"),
        [
            ([(1, 2, 3, 4), (1, 2, 5)], (1, 2)),
            ([(1, 2), (1, 2, 3)], (1,)),
            ([(1, 2, 3)], (1, 2)),
            ([(4,), (5, 6)], ()),
        ],
    )
    def test_each_prompt_can_keep_a_token(self, prompts, expected):
        """What an engine reads once for all prompts must not be the whole of one."""
        assert common_prefix(prompt[:-1] for prompt in prompts) == expected


class TestInstruction:
    def test_a_part_of_its_own_in_front(self):
        told = prompter(EXAMPLES[:1], separator="\n--\n").instructed("Think.")
        assert told.text("How many?") == "Think.\n--\n" + prompter(
            EXAMPLES[:1], separator="\n--\n"
        ).text("How many?")

    def test_the_system_message_in_a_chat(self):
        told = prompter((), chat_tokenizer(), chat=True).instructed("Think.")
        assert told.text("A") == "<|system|>Think.\n<|user|>Question: A\nAnswer:\n<|assistant|>"
        told = prompter((), chat_tokenizer(), chat=True, system="Be kind.").instructed("Think.")
        assert told.text("A").startswith("<|system|>Be kind.\nThink.\n<|user|>")

    def test_the_first_message_where_a_template_knows_no_system(self):
        refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        tokenizer = chat_tokenizer(refuses + CHAT_TEMPLATE)
        told = prompter(EXAMPLES[:1], tokenizer, chat=True).instructed("Think.")
        plain = prompter(EXAMPLES[:1], tokenizer, chat=True).text("A")
        assert told.text("A") == plain.replace("<|user|>", "<|user|>Think.\n\n", 1)


class TestEnd:
    """What follows a solution, as in the examples before it."""

    def test_of_few_shot_examples(self):
        plain = prompter()
        assert plain.end() == "\n\nQuestion:"
        assert plain.response(EXAMPLES[0].answer) + plain.end() in plain.text("x")
        assert prompter(template="{question}", separator="\n").end() == "\n"

    def test_of_a_chat(self):
        template = CHAT_TEMPLATE.replace("{{ m.content }}", "{{ m.content }}<|end|>")
        chat = prompter(tokenizer=chat_tokenizer(template), chat=True)
        assert chat.end() == "<|end|>"
        assert chat.response(EXAMPLES[0].answer) + chat.end() in chat.text("x")

    def test_of_a_chat_that_says_nothing_behind_a_reply(self):
        template = "{% for m in messages %}{{ m.content }}{% endfor %}"
        chat = prompter((), chat_tokenizer(template), chat=True)
        assert chat.end() == chat.tokenizer.eos_token
