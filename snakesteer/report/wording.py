"""Numbers and configurations as a reader wants to see them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakesteer.config import EMBEDDED_MODEL
from snakesteer.config.catalogue import METHODS, TRAINED


def percent(fraction: float) -> str:
    """0.456 → 45.6%."""
    return f"{fraction:.1%}"


def points(difference: float) -> str:
    """A difference of two fractions in percentage points: 0.04 → +4.0 points."""
    return f"{signed(100.0 * difference)} points"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, a true minus; no sign where it rounds to 0."""
    text = f"{value:+.{digits}f}"
    return text[1:] if not float(text) else text.replace("-", "−")


def percent_interval(interval: Sequence[float]) -> str:
    """[0.35, 0.55] → 35.0% to 55.0%."""
    low, high = interval
    return f"{percent(low)} to {percent(high)}"


def points_interval(interval: Sequence[float]) -> str:
    """[-0.01, 0.05] → −1.0 to +5.0 points."""
    low, high = interval
    return f"{signed(100.0 * low)} to {signed(100.0 * high)} points"


def p_value(p: float) -> str:
    """0.0312 → p = 0.031."""
    return f"p {p_number(p)}" if p < 0.001 else f"p = {p_number(p)}"


def p_number(p: float) -> str:
    """0.0312 → 0.031."""
    return "<\N{NO-BREAK SPACE}0.001" if p < 0.001 else f"{p:.2g}"


def gained_from(results: Mapping[str, Any]) -> str:
    """What stood in place of the answers that steering gained, in words; empty without any."""
    before = results["gained_from"]
    wrong, none = before["wrong_number"], before["no_number"]
    if not wrong + none:
        return ""
    return f"of the gained answers, {wrong} gave a wrong number before and {none} gave none"


def verdict_words(results: Mapping[str, Any]) -> str:
    """The verdict, with what the data leave room for where it is open."""
    said, margin = results["verdict"], results["equivalence"]["margin"]
    if said == "equivalent":
        return f"equivalent (within {100.0 * margin:g} points)"
    if said == "inconclusive":
        return f"inconclusive ({left_open(results)})"
    return str(said)


def left_open(results: Mapping[str, Any]) -> str:
    """What an inconclusive result leaves room for."""
    low, high = results["accuracy_improvement_ci"]
    if low == high:  # all problems changed alike, so that resampling them shows no scatter
        margin = 100.0 * results["equivalence"]["margin"]
        n = results["num_test_samples"]
        few = f"{count(n, 'problem')} {'is' if n == 1 else 'are'} too few"
        return f"{few} to rule out {margin:g} points"
    return f"the data leave room for {points_interval((low, high))}"


def changes_found(effect: float, planned: float) -> tuple[float, str]:
    """How many answers change where the test finds an effect, and what is to be said of them.

    An effect beyond the planned share of changes needs more of them, all for the better.

    Args:
        effect: The smallest that is found, a fraction.
        planned: Share of the answers that was planned to change.
    """
    return (planned, "") if effect <= planned else (effect, ", all for the better")


def recommended(results: Mapping[str, Any]) -> str:
    """What the validation split says to do, in a sentence."""
    if results["recommendation"] == "steer":
        return "Recommended on validation: steer."
    return "Recommended on validation: leave the model alone; this is the best steered trial."


def delivered_words(results: Mapping[str, Any]) -> str:
    """What steering delivered in the test answers; empty where it was constant and had no gate."""
    if "steered_share" in results:
        return (
            f"gate let {percent(results['steered_share'])} of the tokens of the test answers be "
            "steered"
        )
    if "mean_alpha_t" not in results:
        return ""
    return (
        f"α_t was {results['mean_alpha_t']:.3g} on average over the tokens of the test answers, "
        f"which delivered a dose of {results['delivered_dose']:.3g}"
    )


def unchanged_words(results: Mapping[str, Any]) -> str:
    """That steering changed no test answer; empty where it changed one."""
    if results.get("changed_answers") != 0:
        return ""
    return (
        "Not one of the test answers reads differently with steering. Its scope or gate reaches "
        "none of their tokens, or it is too weak to change one."
    )


def trained_on(config: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """What a trained vector learned from, in words; empty for other directions."""
    if params["steering_direction"] != TRAINED:
        return ""
    count = config["data"]["train"] - config["prompt"]["shots"]
    return f"trained on {count} train problems, objective {config['training']['objective']}"


def configuration(params: Mapping[str, Any]) -> str:
    """A steering configuration in words.

    Args:
        params: Under the names that results use.
    """
    layers = ", ".join(map(str, params.get("band_layers", ())))
    place = f"layers {layers}" if layers else f"layer {params['layer_id']}"
    where = {
        "residual": f"with the {params['steering_direction']} direction at {place}",
        "heads": "at attention heads of all layers",
        "prompt_start": f"at the start of the prompt at {place}",
    }[METHODS[params["steering_method"]].kind]
    operator = f" ({params['operator']})" if "operator" in params else ""
    gate = f", where {gate_words(params['gate'])}" if "gate" in params else ""
    strength = f"α = {params['steering_alpha']:.3g} (dose {params['steering_dose']:.3g})"
    if params.get("operator") in ("angular", "rotate"):
        strength = f"angle {params['steering_dose']:.3g} radians"
    if params.get("operator") == "ablate":
        strength = f"{params['steering_alpha']:.3g} of the component removed"
    if "steering_kl" in params:
        strength += f", {params['steering_kl']:.3g} nats"
    beside = ""
    if "further" in params:
        others = (configuration(other).partition(" ")[2] for other in params["further"])
        beside = "".join(f"; and {other}" for other in others)
    return f"{params['steering_method']}{operator} {where}, {strength}{gate}{beside}"


def gate_words(gate: Mapping[str, Any]) -> str:
    """When a gate is open, in words.

    Args:
        gate: Its keys, with or without the threshold.
    """
    what = {
        "cosine": f"the cosine with the {gate['direction']} direction",
        "projection": f"the projection on the {gate['direction']} direction",
    }[gate["score"]]
    whose = {"token": "the token", "prompt": "the last prompt token"}[gate["when"]]
    threshold = f"the {gate['quantile']:g} quantile of train"
    if "threshold" in gate:
        threshold = f"{gate['threshold']:.3g} ({threshold})"
    return f"{what} of {whose} at layer {gate['layer']} is {gate['side']} {threshold}"


def count(number: int, thing: str) -> str:
    """3 runs, 1 run."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def model_name(model: Mapping[str, Any]) -> str:
    """What a reader calls the model of a config."""
    return "SmolLM2-135M-Instruct" if model["name"] == EMBEDDED_MODEL else str(model["name"])


def data_name(data: Mapping[str, Any]) -> str:
    """What a reader calls the problems of a config."""
    names = {
        "embedded": "generated word problems in the format of GSM8K",
        "hub": "GSM8K" if data["hub_id"] == "openai/gsm8k" else str(data["hub_id"]),
        "folder": f"the problems in the folder {Path(data['folder'] or '').name}",
    }
    return names[data["source"]]
