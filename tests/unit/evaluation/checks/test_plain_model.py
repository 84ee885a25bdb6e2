"""The plain model reads an answer as a slow computation without cache, batch or padding does."""

import dataclasses

import pytest
import torch

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.select import make_engine
from snakesteer.engine.watch import Watch
from snakesteer.errors import UserError
from snakesteer.evaluation.checks.plain_model import PlainComparison, PlainModel
from snakesteer.evaluation.checks.zero_steering import check_zero_steering
from snakesteer.models.blocks import decoder_blocks
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model, prompt_ids, slow_logits
from tests.tiny_models import HIDDEN, tiny_model

PROMPT = prompt_ids()[-1]  # longer than a sliding window
ANSWER = (7, 30, 11)
LAYER = 1


def slow(family: str, model, factors):
    """Logits of every step, with factors on a direction, position by position."""
    text = (*PROMPT, *ANSWER)
    rows = []
    for end in range(len(PROMPT), len(text) + 1):
        added = torch.tensor(factors[:end])[:, None] * direction()
        rows.append(slow_logits(family, model, text[:end], LAYER, added))
    return rows


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2", "gpt_neo", "opt"])
@pytest.mark.parametrize("scope", ["all", "generated_only"])
def test_right_logits_are_near(family: str, scope: str):
    before = float(scope == "all")
    factors = [before] * len(PROMPT) + [1.0] * len(ANSWER)
    steering = ResidualSteering(LAYER, direction(), 1.0, scope=scope)
    model = loaded_model(family).model
    plain = PlainModel(loaded_model(family), PROMPT)
    found = plain.compare({"real": slow(family, model, factors)}, ANSWER, steering, [])
    assert found.error < 1e-5 < found.bound
    assert found.wrong_from is None
    nothing = plain.compare({"real": slow(family, model, [0.0] * 99)}, ANSWER, None, [])
    assert nothing.error < 1e-5


def test_a_wrong_step_is_named():
    factors = [0.0] * (len(PROMPT) - 1) + [1.0, 1.0, 0.9, 1.0]
    steering = ResidualSteering(LAYER, direction(), 1.0)
    plain = PlainModel(loaded_model("llama"), PROMPT)
    given = slow("llama", loaded_model("llama").model, factors)
    found = plain.compare({"real": given}, ANSWER, steering, [])
    assert found.wrong_from == 2
    assert found.errors[1] < 1e-5
    given[0] = given[0] * torch.nan
    found = plain.compare({"real": given}, ANSWER, steering, [])
    assert found.wrong_from == 0
    assert found.error != found.error


def test_the_bound_is_the_models_own_error():
    model = tiny_model("llama").to(torch.bfloat16)
    loaded = dataclasses.replace(
        loaded_model("llama"), model=model, blocks=decoder_blocks(model), dtype=torch.bfloat16
    )
    nothing = torch.zeros(HIDDEN, dtype=torch.bfloat16)
    wanted = slow_logits("llama", model, PROMPT, LAYER, nothing)
    found = PlainModel(loaded, PROMPT).compare({"real": [wanted]}, (), None, [])
    assert 1e-3 < found.error <= found.bound
    exact = slow_logits("llama", model.float(), PROMPT, LAYER, nothing)
    model.to(torch.bfloat16)
    own = float((_centred(wanted) - _centred(exact)).norm() / _centred(exact).norm())
    assert found.bound == pytest.approx(3 * own, rel=0.5)  # it reads the prompt in two pieces
    model.quantization_method = "bitsandbytes"
    assert PlainModel(loaded, PROMPT).compare({"real": [wanted]}, (), None, []).bound == 0.3


def _centred(logits):
    return logits.float() - logits.float().mean()


def test_engines_are_near_under_dac():
    dac = Dac(entropy_threshold=-1.0, ptop=0.9, max_alpha=2.0, probe_alpha=1.0)
    steering = ResidualSteering(LAYER, direction(), 0.5, dac=dac)
    loaded = loaded_model("llama")
    engine = make_engine("slots", loaded, Decoding(), batch_size=1, slots=4)
    engine.watch = Watch(loaded)
    [generation] = engine.generate([Request(PROMPT, 4, steering)])
    answer = generation.token_ids[: generation.num_tokens - 1]
    logits = engine.watch.logits[0]
    plain = PlainModel(loaded, PROMPT)
    wrong = plain.compare(logits, answer, steering, [0.7] * 4)
    assert wrong.wrong_from == 0
    streams = {stream: logits[stream] for stream in ("unsteered", "probe")}
    assert plain.compare(streams, answer, steering, [0.7] * 4).wrong_from is None


@pytest.mark.parametrize(
    ("family", "wrong_steps", "passes"),
    [("mixtral", 1, True), ("mixtral", 3, False), ("llama", 1, False)],
)
def test_a_router_that_rounds_the_other_way_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, family: str, wrong_steps: int, passes: bool
):
    errors = (0.9,) * wrong_steps + (0.01,) * (4 - wrong_steps)
    monkeypatch.setattr(PlainModel, "compare", lambda *_: PlainComparison(errors, 0.1))
    model = tiny_model(family).to(torch.bfloat16)
    loaded = dataclasses.replace(
        loaded_model(family), model=model, blocks=decoder_blocks(model), dtype=torch.bfloat16
    )

    def check():
        return check_zero_steering(
            lambda _: make_engine("reference", loaded, Decoding(), batch_size=2),
            loaded,
            {"one": Request(PROMPT, 4)},
            kinds=[],
        )

    if passes:
        assert check()["no steering"]["plain_model"]["error"] == pytest.approx(0.01)
    else:
        with pytest.raises(UserError, match="off the plain HuggingFace model's for one"):
            check()
