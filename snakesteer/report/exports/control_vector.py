"""llama.cpp's control vector: a GGUF file with one tensor ``direction.N`` per layer.

llama.cpp adds it to the output of block N at every token. Its loader (`common/common.cpp`) takes
float32 tensors of one dimension with N ≥ 1 alone: the first block cannot be steered. The metadata
are those that repeng writes.
"""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from snakesteer.records.files import atomic_path
from snakesteer.report.exports.chosen import Chosen
from snakesteer.report.exports.files import FILES
from snakesteer.report.exports.reasons import not_a_vector, not_constant, not_everywhere
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.residual import ResidualSteering


def refusal(candidate: Candidate) -> str | None:
    """Why llama.cpp cannot do what a configuration does; None where it can."""
    reason = not_a_vector(candidate) or not_constant(candidate, ("add",))
    if reason is None and 0 in (candidate.layer, *candidate.band_layers):
        reason = "it steers layer 0, and llama.cpp's control vectors begin at layer 1"
    return reason or not_everywhere(candidate)


def write(folder: Path, chosen: Chosen) -> None:
    """Write the control vector; scale 1 is the chosen strength."""
    write_directions(
        folder / FILES["control_vector"][0], chosen.model_type, scaled(chosen.steering)
    )


def scaled(steering: ResidualSteering) -> dict[int, NDArray[np.float32]]:
    """α·v by layer, ``[hidden]`` float32."""
    return {place.layer: (place.alpha * place.vector.float()).numpy() for place in steering.places}


def write_directions(
    path: Path, model_type: str, vectors: Mapping[int, NDArray[np.float32]]
) -> None:
    """Write vectors by layer as a GGUF file, atomically."""
    with atomic_path(path) as temporary:
        writer = gguf.GGUFWriter(temporary, "controlvector")
        writer.add_string("controlvector.model_hint", model_type)
        writer.add_uint32("controlvector.layer_count", len(vectors))
        for layer, vector in sorted(vectors.items()):
            writer.add_tensor(f"direction.{layer}", vector)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
