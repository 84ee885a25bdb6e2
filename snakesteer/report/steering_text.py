"""What the methods paragraph says of steering: where vectors come from, what is done with them.

Citation keys are those of assets/references.bib.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from snakesteer.config import HEAD_METHODS, catalogue
from snakesteer.config.steering import IMPORTED

Config = Mapping[str, Any]

# Methods that steer with the vector of a direction.
RESIDUAL = ("caa", "dac")
METHODS = {
    "caa": "CAA",
    "dac": "DAC",
    "dac_heads": "DAC at heads",
    "iti": "inference-time intervention",
    "actadd": "ActAdd",
}
# A direction without a row here is described by its own module.
DIRECTIONS = {
    "caa": "the mean difference of the pairs [@rimsky2024caa]",
    "probe": "the weights of a logistic-regression probe",
    "mean_centring": "mean-centring [@jorgensen2023centring]",
    "pca": "the first principal component of the differences [@zou2023repe]",
    IMPORTED: "a vector read from a file",
}
PAIRS = {
    "gold_vs_corrupted": "the gold solution against itself with a wrong number carried to the end",
    "model_correct_vs_wrong": "a right against a wrong solution that the model itself had sampled",
}
SCOPES = {
    "from_last_prompt_token": "from the last prompt token on",
    "all": "at all positions",
    "generated_only": "at generated tokens only",
    "last_prompt_token": "at the last prompt token only",
    "first_k": "at the first {first_k} positions from the last prompt token on",
}
OPERATORS = {
    "add": "adding α times the vector",
    "clamp": "setting the component along the vector to α times its length",
    "norm_preserving": "adding α times the vector and restoring the length [@zou2023repe]",
    "angular": "turning it towards the vector by an angle, after [@vu2025angular]",
}
SCHEDULES = {
    "dynamic": "α set at every token by how much steering would change the next-token distribution",
    "fixed": "a constant α",
    "start": "α at the last prompt token alone",
    "diminishing": "an α that falls to 0 over these tokens",
}
AFTER = {
    "zero": "nothing",
    "hold": "the last token's difference",
    "mean": "the mean of these differences",
}
PER_TOKEN = "; the KL divergence was divided by the number of tokens that it is taken over"


def steering_sentences(config: Config, layers: Sequence[int]) -> list[str]:
    """Vectors, and what each searched method did with them.

    Args:
        config: The effective config of the run.
        layers: The blocks to choose from.
    """
    steering = config["steering"]
    methods = steering["methods"]
    blocks = ", ".join(map(str, layers))
    residual = any(method in RESIDUAL for method in methods)
    estimated = [name for name in steering["directions"] if name != IMPORTED] if residual else []
    sentences = []
    if estimated or any(method in HEAD_METHODS for method in methods):
        sentences.append(f"A contrast pair is {PAIRS[config['pairs']['kind']]}.")
    if estimated:
        sentences.append(
            f"Steering vectors for the blocks {blocks} (counted from 0) were estimated on train "
            f"from contrast pairs as {'; '.join(map(direction_words, estimated))}."
        )
    if residual and IMPORTED in steering["directions"]:
        told = DIRECTIONS[IMPORTED]
        sentences.append(
            f"{told[0].upper()}{told[1:]} was tried at the blocks {blocks} (counted from 0)."
        )
    say = {"caa": _caa, "dac": _dac, "dac_heads": _dac_heads, "iti": _iti, "actadd": _actadd}
    sentences += [say[method](config, blocks) for method in methods]
    if steering["band"] > 1:
        sentences.append(
            f"{steering['band']} consecutive ones of these blocks were steered together, each with "
            "a vector of its own at the same strength."
        )
    return sentences


def direction_words(name: str) -> str:
    """What a direction is: with a citation where there is one, else as its module says."""
    if name in DIRECTIONS:
        return DIRECTIONS[name]
    summary = catalogue.direction_summary(name)
    return summary[0].lower() + summary[1:]


def searched_words(steering: Config, layers: Sequence[int]) -> str:
    """What the search chose; where not all methods have a thing, with those that do."""
    methods = steering["methods"]
    kl = [
        method
        for method in methods
        if method == "dac" or (method == "dac_heads" and steering["heads_schedule"] == "dynamic")
    ]
    residual = [method for method in methods if method in RESIDUAL]
    layered = [method for method in methods if method not in HEAD_METHODS]
    dac = [method for method in methods if method == "dac"]
    choices = [
        ("method", methods, len(methods) > 1),
        ("direction", residual, len(steering["directions"]) > 1),
        ("layer", layered, len(layers) > 1),
        ("operator", [m for m in methods if m == "caa"], len(steering["operators"]) > 1),
        ("entropy threshold", dac, _varies(steering["dac_entropy_threshold"])),
        ("top-p mass", kl, _varies(steering["dac_ptop"])),
        ("cap of the KL divergence", kl, _varies(steering["dac_max_alpha"])),
        ("strength", methods, True),
    ]
    found = []
    for name, owners, several in choices:
        if owners and several:
            whose = ", ".join(METHODS[method] for method in owners)
            found.append(name if list(owners) == list(methods) else f"{name} ({whose})")
    listed = " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))
    return listed[0].upper() + listed[1:]


def strength_words(steering: Config) -> str:
    """What the searched strength measures."""
    methods, in_alpha = steering["methods"], steering["unit"] == "alpha"
    angular = "caa" in methods and "angular" in steering["operators"]
    lengths = {"dac", "actadd"} & set(methods) or (
        "caa" in methods and set(steering["operators"]) != {"angular"}
    )
    words = []
    if in_alpha:
        words.append("a factor on the raw vector")
    elif lengths:
        words.append("the length of what is added in units of the residual stream's mean norm")
    if not in_alpha and set(methods) & set(HEAD_METHODS):
        words.append(
            "at attention heads, the length of what is added in units of the mean norm of a "
            "layer's head outputs"
        )
    if angular:
        words.append(
            "for a turn, the length in units of the mean norm is the angle in radians"
            if in_alpha
            else "for a turn, the angle in radians"
        )
    return "; ".join(words)


def _varies(span: Sequence[float]) -> bool:
    return span[0] < span[1]


def _caa(config: Config, blocks: str) -> str:
    steering = config["steering"]
    scope = SCOPES[steering["scope"]].format(first_k=steering["first_k"])
    if steering["operators"] == ["add"]:
        return f"CAA [@rimsky2024caa] added α times the vector to the output of a block, {scope}."
    operators = "; or by ".join(OPERATORS[name] for name in steering["operators"])
    return f"CAA [@rimsky2024caa] changed the output of a block, {scope}, by {operators}."


def _dac(config: Config, blocks: str) -> str:
    return (
        "DAC, in a form for the residual stream, added α·α_t times the vector to the output of a "
        "block, with α_t set at every token by how much steering would change the next-token "
        "distribution (after [@scalena2024dac])" + _kl(config) + "."
    )


def _dac_heads(config: Config, blocks: str) -> str:
    steering, heads = config["steering"], config["heads"]
    dynamic = steering["heads_schedule"] == "dynamic"
    return (
        "DAC [@scalena2024dac] added, at all attention heads before their output projection, α "
        "times the mean difference between the heads' outputs behind right and behind wrong worked "
        f"examples ({heads['prompts']} prompts from train with {heads['examples']} examples each), "
        f"token by token for {heads['steps']} tokens, and {AFTER[steering['heads_after']]} after "
        f"them, with {SCHEDULES[steering['heads_schedule']]}{_kl(config) if dynamic else ''}."
    )


def _iti(config: Config, blocks: str) -> str:
    return (
        "Inference-time intervention [@li2023iti] added, at the "
        f"{config['heads']['iti_heads']} attention heads whose probes told validation pairs apart "
        "best, α standard deviations along the mean difference of the train pairs."
    )


def _actadd(config: Config, blocks: str) -> str:
    plus, minus = config["steering"]["actadd_prompts"]
    return (
        "ActAdd [@turner2023actadd] added α times the difference between the activations of the "
        f"prompts “{plus}” and “{minus}” at the output of one of the blocks {blocks} (counted from "
        "0), position by position at the start of the prompt."
    )


def _kl(config: Config) -> str:
    return PER_TOKEN if config["steering"]["dac_kl"] == "per_token" else ""
