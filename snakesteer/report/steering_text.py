"""What the methods paragraph says of steering: where vectors come from, what is done with them.

Citation keys are those of assets/references.bib.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from snakesteer.config import SteeringConfig, catalogue
from snakesteer.config.catalogue import IMPORTED, TRAINED
from snakesteer.report.methods import RunConfig, method_sentence, method_title
from snakesteer.steering.methods import method

# A direction without a row here is described by its own module.
DIRECTION_WORDS = {
    "caa": "the mean difference of the pairs [@rimsky2024caa]",
    "probe": "the weights of a logistic-regression probe",
    "mean_centring": "mean-centring [@jorgensen2023centring]",
    "pca": "the first principal component of the differences [@zou2023repe]",
    "seal": "the mean of execution thoughts less that of reflection and transition thoughts "
    "[@chen2025seal]",
    "seal_apart": "the mean of execution thoughts less those of reflection and of transition "
    "thoughts, after [@chen2025seal]",
    TRAINED: "trained vectors",
    IMPORTED: "a vector read from a file",
}
# A searched parameter without a row here is called by its own name.
PARAMETER_WORDS = {
    "steering_direction": "direction",
    "layer_id": "layer",
    "operator": "operator",
    "gate": "gate",
    "entropy_threshold": "entropy threshold",
    "ptop": "top-p mass",
    "max_alpha": "cap of the KL divergence",
}
OBJECTIVES = {
    "sft": "with cross-entropy on the gold solutions",
    "own_correct": "with cross-entropy on right solutions that the model itself had sampled",
    "preference": "with BiPO's loss on right against wrong solutions of the same problem "
    "[@cao2024bipo]",
    "reinforce": "with policy gradients on the reward of right answers [@sinii2025bias]",
}
PAIRS = {
    "gold_vs_corrupted": "the gold solution against itself with a wrong number carried to the end",
    "model_correct_vs_wrong": "a right against a wrong solution that the model itself had sampled",
    "own_right_vs_wrong": "all right against all wrong solutions of a question that the model "
    "itself had sampled, averaged on either side",
    "gold_vs_own_wrong": "the gold solution against the mean of all wrong ones that the model "
    "itself had sampled",
    "prompt_contrast": "a question behind one instruction against itself behind another, after "
    "[@zhang2024cot]",
    "thoughts": "what stands between blank lines of the model's own solutions to a question, "
    "thoughts that go on against those that look back or change the way, told by keywords "
    "[@chen2025seal]",
}
READ_WORDS = {
    "before_last_number": "at the token before the last number in which the two differ, which is "
    "the same token on either side",
    "first_difference": "at the first token that differs",
    "last_token": "at the last token",
    "response_mean": "as the mean over the response",
    "last_prompt_token": "at the last token of the prompt",
    "blank_lines": "at the tokens that end the blank lines before them",
}


def steering_sentences(config: RunConfig, layers: Sequence[int]) -> list[str]:
    """Vectors, and what each searched method did with them.

    Args:
        config: The effective config of the run.
        layers: The blocks to choose from.
    """
    steering = config["steering"]
    methods = steering["methods"]
    blocks = (
        f"the blocks {', '.join(map(str, layers))}" if len(layers) > 1 else f"block {layers[0]}"
    )
    residual = catalogue.of_kind("residual", methods)
    others = (TRAINED, IMPORTED)
    estimated = [name for name in steering["directions"] if name not in others] if residual else []
    sentences = []
    if estimated or catalogue.of_kind("heads", methods):
        pairs = config["pairs"]
        adjusted = ", less what the read tokens alone predict" * pairs["remove_token_means"]
        sentences.append(
            f"A contrast pair is {PAIRS[pairs['kind']]}; activations were read "
            f"{READ_WORDS[pairs['read']]}{adjusted}."
        )
    if estimated:
        sentences.append(
            f"Steering vectors for {blocks} (counted from 0) were estimated on train "
            f"from contrast pairs as {'; '.join(map(direction_words, estimated))}."
        )
    if residual and TRAINED in steering["directions"]:
        sentences.append(training_sentence(config["training"], blocks, steering["band"] > 1))
    if residual and IMPORTED in steering["directions"]:
        told = DIRECTION_WORDS[IMPORTED]
        sentences.append(f"{told[0].upper()}{told[1:]} was tried at {blocks} (counted from 0).")
    sentences += [method_sentence(name, config, blocks) for name in methods]
    if steering["band"] > 1:
        sentences.append(
            f"{steering['band']} consecutive ones of these blocks were steered together, each with "
            "a vector of its own at the same strength."
        )
    return sentences


def training_sentence(training: Mapping[str, Any], blocks: str, together: bool) -> str:
    """How vectors were trained.

    Args:
        training: The config section.
        blocks: The layers, in words.
        together: Whether they were trained together.
    """
    learned = OBJECTIVES[training["objective"]]
    kept = f", {training['held_out']:.0%} of its problems held out to choose the epoch"
    return (
        f"With the model's weights frozen, a vector was trained on train for "
        f"{'all of ' if together else 'each of ' if ',' in blocks else ''}{blocks} (counted from 0"
        f"{', together' if together else ''}): {learned} ({training['epochs']} epochs of Adam"
        f"{kept if training['held_out'] else ''})."
    )


def direction_words(name: str) -> str:
    """What a direction is: with a citation where there is one, else as its module says."""
    if name in DIRECTION_WORDS:
        return DIRECTION_WORDS[name]
    summary = catalogue.DIRECTIONS[name]
    return summary[0].lower() + summary[1:]


def searched_words(steering: RunConfig, layers: Sequence[int]) -> str:
    """What the search chose; where not all methods have a thing, with those that do."""
    methods, config = steering["methods"], SteeringConfig.model_validate(steering)
    choices = {name: method(name).choices(config, layers) for name in methods}
    spans = {name: method(name).spans(config) for name in methods}

    def chooses(name: str, parameter: str) -> bool:
        low, high = spans[name].get(parameter, (0.0, 0.0))
        return low < high or len(choices[name].get(parameter, ())) > 1

    own = [name for found in choices.values() for name in found]
    own += [name for found in spans.values() for name in found]
    found = ["method"] if len(methods) > 1 else []
    for parameter in dict.fromkeys([*PARAMETER_WORDS, *own]):
        owners = [name for name in methods if chooses(name, parameter)]
        told = PARAMETER_WORDS.get(parameter, parameter.replace("_", " "))
        if owners:
            whose = ", ".join(map(method_title, owners))
            found.append(told if owners == list(methods) else f"{told} ({whose})")
    found.append("strength")
    listed = " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))
    return listed[0].upper() + listed[1:]


def strength_words(steering: RunConfig) -> str:
    """What the searched strength measures."""
    if steering["unit"] == "kl":
        return (
            "the 95th percentile, over tokens of train problems with their gold solutions, of "
            "KL(unsteered ‖ steered) in nats, with the sign of the dose at which it is reached"
        )
    methods, in_alpha = steering["methods"], steering["unit"] == "alpha"
    operating = catalogue.users("steering.operators", methods)
    operators = set(steering["operators"]) if operating else set()
    parts = {part["operator"] for part in steering.get("together") or ()}
    heads = catalogue.of_kind("heads", methods)

    def less(*others: str) -> set[str]:
        """The methods, less those that do nothing else with a vector."""
        return set(methods) - {*(operating if operators <= {*others} else ())}

    lengths = less("angular", "ablate", "rotate") - {*heads}
    words = []
    if in_alpha and less("ablate"):
        words.append("a factor on the raw vector")
    elif lengths and not in_alpha:
        words.append("the length of what is added in units of the residual stream's mean norm")
    if not in_alpha and heads:
        words.append(
            "at attention heads, the length of what is added in units of the mean norm of a "
            "layer's head outputs"
        )
    if (operators | parts) & {"angular", "rotate"}:
        words.append(
            "for a turn, the length in units of the mean norm is the angle in radians"
            if in_alpha
            else "for a turn, the angle in radians"
        )
    if "ablate" in operators | parts:
        words.append("for an ablation, the share of the component that is removed")
    return "; ".join(words)
