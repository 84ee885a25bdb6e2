"""When generations end, against the plainest definition: decode everything after every token."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from snakesteer.engine.interface import Decoding, Generation, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.stopping import StopRule
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model, prompt_ids
from tests.tiny_models import BOS, EOS, VOCABULARY, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def sentencepiece_like():
    """A tokenizer in the manner of Llama 2: blanks as ▁, newlines and the rest as byte tokens."""
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    pieces = ["<unk>", "<s>", "</s>", *bytes_, "▁", "Q", ":", "▁Q", "Q:", "▁▁", "a", "é", "####"]
    tokenizer = Tokenizer(
        BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


LLAMA_LIKE = sentencepiece_like()


def decode(ids, tokenizer=TOKENIZER):
    return tokenizer.decode(
        list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )


def expected(ids, eos_ids, stop, limit, tokenizer=TOKENIZER):
    """The generation that comes of a row of ids, by definition."""
    for count in range(1, len(ids) + 1):
        text = decode(ids[:count], tokenizer)
        begins = [text.find(string) for string in stop if string in text]
        if ids[count - 1] in eos_ids:
            kept = tuple(ids[: count - 1])
            return Generation(kept, decode(kept, tokenizer), "eos", count, ids[count - 1])
        if begins:
            return Generation(tuple(ids[:count]), text[: min(begins)], "stop", count)
        if count == limit:
            return Generation(tuple(ids[:count]), text, "length", count)
    return None


def by_rule(ids, eos_ids, stop, limit, tokenizer=TOKENIZER):
    rule = StopRule(tokenizer, frozenset(eos_ids), tuple(stop))
    for count in range(1, len(ids) + 1):
        finish = rule.finish(ids[:count], limit)
        if finish is not None:
            return rule.generation(ids[:count], finish)
    return None


STOPS = st.lists(
    st.sampled_from(["Q", "a", "aa", "a\n", "\n\n", "####", "##", ": ", " Q:", "</s>", "<s>", "é"]),
    max_size=3,
    unique=True,
)


class TestRule:
    @given(
        st.lists(st.sampled_from([*range(4), *TOKENIZER.encode("Qa\n#: ##"), 110]), min_size=1),
        STOPS,
        st.integers(1, 12),
        st.booleans(),
    )
    def test_equals_the_definition(self, ids, stop, limit, with_eos):
        ids = [token for token in ids if token < len(VOCABULARY)] or [5]
        eos_ids = {EOS} if with_eos else set()
        assert by_rule(ids, eos_ids, stop, limit) == expected(ids, eos_ids, stop, limit)

    @given(
        st.lists(st.sampled_from([1, 2, *range(259, 268), 3 + 10, 3 + 0x51]), min_size=1),
        STOPS,
        st.integers(1, 40),
    )
    def test_equals_the_definition_with_byte_tokens_and_stripped_blanks(self, ids, stop, limit):
        found = by_rule(ids, {2}, stop, limit, LLAMA_LIKE)
        assert found == expected(ids, {2}, stop, limit, LLAMA_LIKE)

    def test_a_stop_string_across_token_borders(self):
        ids = TOKENIZER.encode("42 Question: what")
        generation = by_rule(ids, {EOS}, ["Question:"], 100)
        assert generation.text == "42 "
        assert generation.finish == "stop"
        assert generation.token_ids == tuple(TOKENIZER.encode("42 Question:"))
        assert generation.num_tokens == len(generation.token_ids)

    def test_a_stop_string_that_ends_inside_a_token(self):
        """``####`` is one token; the string ends after its first half."""
        generation = by_rule(TOKENIZER.encode("7\n####"), {EOS}, ["\n##"], 100)
        assert generation == Generation(tuple(TOKENIZER.encode("7\n####")), "7", "stop", 3)

    def test_a_stop_string_at_the_very_start(self):
        generation = by_rule(TOKENIZER.encode("\nQ"), {EOS}, ["\n"], 100)
        assert generation == Generation(tuple(TOKENIZER.encode("\n")), "", "stop", 1)

    def test_the_first_of_two_stop_strings_cuts(self):
        """Both become complete with the same token."""
        generation = by_rule(TOKENIZER.encode("ab####"), {EOS}, ["#", "b##"], 100)
        assert generation.text == "a"

    def test_a_special_token_as_stop_string(self):
        generation = by_rule([*TOKENIZER.encode("ok"), BOS, 9], {EOS}, ["<s>"], 100)
        assert (generation.text, generation.finish, generation.num_tokens) == ("ok", "stop", 3)

    def test_the_end_token_goes_before_the_stop_string_of_the_same_name(self):
        generation = by_rule([*TOKENIZER.encode("ok"), EOS], {EOS}, ["</s>"], 100)
        assert generation == Generation(tuple(TOKENIZER.encode("ok")), "ok", "eos", 3, EOS)

    def test_the_end_token_as_first_token(self):
        assert by_rule([EOS, 9], {EOS}, ["a"], 100) == Generation((), "", "eos", 1, EOS)

    def test_a_limit_of_one(self):
        assert by_rule([9, 9], {EOS}, ["a"], 1) == Generation((9,), decode([9]), "length", 1)
        assert by_rule([EOS], {EOS}, [], 1).finish == "eos"
        assert by_rule(TOKENIZER.encode("a"), {EOS}, ["a"], 1).finish == "stop"

    def test_stop_strings_of_several_bytes_a_character(self):
        ids = [3 + byte for byte in "é→".encode()]
        assert by_rule([*ids, 265], {2}, ["→"], 9, LLAMA_LIKE).text == "é"


