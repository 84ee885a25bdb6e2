"""All formats: what each can hold, and how it is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakesteer.errors import UserError
from snakesteer.report.exports import canonical, control_vector, easysteer, lm_eval
from snakesteer.report.exports.chosen import Chosen
from snakesteer.report.exports.files import FILES
from snakesteer.steering.candidate import Candidate, candidate_from_params


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        tool: Who reads it.
        refusal: Why it cannot hold a configuration; None where it can.
        write: Writes its files into a folder.
    """

    tool: str
    refusal: Callable[[Candidate], str | None]
    write: Callable[[Path, Chosen], None]


FORMATS = {
    "canonical": Format(
        "snakesteer, and whatever reads safetensors", canonical.refusal, canonical.write
    ),
    "control_vector": Format("llama.cpp", control_vector.refusal, control_vector.write),
    "lm_eval": Format("lm-evaluation-harness", lm_eval.refusal, lm_eval.write),
    "easysteer": Format("EasySteer", easysteer.refusal, easysteer.write),
}


def export_manifest(best: Mapping[str, Any]) -> dict[str, Any]:
    """What is exported and what is not, with the reasons.

    Args:
        best: Content of best_config.json.

    Returns:
        The content of manifest.json: the configuration, ``written`` (files by format) and
        ``refused`` (reasons by format).
    """
    candidate = candidate_from_params(best["best_trial_params"])
    refused = {name: format_.refusal(candidate) for name, format_ in FORMATS.items()}
    return {
        "configuration": best["best_trial_params"],
        "written": {
            name: {"tool": format_.tool, "files": list(FILES[name])}
            for name, format_ in FORMATS.items()
            if refused[name] is None
        },
        "refused": {name: reason for name, reason in refused.items() if reason is not None},
    }


def remove_refused(folder: Path, found: Mapping[str, Any]) -> None:
    """Delete files of formats that are refused: those of an earlier choice would mislead.

    Args:
        folder: The folder ``export``.
        found: From `export_manifest`.
    """
    for name in found["refused"]:
        for file in FILES[name]:
            (folder / file).unlink(missing_ok=True)


def check(name: str, candidate: Candidate) -> None:
    """Raise where a format cannot hold a configuration.

    Raises:
        UserError: With the reason.
    """
    reason = FORMATS[name].refusal(candidate)
    if reason is not None:
        files = " and ".join(FILES[name])
        raise UserError(
            f"The chosen configuration cannot be exported as {files} for {FORMATS[name].tool}: "
            f"{reason}",
            "`snakemake export` writes the formats that can hold it; export/manifest.json lists "
            "them.",
        )
