"""What several runs of a study have in common, so that it is made once.

The files of a run come in stages, and each stage depends on a part of the config and on the stages
before it. Two runs that agree in these share the stage: it lies in a folder that is named after a
hash of what it depends on. A stage's part may be named too large, which shares less; it must never
be too small. A test compares the parts with what the rules read.
"""

import json
from collections.abc import Mapping
from typing import Any

from snakesteer.config import EMBEDDED_MODEL, Config, EngineConfig, Section
from snakesteer.config.catalogue import IMPORTED, TRAINED
from snakesteer.config.pairs import SAMPLED
from snakesteer.records.files import sha256_text

# Rules that make a stage's files.
RULES: Mapping[str, tuple[str, ...]] = {
    "problems": ("official_data", "train_split", "val_split", "test_split"),
    "depth": ("model_info",),
    "directions": (
        "own_solutions",
        "contrast_pairs",
        "activations",
        "token_means",
        "probe",
        "vector",
        "imported_vector",
        "actadd_vectors",
        "dac_heads",
        "head_activations",
        "head_token_means",
        "iti",
    ),
    "training": ("training_solutions", "trained_vectors"),
    "unsteered": ("baseline",),
}
# Converted models lie in resources/, wherever results are.
EMBEDDED_RULES = ("embedded_model_wheel", "embedded_model")
GGUF_RULES = ("gguf_file", "gguf_model")


def idle_rules(config: Config) -> set[str]:
    """Rules that a run with a config has no use for: planning many runs is faster without them."""
    methods, directions = config.steering.methods, config.steering.directions
    used = {
        EMBEDDED_RULES: config.model.name == EMBEDDED_MODEL and config.model.gguf_file is None,
        GGUF_RULES: config.model.gguf_file is not None,
        ("dac_heads",): "dac_heads" in methods,
        ("head_activations", "head_token_means", "iti"): "iti" in methods,
        ("actadd_vectors",): "actadd" in methods,
        ("training_solutions", "trained_vectors"): TRAINED in directions,
        ("imported_vector",): IMPORTED in directions,
        ("own_solutions",): config.pairs.kind in SAMPLED,
        ("token_means",): config.pairs.remove_token_means,
        ("confirmation",): config.search.confirm > 0.0,
        ("kl_strengths",): config.steering.unit == "kl",
    }
    return {rule for rules, wanted in used.items() if not wanted for rule in rules}


def stage_hashes(
    config: Config, engine: EngineConfig, layers: list[int], planned: int
) -> dict[str, str]:
    """A hash of what each stage depends on.

    Args:
        config: Of the run, with the band settled.
        engine: The engine section as the run uses it.
        layers: That may be steered.
        planned: Tokens that the run is expected to decode, which set the number of slots.
    """
    steering = config.steering
    problems = _hash(config.data)
    depth = _hash(config.model, layers)
    reads = [problems, depth, _hash(config.prompt), _hash(config.generation)]
    return {
        "problems": problems,
        "depth": depth,
        "directions": _hash(
            *reads,
            config.engine,
            config.pairs,
            config.probe,
            config.heads,
            config.search.chunk_size,
            steering.vector_file,
            steering.actadd_prompts,
        ),
        "training": _hash(
            *reads,
            config.engine,
            config.training,
            steering.scope,
            steering.first_k,
            steering.generated_window,
            steering.at_tokens,
            steering.band > 1,
        ),
        "unsteered": _hash(*reads, engine, config.search.chunk_size, planned),
    }


def _hash(*parts: Any) -> str:
    told = [part.model_dump(mode="json") if isinstance(part, Section) else part for part in parts]
    return sha256_text(json.dumps(told, sort_keys=True))[:12]
