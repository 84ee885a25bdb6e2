"""Why a format cannot hold a configuration: what several formats have in common."""

from collections.abc import Collection

from snakesteer.steering.candidate import Candidate


def not_a_vector(candidate: Candidate) -> str | None:
    """Why a configuration is no vector on the residual stream at all."""
    match candidate.kind:
        case "residual" if candidate.beside:
            return (
                f"the method {candidate.method} does several things at once to the residual "
                "stream, and the format has one (export the parts from runs of their own)"
            )
        case "residual":
            return None
        case "heads":
            return f"the method {candidate.method} steers attention heads, not the residual stream"
        case "prompt_start":
            return (
                f"the method {candidate.method} has a vector for each of the prompt's first "
                "positions"
            )


def not_constant(candidate: Candidate, operators: Collection[str]) -> str | None:
    """Why a configuration is no constant change by one of some operators."""
    if candidate.dynamic:
        return (
            f"{candidate.method} sets the strength anew at every token, and the format has one "
            "strength"
        )
    if candidate.operator not in operators:
        return (
            f"the operator is {candidate.operator}, and the format has {' and '.join(operators)} "
            "alone"
        )
    return None


def not_everywhere(candidate: Candidate) -> str | None:
    """Why a configuration does not steer every position."""
    if candidate.scope != "all":
        return (
            f"the scope is {candidate.scope}, and the tool steers every token, those of the prompt "
            "included (steering.scope: all can be exported)"
        )
    return None
