"""The canonical form: raw vectors as safetensors, and a card that says everything else."""

from pathlib import Path

import numpy as np

from snakesteer.records.files import write_json
from snakesteer.records.tensors import write_tensors
from snakesteer.report.exports.chosen import Chosen
from snakesteer.report.exports.files import FILES
from snakesteer.report.exports.reasons import not_a_vector

refusal = not_a_vector


def write(folder: Path, chosen: Chosen) -> None:
    """Write tensors ``layer_{L}`` (``[hidden]`` float32, α not applied) and the card.

    A rotation has ``axis_{L}`` besides, which spans its plane with the other.

    The card is also in the header of the safetensors file.
    """
    tensors = {
        f"layer_{place.layer}": np.ascontiguousarray(place.vector.numpy())
        for place in chosen.steering.places
    }
    for place in chosen.steering.places:
        if place.axis is not None:
            tensors[f"axis_{place.layer}"] = np.ascontiguousarray(place.axis.numpy())
    write_tensors(folder / FILES["canonical"][0], tensors, chosen.card)
    write_json(folder / FILES["canonical"][1], chosen.card)
