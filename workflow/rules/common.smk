"""Shared by all rules: the typed config, path names, wildcard constraints.

Inputs: the merged config. Outputs: none. Steps: validate, resolve the layers, name the files.
"""

import json
import os
import re
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from snakesteer.records import code_files
from snakesteer.config import EMBEDDED_MODEL, gates_of
from snakesteer.config.catalogue import (
    IMPORTED,
    TRAINED,
    of_kind,
    users,
)
from snakesteer.config.pairs import SAMPLED
from snakesteer.data.part_files import part_file
from snakesteer.errors import UserError
from snakesteer.records.files import check_writable
from snakesteer.report.exports.files import FILES as EXPORTS
from snakesteer.records.files import read_json
from snakesteer.models.copies import GGUF_FOLDER, gguf_copy_name, gguf_inputs
from snakesteer.models.depth import local_files
from snakesteer.models.memory import memory_mb
from snakesteer.config.params import leaves
from snakesteer.report.summary import final_summary
from snakesteer.report.wording import changes_found, count
from snakesteer.study.settled import settle

EMBEDDED_MODEL_FOLDER = "resources/smollm2-135m-instruct"

try:
    RUN = settle(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

CONFIG, LAYERS, ENGINE = RUN.config, RUN.layers, RUN.engine
GPUS = CONFIG.model.gpus or 1
METHODS = CONFIG.steering.methods
# Conditions on which a row is steered; they look along directions that it need not be steered with.
GATES = gates_of(CONFIG.steering)
DIRECTIONS = [
    *dict.fromkeys([*CONFIG.steering.directions, *(gate.direction for gate in GATES)])
]
# What the sensitivity grid imports by name: its methods need not be the search's.
GRID_METHODS = {
    "steering.methods": [*dict.fromkeys([*METHODS, *CONFIG.sensitivity.methods])]
}
# When this run began, for `onsuccess`.
started = {}


# All of a run lies in one folder. In a study, the stages that runs have in common lie in folders of
# their own (workflow/study.smk).
pathvars:
    results=CONFIG.results,
    problems=CONFIG.results,
    depth=CONFIG.results,
    directions=CONFIG.results,
    training=CONFIG.results,
    unsteered=CONFIG.results,


wildcard_constraints:
    official="train|test",
    split="train|val",
    direction="|".join(DIRECTIONS),
    layer=r"\d+",
    worker=r"\d+",
    # Without one, nothing: an empty constraint would be none at all.
    gguf=(re.escape(gguf_copy_name(CONFIG.model)) if CONFIG.model.gguf_file else "(?!)"),


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


def model_memory(wildcards, attempt):
    """Memory of a job with the model, in MB; a job that failed gets more."""
    return attempt * memory_mb(CONFIG.model, MODEL_INPUT)


def package_file(*parts):
    """A data file of the library, as a rule's input."""
    return local(code_files.from_here(code_files.PACKAGE.joinpath(*parts)))


def code_of(script, **chosen):
    """A fingerprint of the library files behind a script: a parameter of its rule.

    So a change of code reruns what it affects, and a rule's inputs are its data alone.

    Of packages whose modules are found by name, those count that this run takes: its methods, and
    what else is given.
    """
    path = Path(code_files.PACKAGE.parent, "workflow", "scripts", f"{script}.py")
    if not path.exists():  # rules from a remote repository, and an installed library
        path = workflow.source_path(f"../scripts/{script}.py")
    by_name = {"steering.methods": METHODS, "report.methods": METHODS, **chosen}
    return code_files.fingerprint(path, by_name)


def planned_power():
    """What the test can find, said before anything has been run."""
    from snakesteer.evaluation.power import (
        minimum_detectable_effect,
    )  # takes half a second

    n, planned = CONFIG.data.test, CONFIG.evaluation.planned_changes
    problems = count(n, "test problem")
    effect = minimum_detectable_effect(n, planned, CONFIG.evaluation.confidence)
    if effect is None:
        return f"With {problems}, no effect can be found (data.test)."
    rate, how = changes_found(effect, planned)
    return (
        f"With {problems}, where steering changes {rate:.0%} of the answers{how}, an effect of "
        f"{100 * effect:.1f} points is found four times in five (data.test, "
        "evaluation.planned_changes)."
    )


def source_file(wildcards):
    """The file of the data folder that an official part is read from."""
    return [] if CONFIG.data.source != "folder" else folder_file(wildcards.official)


def folder_file(official):
    try:
        return local(str(part_file(CONFIG.data.folder, CONFIG.data.part(official))))
    except UserError as error:
        raise WorkflowError(str(error)) from None


# Where a file is there already, Snakemake drops what an input function has to say.
if CONFIG.data.source == "folder":
    for official in ("train", "test"):
        if Path(workflow.pathvars.apply(f"<problems>/data/{official}.jsonl")).exists():
            folder_file(official)


def estimator_code(wildcards):
    """What a vector depends on: its own direction's estimator, and no other."""
    return code_of("vector", **{"vectors.directions": [wildcards.direction]})


def vector_files(directions):
    """The vectors of some directions at all layers."""
    stages = {TRAINED: "training"}
    return [
        f"<{stages.get(direction, 'directions')}>/vectors/{direction}/layer_{layer}.safetensors"
        for direction in directions
        for layer in LAYERS
    ]


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
    return local(path)


def second_task_file():
    """The file of the second task, none where there is no such task."""
    path = CONFIG.off_target.task_file
    if path is None:
        return []
    if not Path(path).is_file():
        raise WorkflowError(
            f"off_target.task_file is {path!r}, which is not a file. Correct the path; relative ones "
            "start in the working directory."
        )
    return [local(path)]


def harness_files():
    """The user's own tasks of lm-evaluation-harness, with all that lies beside them.

    But for what tools keep for themselves: git writes its files at every look.
    """
    folder = CONFIG.off_target.harness_folder
    if folder is None:
        return []
    if not Path(folder).is_dir():
        raise WorkflowError(
            f"off_target.harness_folder is {folder!r}, which is not a folder. Correct the path; "
            "relative ones start in the working directory."
        )
    return [
        local(str(path))
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
        and not any(
            part == "__pycache__" or part.startswith(".")
            for part in path.relative_to(folder).parts
        )
    ]


def check_off_target():
    """Stop before the first job where a look elsewhere could only fail."""
    from snakesteer.evaluation.before_start import check_elsewhere

    try:
        own_environment = bool(workflow.deployment_settings.deployment_method)
        check_elsewhere(CONFIG.off_target, own_environment)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def exported_files(wildcards):
    """Files of all formats that the chosen configuration can be exported to."""
    manifest = read_json(checkpoints.export_manifest.get().output[0])
    return [
        f"{CONFIG.results}/export/{file}"
        for written in manifest["written"].values()
        for file in written["files"]
    ]


# Off-target records that the report shows.
OFF_TARGET = ["off_target", *(["harness"] if CONFIG.off_target.harness_tasks else [])]
OFF_TARGET = OFF_TARGET if CONFIG.off_target.in_report else []
# What of the model section a result depends on once the first rule has checked it.
MODEL = section_params("model", "num_layers")
if CONFIG.model.gguf_file:
    MODEL_INPUT = [f"{GGUF_FOLDER}/{gguf_copy_name(CONFIG.model)}/model.safetensors"]
elif CONFIG.model.name == EMBEDDED_MODEL:
    MODEL_INPUT = [f"{EMBEDDED_MODEL_FOLDER}/model.safetensors"]
else:
    MODEL_INPUT = [local(file) for file in local_files(CONFIG.model.name)]
USER_VECTORS = (
    {str(layer): user_vector_file(layer) for layer in LAYERS}
    if CONFIG.steering.vector_file
    else {}
)
# The vectors that gates look along, and their thresholds.
GATE_VECTORS = [
    f"<directions>/vectors/{direction}/layer_{layer}.safetensors"
    for direction, layer in dict.fromkeys(
        (gate.direction, gate.block) for gate in GATES
    )
]
THRESHOLDS = ["<results>/gates.json"] if GATES else []
# Layers that are steered, and those that gates look at.
READ_LAYERS = sorted({*LAYERS, *(gate.block for gate in GATES)})
ESTIMATED = [name for name in DIRECTIONS if name not in (IMPORTED, TRAINED)]
# Trained vectors: one training per layer, or one of all layers of the band.
TOGETHER = CONFIG.steering.band > 1
TRAINING_NAME = "band" if TOGETHER else "layer_{layer}"
LEARNS_FROM_SAMPLES = CONFIG.training.objective in ("own_correct", "preference")
DRAWS_ANSWERS = CONFIG.training.objective == "reinforce"
# Methods of the residual stream share the directions' vectors; the others have vectors of their own.
SEARCHED = CONFIG.steering.directions if of_kind("residual", METHODS) else []
TRAINING_LOGS = (
    expand(f"<training>/training/{TRAINING_NAME}.csv", layer=LAYERS)
    if TRAINED in SEARCHED
    else []
)
VECTOR_FILES = vector_files(SEARCHED + of_kind("prompt_start", METHODS)) + expand(
    "<directions>/heads/{method}.safetensors",
    method=of_kind("heads", METHODS),
)
VECTOR_FILES += [file for file in GATE_VECTORS if file not in VECTOR_FILES]
# Which doses strengths in nats are, where these are the unit.
KL_STRENGTHS = ["<results>/kl_strengths.json"] if CONFIG.steering.unit == "kl" else []
# What probes and directions are made from: activations as read, or without what tokens predict.
ADJUSTED = CONFIG.pairs.remove_token_means
ACTIVATIONS = (
    "<directions>/without_token_means" if ADJUSTED else "<directions>/activations"
)
TOKEN_EFFECTS = (
    expand("<directions>/token_effects/layer_{layer}.safetensors", layer=LAYERS)
    if ADJUSTED
    else []
)
# Those vectors that pairs were set beside, with what was found.
DIAGNOSED = vector_files(SEARCHED)
PROBE_METRICS = expand("<directions>/probes/layer_{layer}.json", layer=LAYERS)
