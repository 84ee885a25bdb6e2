"""The steering file of lm-evaluation-harness' ``--model steered``.

Its format is a pickled dictionary (``torch.save``), which that tool dictates; this one is written
here and never read. Keys are names of blocks below ``model.base_model``; the change is made to the
block's output at every position (`lm_eval/models/hf_steered.py`).
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from snakesteer.config import ModelConfig
from snakesteer.models.blocks import decoder_blocks
from snakesteer.models.loading import load_config_of
from snakesteer.records.files import atomic_path
from snakesteer.report.exports.chosen import Chosen
from snakesteer.report.exports.files import FILES
from snakesteer.report.exports.reasons import not_a_vector, not_constant, not_everywhere
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.residual import Place


def refusal(candidate: Candidate) -> str | None:
    """Why lm-evaluation-harness cannot do what a configuration does; None where it can."""
    return (
        not_a_vector(candidate)
        or not_constant(candidate, ("add", "clamp"))
        or not_everywhere(candidate)
    )


def write(folder: Path, chosen: Chosen) -> None:
    """Write the steering file."""
    names = block_names(chosen.model)
    entries = {
        names[place.layer]: _entry(chosen.candidate, place) for place in chosen.steering.places
    }
    with atomic_path(folder / FILES["lm_eval"][0]) as temporary:
        torch.save(entries, temporary)


def block_names(model: ModelConfig) -> list[str]:
    """Names of the decoder blocks below ``model.base_model``; no weights are read."""
    config = load_config_of(model)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(
            config, trust_remote_code=model.trust_remote_code
        )
    names = {id(module): name for name, module in network.base_model.named_modules()}
    return [names[id(block)] for block in decoder_blocks(network)]


def _entry(candidate: Candidate, place: Place) -> dict[str, Any]:
    # The vector goes to the model's dtype before it is multiplied there, so α is applied here.
    vector, coefficient = place.alpha * place.vector.float(), 1.0
    if candidate.operator == "clamp":
        # There the vector is taken at unit length, and the coefficient is the component along it.
        vector, coefficient = place.vector.float(), place.alpha * float(place.vector.norm())
    return {
        "action": candidate.operator,
        "steering_vector": vector,
        "steering_coefficient": coefficient,
        "bias": None,
        "head_index": None,
    }
