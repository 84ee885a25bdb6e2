"""Shared by all rules: the typed config, path names, wildcard constraints.

Inputs: the merged config. Outputs: none. Steps: validate, resolve the layers, name the files.
"""

import json
import os
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from snakesteer.records import code_files
from snakesteer.config import EMBEDDED_MODEL
from snakesteer.config.catalogue import (
    IMPORTED,
    TRAINED,
    of_kind,
    users,
)
from snakesteer.config.pairs import SAMPLED
from snakesteer.config.load import load_config
from snakesteer.data.part_files import part_file
from snakesteer.errors import UserError
from snakesteer.records.files import check_writable
from snakesteer.report.exports.files import FILES as EXPORTS
from snakesteer.records.files import read_json
from snakesteer.config.layers import settled_layers
from snakesteer.models.copies import GGUF_FOLDER, gguf_copy_name, gguf_inputs
from snakesteer.models.depth import depth_before_download, local_files
from snakesteer.config.params import leaves
from snakesteer.search.grid import check_sampler
from snakesteer.report.summary import final_summary

EMBEDDED_MODEL_FOLDER = "resources/smollm2-135m-instruct"

try:
    CONFIG = load_config(config)
    STEERING, LAYERS = settled_layers(
        CONFIG.steering, depth_before_download(CONFIG.model)
    )
    CONFIG = CONFIG.model_copy(update={"steering": STEERING})
    check_sampler(CONFIG.search, CONFIG.steering, LAYERS)
except UserError as error:
    raise WorkflowError(str(error)) from None


METHODS = CONFIG.steering.methods
# What the sensitivity grid imports by name: its methods need not be the search's.
GRID_METHODS = {
    "steering.methods": [*dict.fromkeys([*METHODS, *CONFIG.sensitivity.methods])]
}
# Compiled code may round differently where it has operators, bands or attention heads to compute.
ADDS_ONCE = (CONFIG.steering.operators, CONFIG.steering.band) == (["add"], 1)
PLAIN = ADDS_ONCE and not of_kind("heads", METHODS)
NOT_COMPILED = CONFIG.model.device != "cpu" and not PLAIN
COMPILE_REFUSED = NOT_COMPILED and CONFIG.engine.compile == "always"
# The engine of all answers that are compared: one for the whole run.
ENGINE = CONFIG.engine.model_copy(update={"compile": "never"} if NOT_COMPILED else {})

# When this run began, for `onsuccess`.
started = {}


pathvars:
    results=CONFIG.results,


wildcard_constraints:
    official="train|test",
    split="train|val",
    direction="|".join(CONFIG.steering.directions),
    layer=r"\d+",
    worker=r"\d+",
    gguf=r"[\w.-]+",


def check_folders():
    """Stop before the first job where nothing can be written."""
    try:
        check_writable(CONFIG.results)
        check_writable(CONFIG.evaluation.ledger, "evaluation.ledger")
    except UserError as error:
        raise WorkflowError(str(error)) from None


def named(**values):
    """Parameters, and one more, `record`, that says which value has which name.

    Snakemake compares parameters as a set of values without names: a seed that goes from 0 to 1
    would change nothing where another parameter is 1 already, and another one 0.
    """
    return {
        **{key: constant(value) for key, value in values.items()},
        "record": constant(json.dumps(values, sort_keys=True)),
    }


def constant(value):
    """A parameter as it stands: braces in it (prompt templates) are no wildcards."""
    return lambda wildcards: value


def section_params(name, *without):
    """The leaves of a config section by parameter name; `ENGINE` for the engine."""
    section = ENGINE if name == "engine" else getattr(CONFIG, name)
    return leaves(name, section, *without)


def code_of(script, **chosen):
    """Library files behind a script, so that a change of code reruns what it affects.

    Of packages whose modules are found by name, those count that this run takes: its methods, and
    what else is given.
    """
    path = Path(workflow.basedir, "workflow", "scripts", f"{script}.py")
    by_name = {"steering.methods": METHODS, "report.methods": METHODS, **chosen}
    files = code_files.imported_files(path, by_name)
    return [os.path.relpath(file) for file in files]


def planned_power():
    """What the test can find, said before anything has been run."""
    from snakesteer.evaluation.power import (
        minimum_detectable_effect,
    )  # takes half a second

    n, changes = CONFIG.data.test, CONFIG.evaluation.planned_changes
    effect = minimum_detectable_effect(n, changes, CONFIG.evaluation.confidence)
    if effect is None:
        return f"{n} test problems are too few to find any effect (data.test)."
    return (
        f"With {n} test problems, where steering changes {changes:.0%} of the answers, an effect of "
        f"{100 * effect:.1f} points is found four times in five (data.test, "
        "evaluation.planned_changes)."
    )


