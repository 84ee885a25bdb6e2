"""What a report says where the engine promises no bits."""

from dataclasses import replace

from snakesteer.report.engine_text import engine_sentences, equal_tokens
from snakesteer.report.figures.all import make_figures
from snakesteer.report.methods_text import methods_text, references
from snakesteer.report.page import render_page

EXACT = {"tokens_equal": True, "max_logit_difference": 0.0}
NEARLY = {**EXACT, "tolerance": 1e-4, "max_logits_error": 3e-6, "tokens_equal_share": 0.96875}


def gate(kind, **engine):
    plain = {"plain_model": {"error": 1e-6, "bound": 1e-4}}
    return {
        **{"engine": "vllm", "vllm": "0.32.0", "batch_invariant": False},
        **{"prompts": 32, "dtype": "float32", "slots": 8, **engine},
        "kinds": {"no steering": {**EXACT, **kind, **plain}, "caa": {**kind, **plain}},
    }


def test_engines_that_promise_bits_are_not_named():
    assert engine_sentences({"engine": "slots", "kinds": {}}) == [
        "Hooks with α = 0 left every token and every logit as they were."
    ]


def test_vllm_is_cited_with_its_version_and_what_it_kept():
    text = " ".join(engine_sentences(gate(NEARLY)))
    assert "vLLM 0.32.0 [@kwon2023vllm], whose last bits depend on" in text
    assert "the tokens of 97% of the answers" in text
    assert "logits to 3e-06 of their length (allowed: 0.0001)" in text
    exact = " ".join(engine_sentences(gate(EXACT, batch_invariant=True)))
    assert "in its batch-invariant mode" in exact
    assert "left every token and every logit as they were" in exact


def test_the_gate_s_table_says_how_many_tokens_were_equal():
    assert equal_tokens(EXACT) == "all equal"
    assert equal_tokens(NEARLY).startswith("97% equal; logits 3e-06 of 0.0001 off")


def test_the_page_does_not_say_that_bits_were_equal(report):
    evidence = replace(report("helps").evidence, zero_steering=gate(NEARLY))
    methods = methods_text(evidence)
    page = render_page(evidence, make_figures(evidence), methods, references(methods))
    assert "every token and every logit was the same" not in page
    assert "the tokens were the same in\n97% of the answers" in page
    assert "PagedAttention" in page
    promised = replace(evidence, zero_steering=gate(EXACT, batch_invariant=True))
    page = render_page(promised, make_figures(promised), "", "")
    assert "every token and every logit was the same" in page
