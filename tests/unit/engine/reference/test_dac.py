"""DAC with three cached streams equals one that recomputes the whole text at every step."""

import dataclasses

import numpy as np
import pytest
import torch

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.dac import generate_dac
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.stopping import StopRule
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model, prompt_ids, slow_logits
from tests.numpy_dac import numpy_alpha
from tests.tiny_models import EOS, FAMILIES

DAC = Dac(entropy_threshold=0.5, ptop=0.7, max_alpha=1.5, probe_alpha=3.0)


def generated(family, requests, batch_size=4):
    return ReferenceEngine(loaded_model(family), Decoding(), batch_size).generate(requests)


def run(family, requests, batch_size=4):
    return [generation.token_ids for generation in generated(family, requests, batch_size)]


def slow_dac(family, request):
    """Ids and every α_t: whole text per pass, α of each position kept, strength in numpy."""
    model, steering = loaded_model(family).model, request.steering
    dac, layer, vector = steering.dac, steering.layer, steering.vector
    ids, alphas = list(request.prompt_ids), []
    prompt = len(ids)

    def logits(factors):
        """Next-token logits with these factors from the last prompt token on."""
        column = torch.tensor([0.0] * (prompt - 1) + factors)
        return slow_logits(family, model, ids, layer, column[:, None] * vector)

    for step in range(request.max_new_tokens):
        unsteered = logits([0.0] * (step + 1))
        probe = logits([dac.probe_alpha] * (step + 1))
        limits = dac.ptop, dac.max_alpha, dac.entropy_threshold
        alpha, _ = numpy_alpha(unsteered.numpy(), probe.numpy(), *limits, dac.kl == "per_token")
        alphas.append(alpha)
        ids.append(int(logits([steering.alpha * a for a in alphas]).argmax()))
        if ids[-1] == EOS:
            return tuple(ids[prompt:-1]), alphas
    return tuple(ids[prompt:]), alphas


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_a_computation_without_cache(family):
    """A ragged batch of rows with parameters, layers and limits of their own."""
    requests = [
        Request(
            prompt,
            10 + row,
            ResidualSteering(
                layer=row % 3,
                vector=direction(row),
                alpha=(8.0, -6.0, 4.0)[row % 3],
                dac=Dac(
                    entropy_threshold=0.3 * (row % 3),
                    ptop=0.4 + 0.1 * (row % 5),
                    max_alpha=0.5 + row % 2,
                    probe_alpha=2.0 + 0.5 * row,
                    kl="per_token" if row % 4 == 3 else "true_kl",
                ),
            ),
        )
        for row, prompt in enumerate(prompt_ids() * 2)
    ]
    slow = [slow_dac(family, request) for request in requests]
    expected = [ids for ids, _ in slow]
    assert run(family, requests, batch_size=8) == expected
    assert run(family, requests, batch_size=3) == expected
    assert [run(family, [request])[0] for request in requests] == expected
    # The mean α_t is that of a text's own steps, although its batch goes on behind its end.
    for batch_size in (8, 3):
        found = [generation.alpha_t for generation in generated(family, requests, batch_size)]
        assert found == pytest.approx([np.mean(alphas) for _, alphas in slow], abs=1e-4)
    # The strengths that were compared say something: they vary, below the cap and at it.
    strengths = np.concatenate([alphas for _, alphas in slow])
    assert len(np.unique(strengths.round(3))) >= 5
    plain = run(family, [dataclasses.replace(r, steering=None) for r in requests], batch_size=8)
    assert sum(a != b for a, b in zip(plain, expected, strict=True)) >= 4


@pytest.mark.parametrize(
    "changed",
    [
        {"entropy_threshold": 2.5},
        {"ptop": 0.2},
        {"max_alpha": 0.2},
        {"probe_alpha": 1.5},
        {"kl": "per_token"},
        {"alpha": 2.0},
        {"alpha": -5.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["llama", "gpt_neo"])
def test_each_parameter_changes_the_answers(family, changed):
    def answers(dac, alpha):
        how = ResidualSteering(1, direction(), alpha, dac=dac)
        return run(family, [Request(prompt, 16, how) for prompt in prompt_ids()])

    dac = {key: value for key, value in changed.items() if key != "alpha"}
    base = answers(DAC, 5.0)
    assert answers(dataclasses.replace(DAC, **dac), changed.get("alpha", 5.0)) != base


def test_no_steering_is_the_baseline():
    """α = 0, a threshold above any entropy, and a cap of 0 all leave the model alone."""
    for family in ("llama", "gpt2", "mistral"):
        plain = [Request(prompt, 12) for prompt in prompt_ids()]
        baseline = run(family, plain)
        for alpha, dac in [
            (0.0, DAC),
            (1.0, dataclasses.replace(DAC, entropy_threshold=100.0)),
            (1.0, dataclasses.replace(DAC, max_alpha=0.0)),
        ]:
            how = ResidualSteering(1, direction(), alpha, dac=dac)
            assert run(family, [dataclasses.replace(r, steering=how) for r in plain]) == baseline


def test_dac_and_other_rows_in_one_call():
    """Rows come back in their order, whatever loop they went through."""
    kinds = [
        ResidualSteering(1, direction(), 5.0, dac=DAC),
        None,
        ResidualSteering(1, direction(), 5.0),
    ]
    requests = [Request(prompt, 8, how) for prompt in prompt_ids() for how in kinds]
    generations = generated("gpt2", requests)
    answers = [generation.token_ids for generation in generations]
    assert answers == [run("gpt2", [request])[0] for request in requests]
    assert all(len(set(answers[kind::3])) > 1 for kind in range(3))
    assert any(len(set(answers[at : at + 3])) == 3 for at in range(0, len(answers), 3))
    assert [one.alpha_t is None for one in generations] == [False, True, True] * len(prompt_ids())


def test_only_dac_requests_are_taken():
    loaded = loaded_model("llama")
    rule = StopRule(loaded.tokenizer, loaded.eos_ids, ())
    with pytest.raises(ValueError, match="DAC"):
        generate_dac(loaded, [Request((5, 6), 2)], Decoding(), rule)
