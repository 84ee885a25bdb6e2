"""Thoughts: where a solution is split, what each piece is called, and the vectors made of them."""

import re

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from snakesteer.config import Config, PromptConfig
from snakesteer.data.prompts import Prompter
from snakesteer.errors import UserError
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.capture import write_activations
from snakesteer.vectors.estimate import diagnose, make_vector
from snakesteer.vectors.pairs import Pair, make_pairs, read_pairs, write_pairs
from snakesteer.vectors.probe_fits import fit_probe
from snakesteer.vectors.reads import readable_pairs, texts_of_pairs
from snakesteer.vectors.thoughts import blank_lines, thought_class, thought_starts
from tests.loaded_models import loaded_model
from tests.tiny_models import tiny_tokenizer
from tests.unit.examples import activations

PROMPTER = Prompter(
    PromptConfig(template="Q: {question}\nA:", answer_template=" {answer}", shots=0),
    (),
    tiny_tokenizer(),
)
SOLUTIONS = [
    "3 boxes of 4 pens.\n\nSo 3*4 = 12 pens.\n\nWait, is it 3 boxes?\n\nYes, it's 12.\n\n#### 12",
    "First 3*4 = 12.\n\nAlternatively, 4+4+4.\n\nThat is 12, seems right.\n\n\n#### 12",
    "It says 3.\n\nHold on, 3.\n\n3*4 = 12.\n\nAnother way: 4*3.\n\nLet me verify.\n\n#### 12",
    "Just 12.\n\nSo 12.\n\n#### 12",  # it never looks back
]
ROWS = [
    {"id": f"p{number // 2}", "question": f"{number // 2} boxes?", "text": text, "correct": True}
    for number, text in enumerate([*SOLUTIONS[:3], SOLUTIONS[0], *[SOLUTIONS[3]] * 2])
]
LAYER = 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("So 3*4 = 12.", "execution"),
        ("Wait, that is not 12.", "reflection"),
        ("Let me VERIFY that.", "reflection"),
        ("I think that's correct.", "reflection"),
        ("Hmm, hold on.", "reflection"),
        ("Alternatively, 12.", "transition"),
        ("Is there another way?", "transition"),
        ("Wait, maybe another approach.", "transition"),  # what changes the way comes first
        ("There are many ways.", "execution"),
        ("", "execution"),
    ],
)
def test_keywords_tell_what_a_thought_does(text, kind):
    assert thought_class(text) == kind