def engine_answers(requests, eos_ids, stop, batch_size=4):
    loaded = dataclasses.replace(loaded_model("gpt2"), eos_ids=frozenset(eos_ids))
    return ReferenceEngine(loaded, Decoding(stop=tuple(stop)), batch_size).generate(requests)


@pytest.mark.parametrize("dynamic", [False, True])
class TestEngine:
    """In ragged batches, through both loops (DAC with α = 0 writes what no steering writes)."""

    def requests(self, dynamic, limits):
        dac = Dac(0.0, 0.8, 2.0, 2.0)
        how = ResidualSteering(1, direction(), 0.0, dac=dac) if dynamic else None
        return [Request(p, limit, how) for p, limit in zip(prompt_ids(), limits, strict=True)]

    def endless(self, dynamic):
        return [a.token_ids for a in engine_answers(self.requests(dynamic, [24] * 4), [], [])]

    def test_limits_of_their_own(self, dynamic):
        full = self.endless(dynamic)
        assert [len(ids) for ids in full] == [24] * 4
        limits = [1, 24, 7, 2]
        answers = engine_answers(self.requests(dynamic, limits), [], [])
        assert answers == [
            Generation(ids[:limit], decode(ids[:limit]), "length", limit)
            for ids, limit in zip(full, limits, strict=True)
        ]

    def test_end_tokens_and_stop_strings(self, dynamic):
        """Each row ends in its own way; what it does after that leaves no trace."""
        full = self.endless(dynamic)
        eos_ids = {full[0][0], full[1][5]}
        stop = [decode(full[2][4:6]), decode(full[3][:1])]
        limits = [24, 24, 24, 3]
        answers = engine_answers(self.requests(dynamic, limits), eos_ids, stop)
        wanted = [expected(ids, eos_ids, stop, n) for ids, n in zip(full, limits, strict=True)]
        assert answers == wanted
        assert answers[0] == Generation((), "", "eos", 1, full[0][0])
        assert {answer.finish for answer in answers} >= {"eos", "stop"}
        one_by_one = [
            engine_answers([request], eos_ids, stop, 1)[0]
            for request in self.requests(dynamic, limits)
        ]
        assert one_by_one == answers

    def test_every_single_token_as_the_end(self, dynamic):
        full = self.endless(dynamic)
        for position in range(0, 24, 5):
            eos_ids = {full[1][position]}
            answers = engine_answers(self.requests(dynamic, [24] * 4), eos_ids, [])
            assert answers == [expected(ids, eos_ids, [], 24) for ids in full]
