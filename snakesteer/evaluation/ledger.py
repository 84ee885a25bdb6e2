"""What a read of the test split is entered as: the configuration, by all that decides its answers.

The model's content, the prompt with its examples, the decoding, and the steering with the numbers
of its vectors. The engine, the device, paths, dates and the seed of the search are no part of it:
the same configuration, found and run again, is the same.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from snakesteer.config import GenerationConfig, ModelConfig
from snakesteer.config.params import Params, section
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.models.loading import LoadedModel
from snakesteer.records.files import check_writable, read_json, sha256_text
from snakesteer.records.ledger import Purpose, Read, append_reads, ledger_file
from snakesteer.records.versions import timestamp
from snakesteer.steering.kinds import Steering


@dataclass(frozen=True, eq=False)
class Ledger:
    """Where a run enters its reads of a test split.

    Attributes:
        path: The split's file.
        run: The results folder.
        name: What the config calls the model.
        model: What the model is: a folder by its files, a hub model by its commit, and the numbers
            that it is read as.
    """

    path: Path
    run: str
    name: str
    model: Mapping[str, Any]

    def configuration(
        self,
        prompter: Prompter,
        generation: GenerationConfig,
        steering: Steering | None,
        control: Mapping[str, str] | None = None,
    ) -> str:
        """The hash of a configuration.

        Args:
            prompter: Builds its prompts.
            generation: Its decoding.
            steering: How it is steered.
            control: What it controls, and for what, if it does.
        """
        drawn = {"temperature", "top_p", "top_k", "seed"} if generation.do_sample else set()
        decides = {
            "model": self.model,
            "prompt": prompter.fingerprint(),
            "stop": list(prompter.config.stops),
            "generation": generation.model_dump(include={"max_new_tokens", *drawn}),
            "steering": _content(steering),
            "control": control,
        }
        return sha256_text(json.dumps(decides, sort_keys=True))

    def enter(
        self,
        purpose: Purpose,
        configurations: Mapping[str, str],
        problems: Sequence[Problem],
        samples: int,
    ) -> dict[str, Any]:
        """Write down that configurations were answered; before anybody sees the answers.

        Args:
            purpose: Why.
            configurations: Their hashes, each with words for a reader.
            problems: The test split.
            samples: Answers to each problem.

        Returns:
            The key ``test_reads`` of results: see `snakesteer.records.ledger.count_reads`.
        """
        now = timestamp()
        reads = [
            Read(key, words, now, purpose, len(problems), samples, self.run)
            for key, words in configurations.items()
        ]
        return append_reads(self.path, reads)

    def words(self, params: Mapping[str, Any]) -> str:
        """A configuration for a reader of the ledger.

        Args:
            params: Under the names that results use.
        """
        if params["steering_alpha"] == 0.0:
            return f"{self.name}: no steering"
        layers = params.get("band_layers", [params["layer_id"]])
        place = f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"
        first, end = params.get("generated_window", (0, 0))
        belongs = f" {first} to {end - 1}" if end else ""
        if "at_tokens" in params:
            belongs = f" {params['at_tokens']!r}"
        others = len(params.get("further", ()))
        more = f", and {others} more at once" if others else ""
        return (
            f"{self.name}: {params['steering_method']}, direction {params['steering_direction']}, "
            f"{place}, α = {params['steering_alpha']:.3g}, scope {params['scope']}{belongs}{more}"
        )


def open_ledger(
    params: Params,
    info: str | Path,
    loaded: LoadedModel,
    problems: Sequence[Problem],
    output: str | Path,
) -> Ledger:
    """The ledger of a test split, for a run that is about to read it.

    Args:
        params: The rule's parameters, with the model section's leaves and ``ledger``, the folder of
            all ledgers.
        info: ``model/info.json``.
        loaded: The model.
        problems: The test split.
        output: A file in the results folder.

    Raises:
        UserError: The folder cannot be written to.
    """
    check_writable(params["ledger"], "evaluation.ledger")
    model, found = section(ModelConfig, "model", params), read_json(info)
    source = {"name": found["name"], "commit": found["commit"] or found["revision"]}
    return Ledger(
        path=ledger_file(params["ledger"], [(p.id, p.question, p.gold) for p in problems]),
        run=Path(output).parent.as_posix(),
        name=model.name,
        model={
            **({"files": found["sha256"]} if found["sha256"] else source),
            "gguf_file": model.gguf_file,
            "quantization": model.quantization,
            "dtype": str(loaded.dtype),
        },
    )


def _content(value: Any) -> Any:
    """A steering as JSON: tensors by their bytes, and the name of what it is."""
    if isinstance(value, Tensor):
        numbers = value.detach().cpu().contiguous()
        told = hashlib.sha256(numbers.numpy().tobytes()).hexdigest()
        return {"dtype": str(value.dtype), "shape": list(value.shape), "sha256": told}
    if is_dataclass(value):
        kept = {field.name: _content(getattr(value, field.name)) for field in fields(value)}
        return {"what": type(value).__name__, **kept}
    return [_content(each) for each in value] if isinstance(value, tuple) else value