def source_file(wildcards):
    """The file of the data folder that an official part is read from."""
    return [] if CONFIG.data.source != "folder" else folder_file(wildcards.official)


def folder_file(official):
    try:
        return str(part_file(CONFIG.data.folder, CONFIG.data.part(official)))
    except UserError as error:
        raise WorkflowError(str(error)) from None


# Where a file is there already, Snakemake drops what an input function has to say.
if CONFIG.data.source == "folder":
    for official in ("train", "test"):
        if Path(f"{CONFIG.results}/data/{official}.jsonl").exists():
            folder_file(official)


def estimator_code(wildcards):
    """What a vector depends on: its own direction's estimator, and no other."""
    return code_of("vector", **{"vectors.directions": [wildcards.direction]})


def user_vector_file(layer):
    """The user's own file with the vector of a layer.

    Checked while the rules are read: what input functions raise is ignored where outputs exist.
    """
    path = CONFIG.steering.vector_file.replace("{layer}", str(layer))
    if not Path(path).is_file():
        raise WorkflowError(
            f"steering.vector_file is {CONFIG.steering.vector_file!r}, but {path} is not a file. "
            "Correct the path; relative ones start in the working directory."
        )
    return path


def exported_files(wildcards):
    """Files of all formats that the chosen configuration can be exported to."""
    manifest = read_json(checkpoints.export_manifest.get().output[0])
    return [
        f"{CONFIG.results}/export/{file}"
        for written in manifest["written"].values()
        for file in written["files"]
    ]


# What of the model section a result depends on once the first rule has checked it.
MODEL = section_params("model", "num_layers")
if CONFIG.model.gguf_file:
    MODEL_INPUT = [f"{GGUF_FOLDER}/{gguf_copy_name(CONFIG.model)}/model.safetensors"]
elif CONFIG.model.name == EMBEDDED_MODEL:
    MODEL_INPUT = [f"{EMBEDDED_MODEL_FOLDER}/model.safetensors"]
else:
    MODEL_INPUT = local_files(CONFIG.model.name)
PLANNED_TOKENS = CONFIG.generation.max_new_tokens * (
    CONFIG.search.n_trials * CONFIG.data.val + 2 * CONFIG.data.test
)
USER_VECTORS = (
    {str(layer): user_vector_file(layer) for layer in LAYERS}
    if CONFIG.steering.vector_file
    else {}
)
ESTIMATED = [
    name for name in CONFIG.steering.directions if name not in (IMPORTED, TRAINED)
]
# Trained vectors: one training per layer, or one of all layers of the band.
TOGETHER = CONFIG.steering.band > 1
TRAINING_NAME = "band" if TOGETHER else "layer_{layer}"
LEARNS_FROM_SAMPLES = CONFIG.training.objective in ("own_correct", "preference")
DRAWS_ANSWERS = CONFIG.training.objective == "reinforce"
# Methods of the residual stream share the directions' vectors; the others have vectors of their own.
SEARCHED = CONFIG.steering.directions if of_kind("residual", METHODS) else []
TRAINING_LOGS = (
    expand(f"<results>/training/{TRAINING_NAME}.csv", layer=LAYERS)
    if TRAINED in SEARCHED
    else []
)
VECTOR_FILES = expand(
    "<results>/vectors/{direction}/layer_{layer}.safetensors",
    direction=SEARCHED + of_kind("prompt_start", METHODS),
    layer=LAYERS,
) + expand(
    "<results>/heads/{method}.safetensors",
    method=of_kind("heads", METHODS),
)
# What probes and directions are made from: activations as read, or without what tokens predict.
ADJUSTED = CONFIG.pairs.remove_token_means
ACTIVATIONS = "<results>/without_token_means" if ADJUSTED else "<results>/activations"
TOKEN_EFFECTS = (
    expand("<results>/token_effects/layer_{layer}.safetensors", layer=LAYERS)
    if ADJUSTED
    else []
)
# Those vectors that pairs were set beside, with what was found.
DIAGNOSED = expand(
    "<results>/vectors/{direction}/layer_{layer}.safetensors",
    direction=SEARCHED,
    layer=LAYERS,
)
JOURNAL = f"{CONFIG.results}/study/journal.log"
PROBE_METRICS = expand("<results>/probes/layer_{layer}.json", layer=LAYERS)
