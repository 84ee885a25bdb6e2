"""gates.json: the thresholds of a run's gates. `snakesteer.vectors.gate_scores` finds them."""

from collections.abc import Sequence

from snakesteer.config import GateConfig, SettledGate, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.records.files import read_json
from snakesteer.records.library_causes import RESULT


def with_thresholds(steering: SteeringConfig, files: Sequence[str]) -> SteeringConfig:
    """The steering section, its gates with their thresholds.

    Args:
        steering: The section.
        files: gates.json; none where the section has no gate.

    Raises:
        UserError: The file is missing or damaged, or lacks a gate.
    """
    if not files:
        return steering
    [path] = files
    known = {each["name"]: each["threshold"] for each in read_json(path)["gates"]}

    def settled(gate: GateConfig) -> SettledGate:
        if gate.name not in known:
            raise UserError(
                f"{path} has no threshold for the gate {gate.name!r}",
                RESULT.remedy,
            )
        return SettledGate(**gate.model_dump(), threshold=known[gate.name])

    gates = [gate if isinstance(gate, str) else settled(gate) for gate in steering.gates]
    return steering.model_copy(update={"gates": gates})
