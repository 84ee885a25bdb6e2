"""Prompts that tasks of lm-evaluation-harness make, as the model of a run reads them."""

from dataclasses import replace

import pytest

from snakesteer.config import PromptConfig
from snakesteer.errors import UserError
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

from snakesteer.evaluation.harness.model import HarnessModel
from snakesteer.evaluation.harness.sides import Sides


def asked(loaded, chat=False):
    """The unsteered model of a run."""
    sides = Sides(loaded, ResidualSteering(1, direction(), 1.0), lambda decoding: None)
    return HarnessModel(sides, 0, PromptConfig(shots=0, chat=chat))


def test_an_answer_to_nothing_follows_the_start_token():
    loaded = loaded_model("llama")
    assert asked(loaded)._start("", 4) == (loaded.tokenizer.bos_token_id,)


def test_one_beam_is_no_beam_search():
    model = asked(loaded_model("llama"))
    one = {"until": ["x"], "num_beams": 1}
    assert model._decoding(one) == model._decoding({"until": ["x"]})
    with pytest.raises(UserError, match="num_beams: 2"):
        model._decoding({**one, "num_beams": 2})


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("m.content", "<user>Q</user><assistant>I: "),
        ("m.content | trim", "<user>Q</user><assistant>I:"),
    ],
)
def test_a_reply_that_is_begun_goes_on(shown, text):
    loaded = loaded_model("llama")
    tokenizer = type(loaded.tokenizer)(tokenizer_object=loaded.tokenizer.backend_tokenizer)
    for name in ("pad_token", "bos_token", "eos_token", "unk_token"):
        setattr(tokenizer, name, getattr(loaded.tokenizer, name))
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ " + shown + " }}</{{ m.role }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    model = asked(replace(loaded, tokenizer=tokenizer), chat=True)
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "I: "}]
    assert model.apply_chat_template(turns, add_generation_prompt=False) == text
