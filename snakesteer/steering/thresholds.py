"""gates.json: the thresholds of a run's gates. `snakesteer.vectors.gate_scores` finds them."""

from pathlib import Path

from snakesteer.config import GateConfig, SettledGate, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.records.files import read_json


def with_thresholds(steering: SteeringConfig, file: str | Path | list[str]) -> SteeringConfig:
    """The steering section, its gates with their thresholds.

    Args:
        steering: The section.
        file: gates.json; an empty list where the section has no gate.

    Raises:
        UserError: The file is missing or damaged, or lacks a gate.
    """
    if not file:
        return steering
    path = file[0] if isinstance(file, list) else file
    known = {each["name"]: each for each in read_json(path)["gates"]}

    def settled(gate: GateConfig) -> SettledGate:
        if gate.name not in known:
            raise UserError(
                f"{path} has no threshold for the gate {gate.name!r}",
                "Delete it and run snakemake again; it will be made anew.",
            )
        return SettledGate(**gate.model_dump(), threshold=known[gate.name]["threshold"])

    gates = [gate if isinstance(gate, str) else settled(gate) for gate in steering.gates]
    return steering.model_copy(update={"gates": gates})
