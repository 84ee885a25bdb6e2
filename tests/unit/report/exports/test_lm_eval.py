"""lm-evaluation-harness, with the exported file, computes what our engine computes."""

import importlib.util

import pytest
import torch

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine, steered
from snakesteer.models.blocks import decoder_blocks
from snakesteer.report.exports import lm_eval as export
from tests.loaded_models import MAIN_FAMILIES, loaded_model, prompt_ids
from tests.tiny_models import EOS, PAD, tiny_model
from tests.unit.report.exports.chosen import BAND, candidate, make_chosen


@pytest.mark.parametrize("family", [*MAIN_FAMILIES, "opt"])
def test_names_lead_to_the_blocks(tmp_path, family):
    chosen = make_chosen(tmp_path, candidate(), family)
    base = tiny_model(family).base_model
    found = [base.get_submodule(name) for name in export.block_names(chosen.model)]
    assert [type(block) for block in found] == [type(block) for block in decoder_blocks(base)]
    assert found == decoder_blocks(base)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neo"])
@pytest.mark.parametrize(
    "found",
    [candidate(alpha=-1.5), candidate(operator="clamp"), BAND],
    ids=["add", "clamp", "band"],
)
def test_the_same_logits_and_the_same_text(tmp_path, family, found):
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm_eval is not installed")
    from lm_eval.models.hf_steered import SteeredModel

    chosen = make_chosen(tmp_path, found, family)
    export.write(tmp_path, chosen)
    theirs = SteeredModel(
        pretrained=chosen.model.name,
        steer_path=str(tmp_path / "lm_eval_steering.pt"),
        device="cpu",
        dtype="float32",
    )
    loaded = loaded_model(family)
    ids = torch.tensor([prompt_ids()[-1]])
    mask = torch.ones_like(ids)
    with steered(loaded, [chosen.steering], mask), torch.no_grad():
        ours = loaded.model(ids, attention_mask=mask).logits
    with torch.no_grad():
        unsteered = loaded.model(ids).logits
    found_logits = theirs._model_call(ids)
    torch.testing.assert_close(found_logits, ours, rtol=1e-5, atol=1e-5)
    if found.operator == "add":
        assert torch.equal(found_logits, ours)
    assert not torch.allclose(ours, unsteered, atol=0.1)

    engine = ReferenceEngine(loaded, Decoding(), 1)
    [row] = engine.generate([Request(tuple(ids[0].tolist()), 12, chosen.steering)])
    output = theirs._model_generate(
        ids, max_length=ids.shape[1] + 12, stop=[], attention_mask=mask, do_sample=False
    )
    text = output[0, ids.shape[1] :].tolist()
    assert list(row.token_ids) == text[: len(row.token_ids)]
    assert set(text[len(row.token_ids) :]) <= {EOS, PAD}
    assert len(row.token_ids) > 3