def merging_tokenizer():
    """Line breaks come as tokens with what stands before them, as in Qwen's vocabulary."""
    words = ["a", "b", ".", "\n", ".\n", ".\n\n", "\n\n", "\n\n\n", " "]
    names = {word.replace("\n", "Ċ").replace(" ", "Ġ"): n for n, word in enumerate(words)}
    merges = [("Ċ", "Ċ"), (".", "ĊĊ"), (".", "Ċ"), ("ĊĊ", "Ċ")]
    tokenizer = Tokenizer(models.BPE(names, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("make", [tiny_tokenizer, merging_tokenizer])
@pytest.mark.parametrize(
    "text", ["a.\n\nb", "a\nb.\n\na\n\n\nb", "\n\na.\nb", "ab", "a.\n \nb\n\n"]
)
def test_a_blank_line_ends_at_the_token_that_completes_it(make, text):
    tokenizer = make()
    ids = tuple(tokenizer(text)["input_ids"])
    ends = [at for at in range(len(ids)) if tokenizer.decode(ids[: at + 1]).endswith("\n\n")]
    assert blank_lines(tokenizer, ids, 0) == ends
    assert blank_lines(tokenizer, ids, 2) == [
        at for at in range(2, len(ids)) if tokenizer.decode(ids[2 : at + 1]).endswith("\n\n")
    ]


def by_hand(text):
    """Kind → characters behind the blank lines before its thoughts, from the text alone."""
    found = {}
    for match in re.finditer(r"\n\n+((?:[^\n]|\n(?!\n))+)", text):
        small = match[1].lower()
        kind = "execution"
        if re.search(r"wait|verify|make sure|hold on|seems right|'s correct", small):
            kind = "reflection"
        if re.search(r"alternatively|another (way|approach)", small):
            kind = "transition"
        found.setdefault(kind, []).append(match.start(1))
    return found


@pytest.mark.parametrize("solution", SOLUTIONS)
def test_thoughts_are_read_where_the_line_before_them_ends(solution):
    ids, start = PROMPTER.with_response("3?", PROMPTER.response(solution))
    text = PROMPTER.text("3?") + PROMPTER.response(solution)
    offsets = tiny_tokenizer()(text, return_offsets_mapping=True)["offset_mapping"]
    wanted = {
        kind: tuple(
            next(at for at, (_, end) in enumerate(offsets) if end == where) for where in places
        )
        for kind, places in by_hand(text).items()
    }
    assert thought_starts(PROMPTER.tokenizer, ids, start) == wanted
    assert sum(map(len, wanted.values())) == len(re.split(r"\n\n+", solution)) - 1


def test_a_prompt_has_no_thoughts():
    few = Prompter(PromptConfig(template="Q\n\n{question}\n\n", shots=0), (), tiny_tokenizer())
    ids, start = few.with_response("3?", few.response("So 12.\n\nWait."))
    assert list(thought_starts(few.tokenizer, ids, start)) == ["reflection"]


def test_all_samples_of_a_question_stand_on_either_side(tmp_path):
    pairs = make_pairs("thoughts", [], ROWS, ("a", "b"), 0)
    assert [pair.id for pair in pairs] == ["p0", "p1", "p2"]
    assert pairs[0].positive == pairs[0].negative == tuple(SOLUTIONS[:2])
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs


def texts():
    return texts_of_pairs(PROMPTER, make_pairs("thoughts", [], ROWS, ("a", "b"), 0), "blank_lines")


def test_questions_without_both_sides_are_left_out(caplog):
    caplog.set_level("INFO")
    found = texts()
    assert [pair.id for pair in found] == ["p0", "p1"]
    assert "1 of 3 pairs are left out: their solutions hold thoughts of one side" in caplog.text
    assert {text.group for text in found[0].positive} == {"execution"}
    assert [text.group for text in found[0].negative] == ["reflection", "reflection", "transition"]
    pairs = make_pairs("thoughts", [], ROWS, ("a", "b"), 0)
    with pytest.raises(UserError, match=r"Of the 3 questions of the train split, 2 have solutions"):
        readable_pairs(PROMPTER, pairs, "blank_lines", 3, "train")
    assert len(readable_pairs(PROMPTER, pairs, "blank_lines", 2, "train")) == 2
    with pytest.raises(UserError, match="Of the 1 questions"):
        readable_pairs(PROMPTER, [Pair("a", "?", ("12",), ("12",))], "blank_lines", 2, "val")


@torch.no_grad()
def slow_states():
    """Kind → states at the tokens that end the blank lines, text by text from HuggingFace."""
    model, found = loaded_model("llama").model, {}
    for row in ROWS[:4]:  # the others have no thought that looks back
        text = PROMPTER.text(row["question"]) + " " + row["text"]
        given = tiny_tokenizer()(text, return_offsets_mapping=True)
        ends = [end for _, end in given["offset_mapping"]]
        states = model(torch.tensor([given["input_ids"]]), output_hidden_states=True)
        states = states.hidden_states[LAYER + 1][0].double().numpy()
        for kind, places in by_hand(text).items():
            found.setdefault(kind, []).extend(states[ends.index(where)] for where in places)
    return {kind: np.stack(rows) for kind, rows in found.items()}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thoughts")
    write_activations(folder, loaded_model("llama"), texts(), [LAYER], {})
    return read_activations(folder / f"layer_{LAYER}.h5")


def test_means_are_over_all_thoughts_of_a_kind(read):
    slow = slow_states()
    assert {name: count for name, (count, _) in read.groups.items()} == {
        kind: len(rows) for kind, rows in slow.items()
    }
    for kind, rows in slow.items():
        np.testing.assert_allclose(read.groups[kind][1], rows.mean(axis=0), rtol=1e-4, atol=1e-4)
    both = np.concatenate([slow["reflection"], slow["transition"]]).mean(axis=0)
    np.testing.assert_allclose(
        read.mean_of_groups("reflection", "transition"), both, rtol=1e-4, atol=1e-4
    )


def test_seal_is_execution_less_what_looks_back_or_changes_the_way(read):
    slow, probe = slow_states(), fit_probe(read, c=1.0)
    away = np.concatenate([slow["reflection"], slow["transition"]])
    vector = make_vector("seal", read, probe)
    wanted = slow["execution"].mean(axis=0) - away.mean(axis=0)
    np.testing.assert_allclose(vector.raw, wanted, rtol=1e-3, atol=1e-4)
    apart = make_vector("seal_apart", read, probe).raw
    means = [slow[kind].mean(axis=0) for kind in ("execution", "reflection", "transition")]
    np.testing.assert_allclose(apart, means[0] - means[1] - means[2], rtol=1e-3, atol=1e-4)
    assert diagnose(vector, read).pairs == 2
    # A question with more thoughts counts more, unlike in the mean of the pairs.
    assert not np.allclose(vector.raw, make_vector("caa", read, probe).raw, rtol=0.05)


def test_sides_average_the_thoughts_of_a_question(read):
    slow = slow_states()
    first = len(by_hand(SOLUTIONS[0])["execution"]) + len(by_hand(SOLUTIONS[1])["execution"])
    np.testing.assert_allclose(
        read.positive[0], slow["execution"][:first].mean(axis=0), rtol=1e-4, atol=1e-4
    )


def test_other_pairs_have_no_thoughts():
    data = activations()
    assert data.groups == {}
    for direction in ("seal", "seal_apart"):
        with pytest.raises(UserError, match="no execution thoughts among the contrast pairs"):
            make_vector(direction, data, fit_probe(data, c=1.0))


THOUGHTS = {"kind": "thoughts", "read": "blank_lines"}


@pytest.mark.parametrize(
    ("pairs", "steering", "told"),
    [
        ({"kind": "thoughts"}, {}, "thoughts are read at the blank lines before them"),
        ({"read": "blank_lines"}, {}, "there are no thoughts in such pairs"),
        ({}, {"directions": ["seal"]}, "made of thoughts as they are"),
        (THOUGHTS | {"remove_token_means": True}, {"directions": ["seal_apart"]}, "as they are"),
        (THOUGHTS, {"methods": ["dac_heads"]}, "hold no right and wrong solutions"),
    ],
)
def test_what_makes_no_sense_is_refused(pairs, steering, told):
    with pytest.raises(ValueError, match=told):
        Config.model_validate({"pairs": pairs, "steering": steering})
    Config.model_validate({"pairs": THOUGHTS, "steering": {"directions": ["seal", "caa"]}})
