"""A steering specification for EasySteer (a vLLM with steering), and the GGUF file that it names.

Written after the documentation of ZJU-REAL/EasySteer for its `SteeringSpec`, `VectorSpec` and
`ApplySpec`: prompt positions count from the end, generation step j is the pass over generated token
j, so that it is step j + 1 here (`snakesteer.steering.residual`).
"""

from pathlib import Path
from typing import Any

from snakesteer.records.files import write_json
from snakesteer.report.exports.chosen import Chosen
from snakesteer.report.exports.control_vector import scaled, write_directions
from snakesteer.report.exports.files import FILES
from snakesteer.report.exports.reasons import not_a_vector, not_constant
from snakesteer.steering.candidate import Candidate

_NOT_HELD = {
    "outside_generated_window": "the format has one window of tokens, not two",
    "at_tokens": "this export names positions, not tokens",
    "not_at_tokens": "this export names positions, not tokens",
}


def refusal(candidate: Candidate) -> str | None:
    """Why EasySteer cannot do what a configuration does; None where it can."""
    reason = not_a_vector(candidate) or not_constant(candidate, ("add", "norm_preserving"))
    if reason is None and candidate.scope in _NOT_HELD:
        reason = f"the scope is {candidate.scope}, and {_NOT_HELD[candidate.scope]}"
    return reason


def write(folder: Path, chosen: Chosen) -> None:
    """Write the specification and its vectors; scale 1 is the chosen strength."""
    spec, source = folder / FILES["easysteer"][0], folder / FILES["easysteer"][1]
    vectors = scaled(chosen.steering)
    write_directions(source, chosen.model_type, vectors)
    vector = {
        "source": source.name,
        "algorithm": "direct",
        "scale": 1.0,
        "layers": sorted(vectors),
        "normalize": chosen.candidate.operator == "norm_preserving",
        "apply": apply_spec(chosen.candidate),
    }
    write_json(spec, {"vectors": [vector], "conflict": "priority"})


def apply_spec(candidate: Candidate) -> dict[str, Any]:
    """The positions of a scope in EasySteer's terms."""
    match candidate.scope:
        case "all":
            return {"prompt": "all", "generation": "all"}
        case "from_last_prompt_token":
            return {"prompt_positions": [-1], "generation": "all"}
        case "generated_only":
            return {"generation": "all"}
        case "last_prompt_token":
            return {"prompt_positions": [-1]}
        case "first_k":
            assert candidate.first_k is not None
            spec: dict[str, Any] = {"prompt_positions": [-1]}
            if candidate.first_k > 1:
                spec["generation_window"] = [0, candidate.first_k - 1]
            return spec
        case "generated_window":
            assert candidate.generated_window is not None
            return {"generation_window": [*candidate.generated_window]}
        case "outside_generated_window" | "at_tokens" | "not_at_tokens":
            raise ValueError(f"{candidate.scope} was to be refused")
